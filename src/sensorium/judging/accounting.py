"""What a run costs: before it starts, while it runs, and the line that it must not cross."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from sensorium.core.config import Config
from sensorium.core.errors import RunError
from sensorium.judging.judges.base import JudgeRequest, Text, Usage

LOW_DETAIL_TOKENS = 85
TILE, TILE_TOKENS = 512, 170
CHARACTERS_PER_TOKEN = 4
ANSWER_TOKENS = 200  # of a typical answer; only estimates use it


class Price(Config):
    """What a model costs, per million tokens."""

    prompt: float = Field(0.0, ge=0, description="per million tokens that it reads")
    completion: float = Field(0.0, ge=0, description="per million tokens that it writes")
    cached: float | None = Field(None, ge=0, description="per million that it reads from its cache; null = as prompt")

    def of(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> float:
        """Return the price of so many tokens."""
        cached = self.prompt if self.cached is None else self.cached
        read = (prompt_tokens - cached_tokens) * self.prompt + cached_tokens * cached
        return (read + completion_tokens * self.completion) / 1e6


def picture_tokens(width: int, height: int, *, low_detail: bool = False) -> int:
    """Return the tokens of a picture by OpenAI's published rule; other endpoints count otherwise.

    Low detail: 85. High: the picture is fitted into 2048², its shorter side brought to at most 768, and each tile of
    512² counts 170, above a base of 85.
    """
    if low_detail:
        return LOW_DETAIL_TOKENS
    scale = min(1.0, 2048 / max(width, height))
    scale = min(scale, 768 / min(width, height)) if min(width, height) * scale > 768 else scale
    tiles = -(-round(width * scale) // TILE) * -(-round(height * scale) // TILE)
    return LOW_DETAIL_TOKENS + TILE_TOKENS * max(1, tiles)


def text_tokens(text: str) -> int:
    """Return about how many tokens a text has."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def estimated_tokens(request: JudgeRequest, *, low_detail: bool = False) -> int:
    """Return about how many tokens a model reads of a request."""
    words = [request.system, *(part.text for part in request.content if isinstance(part, Text))]
    words += [text for turn in request.turns for text in turn]
    pictures = sum(picture_tokens(part.width, part.height, low_detail=low_detail) for part in request.pictures)
    return sum(map(text_tokens, words)) + pictures


class Ledger:
    """What was spent, what is promised to requests on their way, and the limit.

    A request reserves the most that it may cost before it is sent, so that requests side by side cannot cross the limit
    together.
    """

    def __init__(self, spent: Usage | None = None, max_cost: float | None = None) -> None:
        self.spent, self.max_cost = spent or Usage(), max_cost
        self._reserved = 0.0
        self._excess = 1.0  # how far a request has cost more than was estimated: endpoints count pictures differently

    def reserve(self, cost: float) -> float:
        """Set money aside for a request and return how much.

        Raises:
            RunError: The limit would be crossed; nothing is sent, and the run can be resumed with a higher one.
        """
        cost *= self._excess
        if self.max_cost is not None and self.spent.cost + self._reserved + cost > self.max_cost + 1e-12:
            raise RunError(
                f"stopped before exceeding max_cost {self.max_cost:g}: {self.spent.cost:.4f} is spent, and the next "
                f"request may cost {cost:.4f}; what was answered is kept: resume with a higher --max-cost"
            )
        self._reserved += cost
        return cost

    def settle(self, reserved: float, usage: Usage) -> None:
        """Give a reservation back and add what was really spent (nothing for a request that failed)."""
        self._reserved -= reserved
        self.spent += usage
        if reserved > 0:
            self._excess = max(self._excess, self._excess * usage.cost / reserved)


def price_of(prices: Mapping[str, Price], model: str) -> Price:
    """Return the price of a model, free when the table does not name it."""
    return prices.get(model, Price())
