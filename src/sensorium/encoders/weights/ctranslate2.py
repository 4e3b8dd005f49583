"""The layout of CTranslate2's `model.bin`.

Little-endian: uint32 version; text of the specification's name; uint32 revision; uint32 variables, each: text of its
name, uint8 rank, uint32 sizes, uint8 kind, uint32 bytes, data; uint32 aliases, each: new name, old name. Text is
uint16 bytes with the final zero, then the bytes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.encoders.weights.binary import Reader

KINDS = ("<f4", "i1", "<i2", "<i4", "<f2")


def read_ctranslate2(path: Path, specification: str) -> dict[str, npt.NDArray[Any]]:
    """Return the variables of a model, aliases included, each as stored.

    Args:
        path: `model.bin`.
        specification: The name that the model must carry, such as "WhisperSpec".

    Raises:
        DataError: Another specification, an unknown kind, or a damaged file.
    """
    reader = Reader(path)
    reader.number("I")
    found = _text(reader)
    if found != specification:
        raise DataError(f"{path} holds a {found or 'nameless model'}, not a {specification}")
    reader.number("I")
    variables: dict[str, npt.NDArray[Any]] = {}
    for _ in range(reader.number("I")):
        name = _text(reader)
        shape = reader.numbers(f"{reader.number('B')}I")
        kind, size = reader.numbers("BI")
        if kind >= len(KINDS) or size != math.prod(shape) * np.dtype(KINDS[kind]).itemsize:
            raise DataError(f"{path}: {name} has kind {kind}, shape {shape} and {size} bytes, which do not agree")
        variables[name] = reader.array(KINDS[kind], shape)
    for _ in range(reader.number("I")):
        new, old = _text(reader), _text(reader)
        if old not in variables:
            raise DataError(f"{path}: {new} stands for {old}, which is not there")
        variables[new] = variables[old]
    return variables


def _text(reader: Reader) -> str:
    return reader.text(reader.number("H"))


def as_float32(variables: dict[str, npt.NDArray[Any]], name: str) -> npt.NDArray[np.float32]:
    """Return a variable as float32; 8- and 16-bit integers are divided by their scale, `<name>_scale`.

    Raises:
        DataError: There is no such variable.
    """
    if name not in variables:
        raise DataError(f"the model has no variable {name}")
    value = variables[name]
    if value.dtype.kind == "i":
        scale = variables[f"{name}_scale"].astype(np.float32)
        return np.asarray(value.astype(np.float32) / scale.reshape(scale.shape + (1,) * (value.ndim - scale.ndim)))
    return np.asarray(value, np.float32)
