"""What can be chosen about the demo catalogue."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from sensorium.core.config import Config
from sensorium.core.seeds import derive

Modality = Literal["text", "image", "audio", "video"]
MODALITIES: tuple[Modality, ...] = ("text", "image", "audio", "video")


class DemoConfig(Config):
    """The demo world. Defaults are tuned so that text, picture and behaviour each matter and none tells all.

    Sounds and clips bring a trait of their own into the tastes: with them, other rows are drawn than without. Titles
    and covers are the same.
    """

    users: int = Field(1_200, ge=10, description="number of users")
    items: int = Field(800, ge=50, description="number of items")
    seed: int = Field(0, ge=0, description="the same seed and options give the same bytes")
    modalities: tuple[Modality, ...] = Field(
        ("text", "image"),
        min_length=1,
        description="what items show of themselves: text (title and description), image (cover), audio (a short "
        "sound), video (a short clip with a sound track)",
    )
    domain: str = Field(
        "",
        max_length=24,
        pattern="^[a-z0-9]*$",
        description="another catalogue with the same laws: its own items and users, whose ids begin with this word",
    )
    broken: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the media files of each kind that are damaged, as a number or as in 1%; which ones, and "
        "how, stands in planted/broken.parquet",
    )
    noise: float = Field(
        0.2, ge=0, lt=1, description="share of rows that ignore taste: planted, items drawn by popularity"
    )
    rows_per_user: float = Field(28.0, ge=5, description="mean number of rows of a user, before clipping")
    min_rows: int = Field(8, ge=1, description="rows of the quietest user")
    drift: float = Field(0.35, ge=0, le=1, description="how far a taste turns while its user is active; 1 = a new one")
    leak: float = Field(0.2, ge=0, description="how much the group and the age band of a user shape the taste")
    topic_weight: float = Field(3.0, ge=0, description="weight of the topic, which only words show, in a choice")
    style_weight: float = Field(3.0, ge=0, description="weight of the style, which only the cover shows, in a choice")
    circle_weight: float = Field(1.5, ge=0, description="weight of the circle, which no content shows, in a choice")
    shared: float = Field(
        0.1, ge=0, le=1, description="share of items whose style follows from the topic: the part both contents show"
    )
    rhythm_weight: float = Field(3.0, ge=0, description="weight of the rhythm, which only the sound shows, in a choice")
    formation_weight: float = Field(
        3.0, ge=0, description="weight of the formation, which only the clip shows, in a choice"
    )
    blend: float = Field(0.4, ge=0, lt=0.5, description="largest share of an item's second topic and second style")
    shelf: int = Field(80, ge=2, description="items, drawn by popularity, among which a user chooses on one occasion")
    tail: float = Field(0.7, ge=0, description="exponent of the popularity law; 0 = all items equally popular")
    head: float = Field(10.0, gt=0, description="offset of the popularity law: larger flattens the head")
    cold: float = Field(
        0.05, ge=0, lt=0.5, description="share of items that have just arrived: content, few or no rows"
    )
    missing: float = Field(
        0.03,
        ge=0,
        lt=1,
        description="share of items without a cover, of items without a description, of users without an age band",
    )

    @field_validator("modalities")
    @classmethod
    def _each_once(cls, modalities: tuple[Modality, ...]) -> tuple[Modality, ...]:
        """Give one order to what is a set: the same choice gives the same bytes however it was written."""
        return tuple(modality for modality in MODALITIES if modality in modalities)

    @field_validator("broken", mode="before")
    @classmethod
    def _percent(cls, value: Any) -> Any:
        if isinstance(value, str) and value.strip().endswith("%"):
            return float(value.strip()[:-1]) / 100
        return value

    @property
    def world_seed(self) -> int:
        """The seed of every draw: that of the domain."""
        return derive(self.seed, "domain", self.domain) if self.domain else self.seed

    @property
    def name(self) -> str:
        """The name of the data set: "demo", "demo-media" with sounds or clips, and the domain behind it."""
        media = {"audio", "video"} & set(self.modalities)
        return "-".join(["demo", *(["media"] if media else []), *([self.domain] if self.domain else [])])

    def weight(self, factor: str) -> float:
        """Return the weight of a factor in a choice."""
        weight: float = getattr(self, f"{factor}_weight")
        return weight
