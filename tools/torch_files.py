"""Tensors of files that `torch.save` wrote, without running a line that such a file asks for.

The file's SHA-256 is told, and checked where one is expected, before a byte of it is parsed. torch's loader admits
tensors and plain containers alone (`weights_only`); checkpoints of Lightning also name classes of their program beside
the weights, for which something stands in here that does nothing. Any other name refuses the file.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sensorium.core.errors import DataError
from sensorium.core.files import sha256_file

BYSTANDERS = ("pytorch_lightning.", "lightning.", "lightning_fabric.", "omegaconf.")
EXACTLY = ("typing.Any", "collections.defaultdict")


def read_tensors(path: Path, expected: Sequence[str] = ()) -> dict[str, torch.Tensor]:
    """Return the tensors of a state dictionary by name, on the CPU.

    Args:
        path: A zip archive of `torch.save`: the dictionary itself, or one that holds it as `params_ema`, `params` or
            `state_dict`.
        expected: SHA-256 of files that are meant, one of which this must be; none: whichever it is.

    Raises:
        DataError: The file is missing or another one, no such archive, names what is no part of tensors, or holds
            anything but tensors.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    found = sha256_file(path)
    print(f"{path}: SHA-256 {found}")
    if expected and found not in expected:
        raise DataError(f"{path} is not the file that is meant, and is not read: its SHA-256 is {found}")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is no archive that torch.save writes (a zip file, since torch 1.6), or is truncated")
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        strangers = [name for name in named if not name.startswith(BYSTANDERS) and name not in EXACTLY]
        if strangers:
            raise DataError(f"{path} names {', '.join(sorted(strangers))}, no part of tensors: it was not loaded")
        with torch.serialization.safe_globals([(_Bystander, name) for name in named]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        why = str(error).partition("WeightsUnpickler error: ")[2] or str(error)  # torch's advice stands around it
        raise DataError(f"{path} cannot be read as tensors: {' '.join(why.split())[:200]}") from None
    for key in ("params_ema", "params", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content:
        raise DataError(f"{path} holds a {type(content).__name__} where named tensors should be")
    for name, value in content.items():
        if not isinstance(value, torch.Tensor):
            raise DataError(f"{path}: '{name}' is a {type(value).__name__} where a tensor should be")
    return dict(content)


class _Bystander:
    """Stands where a checkpoint names a class of the program that wrote it; whatever is done with it does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __new__(cls, *_: Any, **__: Any) -> _Bystander:
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        pass
