"""Reading and writing files: every write is atomic, every hash is one kind, nothing is ever pickled.

A file is written under a temporary name beside its place, flushed to the disk, and renamed. A process that is killed,
or a disk that is full, leaves the old file or none, never half of one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError

if TYPE_CHECKING:
    import polars
    import torch


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it becomes `path`, on failure it is removed.

    Raises:
        DataError: The disk is full, or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except Exception as error:
        if explained := _explained(error, path):
            raise explained from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explained(error: Exception, path: Path) -> DataError | None:
    """Return the sentence for a failed write, or None where the error is of another kind."""
    if says_disk_is_full(error):
        return DataError(
            f"the disk is full: could not write {path}; nothing was changed, free some space and run again"
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return DataError(f"no permission to write {path}: choose another folder or change its rights")
    return None


def says_disk_is_full(error: Exception) -> bool:
    """Return whether an error means a full disk, in whichever way the libraries that write files say it.

    Polars hands on the system's text in an error of its own, and NumPy counts what it wrote, without a number.
    """
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return bool(re.search(r"os error 28|No space left|\d+ requested and \d+ written", str(error)))


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, content: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, content.encode())


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON atomically: two spaces of indent, keys in the given order, a newline at the end; NaN is refused."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: The file is missing or is not JSON; the message names it.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid JSON: {error}") from None


def json_line(record: Mapping[str, Any]) -> str:
    """Return one line of a JSON Lines file, without the newline. The same record always gives the same text; NaN is
    refused."""
    return json.dumps(record, ensure_ascii=False, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    """Turn NumPy scalars and arrays and paths into what JSON knows."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def write_npy(path: str | Path, array: npt.NDArray[Any]) -> None:
    """Write an array in NumPy's own format, atomically."""
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.save(handle, array, allow_pickle=False)


def read_npy(path: str | Path, *, mmap: bool = False) -> npt.NDArray[Any]:
    """Read a `.npy` file, into memory or as a read-only memory map.

    Raises:
        DataError: The file is missing, truncated, no `.npy` file, or holds Python objects.
    """
    try:
        return np.asarray(np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path} cannot be read as a NumPy array: {error}") from None


def write_parquet(path: str | Path, frame: polars.DataFrame) -> None:
    """Write a table as Parquet (zstd, with statistics), atomically. The same table gives the same bytes."""
    with atomic_path(path) as temporary:
        frame.write_parquet(temporary, compression="zstd", statistics=True)


def read_parquet(path: str | Path, columns: list[str] | None = None) -> polars.DataFrame:
    """Read a Parquet table.

    Raises:
        DataError: The file is missing, truncated, not Parquet, or lacks a column.
    """
    import polars

    try:
        return polars.read_parquet(path, columns=columns)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (polars.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read as Parquet, it may be truncated: {reason}") from None


def write_safetensors(
    path: str | Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write named tensors, atomically. Tensors that share memory are copied apart."""
    from safetensors.torch import save_file

    separate = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(separate, temporary, metadata=metadata)


def read_safetensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Read named tensors onto the CPU.

    Raises:
        DataError: The file is missing or truncated.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} cannot be read as safetensors, it may be truncated: {error}") from None


def sha256_file(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest(*parts: Any) -> str:
    """Return 32 hexadecimal digits of BLAKE2b over a canonical, typed encoding of the parts.

    Parts may be bytes, text, numbers, booleans, None, NumPy arrays, and lists or dictionaries of these; the order of
    dictionary keys does not matter, everything else does.
    """
    hasher = hashlib.blake2b(digest_size=16)
    _feed(hasher, list(parts))
    return hasher.hexdigest()


def _feed(hasher: hashlib.blake2b, value: Any) -> None:
    def put(tag: str, content: bytes) -> None:
        hasher.update(f"{tag}{len(content)}:".encode() + content)

    if isinstance(value, bytes):
        put("b", value)
    elif isinstance(value, str):
        put("s", value.encode())
    elif value is None or isinstance(value, bool | int | float):
        put("n", repr(value).encode())
    elif isinstance(value, np.generic):
        _feed(hasher, value.item())
    elif isinstance(value, np.ndarray):
        put("a", f"{value.dtype.str}{value.shape}".encode())
        hasher.update(np.ascontiguousarray(value).data)
    elif isinstance(value, Mapping):
        put("d", str(len(value)).encode())
        for key in sorted(value):
            _feed(hasher, key)
            _feed(hasher, value[key])
    elif isinstance(value, list | tuple):
        put("l", str(len(value)).encode())
        for entry in value:
            _feed(hasher, entry)
    else:
        raise TypeError(f"{type(value).__name__} cannot be part of a digest")
