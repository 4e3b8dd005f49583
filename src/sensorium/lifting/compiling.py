"""How this room's loops over pixels, texels and samples are compiled: by numba, once, kept in the user's cache folder.

Only modules that need it import this one; where numba is missing, that says in one line what to install. The two
decorators keep a function's type, which numba's own do not. A compiled function and all that it calls or takes
constants from stand in one file, since numba's cache on disk looks at one file's date alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar, cast

from sensorium.core.errors import require
from sensorium.core.home import cache_home

P = ParamSpec("P")
R = TypeVar("R")

_numba = require("numba", extra="lift", purpose="making and drawing meshes")
prange = _numba.prange


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function to one thread of machine code: additions in one fixed order."""
    with _users_cache():
        return cast(Callable[P, R], _numba.njit(cache=True)(function))


def compiled_parallel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function whose `prange` loops share the cores; no two turns of a loop may write to one place."""
    with _users_cache():
        return cast(Callable[P, R], _numba.njit(cache=True, parallel=True)(function))


@contextmanager
def _users_cache() -> Iterator[None]:
    """Let numba keep what it compiles in the user's cache folder, unless `NUMBA_CACHE_DIR` names another."""
    before = _numba.config.CACHE_DIR
    _numba.config.CACHE_DIR = before or str(cache_home() / "numba")
    try:
        yield
    finally:
        _numba.config.CACHE_DIR = before
