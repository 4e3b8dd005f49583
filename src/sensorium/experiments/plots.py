"""The plots of reports and comparisons. Each function takes numbers and returns a matplotlib figure; none reads a run.

All are drawn for a width of about 30 rem, two beside each other on a desk and one under the other on a telephone, so
that their text keeps its size. Colours follow the order of the series and stay apart for people who see few colours
(Okabe and Ito's set).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f", "#000000")
_MARKS = "osD^vPX*"
_STYLE: dict[Any, Any] = {  # names as in matplotlib's own settings
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a94a0",
    "axes.labelcolor": "#39424d",
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e7ec",
    "grid.linewidth": 0.8,
    "xtick.color": "#39424d",
    "ytick.color": "#39424d",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}
_WIDTH = 4.6  # inches; the page scales it to its column


class Interval(NamedTuple):
    """A number with its interval; a number without one has NaN as its ends."""

    mean: float
    low: float
    high: float


NO_ENDS = (float("nan"), float("nan"))


class Line(NamedTuple):
    """A series: x and y [n], and the x to mark, or None."""

    x: Sequence[float]
    y: Sequence[float]
    marked: float | None = None


@contextmanager
def _canvas(height: float) -> Iterator[tuple[Figure, Axes]]:
    """Yield a figure with one set of axes in the house style; nothing global is changed."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        yield figure, figure.add_subplot()


def dots(values: Mapping[str, Interval], metric: str) -> Figure:
    """Draw one dot with its interval for each label, the first label on top."""
    labels = list(values)
    with _canvas(0.9 + 0.32 * len(labels)) as (figure, axes):
        for place, label in enumerate(labels):
            mean, low, high = values[label]
            colour = colour_of(place)
            if np.isfinite(low) and np.isfinite(high):
                axes.plot([low, high], [place, place], color=colour, linewidth=2.2, solid_capstyle="round", alpha=0.55)
            axes.plot([mean], [place], "o", color=colour, markersize=6.5)
        axes.set_yticks(range(len(labels)), [_short(label) for label in labels])
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=5)
        axes.set_title(metric)
        return figure


def curves(series: Mapping[str, Sequence[Line]], *, x: str, y: str, title: str) -> Figure:
    """Draw curves; those of one label (several seeds) share a colour and an entry in the legend, one without any has
    none.
    """
    with _canvas(2.8) as (figure, axes):
        for place, (label, lines) in enumerate(series.items()):
            for number, line in enumerate(lines):
                axes.plot(
                    line.x,
                    line.y,
                    color=colour_of(place),
                    linewidth=1.6,
                    alpha=0.9,
                    label=None if number else _short(label),
                )
                if line.marked is not None and line.marked in list(line.x):
                    height = line.y[list(line.x).index(line.marked)]
                    axes.plot([line.marked], [height], "o", color=colour_of(place), markersize=5.5)
        axes.set(xlabel=x, ylabel=y, title=title)
        named = sum(bool(lines) for lines in series.values())
        if named > 3:
            figure.legend(loc="outside lower center", ncols=3)
        elif named > 1:
            axes.legend(loc="best")
        return figure


def bars(groups: Sequence[str], series: Mapping[str, Sequence[Interval]], *, y: str, title: str) -> Figure:
    """Draw bars side by side: one group of bars for each entry of `groups`, one bar of it for each label."""
    with _canvas(2.8) as (figure, axes):
        width = 0.8 / max(len(series), 1)
        for place, (label, values) in enumerate(series.items()):
            positions = np.arange(len(groups)) - 0.4 + width * (place + 0.5)
            means = np.array([value.mean for value in values])
            axes.bar(positions, means, width * 0.92, color=colour_of(place), label=_short(label))
            spread = np.array([[value.mean - value.low, value.high - value.mean] for value in values]).T
            known = np.isfinite(spread).all(axis=0)
            axes.errorbar(
                positions[known],
                means[known],
                yerr=np.maximum(spread[:, known], 0),
                fmt="none",
                ecolor="#39424d",
                elinewidth=1,
            )
        axes.set_xticks(range(len(groups)), groups)
        axes.grid(axis="x", visible=False)
        axes.set_ylim(bottom=0)
        axes.set(ylabel=y, title=title)
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=min(len(series), 3))
        return figure


def frequency_curve(bins: Sequence[str], series: Mapping[str, Sequence[Interval]], *, y: str, title: str) -> Figure:
    """Draw one line for each label over bins in their order, with a band for its intervals."""
    with _canvas(2.8) as (figure, axes):
        positions = np.arange(len(bins))
        for place, (label, values) in enumerate(series.items()):
            mean, low, high = (np.array(column) for column in zip(*values, strict=True))
            axes.plot(positions, mean, "o-", color=colour_of(place), linewidth=1.6, markersize=4, label=_short(label))
            axes.fill_between(positions, low, high, color=colour_of(place), alpha=0.15, linewidth=0)
        axes.set_xticks(positions, bins, rotation=45, ha="right")
        axes.set_ylim(bottom=0)
        axes.set(xlabel="times in training", ylabel=y, title=title)
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=min(len(series), 3))
        return figure


def matrix(rows: Sequence[str], columns: Sequence[str], values: npt.NDArray[np.float64], *, title: str) -> Figure:
    """Draw numbers [rows, columns] as a table of shaded fields; NaN stays empty."""
    with _canvas(0.9 + 0.42 * len(rows)) as (figure, axes):
        axes.imshow(values, cmap="Blues", vmin=0, aspect="auto")
        axes.grid(visible=False)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), [_short(row) for row in rows])
        middle = np.nanmax(values, initial=0) * 0.6
        for row, column in zip(*np.nonzero(np.isfinite(values)), strict=True):
            number = values[row, column]
            axes.text(column, row, f"{number:.4f}", ha="center", va="center", color="w" if number > middle else "#222")
        axes.set_title(title)
        return figure


def points(values: Mapping[str, tuple[float, float]], *, x: str, y: str, title: str) -> Figure:
    """Draw one labelled point (x, y) for each label."""
    with _canvas(2.8) as (figure, axes):
        for place, (label, (right, up)) in enumerate(values.items()):
            mark = _MARKS[place % len(_MARKS)]
            axes.plot([right], [up], mark, color=colour_of(place), markersize=8, label=_short(label))
        axes.margins(0.12)
        axes.set(xlabel=x, ylabel=y, title=title)
        figure.legend(loc="outside lower center", ncols=3)
        return figure


def histogram(values: npt.NDArray[np.float64], *, x: str, title: str) -> Figure:
    """Draw the share of users by the value of a metric between 0 and 1, in twenty bins; exact zeros stand apart."""
    zero = values == 0
    with _canvas(2.6) as (figure, axes):
        edges = np.linspace(0, 1, 21)
        counts, _ = np.histogram(values[~zero], edges)
        share = 100 / max(len(values), 1)
        axes.bar(edges[:-1] + 0.025, counts * share, 0.045, color=COLOURS[0])
        axes.bar([-0.05], [zero.sum() * share], 0.045, color=COLOURS[1])
        axes.set_xticks([-0.05, 0.25, 0.5, 0.75, 1.0], ["none", "0.25", "0.5", "0.75", "1"])
        axes.grid(axis="x", visible=False)
        axes.set(xlabel=x, ylabel="% of users", title=title)
        return figure


def colour_of(place: int) -> str:
    """Return the colour of the series at a place."""
    return COLOURS[place % len(COLOURS)]


def _short(label: str, length: int = 34) -> str:
    return label if len(label) <= length else label[: length - 1] + "…"
