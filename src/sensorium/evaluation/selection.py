"""The number that chooses a model: "recall@20" in a config, checked before any data are read (CF-3). Without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sensorium.core import registry
from sensorium.core.errors import ConfigError, TrainingError
from sensorium.evaluation.metrics import GROUP, load_metrics

# Known measures of predicted labels or ratings: asked of a ranking run they get a better answer than "unknown".
OF_LABELS = frozenset(
    {"auc", "roc_auc", "accuracy", "acc", "f1", "logloss", "log_loss", "brier", "rmse", "mae", "mse", "r2", "loss"}
)


@dataclass(frozen=True)
class Selection:
    """One number of a validation, and whether more of it is better.

    Attributes:
        name: Its key among the validation's numbers, "recall@20".
        higher_is_better: False for numbers such as gini.
    """

    name: str
    higher_is_better: bool = True

    @classmethod
    def parse(
        cls, text: str, ks: Sequence[int], metrics: Sequence[str], extra: Mapping[str, bool] | None = None
    ) -> Selection:
        """Read "metric@k" and check that a validation with these ks and metrics will hold it.

        Args:
            text: What the config says.
            ks: The cut-offs that are computed.
            metrics: The names of the metrics that are computed.
            extra: Numbers that the model itself adds to a validation, each with "higher is better".

        Raises:
            ConfigError: An unknown metric (with the nearest), a k or a metric that is not computed, or a measure of
                labels; the message lists what can be chosen.
        """
        check_evaluation(ks, metrics)
        extra = extra or {}
        choices = [f"{metric}@{k}" for metric in metrics for k in ks] + list(extra)
        if text in extra:
            return cls(text, extra[text])
        metric, separator, cut = text.partition("@")
        if text in choices:
            return cls(text, load_metrics([metric])[metric].higher_is_better)
        raise ConfigError(f"selection: {_reason(text, metric, separator, cut, ks, metrics, choices)}")

    def value(self, validation: Mapping[str, float]) -> float:
        """Return the number from a validation.

        Raises:
            TrainingError: The validation does not hold it.
        """
        if self.name not in validation:
            raise TrainingError(
                f"the validation has no '{self.name}' to select by; it holds {', '.join(validation) or 'nothing'}"
            )
        return float(validation[self.name])

    def better(self, new: float, best: float | None) -> bool:
        """Whether `new` is strictly better than the best so far, unrounded; NaN never is."""
        if math.isnan(new):
            return False
        if best is None or math.isnan(best):
            return True
        return new > best if self.higher_is_better else new < best


def check_evaluation(ks: Sequence[int], metrics: Sequence[str]) -> None:
    """Check the cut-offs and the metric names of a ranking evaluation.

    Raises:
        ConfigError: No k or no metric, a k that is not a positive whole number, a repeated entry, or an unknown metric.
    """
    known = registry.names(GROUP)
    if not ks or not metrics:
        raise ConfigError("evaluation: name at least one k and one metric")
    for k in ks:
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise ConfigError(f"evaluation.ks: {k!r} is not a list length: use whole numbers from 1")
    for what, values in (("ks", ks), ("metrics", metrics)):
        if len(set(values)) < len(values):
            raise ConfigError(f"evaluation.{what}: {', '.join(map(str, values))} holds one entry twice")
    for metric in metrics:
        if metric not in known:
            raise ConfigError(f"evaluation.metrics: {_unknown(metric)} (known: {', '.join(known)})")


def _reason(
    text: str, metric: str, separator: str, cut: str, ks: Sequence[int], metrics: Sequence[str], choices: Sequence[str]
) -> str:
    """Say why this number cannot be had, and what can."""
    can = f"can be chosen: {', '.join(choices)}"
    if metric not in registry.names(GROUP):
        return f"{_unknown(metric)}; {can}"
    if not separator or not cut.isdigit() or int(cut) < 1:
        return f"'{text}' needs a list length, as in {metric}@{ks[-1]}; {can}"
    if metric not in metrics:
        return f"'{metric}' is not among evaluation.metrics [{', '.join(metrics)}]: add it there; {can}"
    return f"k = {cut} is not among evaluation.ks [{', '.join(map(str, ks))}]: add it there; {can}"


def _unknown(metric: str) -> str:
    if metric.lower() in OF_LABELS:
        return f"'{metric}' measures predicted labels and this run ranks items"
    return f"'{metric}' is not a metric{registry.did_you_mean(metric.lower(), registry.names(GROUP))}"
