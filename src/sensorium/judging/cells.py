"""A cell: one video of one model for one prompt, the unit that every dimension judges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class VideoCell:
    """One generated video.

    Attributes:
        model: Who made it.
        prompt_id: Which prompt it was made for; ids are unique within a run.
        prompt: The prompt's text.
        sample: Which of the model's attempts, from 0.
        path: Where the file lies.
        fps: Frames per second that are to be believed instead of the container's, None for the container's own.
    """

    model: str
    prompt_id: str
    prompt: str
    sample: int
    path: Path
    fps: float | None = None

    @property
    def group(self) -> tuple[str, int]:
        """(prompt_id, sample): the cells that the models share, and that are compared with each other."""
        return self.prompt_id, self.sample

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"{self.model} / {self.prompt_id} / {self.sample}"
