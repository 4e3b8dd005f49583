"""What `inspect` found, as one HTML page that loads nothing: numbers, plots, and items with their media."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sensorium.core.pages import figure, picture, write_page
from sensorium.core.resources import readable_bytes
from sensorium.data.dataset import Dataset
from sensorium.data.inspecting import Inspection, inspect
from sensorium.media.errors import MediaError
from sensorium.media.images import read_image

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

THUMBNAIL = 240  # pixels
EMBEDDED = {"audio": 400_000, "video": 1_000_000}  # bytes of a file that goes into the page
TYPES = {
    ".mp3": "audio/mpeg", ".wav": "audio/wav", ".flac": "audio/flac", ".ogg": "audio/ogg", ".m4a": "audio/mp4",
    ".mp4": "video/mp4", ".webm": "video/webm",
}  # fmt: skip
BLUE, ORANGE = "#0072b2", "#d55e00"


class Bar(NamedTuple):
    """A count of a whole, with its share for a bar."""

    name: str
    shown: str
    share: str
    width: float


def write_inspection(dataset: Dataset, path: str | Path, found: Inspection | None = None) -> Path:
    """Write the page and return its path.

    Args:
        dataset: The data set; media of the sample are read from it.
        path: The file.
        found: What `inspect` found; None looks now.
    """
    found = inspect(dataset) if found is None else found
    write_page(
        path,
        title=f"Data set {found.name}",
        template="data/templates/inspection.html",
        lead=_lead(found),
        cards=_cards(found),
        counts=[(kind.replace("_", " "), f"{count:,}") for kind, count in found.counts.items()],
        tail=_tail(found),
        head_share=f"{found.head_share:.1%}",
        quantiles=[
            (f"{share:.0%}", f"{count:,}", f"{found.rows_per_item[share]:,}")
            for share, count in found.rows_per_user.items()
        ],
        time=None if found.span is None else _time(found),
        span=found.span,
        tied=None if found.tied_share is None else f"{found.tied_share:.1%}",
        coverage=_bars(found.coverage, found.counts["items"]),
        features=[
            (name, str(dim), f"{present:,}", made_by) for name, (dim, present, made_by) in found.features.items()
        ],
        rejected=_bars(found.rejected, sum(found.rejected.values())),
        rejected_rows=found.rejected_rows.to_dicts(),
        sensitive={name: _bars(counts, sum(counts.values())) for name, counts in found.sensitive.items()},
        planted=[] if found.planted is None else [(key, str(value)) for key, value in found.planted.items()],
        items=[_item(dataset, row) for row in found.sample.iter_rows(named=True)],
        earlier=[f"{rows:,}" for rows in found.earlier],
        notices=found.notices,
    )
    return Path(path)


def _lead(found: Inspection) -> str:
    counts = found.counts
    span = "no times" if found.span is None else f"{found.span[0]} to {found.span[1]}"
    return (
        f"{counts['users']:,} users, {counts['items']:,} items, {counts['interactions']:,} rows; {span}; "
        f"licence: {found.licence or 'not stated'}."
    )


def _cards(found: Inspection) -> list[tuple[str, str]]:
    cards = [
        ("users", f"{found.counts['users']:,}"),
        ("items", f"{found.counts['items']:,}"),
        ("rows", f"{found.counts['interactions']:,}"),
        ("density", f"{found.density:.3%}"),
        ("duplicates dropped", f"{found.counts.get('duplicates', 0):,}"),
        ("repeated pairs", f"{found.repeated_pairs:,}"),
        ("rows set aside", f"{sum(found.rejected.values()):,}"),
    ]
    if found.tied_share is not None:
        cards.append(("rows that share user and time", f"{found.tied_share:.1%}"))
    return cards


def _bars(counts: dict[str, int], whole: int) -> list[Bar]:
    return [
        Bar(name.replace("_", " "), f"{count:,}", f"{count / max(whole, 1):.1%}", round(100 * count / max(whole, 1), 1))
        for name, count in counts.items()
    ]


# --- plots ---


@contextmanager
def _canvas(height: float) -> Iterator[tuple[Figure, Axes]]:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {"font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True}
    with mpl.rc_context({**style, "axes.axisbelow": True, "grid.color": "#e3e7ec"}):
        plot = Figure(figsize=(7.2, height), layout="constrained")
        yield plot, plot.add_subplot()


def _tail(found: Inspection) -> Markup:
    """Return the rows of each item by its place, and what share of all rows the items up to there have."""
    count = found.popularity
    place = np.unique(np.geomspace(1, len(count), 200).astype(np.int64))  # what a plot can show
    share = np.cumsum(count)[place - 1] / max(count.sum(), 1)
    with _canvas(2.9) as (plot, axes):
        axes.plot(place, np.maximum(count[place - 1], 0.5), color=BLUE)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("item, from popular to rare")
        axes.set_ylabel("rows", color=BLUE)
        other = axes.twinx()
        other.plot(place, share, color=ORANGE, linestyle="--")
        other.set_ylim(0, 1.02)
        other.set_ylabel("share of all rows up to here", color=ORANGE)
        other.grid(visible=False)
    return figure(plot, description="Rows of each item from the most popular to the rarest, and their running share.")


def _time(found: Inspection) -> Markup:
    months = list(found.months)
    with _canvas(2.3) as (plot, axes):
        axes.bar(range(len(months)), list(found.months.values()), color=BLUE, width=1.0)
        ticks = np.unique(np.linspace(0, len(months) - 1, min(len(months), 8)).astype(np.int64)).tolist()
        axes.set_xticks(ticks, [months[tick] for tick in ticks])
        axes.set_ylabel("rows a month")
    return figure(plot, description="How many rows there are in each month that has any.")


# --- items ---


def _item(dataset: Dataset, row: dict[str, Any]) -> dict[str, Any]:
    media: list[Markup] = []
    missing: list[str] = []
    for kind in ("image", "audio", "video"):
        if not row[kind]:
            continue
        try:
            media.append(_shown(kind, dataset.media_path(row[kind]), str(row["title"])))
        except (MediaError, OSError) as error:
            missing.append(f"{kind}: {getattr(error, 'detail', error)}")
    return {**row, "media": media, "missing": missing, "rows": f"{row['rows']:,}"}


def _shown(kind: str, path: Path, title: str) -> Markup:
    from markupsafe import Markup

    if kind == "image":
        image = read_image(path)
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        return picture(image, description=f"picture of {title}")
    size = path.stat().st_size
    media_type = TYPES.get(path.suffix)
    if size > EMBEDDED[kind] or media_type is None:
        return Markup('<span class="note">{} of {}</span>').format(kind, readable_bytes(size))
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    tag = Markup('<{} controls preload="none" style="width:100%" src="data:{};base64,{}"></{}>')
    return tag.format(kind, media_type, data, kind)
