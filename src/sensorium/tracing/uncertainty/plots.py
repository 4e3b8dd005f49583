"""Pictures of uncertainty: error rate by coverage for every score in one figure, and reliability before and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sensorium.tracing.evaluation.metrics import reliability
from sensorium.tracing.uncertainty.selective import Selective

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f", "#000000")
_STYLES = ("-", "--", ":", "-.")
_POINTS = 200


def risk_coverage(orders: Mapping[str, Selective]) -> Figure:
    """Draw the error rate of the kept share against that share, one curve for each score of each model."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for place, (name, one) in enumerate(orders.items()):
        n = len(one.running)
        kept = np.unique(np.linspace(max(1, n // 50), n, min(_POINTS, n)).astype(int))
        style = _STYLES[place // len(COLOURS) % len(_STYLES)]
        label = f"{name} (AURC {one.aurc:.4f})"
        axes.plot(kept / n, one.running[kept - 1], style, color=COLOURS[place % len(COLOURS)], lw=1.5, label=label)
    axes.set(xlabel="share of answers that are predicted", ylabel="error rate of these", title="Deferring the unsure")
    axes.set_xlim(0, 1)
    axes.grid(color="#e3e7ec")
    axes.legend(fontsize=7.5, frameon=False)
    return figure


def reliability_pair(
    raw: npt.NDArray[np.float64], warm: npt.NDArray[np.float64], response: npt.NDArray[np.integer], temperature: float
) -> Figure:
    """Draw reliability with intervals, raw and at a temperature, and how many answers stand in each bin."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="#9aa3ad", lw=1)
    for place, (name, p) in enumerate({"raw": raw, f"at temperature {temperature:.2f}": warm}.items()):
        bins = reliability(p, response)
        errors = np.maximum([bins.right - bins.low, bins.high - bins.right], 0)
        upper.errorbar(
            bins.p,
            bins.right,
            yerr=errors,
            fmt="o-",
            ms=3.5,
            lw=1.2,
            capsize=2,
            color=COLOURS[place],
            label=f"{name} (ECE {bins.ece:.3f})",
        )
        lower.bar(bins.p, bins.count, 0.025, color=COLOURS[place], alpha=0.6)
    upper.legend(frameon=False, fontsize=8)
    upper.set_ylabel("share of right answers")
    lower.set(xlabel="predicted probability", ylabel="answers")
    return figure
