"""What units share: the frames, or the measurements, of each video, made once and let go after their last use.

Memory holds the videos of the units under way and of no others. A file that cannot be used is an error that its own
cells get.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from sensorium.judging.cells import VideoCell
from sensorium.media.errors import MediaError
from sensorium.media.workers import Workers

K = TypeVar("K")
Call = tuple[Callable[..., Any], tuple[Any, ...], VideoCell]


class Material(Generic[K]):
    """Values by key, each made by one call in a decoding process.

    Attributes:
        most: The most values that were held at a time.
    """

    def __init__(
        self,
        workers: Workers,
        uses: Iterable[K],
        make: Callable[[K], Call],
    ) -> None:
        """Prepare for a known number of uses.

        Args:
            workers: The decoding processes.
            uses: The key of every use to come, repeated as often as it is used.
            make: From a key to the function, its arguments and the video whose file is read.
        """
        self._workers, self._make = workers, make
        self._left = Counter(uses)
        self._made: dict[K, asyncio.Future[Any]] = {}
        self.most = 0

    async def get(self, key: K) -> Any:
        """Return a value; several tasks that want the same wait for one call.

        Raises:
            MediaError: The file cannot be used.
        """
        if key not in self._made:
            self._made[key] = asyncio.ensure_future(self._call(key))
            self.most = max(self.most, len(self._made))
        made = await asyncio.shield(self._made[key])
        if isinstance(made, MediaError):
            raise made
        return made

    async def _call(self, key: K) -> Any:
        function, arguments, cell = self._make(key)
        try:
            return await self._workers.run(function, *arguments, source=cell.path)
        except MediaError as error:
            return error

    def done(self, keys: Iterable[K]) -> None:
        """Count uses as over; what has none left is let go."""
        for key in keys:
            self._left[key] -= 1
            if self._left[key] <= 0:
                self._made.pop(key, None)
