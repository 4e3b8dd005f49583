"""Distances between a view and the photo."""

import pytest
import torch

from sensorium.lifting.contrastive.distance import l2_sum, pooled
from sensorium.lifting.photo.cutout import on_background


def picture(side: int, shift: int = 0, seed: int = 0) -> torch.Tensor:
    """A coloured disc that is cut out, premultiplied RGBA [4, side, side]."""
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    away = ((row - side / 2) ** 2 + (column - side / 2 - shift) ** 2).sqrt()
    alpha = (side / 4 - away + 0.5).clamp(0, 1)
    colours = torch.rand(3, side, side, generator=torch.Generator().manual_seed(seed)).roll(shift, 2)
    return torch.cat([colours * alpha, alpha[None]])


@pytest.mark.parametrize("cells", [0, 8, 16])
def test_what_lies_far_from_both_objects_does_not_matter(cells: int) -> None:
    """A frame of nothing around both pictures changes neither mask nor mean: pixels without an object count nothing."""
    reference, view = picture(64), picture(64, 4, 1)
    framed = [torch.nn.functional.pad(one, (32, 32, 32, 32)) for one in (reference, view)]
    near = pooled(reference, view[None], cells)
    far = pooled(framed[0], framed[1][None], 2 * cells)
    torch.testing.assert_close(near, far, atol=1e-6, rtol=0)
    assert 0.05 < near.item() <= 1


def test_a_cell_s_mean_by_hand() -> None:
    """One uniform object against another on the same pixels: the distance is that of their colours."""
    alpha = torch.zeros(1, 16, 16)
    alpha[:, 4:12, 4:12] = 1
    red, dark = (torch.tensor(rgb).reshape(3, 1, 1) for rgb in ([1.0, 0, 0], [0.4, 0, 0]))
    first, second = torch.cat([red * alpha, alpha]), torch.cat([dark * alpha, alpha])
    assert pooled(first, second[None], 4).item() == pytest.approx((0.36 / 3) ** 0.5, abs=1e-4)
    assert pooled(first, first[None], 4).item() == pytest.approx(1e-4, abs=1e-6)
    assert pooled(first, second[None], 4).item() == pytest.approx(pooled(second, first[None], 4).item(), abs=1e-7)


def test_parallax_is_tolerated_where_cells_are_large() -> None:
    reference, moved = picture(64), picture(64, 2)[None]
    assert pooled(reference, moved, 8) < 0.6 * pooled(reference, moved, 0)


def test_the_mask_has_no_gradient() -> None:
    view = picture(32, 3)[None].requires_grad_()
    pooled(picture(32), view, 8).sum().backward()
    assert view.grad is not None
    assert view.grad[:, :3].abs().sum() > 0
    transparent = (view[0, 3] == 0) & (picture(32)[3] == 0)
    assert (view.grad[0][:, transparent] == 0).all()


def test_the_released_distance_is_that_of_the_background() -> None:
    """The same picture on black instead of white is more than 1000 away at 1024 pixels."""
    reference = picture(1024)
    white, black = on_background(reference), on_background(reference, 0.0)
    assert l2_sum(white, white[None]).item() < 1e-3
    assert l2_sum(white, black[None]).item() > 1000
    small = picture(128)
    scaled = l2_sum(on_background(small), on_background(small, 0.0)[None]).item()
    assert scaled == pytest.approx(l2_sum(white, black[None]).item(), rel=0.02)
