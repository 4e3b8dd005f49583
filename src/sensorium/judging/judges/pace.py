"""The pace of an endpoint: pauses that it asks for, limits per minute, and a clock that tests can set.

One `Pace` is shared by all workers of an endpoint. When the endpoint says "not for 90 seconds", none of them sends
anything for 90 seconds, and it is said once.
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from sensorium.core.errors import RunError
from sensorium.core.resources import readable_seconds

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clock:
    """Where time comes from.

    Attributes:
        now: Seconds on a clock that never goes back.
        wall: Seconds since the epoch.
        sleep: Waits for so many seconds.
    """

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Pace:
    """When the next request may be sent.

    Attributes:
        waited: Seconds of pauses that the endpoint asked for, in sum.
    """

    def __init__(
        self,
        name: str,
        *,
        max_wait: float = 3600.0,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name, self.max_wait, self.clock = name, max_wait, clock or Clock()
        self.waited = 0.0
        self._open_at = 0.0
        self._buckets = [
            (Bucket(limit, self.clock), by_tokens)
            for limit, by_tokens in ((requests_per_minute, False), (tokens_per_minute, True))
            if limit is not None
        ]

    async def wait(self, tokens: int) -> None:
        """Wait until a request of so many tokens may be sent."""
        for bucket, by_tokens in self._buckets:
            await bucket.take(tokens if by_tokens else 1)
        while (left := self._open_at - self.clock.now()) > 0:
            await self.clock.sleep(left)

    def pause(self, seconds: float) -> None:
        """Let nobody send anything for so many seconds from now.

        Requests that were on their way together ask for the same pause: only what it adds to the one under way counts.

        Raises:
            RunError: All pauses together would be longer than `max_wait`; nothing is lost, the run can be resumed.
        """
        now = self.clock.now()
        added = now + seconds - max(now, self._open_at)
        if added <= 0:
            return
        if self.waited + added > self.max_wait:
            raise RunError(
                f"{self.name} asks to wait {readable_seconds(seconds)} more, and max_wait is "
                f"{readable_seconds(self.max_wait)} in sum ({readable_seconds(self.waited)} were waited): what was "
                "answered is kept, resume the run later"
            )
        if self._open_at <= now:
            moment = time.strftime("%H:%M:%S", time.localtime(self.clock.wall() + seconds))
            logger.info("%s: rate limit, next try at %s (in %s)", self.name, moment, readable_seconds(seconds))
        self.waited += added
        self._open_at = now + seconds


class Bucket:
    """A limit per minute: the bucket holds one minute's worth and fills evenly; what is taken may run into debt."""

    def __init__(self, per_minute: float, clock: Clock) -> None:
        self._rate, self._most, self._clock = per_minute / 60.0, per_minute, clock
        self._level, self._at = per_minute, clock.now()

    async def take(self, amount: float) -> None:
        """Wait until so much is there (an amount above a full bucket waits for a full one), and take it."""
        while True:
            now = self._clock.now()
            self._level = min(self._most, self._level + (now - self._at) * self._rate)
            self._at = now
            lacking = min(amount, self._most) - self._level
            if lacking <= 1e-9:
                self._level -= amount
                return
            await self._clock.sleep(lacking / self._rate)


def retry_after(headers: Mapping[str, str], clock: Clock) -> float | None:
    """Return the seconds that a response asks to wait, None where it says nothing usable or nothing above 0."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if not text:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(text).timestamp() - clock.wall()
            except ValueError:
                continue
        if 0 < seconds < float("inf"):
            return seconds
    return None
