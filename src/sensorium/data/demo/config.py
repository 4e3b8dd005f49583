"""What can be chosen about the demo catalogue."""

from __future__ import annotations

from pydantic import Field

from sensorium.core.config import Config


class DemoConfig(Config):
    """The demo world. Defaults are tuned so that text, picture and behaviour each matter and none tells all."""

    users: int = Field(1_200, ge=10, description="number of users")
    items: int = Field(800, ge=50, description="number of items")
    seed: int = Field(0, ge=0, description="the same seed and options give the same bytes")
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

    def weight(self, factor: str) -> float:
        """Return the weight of a factor in a choice."""
        weights = {"topic": self.topic_weight, "style": self.style_weight, "circle": self.circle_weight}
        return weights[factor]
