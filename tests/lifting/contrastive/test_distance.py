"""Distances between a view and the photo."""

import numpy as np
import pytest
import torch

from sensorium.encoders.lpips_pyramid import Pyramid
from sensorium.lifting.contrastive import ContrastiveConfig, ContrastiveTerm, distance, released
from sensorium.lifting.contrastive.distance import l2_sum, pooled
from sensorium.lifting.guidance.base import Pose
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


def by_the_formula(reference: np.ndarray, view: np.ndarray, cells: int, shade: float = 1.0) -> float:
    """sqrt(sum of m ||P(M a)/m - P(M x)/m||^2 / (3 sum of m) + 1e-8), pixel by pixel in float64."""
    side = reference.shape[1]
    cells = cells or side
    step, above, below = side // cells, 0.0, 0.0
    for row in range(cells):
        for column in range(cells):
            m, a, x = 0.0, np.zeros(3), np.zeros(3)
            for i in range(row * step, (row + 1) * step):
                for j in range(column * step, (column + 1) * step):
                    first, second = reference[:, i, j], view[:, i, j]
                    mask = 1 - (1 - first[3]) * (1 - second[3])
                    m += mask
                    a += mask * (first[:3] + (1 - first[3]) * shade)
                    x += mask * (second[:3] + (1 - second[3]) * shade)
            if m:
                above += m * float(((a / m - x / m) ** 2).sum())
                below += m
    return float((above / (3 * below) + 1e-8) ** 0.5)


def soft(seed: int, side: int = 16) -> torch.Tensor:
    """Premultiplied RGBA whose coverage is nowhere whole, and nothing in a corner: [4, side, side]."""
    draw = torch.Generator().manual_seed(seed)
    alpha = torch.rand(side, side, generator=draw) * (torch.rand(side, side, generator=draw) < 0.6)
    alpha[: side // 2, : side // 2] = 0
    return torch.cat([torch.rand(3, side, side, generator=draw) * alpha, alpha[None]])


@pytest.mark.parametrize("cells", [0, 4, 8])
def test_the_formula_pixel_by_pixel(cells: int) -> None:
    """Soft coverage that differs between the two: a mask of one alone, none, or another mean gives other numbers."""
    reference, views = soft(0), torch.stack([soft(1), soft(2)])
    found = pooled(reference.double(), views.double(), cells)
    expected = [by_the_formula(reference.double().numpy(), view.double().numpy(), cells) for view in views]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)
    np.testing.assert_allclose(pooled(reference, views, cells).numpy(), expected, atol=1e-6)


def hard(side: int, shift: int, seed: int) -> torch.Tensor:
    """`picture` without soft edges: each pixel is the object or is not."""
    made = picture(side, shift, seed)
    inside = made[3:] > 0.5
    return torch.cat([torch.where(inside, made[:3] / made[3:].clamp_min(0.5), 0.0), inside.float()])


@pytest.mark.parametrize("cells", [0, 8])
def test_both_may_move_to_other_backgrounds(cells: int) -> None:
    """Any picture behind the photo and any other behind the view, wherever neither shows its object, are one distance.

    Without the mask these two backgrounds alone are further apart than the objects.
    """
    reference, view = hard(64, 0, 0), hard(64, 6, 1)
    nowhere = (reference[3] + view[3] == 0).float()
    plain = pooled(reference, view[None], cells)
    for seed in range(3):
        draw = torch.Generator().manual_seed(seed)
        behind = torch.rand(2, 3, 64, 64, generator=draw) * nowhere
        behind[1] *= 0.2
        moved = [torch.cat([one[:3] + back, one[3:]]) for one, back in zip((reference, view), behind, strict=True)]
        torch.testing.assert_close(pooled(moved[0], moved[1][None], cells), plain, atol=1e-6, rtol=0)
        assert (behind[0] - behind[1]).square().mean().sqrt() > 0.25


@pytest.mark.parametrize("shade", [0.0, 0.5])
def test_both_on_one_other_shade_are_as_far_where_outlines_agree(shade: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The photo and a view of the same outline, soft edges and all. Where outlines differ, the shade is what the object
    stands against there: that is the formula too, and the reason why both lie on the same one."""
    reference, other = picture(64), picture(64, 0, 5)
    turned = picture(64, 8, 5)
    white = [pooled(reference, view[None], 8) for view in (other, turned)]
    monkeypatch.setattr(distance, "on_background", lambda rgba: on_background(rgba, shade))
    moved = [pooled(reference, view[None], 8) for view in (other, turned)]
    torch.testing.assert_close(moved[0], white[0], atol=1e-6, rtol=0)
    assert white[0] > 0.01
    assert (moved[1] - white[1]).abs() > 0.01
    expected = by_the_formula(reference.double().numpy(), turned.double().numpy(), 8, shade)
    assert moved[1].item() == pytest.approx(expected, abs=1e-6)


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


def test_the_coin_moves_the_released_distance_by_a_thousand_and_the_default_not_at_all() -> None:
    """At 1024 pixels, through the term: the photo's own picture, slightly wrong, on the background that the coin shows.

    The seed shows both sides of it.
    """
    views = torch.stack([0.95 * picture(1024)] * 3)
    poses = [Pose(0.0, 0.0)] * 3

    def judged(config: ContrastiveConfig, background: str) -> torch.Tensor:
        laid = config.model_copy(update={"background": background, "split": "all_positive"})
        term = ContrastiveTerm(picture(1024), poses[0], laid, Pyramid())  # which is not asked
        return term.judge(views, poses, torch.Generator().manual_seed(2))[0]

    black = torch.rand(3, generator=torch.Generator().manual_seed(2)) >= 0.5
    assert 0 < int(black.sum()) < 3
    white, coin = (judged(released(), background) for background in ("white", "coin"))
    assert ((coin - white).abs()[black] > 1000).all()
    torch.testing.assert_close(coin[~black], white[~black])
    default = ContrastiveConfig(side=1024)
    white, coin = (judged(default, background) for background in ("white", "coin"))
    torch.testing.assert_close(white, coin, atol=1e-6, rtol=0)
    assert (white > 0.005).all()


def test_the_released_distance_is_that_of_the_background() -> None:
    """The same picture on black instead of white is more than 1000 away at 1024 pixels."""
    reference = picture(1024)
    white, black = on_background(reference), on_background(reference, 0.0)
    assert l2_sum(white, white[None]).item() < 1e-3
    assert l2_sum(white, black[None]).item() > 1000
    small = picture(128)
    scaled = l2_sum(on_background(small), on_background(small, 0.0)[None]).item()
    assert scaled == pytest.approx(l2_sum(white, black[None]).item(), rel=0.02)
