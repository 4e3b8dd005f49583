"""A place that chunks are written to: the cache itself on its first encode, or `patch/`, or one of `shards/`.

A work list, the arrays in full length, and a map of the chunks that are done. Rows are written and flushed before
their chunk is marked, so a process that is killed loses the chunk it was at and nothing else.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError, RunError
from sensorium.core.files import json_line, read_json, read_npy, write_json, write_npy
from sensorium.encoders.cache import layout, scale
from sensorium.encoders.cache.chunks import CHUNK, Encoded
from sensorium.encoders.cache.layout import DIGEST, DONE, MASK, NOTES_FILE, POOLED, PRESENT, SCALE, STATES, Shape

PLAN, ROWS, REJECTIONS = "plan.json", "rows.npy", "rejected.jsonl"
_TEMPORARY = (PLAN, ROWS, DONE, REJECTIONS)

Rows = npt.NDArray[np.int64]


class Target:
    """Where a work list is encoded to.

    Attributes:
        folder: Its folder.
        rows: The work list: item ids, ascending.
        n_items: I, for arrays with a row for every item; None for arrays with a row per entry of the work list.
        head: What the manifest will say, known beforehand; equal heads mean that work can be continued.
        begun: Whether the arrays are laid out, which needs the scale.
    """

    def __init__(self, folder: Path, rows: Rows, n_items: int | None, head: dict[str, Any]) -> None:
        self.folder, self.rows, self.n_items, self.head = folder, rows, n_items, head
        self.begun = False
        self.shape: Shape
        self.scale: scale.Floats
        self.pooled_scale: float
        self._arrays: dict[str, npt.NDArray[Any]] = {}

    @property
    def n_chunks(self) -> int:
        """Chunks of the work list."""
        return -(-len(self.rows) // CHUNK)

    # --- beginning and continuing ---

    @classmethod
    def resume(cls, folder: Path) -> Target | None:
        """Open what an earlier process began; None where it had not got as far as its first row."""
        if not (folder / PLAN).is_file():
            return None
        plan = read_json(folder / PLAN)
        target = cls(folder, read_npy(folder / ROWS).astype(np.int64), plan["n_items"], plan["head"])
        target._adopt(Shape(**plan["shape"]), np.array(plan["scale"], dtype=np.float32), plan["pooled_scale"])
        return target

    def begin(self, shape: Shape, factors: scale.Floats, pooled_scale: float) -> None:
        """Lay out the arrays, then write the plan that says so.

        Raises:
            DataError: The disk has no room for them.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / PLAN).unlink(missing_ok=True)  # an older plan must never meet newer arrays
        needed, free = shape.bytes_of(self._length), shutil.disk_usage(self.folder).free
        if needed > free:
            raise DataError(
                f"{self.folder} needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: store fewer layers "
                "(--layers), or free some space"
            )
        for name, (kind, size) in shape.of(self._length).items():
            layout.create(self.folder / name, kind, size)
        layout.create(self.folder / DONE, "|u1", (self.n_chunks,))
        (self.folder / REJECTIONS).unlink(missing_ok=True)
        write_npy(self.folder / ROWS, self.rows)
        write_npy(self.folder / SCALE, factors)
        plan = {
            "n_items": self.n_items,
            "shape": vars(shape),
            "scale": factors,
            "pooled_scale": pooled_scale,
            "head": self.head,
        }
        write_json(self.folder / PLAN, plan)
        self._adopt(shape, factors, pooled_scale)

    def _adopt(self, shape: Shape, factors: scale.Floats, pooled_scale: float) -> None:
        self.shape, self.scale, self.pooled_scale = shape, factors, float(pooled_scale)
        for name, (kind, size) in shape.of(self._length).items():
            self._arrays[name] = layout.open_array(self.folder / name, kind, size, write=True)
        self._done = layout.open_array(self.folder / DONE, "|u1", (self.n_chunks,), write=True)
        self.begun = True

    @property
    def _length(self) -> int:
        return len(self.rows) if self.n_items is None else self.n_items

    def items(self, chunk: int) -> Rows:
        """Return the item ids of a chunk."""
        return self.rows[chunk * CHUNK : (chunk + 1) * CHUNK]

    def _places(self, chunk: int) -> Rows:
        """Return the rows of the arrays that a chunk fills."""
        items = self.items(chunk)
        return np.arange(chunk * CHUNK, chunk * CHUNK + len(items)) if self.n_items is None else items

    # --- writing ---

    def pending(self) -> list[int]:
        """Return the chunks that are not done."""
        if not self.begun:
            return list(range(self.n_chunks))
        return [int(chunk) for chunk in np.flatnonzero(self._done == 0)]

    def write(self, encoded: Encoded, digests: npt.NDArray[np.uint8], item_ids: Sequence[str]) -> None:
        """Write one chunk and mark it done.

        Args:
            encoded: The chunk.
            digests: Of every item, uint8 [I, 16].
            item_ids: External ids, for messages.

        Raises:
            DataError: A value does not fit fp16 by the scale.
        """
        names = [item_ids[int(item)] for item in encoded.rows]
        states, mask = encoded.states, encoded.mask
        if self.shape.tokens is not None:
            states, mask = self._padded(states, mask, names)
        half = self._halved(states, names)
        pooled = scale.to_half(
            encoded.pooled[:, None],
            np.array([self.pooled_scale], np.float32),
            what="vectors",
            layers=["-"],
            items=names,
        )[:, 0]
        parts = {
            STATES: half,
            POOLED: pooled,
            PRESENT: encoded.present,
            DIGEST: digests[encoded.rows],
            NOTES_FILE: encoded.notes,
        }
        if mask is not None:
            parts[MASK] = mask
        self.put(encoded.chunk, parts, encoded.rejected)

    def put(self, chunk: int, parts: dict[str, npt.NDArray[Any]], rejected: Sequence[dict[str, Any]]) -> None:
        """Write the rows of one chunk as they are, flush them, and mark it done."""
        places = self._places(chunk)
        for name, values in parts.items():
            self._arrays[name][places] = values
        layout.flush(*self._arrays.values())
        if rejected:
            lines = "".join(json_line({"chunk": chunk, **row}) + "\n" for row in rejected)
            with (self.folder / REJECTIONS).open("a+b") as handle:
                if handle.tell() and not _ends_line(handle):  # a process was killed within a line
                    lines = "\n" + lines
                handle.write(lines.encode())
        self._done[chunk] = 1
        layout.flush(self._done)

    def take(self, chunk: int, name: str) -> npt.NDArray[Any]:
        """Return the rows of one chunk as they were written to one of the arrays."""
        return np.asarray(self._arrays[name][self._places(chunk)])

    def _halved(self, states: npt.NDArray[np.float32], names: list[str]) -> npt.NDArray[np.float16]:
        layers = [str(layer) for layer in self.head["layers"]]
        if self.shape.tokens is None:
            return scale.to_half(states, self.scale, what="states", layers=layers, items=names)
        return scale.to_half(states[:, None], self.scale, what="states", layers=layers, items=names)[:, 0]

    def _padded(
        self, states: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_] | None, names: list[str]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        tokens = self.shape.tokens or 0
        have = np.zeros(states.shape[:2], dtype=bool) if mask is None else mask
        if states.shape[1] > tokens:
            raise DataError(
                f"items as {names[0]} have {states.shape[1]} tokens, the cache was laid out for {tokens}: set "
                "max_tokens of the encoder"
            )
        missing = tokens - states.shape[1]
        return np.pad(states, ((0, 0), (0, missing), (0, 0))), np.pad(have, ((0, 0), (0, missing)))

    # --- ending ---

    def rejected(self) -> list[dict[str, Any]]:
        """Return what was set aside: one row per item, the last word on each."""
        path = self.folder / REJECTIONS
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
        done = set(np.flatnonzero(self._done).tolist()) if self.begun else set()
        found: dict[int, dict[str, Any]] = {}
        for line in lines:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:  # half a line of a killed process: its chunk was done again
                continue
            if row.pop("chunk") in done:
                found[row["item"]] = row
        return [found[item] for item in sorted(found)]

    def close(self) -> None:
        """Let go of the memory maps."""
        self._arrays.clear()

    def sweep(self) -> None:
        """Remove what only an unfinished target needs."""
        for name in _TEMPORARY:
            (self.folder / name).unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Remove a target, if there is one; the plan first, so that half of it is never continued."""
    (folder / PLAN).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _ends_line(handle: IO[bytes]) -> bool:
    handle.seek(-1, 2)
    return handle.read(1) == b"\n"


def require_device(target: Target, device: str) -> None:
    """Check that work is continued on the kind of device that began it.

    Raises:
        RunError: It is not.
    """
    began = target.head["computed"]["device"]
    if began != device:
        raise RunError(
            f"{target.folder} was begun on {began} and cannot be continued on {device}, which gives other digits: pass "
            f"--device {began}, or remove the folder to begin again"
        )
