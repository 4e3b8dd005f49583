"""dino_sim and clip_sim: the stated camera, the mean of cosines, columns that are left out where weights are absent."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("numba")
pytest.importorskip("xatlas")
from sensorium.core import registry
from sensorium.core.config import Config
from sensorium.core.errors import DataError
from sensorium.encoders.protocol import Prepared
from sensorium.lifting.camera import orbit
from sensorium.lifting.generation import comparing, similarity
from sensorium.lifting.generation.cardboard import billboard, extrusion
from sensorium.lifting.generation.similarity import (
    CLIP,
    DINO,
    ENCODERS,
    Embedder,
    Embedders,
    SimilarityConfig,
    around,
    embedders,
)
from sensorium.lifting.guidance.base import Pose
from sensorium.lifting.mesh import Mesh
from sensorium.lifting.meshrender import render_mesh
from sensorium.media.images import read_image

from .shapes import ELEVATION, cube


class Mean:
    """Stands for an encoder: its vector is the mean colour and 1."""

    class Config(Config):
        """As an encoder's."""

        weights: str = "auto"

    here = True

    def __init__(self, config: Any) -> None:
        if config.weights == "broken":
            raise DataError("these weights are damaged")
        self.weights_hash, self.loads = f"hash of {config.weights}", 0

    @classmethod
    def describe(cls, config: Any) -> Any:
        return SimpleNamespace(runs_now=cls.here, why_not="pip install them")

    def load(self) -> None:
        self.loads += 1

    def preparer(self, raw: bytes) -> Prepared:
        return Prepared({"pixels": np.asarray(read_image(raw), dtype=np.float32) / 255}, length=1)

    def collate(self, items: Sequence[Prepared]) -> dict[str, Tensor]:
        return {"vectors": torch.stack([torch.from_numpy(item.arrays["pixels"]).mean((0, 1)) for item in items])}

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return batch["vectors"], batch["vectors"]


class Gone(Mean):
    here = False


@pytest.fixture
def stand_ins() -> Iterator[None]:
    with registry.registered(ENCODERS, DINO, Mean), registry.registered(ENCODERS, CLIP, Gone):
        yield


