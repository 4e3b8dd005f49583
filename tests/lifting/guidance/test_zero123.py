"""Zero-1-to-3, here with tiny networks of random weights in the layout that diffusers writes."""

import json
import math
import shutil
import sys
from pathlib import Path

import pytest
import torch

from sensorium.core.errors import DataError, MissingExtraError, ResourceError
from sensorium.core.files import read_safetensors, write_safetensors
from sensorium.lifting.guidance import zero123
from sensorium.lifting.guidance.base import Pose, Sampler, times_of
from sensorium.lifting.guidance.zero123 import PROJECTION, StableZero123, Zero123, Zero123Config, relative_poses

POSES = [Pose(-10.0, 40.0), Pose(20.0, -130.0)]
WIDTH = 16


def test_relative_poses() -> None:
    """Elevations grow downwards and are relative to the photo's; the fourth entry tells the two models apart."""
    found = relative_poses([Pose(10, 90), Pose(-20, -90, 2.5)], -20, stable=False)
    expected = [[math.radians(30), 1, 0, 0], [0, -1, 0, 0.5]]
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=0)
    stable = relative_poses([Pose(10, 90)], -20, stable=True)
    assert stable[0, 3].item() == pytest.approx(math.radians(70))


def test_a_cpu_is_asked_before_it_works_for_hours(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="allow_slow"):
        Zero123(Zero123Config(folder=str(tmp_path), device="cpu"))
    with pytest.raises(DataError, match="no folder"):
        Zero123(Zero123Config(folder=str(tmp_path / "none")))


def test_without_diffusers_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MissingExtraError, match=r"sensorium\[lift-hub\].*view-prior"):
        Zero123(Zero123Config(folder=str(tmp_path), device="cpu", allow_slow=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("zero123"))


def write_tiny(path: Path) -> Path:
    """Tiny networks of random weights, or a skip where diffusers is not installed."""
    diffusers = pytest.importorskip("diffusers", reason="the extra lift-hub is not installed")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    blocks = 4
    diffusers.AutoencoderKL(
        block_out_channels=(4,) * blocks,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        scaling_factor=0.18215,
    ).save_pretrained(path / "vae")
    diffusers.UNet2DConditionModel(
        in_channels=8,
        out_channels=4,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=4,
        cross_attention_dim=WIDTH,
    ).save_pretrained(path / "unet")
    config = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, patch_size=56,
        projection_dim=WIDTH,
    )  # fmt: skip
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(path / "image_encoder")
    write_safetensors(
        path / PROJECTION,
        {"proj.weight": 0.3 * torch.randn(WIDTH, WIDTH + 4), "proj.bias": torch.zeros(WIDTH)},
    )
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
    (path / "scheduler").mkdir()
    (path / "scheduler" / "scheduler_config.json").write_text(json.dumps(betas))
    return path


def made(folder: Path, kind: type[Zero123] = Zero123) -> Zero123:
    guidance = kind(Zero123Config(folder=str(folder), device="cpu", allow_slow=True))
    guidance.prepare(photo(), -10.0)
    return guidance


def photo() -> torch.Tensor:
    rgba = torch.rand(4, 64, 64, generator=generator())
    return torch.cat([rgba[:3] * rgba[3:], rgba[3:]])


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_it_distils_through_the_autoencoder(folder: Path) -> None:
    guidance = made(folder)
    rgba = photo()[None].repeat(2, 1, 1, 1).requires_grad_()
    said = guidance.sds(rgba, POSES, 0.5, generator())
    assert said.loss.shape == (2,)
    assert said.logs["t"] == 0.5
    assert said.logs["not_finite"] == 0
    said.loss.sum().backward()
    assert rgba.grad is not None
    assert rgba.grad[:, :3].abs().sum() > 0
    assert torch.equal(guidance.sds(rgba, POSES, 0.5, generator()).loss, said.loss)
    turned = guidance.sds(rgba, [POSES[1], POSES[1]], 0.5, generator())
    assert turned.loss[0] != said.loss[0]
    assert turned.loss[1].item() == pytest.approx(said.loss[1].item(), rel=1e-4)


def test_the_photo_s_latents_are_not_scaled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guidance = made(folder)
    white = torch.nn.functional.interpolate(
        (photo()[:3] + 1 - photo()[3:])[None], (256, 256), mode="bilinear", antialias=True, align_corners=False
    )
    expected = guidance.vae.encode(2 * white - 1).latent_dist.mode()
    seen = []
    forward = guidance.unet.forward

    def watching(entry: torch.Tensor, *rest: object, **options: object) -> object:
        seen.append((entry, options["encoder_hidden_states"]))
        return forward(entry, *rest, **options)

    monkeypatch.setattr(guidance.unet, "forward", watching)
    guidance.sds(photo()[None], POSES[:1], 0.5, generator())
    entry, states = seen[0]
    torch.testing.assert_close(entry[0, 4:], expected[0], atol=1e-5, rtol=1e-5)
    assert entry[1, 4:].abs().sum() == states[1].abs().sum() == 0  # unconditional: zeros for both


