"""The one error of this room: a media file that cannot be used, with a reason that can be counted."""

from __future__ import annotations

from typing import Literal

from sensorium.core.errors import DataError

Reason = Literal[
    "missing_file",
    "truncated",
    "undecodable",
    "too_large",
    "timed_out",
    "crashed",
    "no_video_stream",
    "no_sound_stream",
    "no_frames",
    "non_finite",
    "not_utf8",
    "empty",  # read without fault, and there is no content in it: counted as absent, not as rejected
]


class MediaError(DataError):
    """A media file that cannot be used.

    Attributes:
        reason: Why, as a word that `rejected.parquet` and summaries count by.
        detail: What exactly is wrong, as a sentence without the file's name.
    """

    def __init__(self, reason: Reason, detail: str, source: str = "") -> None:
        super().__init__(f"{source}: {detail}" if source else detail)
        self.reason: Reason = reason
        self.detail = detail
        self.source = source