def test_the_mean_of_eight_cosines(stand_ins: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: the mesh itself scaled and centred before a camera at radius 3, as the measure is stated."""
    monkeypatch.setattr(similarity, "SIDE", 64)
    photo = cube(Pose(ELEVATION, 0), 64)
    mesh = extrusion(photo, ELEVATION)
    mesh = replace(mesh, v=mesh.v * 5 + np.float32([3, -2, 7]))
    found = similarity.similarity(mesh, photo, embedders())
    low, high = mesh.v.min(0), mesh.v.max(0)
    scaled = replace(mesh, v=((mesh.v - (low + high) / 2) * (1.8 / (high - low).max())).astype(np.float32))
    white = (photo[:3] + 1 - photo[3:]).movedim(0, -1)
    vectors = [
        np.rint(rgb.clamp(0, 1).numpy() * 255).mean((0, 1))
        for rgb in [
            white,
            *(render_mesh(scaled, orbit(0, 45 * k, 3.0, fovy_deg=50.0, height=64, width=64)).rgb for k in range(8)),
        ]
    ]
    unit = [vector / np.linalg.norm(vector) for vector in vectors]
    assert found["dino_sim"] == pytest.approx(np.mean([unit[0] @ other for other in unit[1:]]), abs=2e-5)
    assert found["dino_sim"] < 0.9999
    assert found["extent"] == pytest.approx((high - low).max())
    assert found["scale"] == pytest.approx(1.8 / found["extent"])
    assert found["camera"] == {"azimuths": 8, "elevation": 0.0, "radius": 3.0, "fovy_deg": 50.0, "side": 64}
    assert found["encoders"] == {"dino_sim": {"name": DINO, "sha256": "hash of auto"}}
    assert "clip_sim" not in found
    assert found["absent"] == {"clip_sim": f"{CLIP}: pip install them"}


def test_the_stated_camera_has_800_pixels() -> None:
    cameras, _ = around(billboard(cube(Pose(ELEVATION, 0), 64), ELEVATION))
    assert {(camera.height, camera.width, camera.fovy_deg) for camera in cameras} == {(800, 800, 50.0)}
    assert len(cameras) == 8


def test_absent_weights_leave_the_column_out(stand_ins: None) -> None:
    with registry.registered(ENCODERS, DINO, Gone):
        nobody = embedders()
    assert nobody.found == {}
    mesh = billboard(cube(Pose(ELEVATION, 0), 32), ELEVATION)
    assert similarity.similarity(mesh, cube(Pose(ELEVATION, 0), 32), nobody) == {
        "absent": {"dino_sim": f"{DINO}: pip install them", "clip_sim": f"{CLIP}: pip install them"}
    }
    assert embedders(SimilarityConfig(dino="none", clip="none")).absent == {
        "dino_sim": "not asked for", "clip_sim": "not asked for"
    }  # fmt: skip
    with pytest.raises(DataError, match="damaged"):
        embedders(SimilarityConfig(dino="broken"))


def test_a_mesh_without_extent_is_refused() -> None:
    mesh = billboard(cube(Pose(ELEVATION, 0), 32), ELEVATION)
    with pytest.raises(DataError, match="without faces"):
        around(replace(mesh, f=mesh.f[:0]))
    with pytest.raises(DataError, match="one point"):
        around(replace(mesh, v=np.zeros_like(mesh.v)))
    assert isinstance(mesh.geometry, Mesh)


COLUMNS = ["arm", "seeds", "PSNR, dB", "SSIM", "LPIPS (alexnet)", "IoU"]


def compared(*similarities: dict[str, Any], nets: tuple[str, str] = ("alexnet", "alexnet")) -> comparing.Compared:
    view = {"reference_view": {"mesh": {"psnr": 20.0, "ssim": 0.5, "lpips": 0.1, "iou": 0.9}}}
    arms = zip(comparing.ARMS, similarities, nets, strict=True)
    return comparing.Compared(
        {arm: {0: {**view, "similarity": one, "lpips": net}} for arm, one, net in arms}, Path("x")
    )


@pytest.mark.parametrize(
    ("nets", "names"),
    [
        (("vgg16", "vgg16"), ["LPIPS (vgg16)"]),
        (("pyramid", "pyramid"), ["distance of the pyramid"]),
        (("alexnet", "pyramid"), []),
    ],
)
def test_values_of_two_distances_share_no_column(nets: tuple[str, str], names: list[str]) -> None:
    found = compared({}, {}, nets=nets)
    assert found.columns == ["arm", "seeds", "PSNR, dB", "SSIM", *names, "IoU"]
    assert found.table()[0] == ["base", "1", "20.000", "0.500", *["0.100" for _ in names], "0.900"]


def test_a_column_of_its_own_in_comparisons() -> None:
    """Where every run has it, of one encoder's weights."""

    def of(value: float, sha256: str) -> dict[str, Any]:
        return {"dino_sim": value, "encoders": {"dino_sim": {"name": DINO, "sha256": sha256}}}

    both = compared(of(0.5, "a"), of(0.75, "a"))
    assert both.columns == [*COLUMNS, "dino_sim"]
    assert [row[-1] for row in both.table()] == ["0.500", "0.750"]
    for other in (of(0.75, "b"), {"absent": {"dino_sim": "none"}}):
        assert compared(of(0.5, "a"), other).columns == COLUMNS
        assert len(compared(of(0.5, "a"), other).table()[0]) == len(COLUMNS)


def test_a_clip_of_one_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small CLIP of random weights: the projected vectors are those of transformers' own call."""
    transformers = pytest.importorskip("transformers")
    monkeypatch.setattr(similarity, "SIDE", 32)
    torch.manual_seed(0)
    tower = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8,
        projection_dim=16,
    )  # fmt: skip
    model = transformers.CLIPVisionModelWithProjection(tower).eval()
    model.save_pretrained(tmp_path / "small-clip")
    (tmp_path / "small-clip" / "preprocessor_config.json").write_text(
        '{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "crop_size": 32}'
    )
    chosen = embedders(SimilarityConfig(dino="none", clip=str(tmp_path / "small-clip")))
    (embedder,) = chosen.found.values()
    pictures = [Image.fromarray(np.random.default_rng(k).integers(0, 255, (32, 32, 3), np.uint8)) for k in range(3)]
    pixels = torch.stack([torch.from_numpy(np.asarray(one) / 255.0).float().movedim(-1, 0) for one in pictures])
    with torch.no_grad():
        wanted = model(pixel_values=(pixels - 0.5) / 0.25).image_embeds
    torch.testing.assert_close(embedder.vectors(pictures), wanted, rtol=1e-4, atol=1e-5)
    photo = cube(Pose(ELEVATION, 0), 32)
    found = similarity.similarity(extrusion(photo, ELEVATION), photo, chosen)
    assert -1 <= found["clip_sim"] <= 1
    assert found["encoders"]["clip_sim"]["name"] == "small-clip"
    assert len(found["encoders"]["clip_sim"]["sha256"]) == 64
    assert str(tmp_path) not in str(found)
    with pytest.raises(DataError, match=r"no folder|holds no|is not"):
        embedders(SimilarityConfig(dino="none", clip=str(tmp_path / "nowhere")))


@pytest.mark.slow
def test_dinov2s_focus_knows_the_same_object() -> None:
    """The same object from all sides looks more like itself than cardboard does, which is a line from its sides."""
    chosen = embedders(SimilarityConfig(clip="none"))
    if "dino_sim" not in chosen.found or find_spec("transformers") is None:
        pytest.skip(f"dino_sim: {chosen.absent.get('dino_sim')}")
    photo = cube(Pose(ELEVATION, 0), 128)
    thick, flat = (similarity.similarity(make(photo, ELEVATION), photo, chosen) for make in (extrusion, billboard))
    assert 1 > thick["dino_sim"] > flat["dino_sim"] + 0.01
    same = Embedders({"dino_sim": Embedder(DINO, "x", lambda pictures: torch.ones(len(pictures), 2))}, {})
    assert similarity.similarity(extrusion(photo, ELEVATION), photo, same)["dino_sim"] == pytest.approx(1)
