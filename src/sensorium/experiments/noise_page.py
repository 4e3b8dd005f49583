"""The page of `sensorium noise`: the most suspicious rows with pictures, and the distribution of all weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sensorium.core.pages import figure, picture, write_page
from sensorium.experiments.noise import PLANTED, NoiseReport
from sensorium.media.errors import MediaError
from sensorium.media.images import read_image

if TYPE_CHECKING:
    from markupsafe import Markup

POSTER = 96  # pixels
BINS = np.linspace(0, 1, 41)


def write_noise_page(report: NoiseReport, path: str | Path, *, top: int) -> Path:
    """Write the page and return its path.

    Args:
        report: What was found.
        path: The file.
        top: How many rows are shown.
    """
    rows = report.rows.head(top).to_dicts()
    pictures = _pictures(report, [row["item_id"] for row in rows])
    write_page(
        path,
        title=f"Suspicious interactions of {report.dataset.name}",
        template="experiments/templates/noise.html",
        lead=f"The {len(rows)} of {report.rows.height:,} rows that are least like their users' others, worst first.",
        facts=report.facts(),
        histogram=_histogram(report),
        rows=[
            {**row, "picture": pictures.get(row["item_id"]), "words": report.sentence(row), "known": row.get(PLANTED)}
            for row in rows
        ],
        with_planted=report.planted is not None,
    )
    return Path(path)


def _pictures(report: NoiseReport, item_ids: list[str]) -> dict[str, Markup]:
    """Return the pictures of the items that have a readable one."""
    dataset = report.dataset
    table = dataset.items()
    if "image" not in table.collect_schema().names():
        return {}
    files = dict(table.select("item_id", "image").collect().iter_rows())
    found: dict[str, Markup] = {}
    for item in dict.fromkeys(item_ids):
        if not files.get(item):
            continue
        try:
            image = read_image(dataset.media_path(files[item]))
        except MediaError:
            continue
        image.thumbnail((POSTER, POSTER))
        found[item] = picture(image, description=f"picture of {item}")
    return found


def _histogram(report: NoiseReport) -> Markup:
    import matplotlib.pyplot as plt

    plot, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
    weight = report.rows["weight"].to_numpy()
    groups: dict[str, Any] = {"all rows": weight}
    if report.planted is not None:
        mask = report.rows[PLANTED].to_numpy()
        groups = {"planted noise": weight[mask], "other rows": weight[~mask]}
    axes.hist(list(groups.values()), bins=BINS.tolist(), stacked=True, label=list(groups))
    axes.set_xlabel("weight: how likely the row is meant")
    axes.set_ylabel("rows")
    if len(groups) > 1:
        axes.legend(frameon=False)
    return figure(plot, description="How many rows have which weight, from 0 (noise) to 1 (meant).")