def test_refinement_is_opaque_and_changes_less_the_later_it_enters(folder: Path) -> None:
    guidance = made(folder, StableZero123)
    rgba = photo()[None]
    late, early = (guidance.refine(rgba, POSES[:1], strength, generator()) for strength in (0.96, 0.9))
    assert late.shape == (1, 4, 256, 256)
    assert (late[:, 3] == 1).all()
    assert not torch.equal(late, early)


def test_uniform_times_are_each_picture_s_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Zero123Config(folder=str(folder), device="cpu", allow_slow=True, times="uniform")
    guidance = Zero123(config)
    guidance.prepare(photo(), -10.0)
    seen = []
    forward = guidance.unet.forward

    def watching(entry: torch.Tensor, time: torch.Tensor, **options: object) -> object:
        seen.append(time.tolist())
        return forward(entry, time, **options)

    monkeypatch.setattr(guidance.unet, "forward", watching)
    said = guidance.sds(photo()[None].repeat(2, 1, 1, 1), POSES, 0.9, generator())
    draw = generator()
    torch.rand((), generator=draw)  # the coin of the background
    t = times_of(0.9, 2, "uniform", draw)
    assert isinstance(t, torch.Tensor)
    places = (1000 * t).round().long().tolist()
    assert seen == [places * 2]
    assert said.logs["t"] == pytest.approx(sum(places) / 2000)
    assert guidance.identity() != made(folder).identity()


def test_views_are_sampled_from_the_photo(folder: Path) -> None:
    guidance = made(folder)
    assert isinstance(guidance, Sampler)
    first, again = (guidance.sample(POSES, steps=2, generator=generator()) for _ in range(2))
    assert first.shape == (2, 4, 256, 256)
    assert torch.equal(first, again)
    assert (first[:, 3] == 1).all()
    assert 0 <= first.min() <= first.max() <= 1
    torch.testing.assert_close(guidance.sample(POSES[:1], steps=2, scale=5.0, generator=generator())[0], first[0])
    assert not torch.equal(guidance.sample(POSES, steps=2, scale=1.0, generator=generator()), first)
    with pytest.raises(DataError, match="at least one step"):
        guidance.sample(POSES, steps=0, generator=generator())
    blind = Zero123(guidance.config)
    with pytest.raises(DataError, match="prepare"):
        blind.sample(POSES, generator=generator())


@pytest.mark.parametrize(
    "file",
    [
        "vae/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "image_encoder/model.safetensors",
        PROJECTION,
        "scheduler/scheduler_config.json",
    ],
)
def test_the_identity_is_that_of_every_file(folder: Path, tmp_path: Path, file: str) -> None:
    """One changed number in the last tensor of any part is another identity; a copy of the folder is not."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "README.md").write_text("of no part")
    assert made(copy).identity() == made(folder).identity()
    content = (copy / file).read_bytes()
    if file.endswith("json"):
        content = content.replace(b"0.012", b"0.013")
    else:
        content = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
    (copy / file).write_bytes(content)
    assert made(copy).identity() != made(folder).identity()


def test_files_are_hashed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guidance, hashed = made(folder), []
    real = zero123.sha256_file
    monkeypatch.setattr(zero123, "sha256_file", lambda path: hashed.append(path) or real(path))
    assert guidance.identity() == guidance.identity()
    assert len(hashed) == len(set(hashed)) > 4


def test_weights_that_are_missing_are_no_random_ones(folder: Path, tmp_path: Path) -> None:
    for part, file in (
        ("vae", "diffusion_pytorch_model"),
        ("unet", "diffusion_pytorch_model"),
        ("image_encoder", "model"),
    ):
        copy = tmp_path / part
        shutil.copytree(folder, copy)
        path = copy / part / f"{file}.safetensors"
        state = read_safetensors(path)
        dropped = sorted(state)[len(state) // 2]
        write_safetensors(path, {name: value for name, value in state.items() if name != dropped}, {"format": "pt"})
        with pytest.raises(DataError, match=rf"{part} lacks 1 of its network's weights, such as {dropped}"):
            made(copy)


def test_weights_that_are_no_safetensors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="as safetensors"):
        Zero123(Zero123Config(folder=str(tmp_path), device="cpu", allow_slow=True))
