"""Compiling with numba: once per machine, kept in the user's cache folder; as many threads as torch has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar, cast

import torch

from sensorium.core.errors import require
from sensorium.core.home import cache_home

F = TypeVar("F", bound=Callable[..., Any])

_numba: Any = require("numba", extra="lift", purpose="the rasteriser 'numba'", instead="use the rasteriser 'torch'")

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


def in_portions(kernel: Callable[..., None], pieces: int, *arguments: Any) -> None:
    """Call `kernel(first, end, *arguments)` for all pieces, on as many threads as torch uses.

    numba has threads of its own, which wait in a busy loop and take the cores from torch's. Kernels compiled with
    `nogil` need none of them.

    Args:
        kernel: Works on pieces first <= i < end, each on its own.
        pieces: How many there are.
        arguments: What else the kernel takes.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        kernel(0, pieces, *arguments)
        return
    size = max(1, -(-pieces // (8 * threads)))  # small portions: pieces differ in work
    done = [
        _pool(threads).submit(kernel, first, min(first + size, pieces), *arguments) for first in range(0, pieces, size)
    ]
    for portion in done:
        portion.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="sensorium-tiles")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked child has none of its parent's threads


@contextmanager
def _users_cache() -> Iterator[None]:
    """Let numba keep compiled code in the user's cache folder, unless `NUMBA_CACHE_DIR` names another."""
    before = _numba.config.CACHE_DIR
    _numba.config.CACHE_DIR = before or str(cache_home() / "numba")
    try:
        yield
    finally:
        _numba.config.CACHE_DIR = before
