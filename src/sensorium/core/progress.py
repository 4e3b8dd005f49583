"""Progress of long work: a bar with rate and time left on a terminal, silence everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import TypeVar

from sensorium.core.processes import speaks
from sensorium.core.resources import readable_seconds

T = TypeVar("T")


class Progress:
    """A progress bar as a context manager: `with Progress(100, "encode") as bar: bar.advance(4, rejected=1)`.

    Off a terminal nothing is printed, nor by any but the first of the processes that work together. Bars don't nest: an
    inner one draws over the outer one, which shows again at its next step.
    """

    def __init__(self, total: int | None, label: str, *, unit: str = "it", every: float = 0.1) -> None:
        self.total, self.label, self.unit = total, label, unit
        self._every = every
        self._done, self._shown_at, self._width = 0, 0.0, 0
        self._values: dict[str, object] = {}
        self._live = sys.stderr.isatty() and speaks()

    def __enter__(self) -> Progress:
        self._start = time.monotonic()
        self._draw(force=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()

    def advance(self, n: int = 1, **shown: object) -> None:
        """Count `n` more units done and show the named values beside the bar."""
        self._done += n
        if shown:
            self._values.update(shown)
        self._draw()

    @property
    def rate(self) -> float:
        """Units per second since the start."""
        return self._done / max(time.monotonic() - self._start, 1e-9)

    def _draw(self, force: bool = False) -> None:
        now = time.monotonic()
        if not self._live or (not force and now - self._shown_at < self._every):
            return
        self._shown_at = now
        values = "".join(f" {name}={_short(value)}" for name, value in self._values.items())
        if self.total:
            share = min(self._done / self.total, 1.0)
            filled = round(24 * share)
            left = (self.total - self._done) / self.rate if self._done else float("nan")
            eta = f", {readable_seconds(left)} left" if left == left else ""
            text = f"{self.label} [{'#' * filled}{'.' * (24 - filled)}] {self._done}/{self.total}"
        else:
            text, eta = f"{self.label} {self._done}", ""
        rate = f" {_short(self.rate)} {self.unit}/s" if self._done else ""
        line = f"{text}{rate}{eta}{values}"[:160]
        sys.stderr.write("\r" + line.ljust(self._width))
        sys.stderr.flush()
        self._width = max(self._width, len(line))


def track(iterable: Iterable[T], *, total: int | None = None, label: str = "") -> Iterator[T]:
    """Iterate with a progress bar; the total is taken from `len` where there is one."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with Progress(total, label) as bar:
        for value in iterable:
            yield value
            bar.advance()


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
