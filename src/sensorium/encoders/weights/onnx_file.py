"""ONNX files as containers of named arrays: nothing of the graph is run, it only tells what each array is for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError, require


@dataclass(frozen=True)
class Node:
    """One operation: its name, kind, the names of what it reads and writes, and its attributes."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True)
class OnnxWeights:
    """The arrays of a file by name, and the operations in order."""

    arrays: dict[str, npt.NDArray[Any]]
    nodes: tuple[Node, ...]


def read_onnx(path: Path) -> OnnxWeights:
    """Read the initialisers and the nodes of a graph; arrays kept in a file beside it are read, too.

    Raises:
        DataError: It is no ONNX file, or damaged.
        MissingExtraError: The package `onnx` is not installed.
    """
    onnx = require("onnx", extra="offline", purpose="reading ONNX weights")
    try:
        graph = onnx.load(str(path)).graph
        arrays = {
            value.name: np.asarray(onnx.numpy_helper.to_array(value, base_dir=str(path.parent)))
            for value in graph.initializer
        }
    except Exception as error:  # protobuf, onnx and NumPy each have their own for a damaged file
        if isinstance(error, MemoryError):
            raise
        raise DataError(
            f"{path} cannot be read as ONNX: {str(error).splitlines()[0] if str(error) else error!r}"
        ) from None
    nodes = tuple(
        Node(
            node.name,
            node.op_type,
            tuple(node.input),
            tuple(node.output),
            {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute},
        )
        for node in graph.node
    )
    return OnnxWeights(arrays, nodes)
