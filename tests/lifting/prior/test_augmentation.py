"""What is done to references: each part against its definition."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from sensorium.lifting.prior.augmentation import augment, blurred, jpeg


@pytest.fixture
def pictures() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(3, 4, 8, 8, generator=generator)
    views = torch.nn.functional.interpolate(small, (32, 32), mode="bilinear")
    views[:, 3] = (views[:, 3] > 0.4).float()
    views[:, :3] *= views[:, 3:]
    return views


@pytest.mark.parametrize("quality", [60, 90])
def test_jpeg_is_what_a_codec_without_thinned_colour_does(pictures: torch.Tensor, quality: int) -> None:
    ours = jpeg(pictures[:, :3], torch.full((3,), float(quality)))
    for mine, picture in zip(ours, pictures[:, :3], strict=True):
        buffer = io.BytesIO()
        pixels = np.rint(picture.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=0)
        theirs = np.asarray(Image.open(buffer)).astype(float) / 255
        difference = np.abs(mine.permute(1, 2, 0).numpy() - theirs)
        assert difference.mean() < 0.005  # about one level: a codec transforms whole numbers
        assert np.abs(theirs - picture.permute(1, 2, 0).numpy()).mean() > 3 * difference.mean()


def test_blur_keeps_what_is_even_and_spreads_a_point_by_its_width() -> None:
    point = torch.zeros(2, 1, 15, 15)
    point[:, :, 7, 7] = 1
    spread = blurred(point, torch.tensor([0.7, 1.0]))
    assert spread.sum((1, 2, 3)).tolist() == pytest.approx([1, 1], abs=1e-4)
    offsets = torch.arange(15.0) - 7
    widths = (spread[:, 0].sum(1) * offsets.square()).sum(1).sqrt()
    assert widths.tolist() == pytest.approx([0.7, 1.0], abs=0.03)


def test_augmented_references_stay_premultiplied_and_about_what_they_were(pictures: torch.Tensor) -> None:
    many = pictures.repeat(20, 1, 1, 1)
    found = augment(many, torch.Generator().manual_seed(1))
    assert torch.equal(found, augment(many, torch.Generator().manual_seed(1)))
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6
    assert (found[:, :3] <= found[:, 3:] + 1e-6).all()
    changes = (found - many).abs().mean((1, 2, 3))
    assert changes.max() < 0.2
    untouched = (changes < 1e-6).float().mean()
    assert 0.01 < untouched < 0.2  # (1/2)^4 of them
