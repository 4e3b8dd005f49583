"""Progress of an encode: a bar on a terminal, elsewhere one line per twentieth, at least five seconds apart."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

from sensorium.core.progress import Progress
from sensorium.core.resources import readable_seconds
from sensorium.encoders.cache.chunks import Encoded

logger = logging.getLogger(__name__)

SECONDS_BETWEEN = 5.0


class Reporter:
    """Counts items as chunks are done. Use as a context manager."""

    def __init__(self, total: int, label: str) -> None:
        self.total, self.label = total, label
        self._bar = Progress(total, label, unit="items")
        self._done, self._rejected, self._said = 0, 0, 0
        self._lines = not sys.stderr.isatty()

    def __enter__(self) -> Reporter:
        self._bar.__enter__()
        self._spoke = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def advance(self, encoded: Encoded) -> None:
        """Count a chunk."""
        self._done += len(encoded.rows)
        self._rejected += len(encoded.rejected)
        self._bar.advance(len(encoded.rows), rejected=self._rejected)
        step, now = 20 * self._done // max(1, self.total), time.monotonic()
        if self._lines and step > self._said and now - self._spoke >= SECONDS_BETWEEN and self._done < self.total:
            self._said, self._spoke = step, now
            rate = self._bar.rate
            left = readable_seconds((self.total - self._done) / rate)
            logger.info(
                "%s: %d %%, %.3g items/s, %s left, %s rejected", self.label, 5 * step, rate, left, f"{self._rejected:,}"
            )
