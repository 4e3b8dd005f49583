"""The configuration of a judging run: `kind: judge`.

kind: judge
videos: {manifest: videos.csv}
dimensions: [imaging_quality, video_text_consistency]
judge: {name: openai-compatible, base_url: http://localhost:8000/v1, model: qwen2.5-vl, api_key_env: null}
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from sensorium.core.config import Component, Config, component, dump
from sensorium.core.files import digest
from sensorium.judging.dimensions import Dimension, ProtocolName
from sensorium.judging.judges.base import GROUP
from sensorium.judging.sampling import SamplerName, Sampling


class VideosConfig(Config):
    """Which videos are judged."""

    manifest: Path | None = Field(None, description="CSV or .jsonl with model, prompt_id, prompt, sample, path, [fps]")
    root: Path | None = Field(
        None,
        description="folder of <folder>/<model>/<prompt>[_k].mp4; beside a manifest: the base of its paths",
    )
    strict: bool = Field(False, description="stop when a file matches no prompt, or a cell has no video")

    @model_validator(mode="after")
    def _names_some(self) -> VideosConfig:
        if self.manifest is None and self.root is None:
            raise ValueError("name a manifest, or the root of a folder of videos")
        return self


class FramesConfig(Config):
    """What a judge is shown of a video."""

    sampler: SamplerName | None = Field(None, description="rule of sampling; null = that of each dimension")
    max_frames: int = Field(32, ge=2, description="most frames (or strips) of a video; more are thinned evenly")
    long_side: int = Field(768, ge=32, description="pixels of a frame's longer side, at most")
    quality: int = Field(90, ge=1, le=95, description="of the JPEG encoding")
    seconds: float = Field(60.0, gt=0, description="time limit of reading one file")
    processes: int = Field(2, ge=1, description="files that are read at a time, each in a process of its own")

    def sampling(self, dimension: Dimension) -> Sampling:
        """Return how frames are taken in a dimension."""
        return Sampling(self.sampler or dimension.sampler, self.max_frames, self.long_side, self.quality)


class BoardConfig(Config):
    """How scores become a leaderboard."""

    missing: Literal["common", "available"] = Field(
        "common", description="common = only prompts that are scored for all models; available = all that are scored"
    )
    allow_missing: bool = Field(False, description="rank models although missing scores leave their order open")
    mid_ranks: bool = Field(False, description="equal means share the middle of their ranks instead of the best")
    draws: int = Field(2000, ge=100, description="bootstrap draws over prompts")


class JudgeConfig(Config):
    """The keys of a judging run."""

    kind: Literal["judge"] = Field("judge", description="which job this is")
    name: str = Field("judge", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="begins the name of its folder")
    videos: VideosConfig = Field(description="which videos")
    prompts: str | list[str] = Field(
        "suite", description="suite = the 419 that ship, manifest = the manifest's own, a file of prompts, or a list"
    )
    dimensions: list[str] | None = Field(
        None, min_length=1, description="ids, aliases or files of dimensions; null = the nine that ship"
    )
    judge: component(GROUP) = Field({"name": "metric"}, description="who judges, and its own keys")  # type: ignore[valid-type]
    protocol: ProtocolName | None = Field(None, description="of all dimensions; null = each dimension's own")
    judge_sees_answers: bool = Field(True, description="chain-of-query: whether answers reach the final step")
    repeats: int = Field(1, ge=1, description="how often each is judged, with distinct seeds; scores are averaged")
    temperature: float = Field(0.0, ge=0, description="of sampling")
    max_tokens: int = Field(1024, ge=16, description="longest answer")
    re_asks: int = Field(2, ge=0, le=2, description="how often an unreadable answer is asked for again")
    max_cost: float | None = Field(None, ge=0, description="stop before the run costs more; null = no limit")
    frames: FramesConfig = Field(FramesConfig(), description="what a judge is shown")
    board: BoardConfig = Field(BoardConfig(), description="how scores become a leaderboard")
    seed: int = Field(0, ge=0, description="of sampling, of the order of videos, and of intervals")

    @model_validator(mode="after")
    def _fits_together(self) -> JudgeConfig:
        if self.prompts == "manifest" and self.videos.manifest is None:
            raise ValueError("prompts: 'manifest' needs videos.manifest")
        chosen: Component = self.judge
        if self.max_cost is not None and not getattr(chosen.config, "prices", True):
            raise ValueError("max_cost: judge.prices is empty, so no cost would ever be counted")
        return self

    def key(self) -> str:
        """Return eight hexadecimal digits that differ when any key differs."""
        return digest(dump(self))[:8]
