"""Which weights a lift is made with: of every file its SHA-256, for `environment.json`.

    guidance          the embedded prior, a file of one's own, the folder of Zero-1-to-3
    lpips             the perceptual distance; the pyramid has no weights
    elevation         the embedded prior, where it estimated the photo's elevation
    segmentation      who cut the object out; GrabCut, a mask and transparency have no weights
    super_resolution  who enlarged it; filters have no weights
    similarity        encoders of dino_sim and clip_sim

Files are named without their folders. Other guidance may say which files it read by a method `weight_files() ->
Iterable[Path]`; without one none is listed, and its identity stands in `result.json` as that of all guidance does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from sensorium.core.files import read_json, sha256_file, write_json
from sensorium.core.rundir import RunDirectory
from sensorium.encoders.lpips import SHIPPED as SHIPPED_LPIPS
from sensorium.encoders.packaged.tools import TOOLS
from sensorium.lifting.contrastive.term import PYRAMID
from sensorium.lifting.generation.config import LiftConfig
from sensorium.lifting.generation.similarity import Embedders
from sensorium.lifting.guidance.base import Guidance
from sensorium.lifting.guidance.view_prior import ViewPriorGuidance
from sensorium.lifting.guidance.zero123 import Zero123
from sensorium.lifting.prior.view_prior import SHIPPED as SHIPPED_PRIOR

PACKAGES = (
    *("numba", "xatlas", "scikit-image", "fast-simplification", "trimesh", "pillow"),
    *("onnxruntime", "opencv-python-headless", "ncnn", "spandrel", "transformers", "diffusers", "gsplat"),
)

Named = dict[str, Any]  # {"name": ..., "files": {file: SHA-256}}


def weights_in_use(
    config: LiftConfig, guidance: Guidance, lpips: str, photo: dict[str, Any], compared: Embedders
) -> dict[str, Any]:
    """Return the weights of a lift: by part a name, and of each file the SHA-256.

    Args:
        config: Of the lift.
        guidance: Who knows the other sides.
        lpips: Name of the network of the perceptual distance.
        photo: How the photo was prepared, see `photo.preparation.Prepared.facts`.
        compared: Encoders of the similarity to the photo.
    """
    shipped_lpips = _packaged("sensorium.encoders", "files", SHIPPED_LPIPS)
    found: dict[str, Any] = {
        "guidance": {"name": guidance.name, "files": _of_guidance(guidance)},
        "lpips": {"name": lpips, "files": {} if lpips == PYRAMID else _hashes(Path(config.lpips or shipped_lpips))},
        "segmentation": _tool(str(photo["cut_out_by"]), config.preparation.segmenter_weights),
        "super_resolution": _tool(str(photo["enlarged_by"]), config.preparation.enlarger_weights),
        "similarity": {column: {"name": one.name, "sha256": one.sha256} for column, one in compared.found.items()},
    }
    if config.elevation == "auto" and not hasattr(guidance, "elevation"):
        found["elevation"] = {"name": "view-prior", "files": _hashes(_shipped_prior())}
    return found


def write_weights(run: RunDirectory, weights: dict[str, Any], *, rasteriser: str, device: str) -> None:
    """Complete `environment.json` of a run: versions of this room's packages, back-ends, weights.

    Args:
        run: The run's folder; nothing is written where this process is not its first.
        weights: What `weights_in_use` returned.
        rasteriser: Name of the rasteriser of the first stage.
        device: "cpu" or "cuda": where it runs.
    """
    if not run.writes:
        return
    path = run.path / "environment.json"
    tree = dict(read_json(path))
    tree["packages"] = {**tree["packages"], **{name: _version(name) for name in PACKAGES}}
    write_json(path, {**tree, "device": device, "rasteriser": rasteriser, "weights": weights})


def _of_guidance(guidance: Guidance) -> dict[str, str]:
    own: Callable[[], Iterable[Path]] | None = getattr(guidance, "weight_files", None)
    if own is not None:
        return _hashes(*own())
    if isinstance(guidance, ViewPriorGuidance):
        given = guidance.config.weights
        return _hashes(_shipped_prior() if given is None else Path(given))
    if isinstance(guidance, Zero123):  # its identity has read these gigabytes
        return {name: sha256 for name, sha256 in guidance.file_hashes.items() if name.endswith(".safetensors")}
    return {}


def _tool(name: str, given: str | None) -> Named:
    """A segmenter or an enlarger, as the photo's facts name it: "u2netp", "ncnn realesrgan-x4plus", "onnx net.onnx"."""
    kind, _, model = name.partition(" ")
    if known := TOOLS.get(model or kind):  # their hashes were compared before a byte was parsed
        return {"name": name, "files": {file.name: file.sha256 for file in known}}
    return {"name": name, "files": _hashes(Path(given)) if given and kind in ("onnx", "spandrel") else {}}


def _hashes(*paths: Path) -> dict[str, str]:
    """SHA-256 by name; where two files have the same name, the folder stands before it."""
    names = [path.name for path in paths]
    return {
        path.name if names.count(path.name) == 1 else f"{path.parent.name}/{path.name}": sha256_file(path)
        for path in paths
    }


def _shipped_prior() -> Path:
    return _packaged("sensorium.lifting.prior", "weights", SHIPPED_PRIOR)


def _packaged(package: str, *place: str) -> Path:
    return Path(str(files(package).joinpath(*place)))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
