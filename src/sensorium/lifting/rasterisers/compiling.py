"""Compiling with numba: once per machine, kept in the user's cache folder; as many threads as torch has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch

from sensorium.core.errors import require
from sensorium.core.home import cache_home

F = TypeVar("F", bound=Callable[..., Any])

_numba: Any = require("numba", extra="lift", purpose="the rasteriser 'numba'", instead="use the rasteriser 'torch'")
prange = _numba.prange

# Sums may be reordered and multiplications fused; infinities and NaN keep their meaning.
FAST = frozenset({"contract", "reassoc", "nsz", "arcp"})


def compiled(**options: Any) -> Callable[[F], F]:
    """Compile a function at its first call, or take from disk what an earlier process compiled.

    numba notices a change of the file that a function stands in, and of no other: what a kernel calls stands beside it.
    """

    def decorate(function: F) -> F:
        with _users_cache():
            return cast(F, _numba.njit(cache=True, error_model="numpy", **options)(function))

    return decorate


@contextmanager
def torch_threads(pieces: int) -> Iterator[None]:
    """Run parallel loops with as many threads as torch uses, handing out their work in small portions.

    Args:
        pieces: Length of the loop.
    """
    threads = min(torch.get_num_threads(), _numba.config.NUMBA_NUM_THREADS)
    before = _numba.get_num_threads()
    _numba.set_num_threads(threads)
    try:
        with _numba.parallel_chunksize(max(1, pieces // (8 * threads))):
            yield
    finally:
        _numba.set_num_threads(before)


@contextmanager
def _users_cache() -> Iterator[None]:
    """Let numba keep compiled code in the user's cache folder, unless `NUMBA_CACHE_DIR` names another."""
    before = _numba.config.CACHE_DIR
    _numba.config.CACHE_DIR = before or str(cache_home() / "numba")
    try:
        yield
    finally:
        _numba.config.CACHE_DIR = before
