"""Weights of the metric judge as they lie in a file: fitted numbers, what they were fitted on, and how well they do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.core.errors import DataError
from sensorium.core.files import digest, read_json
from sensorium.judging.metric import signals
from sensorium.judging.metric.fitting import Linear

SHIPPED = Path(__file__).with_name("weights.json")

NOTICE = (
    "Fitted coefficients, derived from the human ratings and videos of FETV (Liu et al. 2023, 'FETV: A Benchmark for "
    "Fine-Grained Evaluation of Open-Domain Text-to-Video Generation', https://github.com/llyx97/FETV), licensed "
    "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/). No rating and no picture is in this file."
)


@dataclass(frozen=True)
class Head:
    """The model of one dimension.

    Attributes:
        names: The signals it reads, in order.
        linear: The fit.
        residual: Deviation of human ratings from predictions of clips that the fit had not seen.
    """

    names: tuple[str, ...]
    linear: Linear
    residual: float

    def row(self, values: Mapping[str, float]) -> Any:
        """Return the signals of one clip as a table of one row."""
        return np.array([[values.get(name, float("nan")) for name in self.names]])


@dataclass(frozen=True)
class Weights:
    """All heads, and the name that says which they are."""

    heads: Mapping[str, Head]
    key: str


def read_weights(path: str | Path = SHIPPED) -> Weights:
    """Read a file of weights.

    Raises:
        DataError: It is missing, of another form, or made with other signals than this release measures.
    """
    tree = read_json(path)
    try:
        measured = (tree["signals_version"], tree["long_side"])
        if measured != (signals.VERSION, signals.LONG_SIDE):
            raise DataError(
                f"{path} holds weights for signals of version {measured[0]} at {measured[1]} px, this release measures "
                f"version {signals.VERSION} at {signals.LONG_SIDE} px: run 'sensorium judge calibrate' again"
            )
        heads = {name: _head(entry) for name, entry in tree["dimensions"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} holds no weights of the metric judge: {type(error).__name__} {error}") from None
    return Weights(heads, digest({name: entry["signals"] for name, entry in tree["dimensions"].items()})[:8])


def _head(entry: Mapping[str, Any]) -> Head:
    def column(name: str) -> Any:
        return np.array([float(signal[name]) for signal in entry["signals"]])

    linear = Linear(column("mean"), column("deviation"), column("weight"), float(entry["intercept"]))
    return Head(tuple(signal["name"] for signal in entry["signals"]), linear, float(entry["residual"]))


def head_tree(names: tuple[str, ...], signs: tuple[int, ...], linear: Linear, residual: float) -> dict[str, Any]:
    """Return a head as it stands in the file."""
    columns = zip(names, signs, linear.mean, linear.deviation, linear.weight, strict=True)
    return {
        "intercept": round(linear.intercept, 6),
        "residual": round(residual, 6),
        "signals": [
            {
                "name": name,
                "sign": sign,
                "mean": round(float(mean), 6),
                "deviation": round(float(deviation), 6),
                "weight": round(float(weight), 6),
            }
            for name, sign, mean, deviation, weight in columns
        ],
    }
