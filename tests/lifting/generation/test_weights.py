"""Whose weights a lift was made with: names and SHA-256 of files, never their folders."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import save_file
from torch import ones

pytest.importorskip("numba")
from sensorium.core.files import read_json, sha256_file
from sensorium.core.rundir import RunDirectory
from sensorium.encoders.lpips import SHIPPED_SHA256
from sensorium.encoders.packaged.tools import TOOLS
from sensorium.lifting.generation.config import LiftConfig
from sensorium.lifting.generation.similarity import Embedder, Embedders
from sensorium.lifting.generation.weights import weights_in_use, write_weights
from sensorium.lifting.guidance.none import NoGuidance
from sensorium.lifting.guidance.view_prior import ViewPriorConfig, ViewPriorGuidance
from sensorium.lifting.guidance.zero123 import Zero123, Zero123Config

NOBODY = Embedders({}, {})


def in_use(guidance: Any, cut_out_by: str = "transparency", enlarged_by: str = "none", **tree: Any) -> dict[str, Any]:
    config = LiftConfig.model_validate({"photo": "cup.png", "guidance": "none", **tree})
    facts = {"cut_out_by": cut_out_by, "enlarged_by": enlarged_by}
    return weights_in_use(config, guidance, "alexnet", facts, NOBODY)


def test_what_is_shipped_is_named_by_its_pinned_hash() -> None:
    guidance = ViewPriorGuidance()
    found = in_use(guidance)
    assert found["guidance"] == {
        "name": "view-prior",
        "files": {"view_prior.safetensors": guidance.prior.card["sha256"]},
    }
    assert found["lpips"]["files"] == {"lpips_alexnet.safetensors": SHIPPED_SHA256}
    assert "elevation" not in in_use(guidance, elevation="auto")
    estimated = in_use(NoGuidance(), elevation="auto")["elevation"]
    assert estimated == {"name": "view-prior", "files": found["guidance"]["files"]}


def test_a_pyramid_has_no_weights() -> None:
    config = LiftConfig.model_validate({"photo": "cup.png", "guidance": "none", "lpips": "pyramid"})
    facts = {"cut_out_by": "mask", "enlarged_by": "none"}
    assert weights_in_use(config, NoGuidance(), "pyramid", facts, NOBODY)["lpips"] == {"name": "pyramid", "files": {}}


def test_files_of_one_s_own_are_hashed(tmp_path: Path) -> None:
    files = {name: tmp_path / "a" / name for name in ("own.safetensors", "seg.onnx", "sr.onnx", "lpips.safetensors")}
    (tmp_path / "a").mkdir()
    for name, path in files.items():
        path.write_bytes(name.encode())
    guidance = ViewPriorGuidance(ViewPriorConfig(), prior=ViewPriorGuidance().prior)
    guidance.config = ViewPriorConfig(weights=str(files["own.safetensors"]))
    found = in_use(
        guidance,
        "onnx",
        "onnx sr.onnx",
        lpips=str(files["lpips.safetensors"]),
        preparation={"segmenter_weights": str(files["seg.onnx"]), "enlarger_weights": str(files["sr.onnx"])},
    )
    for part, name in [
        ("guidance", "own.safetensors"),
        ("lpips", "lpips.safetensors"),
        ("segmentation", "seg.onnx"),
        ("super_resolution", "sr.onnx"),
    ]:
        assert found[part]["files"] == {name: hashlib.sha256(name.encode()).hexdigest()}, part


def test_packaged_tools_have_the_hashes_that_were_checked() -> None:
    found = in_use(NoGuidance(), "u2netp", "ncnn realesrgan-x4plus")
    assert found["segmentation"]["files"] == {"u2netp.onnx": TOOLS["u2netp"][0].sha256}
    assert list(found["super_resolution"]["files"]) == ["realesrgan-x4plus.param", "realesrgan-x4plus.bin"]
    # A network whose result was refused is not in use.
    assert in_use(NoGuidance(), "grabcut", "lanczos")["super_resolution"] == {"name": "lanczos", "files": {}}


def test_every_file_of_a_folder_is_hashed(tmp_path: Path) -> None:
    for part in ("vae", "unet"):
        (tmp_path / part).mkdir()
        save_file({part: ones(2)}, tmp_path / part / "diffusion_pytorch_model.safetensors")
    (tmp_path / "image_encoder").mkdir()
    save_file({"tower": ones(3)}, tmp_path / "image_encoder" / "model.safetensors")
    guidance = Zero123.__new__(Zero123)  # without its networks
    guidance.config, guidance.folder = Zero123Config(folder=str(tmp_path)), tmp_path
    assert in_use(guidance)["guidance"]["files"] == {
        "image_encoder/model.safetensors": sha256_file(tmp_path / "image_encoder" / "model.safetensors"),
        "unet/diffusion_pytorch_model.safetensors": sha256_file(
            tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
        ),
        "vae/diffusion_pytorch_model.safetensors": sha256_file(
            tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
        ),
    }


def test_others_may_name_their_files(tmp_path: Path) -> None:
    (tmp_path / "theirs.bin").write_bytes(b"1")
    theirs = SimpleNamespace(name="theirs", weight_files=lambda: [tmp_path / "theirs.bin"])
    assert in_use(theirs)["guidance"]["files"] == {"theirs.bin": hashlib.sha256(b"1").hexdigest()}


def test_the_environment_is_completed(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", {"kind": "lift"})
    config = LiftConfig.model_validate({"photo": "cup.png", "guidance": "none"})
    compared = Embedders({"dino_sim": Embedder("dinov2s-focus", "ab" * 32, lambda pictures: ones(1))}, {})
    weights = weights_in_use(config, NoGuidance(), "alexnet", {"cut_out_by": "mask", "enlarged_by": "none"}, compared)
    write_weights(run, weights, rasteriser="numba", device="cpu")
    tree = read_json(run.path / "environment.json")
    assert tree["weights"]["similarity"] == {"dino_sim": {"name": "dinov2s-focus", "sha256": "ab" * 32}}
    assert tree["python"]
    assert tree["packages"]["sensorium"]
    assert "onnxruntime" in tree["packages"]
    RunDirectory.open(run.path)  # still a run
    other = RunDirectory(tmp_path / "other", writes=False)
    write_weights(other, weights, rasteriser="numba", device="cpu")
    with pytest.raises(FileNotFoundError):
        (tmp_path / "other" / "environment.json").read_text()
