"""Super-resolution of small cut-outs, once, before anything is fitted to them.

    onnx       a network in a file of one's own: [1, 3, h, w] in [0, 1] to s times the size
    ncnn       Real-ESRGAN (Wang et al., 2021), weights out of a package, run on the CPU by the package ncnn
    spandrel   RealESRGAN_x4plus_anime_6B from a safetensors file; never chosen by itself, since it needs a torchvision
    lanczos    a filter: always there

Networks invent: what they make is brought back to the size of the input and must be the input, to 24 dB on the object.
Otherwise Lanczos takes their place, and that is said. Coverage is always resized by Lanczos. Before a network sees the
picture, colours are carried outwards from the object, since a network makes a fringe of what lies under transparency.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.nn.functional import interpolate

from sensorium.core.errors import DataError, MissingExtraError, require
from sensorium.core.files import read_safetensors
from sensorium.encoders.packaged.tools import is_installed, tool_files
from sensorium.lifting.mesh import Floats
from sensorium.lifting.photo.cutout import Cutout

logger = logging.getLogger(__name__)

Enlarger = Literal["auto", "onnx", "ncnn", "spandrel", "lanczos", "none"]
Network = Callable[[Floats], Floats]  # [3, h, w] in [0, 1] to [3, s h, s w]

NCNN_MODELS = ("realesr-animevideov3-x4", "realesrgan-x4plus-anime", "realesrgan-x4plus")  # the fastest first
GUARD_DB = 24.0
OPAQUE = 0.5  # coverage from which the guard compares, and colours are carried outwards


@dataclass(frozen=True, eq=False)
class Enlarged:
    """A cut-out, perhaps larger than before.

    Attributes:
        cutout: The object.
        enlarger: What enlarged it: "ncnn realesr-animevideov3-x4", "lanczos"; "none" where it was large enough.
        psnr: Of the network's result, brought back to the input's size, against the input on the object, dB; None where
            no network was asked.
        notes: What is to be said of it.
    """

    cutout: Cutout
    enlarger: str
    psnr: float | None = None
    notes: list[str] = field(default_factory=list)


def enlarge(
    cutout: Cutout,
    side: int,
    enlarger: Enlarger = "auto",
    *,
    weights: str | Path | None = None,
    model: str = NCNN_MODELS[0],
) -> Enlarged:
    """Enlarge a cut-out to at least `side` pixels on its longer side, where it has fewer.

    Args:
        cutout: The object.
        side: Pixels of the frame that it is wanted for.
        enlarger: Which; auto takes `onnx` where weights are named, else ncnn where it is installed, else lanczos.
        weights: The file of `onnx` or `spandrel`.
        model: Which of Real-ESRGAN's networks ncnn runs.

    Raises:
        DataError: Weights are missing, or are no such network.
        MissingExtraError: The named one needs a package.
    """
    if enlarger == "none" or cutout.side >= side:
        return Enlarged(cutout, "none")
    chosen = _automatic(weights) if enlarger == "auto" else enlarger
    if chosen == "lanczos":
        return Enlarged(_by_lanczos(cutout, side), "lanczos")
    name, network = _network(chosen, weights, model)
    return guarded(cutout, side, network, name)


def guarded(cutout: Cutout, side: int, network: Network, name: str) -> Enlarged:
    """Enlarge by a network, if what it makes is still the same picture; else by Lanczos.

    Args:
        cutout: The object.
        side: Pixels that are wanted on its longer side.
        network: Enlarges colours by a whole factor.
        name: Of the network.
    """
    alpha = cutout.rgba[3]
    colours = _carried_outwards(cutout)
    made = torch.from_numpy(np.ascontiguousarray(network(colours.numpy()), dtype=np.float32)).clamp(0, 1)
    back = interpolate(made[None], colours.shape[1:], mode="area")[0]
    opaque = alpha > OPAQUE
    error = (back - colours).square()[:, opaque].mean().item()
    psnr = -10 * float(np.log10(max(error, 1e-12)))
    if not psnr >= GUARD_DB:  # a network that makes NaN fails here too
        note = f"{name} changed the picture ({psnr:.1f} dB, at least {GUARD_DB:g} are asked): Lanczos takes its place"
        logger.warning("%s", note)
        return Enlarged(_by_lanczos(cutout, side), "lanczos", psnr, [note])
    large = _lanczos(alpha[None].numpy(), *made.shape[1:])
    return Enlarged(Cutout(torch.cat([made * large, large])), name, psnr)


def _automatic(weights: str | Path | None) -> Enlarger:
    if weights is not None:
        return "onnx"
    if find_spec("ncnn") and is_installed(NCNN_MODELS[0]):
        return "ncnn"
    logger.info("no network for super-resolution is installed: the photo is enlarged by Lanczos")
    return "lanczos"


def _network(chosen: Enlarger, weights: str | Path | None, model: str) -> tuple[str, Network]:
    if chosen == "ncnn":
        return f"ncnn {model}", _ncnn(model)
    if chosen == "spandrel" and not find_spec("spandrel"):
        raise MissingExtraError(
            "super-resolution by spandrel needs the package 'spandrel', which is not installed: pip install "
            "'sensorium[superres]' beside a torchvision that fits this torch; or use ncnn or lanczos"
        )
    if weights is None:
        raise DataError(f"super-resolution by {chosen} needs the file of its weights")
    if not Path(weights).is_file():
        raise DataError(f"{weights} does not exist: it should hold the weights of a network for super-resolution")
    return f"{chosen} {Path(weights).name}", (_onnx if chosen == "onnx" else _spandrel)(Path(weights))


def _onnx(path: Path) -> Network:
    onnxruntime: Any = require("onnxruntime", extra="lift", purpose="super-resolution by ONNX")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - onnxruntime raises classes of its own for whatever is wrong with a file
        raise DataError(f"{path} is no network: {' '.join(str(error).split())[:200]}") from None
    name = session.get_inputs()[0].name

    def run(colours: Floats) -> Floats:
        return np.asarray(session.run(None, {name: colours[None]})[0][0], dtype=np.float32)

    return run


def _ncnn(model: str) -> Network:
    if model not in NCNN_MODELS:
        raise DataError(f"ncnn has the networks {', '.join(NCNN_MODELS)}, not '{model}'")
    if not find_spec("ncnn"):
        raise MissingExtraError(
            "super-resolution by ncnn needs the package 'ncnn', which is not installed: "
            "pip install --no-deps ncnn; or use lanczos"
        )
    param, values = tool_files(model)
    ncnn: Any = import_module("ncnn")
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = torch.get_num_threads()
    if net.load_param(str(param)) or net.load_model(str(values)):
        raise DataError(f"ncnn cannot read {param}")

    def run(colours: Floats) -> Floats:
        extractor = net.create_extractor()
        extractor.input("data", ncnn.Mat(np.ascontiguousarray(colours)).clone())
        failed, made = extractor.extract("output")
        if failed:
            raise DataError(f"ncnn could not run {model} (status {failed})")
        return np.array(made, dtype=np.float32)

    return run


def _spandrel(path: Path) -> Network:
    spandrel: Any = require("spandrel", extra="superres", purpose="super-resolution by spandrel")
    network = spandrel.ModelLoader().load_from_state_dict(read_safetensors(path)).eval()

    def run(colours: Floats) -> Floats:
        with torch.no_grad():
            return np.asarray(network(torch.from_numpy(colours)[None])[0].numpy(), dtype=np.float32)

    return run


def _carried_outwards(cutout: Cutout) -> Tensor:
    """Colours, not premultiplied, where pixels that are not opaque take the nearest opaque pixel's, [3, h, w]."""
    alpha = cutout.rgba[3]
    colours = (cutout.rgba[:3] / alpha.clamp_min(1e-6)).clamp(0, 1)
    opaque = (alpha > OPAQUE).numpy()
    if opaque.any():
        row, column = distance_transform_edt(~opaque, return_distances=False, return_indices=True)
        colours = colours[:, torch.from_numpy(row).long(), torch.from_numpy(column).long()]
    return colours


def _by_lanczos(cutout: Cutout, side: int) -> Cutout:
    height, width = cutout.rgba.shape[1:]
    scale = side / max(height, width)
    large = _lanczos(cutout.rgba.numpy(), max(1, round(height * scale)), max(1, round(width * scale)))
    return Cutout(torch.cat([large[:3].minimum(large[3:]), large[3:]]))


def _lanczos(channels: Floats, height: int, width: int) -> Tensor:
    """Resize channels [c, h, w] by Lanczos, within [0, 1]."""
    made = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((width, height), Image.Resampling.LANCZOS))
        for plane in channels
    ]
    return torch.from_numpy(np.stack(made)).clamp(0, 1)
