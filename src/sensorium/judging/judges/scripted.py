"""A judge without a model: a function answers. For tests, for examples that run offline, and for error models.

Scores of this family are marked as simulated, and share no board with others.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from sensorium.core import config as core
from sensorium.judging.judges.base import (
    Clip,
    JudgeCaps,
    JudgeRequest,
    JudgeResponse,
    Part,
    Picture,
    Role,
    Text,
    Usage,
)
from sensorium.judging.records import Family

Script = Callable[[JudgeRequest], str | dict[str, Any]]


class Scripted:
    """A judge whose answers are computed by a script."""

    class Config(core.Config):
        """Keys of `judge: {name: scripted}`."""

        script: Literal["brightness"] = Field("brightness", description="how it answers: by the brightness of frames")
        max_images: int = Field(64, ge=1, description="most pictures in one request")
        concurrency: int = Field(4, ge=1, description="requests at a time")

    family: Family = "scripted"

    def __init__(self, config: Config | None = None, *, script: Script | None = None, id: str = "") -> None:
        """Make a judge from its config, or from any function.

        Args:
            config: Its keys.
            script: What answers a request, with a text or an object that becomes JSON.
            id: Its name; it must tell apart scripts that answer differently, since answers are kept under it.
        """
        settings = config or self.Config()
        assert isinstance(settings, self.Config)
        self._script = script or SCRIPTS[settings.script]
        self.id = id or f"scripted-{settings.script}"
        self.caps = JudgeCaps(max_images=settings.max_images)
        self.concurrency = settings.concurrency
        self.calls = 0

    def model_id(self, role: Role) -> str:
        """Return the judge's id, for both roles."""
        return self.id

    def cost(self, role: Role, prompt_tokens: int, completion_tokens: int) -> float:
        """Return 0: it is free."""
        return 0.0

    async def complete(self, request: JudgeRequest) -> JudgeResponse:
        """Answer by the script."""
        self.calls += 1
        said = self._script(request)
        text = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
        return JudgeResponse(text, None, Usage(calls=1))

    async def close(self) -> None:
        """Nothing is open."""


# --- scripts --------------------------------------------------------------------------------------------------------


def brightness(request: JudgeRequest) -> dict[str, Any]:
    """Score each video by the mean brightness of its frames; describe and answer in fixed words."""
    properties = request.schema["properties"]
    if "questions" in properties:
        return {"questions": ["How bright is it?"]}
    if "answers" in properties:
        asked = re.search(r"answer each of the (\d+) questions", _words(request))
        return {"aspects": "brightness", "answers": ["As bright as it looks."] * int(asked[1] if asked else 0)}
    if "score" not in properties and "scores" not in properties:
        return {"caption": "A video.", "description": "Frames of some brightness."}
    videos = videos_of(request.content)
    if "scores" in properties:
        levels = properties["scores"]["items"]["properties"]["score"]["enum"]
        entries = [_scored(pictures, levels) for pictures in videos.values()]
        return {"scores": [{"video": name, **entry} for name, entry in zip(videos, entries, strict=True)]}
    levels = properties["score"]["enum"]
    final = {"updated_description": "Frames of some brightness."} if "updated_description" in properties else {}
    return {**final, **_scored(list(videos.values())[-1], levels)}


SCRIPTS: dict[str, Script] = {"brightness": brightness}


def videos_of(content: tuple[Part, ...]) -> dict[str, list[Picture]]:
    """Return the pictures of each video of a request, by its header: "V1", "video to judge", "example 1", "video"."""
    found: dict[str, list[Picture]] = {}
    header = ""
    for part in content:
        if isinstance(part, Text):
            match = re.match(r"video (V\d+)(?= \()|(video to judge|video|example \d+)(?: \(|$)", part.text)
            header = (match[1] or match[2]) if match else ""
        elif isinstance(part, Picture):
            found.setdefault(header, []).append(part)
        elif isinstance(part, Clip):
            found.setdefault(header, [])
    return {name: pictures for name, pictures in found.items() if not name.startswith("example")}


def _scored(pictures: list[Picture], levels: list[int]) -> dict[str, Any]:
    """Return the level of some pictures: the scale is laid evenly over black to white."""
    mean = float(np.mean([pixels(picture).mean() for picture in pictures])) if pictures else 0.0
    place = min(int(mean / 256 * len(levels)), len(levels) - 1)
    return {"score": levels[place], "reason": f"mean brightness {mean:.0f} of 255"}


def pixels(picture: Picture) -> Any:
    """Return the pixels of a picture, uint8 [height, width, 3]."""
    return np.asarray(Image.open(io.BytesIO(picture.jpeg)).convert("RGB"))


def _words(request: JudgeRequest) -> str:
    return " ".join(part.text for part in request.content if isinstance(part, Text))
