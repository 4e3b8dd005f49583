"""The pictures of learners' pages: mastery over time, and a class at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sensorium.tracing.pages.mastery import Learner, Mastery

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RIGHT, WRONG, LINE, GREY = "#009e73", "#d55e00", "#0072b2", "#9aa3ad"
_GREYS = ("#a2a8ae", "#f0f1f3")
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a94a0",
    "axes.titlesize": 10.0,
    "axes.titlelocation": "left",
}


def mastery_over_time(known: Mastery, names: Sequence[str], who: Learner) -> Figure:
    """Draw one small panel for each concept: mastery, its band, answers as ticks (right above, wrong below).

    The grey line is what learners in training had on average; where a concept was never practised it stands alone.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = 2 if len(names) > 1 else 1
    rows = -(-len(names) // columns)
    member = who.concepts_of(np.arange(len(who.question)))[:, known.concept]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.6 * columns, 1.7 * rows + 0.4), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for place, axes in enumerate(grid.ravel()):
            if place >= len(names):
                axes.set_visible(False)
                continue
            axes.axhline(known.population[place], color=GREY, linewidth=1.2, linestyle="--")
            axes.set_title(_short(names[place]) + ("" if known.practice[place] else " (never practised)"))
            axes.set_ylim(-0.12, 1.12)
            axes.set_yticks([0, 0.5, 1], ["0", ".5", "1"])
            axes.set_xlim(-0.5, known.after[-1] + 0.5)
            if place // columns == rows - 1:
                axes.set_xlabel("answers so far")
            if not known.practice[place]:
                continue
            if known.low is not None and known.high is not None:
                axes.fill_between(known.after, known.low[:, place], known.high[:, place], color=LINE, alpha=0.2, lw=0)
            axes.plot(known.after, known.mean[:, place], color=LINE, linewidth=1.8)
            times = np.flatnonzero(member[:, place]) + 1
            right = who.response[times - 1] == 1
            axes.plot(times[right], np.full(right.sum(), 1.06), "|", color=RIGHT, markersize=6)
            axes.plot(times[~right], np.full((~right).sum(), -0.06), "|", color=WRONG, markersize=6)
        return figure


def class_map(
    mean: npt.NDArray[np.float64],
    practice: npt.NDArray[np.integer],
    population: npt.NDArray[np.float64],
    learners: Sequence[str],
    concepts: Sequence[str],
    marked: Sequence[bool],
) -> Figure:
    """Draw mastery by learner and concept, with a star by those with least evidence.

    A cell without an answer is grey and has a dot: it shows what learners in training had on average.

    Args:
        mean: float64 [L, C'].
        practice: int [L, C'].
        population: float64 [C'].
        learners: L names, from the top.
        concepts: C' names.
        marked: L flags.
    """
    import matplotlib as mpl
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        width, height = 2.2 + 0.42 * len(concepts), 1.9 + 0.22 * len(learners)
        figure = Figure(figsize=(max(width, 4.6), max(height, 2.6)), layout="constrained")
        axes = figure.subplots()
        known = practice > 0
        picture = axes.imshow(np.ma.masked_array(mean, ~known), cmap="cividis", vmin=0, vmax=1, aspect="auto")
        others = np.ma.masked_array(np.broadcast_to(population, mean.shape), known)
        greys = LinearSegmentedColormap.from_list("population", _GREYS)
        axes.imshow(others, cmap=greys, vmin=0, vmax=1, aspect="auto")
        row, column = np.nonzero(~known)
        axes.plot(column, row, ".", color="white", markersize=4, markeredgecolor="#39424d", markeredgewidth=0.4)
        labels = [
            f"★ {_short(name, 22)}" if flag else _short(name, 22) for name, flag in zip(learners, marked, strict=True)
        ]
        axes.set_yticks(range(len(learners)), labels, fontsize=8)
        axes.set_xticks(
            range(len(concepts)), [_short(name, 26) for name in concepts], rotation=50, ha="right", fontsize=8
        )
        figure.colorbar(picture, ax=axes, label="mastery", shrink=0.7)
        return figure


def _short(text: str, length: int = 38) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
