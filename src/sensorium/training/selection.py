"""Which of two validated states is the better one: a number, and optionally a condition on another number."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, model_validator

from sensorium.core.config import Config
from sensorium.core.errors import TrainingError
from sensorium.evaluation.selection import Selection

Numbers = Mapping[str, float | None]  # a validation's numbers; None stands for one that is not finite


class Constraint(Config):
    """A condition that a selected state must meet, for example recall@20 >= 0.95 * backbone_recall@20."""

    metric: str = Field(description="the number that is bounded, as the validation names it")
    at_least: float | None = Field(None, description="lower bound")
    at_most: float | None = Field(None, description="upper bound")
    times: str | None = Field(None, description="another number of the validation, by which the bound is multiplied")

    @model_validator(mode="after")
    def _one_bound(self) -> Constraint:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a constraint has one bound: give at_least or at_most")
        return self

    def shortfall(self, numbers: Numbers) -> float:
        """Return how far the numbers are from the bound: 0 where it is met, infinity where it cannot be computed."""
        value = number(numbers, self.metric)
        scale = 1.0 if self.times is None else number(numbers, self.times)
        if value is None or scale is None:
            return float("inf")
        if self.at_least is not None:
            return max(0.0, self.at_least * scale - value)
        assert self.at_most is not None  # one of the two is given
        return max(0.0, value - self.at_most * scale)


def number(numbers: Numbers, name: str) -> float | None:
    """Return one number of a validation, None where it was not finite.

    Raises:
        TrainingError: The validation has no such number; the message lists those that it has.
    """
    if name not in numbers:
        raise TrainingError(
            f"the validation has no '{name}' to select by; it holds {', '.join(sorted(numbers)) or 'nothing'}"
        )
    return numbers[name]


def improves(selection: Selection, constraint: Constraint | None, new: Numbers, best: Numbers | None) -> bool:
    """Return whether a state with the numbers `new` takes the place of one with the numbers `best`.

    A state that meets the constraint beats one that does not; of two that don't, the one nearer to the bound wins; of
    two that do, the one with the strictly better number, unrounded. So the earlier of equals stays. A number that is
    not finite never wins.
    """
    value = number(new, selection.name)
    if value is None:
        return False
    if constraint is not None:
        shortfall = constraint.shortfall(new)
        best_shortfall = float("inf") if best is None else constraint.shortfall(best)
        if shortfall != best_shortfall:
            return shortfall < best_shortfall
    return selection.better(value, None if best is None else best[selection.name])
