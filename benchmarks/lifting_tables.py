"""The tables of docs/results/contrastive-gaussian.md about lifting, from the rows of benchmarks/lifting.py.

Differences are paired: of two arms on the same object and seed, means over the seeds of an object, and a 95 % interval
by bootstrap over the objects (10,000 draws).

A table shows lifts with one set of weights of the embedded prior: the shipped ones, or where these have no row the ones
that were measured last; and says which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from sensorium.core.files import digest
from sensorium.core.seeds import numpy_generator
from sensorium.lifting.guidance.view_prior import ViewPriorConfig
from sensorium.lifting.prior import ViewPrior

Row = dict[str, Any]
Table = Callable[[Sequence[Row]], str]
DRAWS = 10_000

# Name in a heading, its place in a row below "cloud" or "mesh", digits.
NOVEL = [
    ("PSNR, dB", ("novel", "psnr"), 2),
    ("LPIPS", ("novel", "lpips"), 3),
    ("IoU", ("novel", "iou"), 3),
    ("the photo's view, dB", ("reference", "psnr"), 1),
]
STRESS = [
    ("PSNR, dB", ("novel", "psnr"), 2),
    ("behind, dB", ("novel", "behind_psnr"), 2),
    ("Janus index", ("novel", "janus"), 3),
    ("LPIPS of the photo's view", ("reference", "lpips"), 3),
]


def table(
    rows: Sequence[Row], suite: str, asset: str, columns: list[tuple[str, tuple[str, str], int]], base: str
) -> str:
    """Means by arm, and in brackets the paired difference to the base arm with its interval."""
    mine = [row for row in rows if row["suite"] == suite and asset in row]
    if not mine:
        return "not run here"
    lines = [
        f"| arm | lifts | {' | '.join(name for name, _, _ in columns)} |",
        "| --- " + "| ---: " * (len(columns) + 1) + "|",
    ]
    for arm in dict.fromkeys(row["arm"] for row in mine):
        found = [row for row in mine if row["arm"] == arm]
        cells = []
        for _, path, digits in columns:
            values = by_object(found, asset, path)
            cell = f"{np.mean([np.mean(list(one.values())) for one in values.values()]):.{digits}f}"
            if arm != base and (
                difference := paired(values, by_object([r for r in mine if r["arm"] == base], asset, path))
            ):
                mean, low, high = difference
                cell += f" ({mean:+.{digits}f}: {low:+.{digits}f} to {high:+.{digits}f})"
            cells.append(cell)
        lines.append(f"| {arm} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def by_object(rows: Sequence[Row], asset: str, path: tuple[str, str]) -> dict[str, dict[int, float]]:
    """Values by object and seed."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        found.setdefault(row["thing"], {})[row["seed"]] = row[asset][path[0]][path[1]]
    return found


def paired(one: dict[str, dict[int, float]], other: dict[str, dict[int, float]]) -> tuple[float, float, float] | None:
    """Mean difference over objects that both have, and its interval; None with fewer than two."""
    differences = [
        float(np.mean([one[thing][seed] - other[thing][seed] for seed in one[thing] if seed in other[thing]]))
        for thing in one
        if thing in other and set(one[thing]) & set(other[thing])
    ]
    if len(differences) < 2:
        return None
    draws = numpy_generator(0, "paired differences", len(differences)).integers(
        0, len(differences), (DRAWS, len(differences))
    )
    means = np.array(differences)[draws].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean(differences)), float(low), float(high)


def differences_table(rows: Sequence[Row]) -> str:
    """Novel PSNR of every object, by arm, at the size of `cpu-fast`."""
    mine = [row for row in rows if row["suite"] == "ends" and "mesh" in row]
    if not mine:
        return "not run here"
    arms = list(dict.fromkeys(row["arm"] for row in mine))
    lines = [f"| object | family | {' | '.join(arms)} |", "| --- | --- " + "| ---: " * len(arms) + "|"]
    for thing in dict.fromkeys(row["thing"] for row in mine):
        values = {row["arm"]: row for row in mine if row["thing"] == thing}
        cells = [f"{values[arm]['mesh']['novel']['psnr']:.2f}" if arm in values else "not run here" for arm in arms]
        lines.append(f"| {thing} | {next(iter(values.values()))['family']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def photos_table(rows: Sequence[Row]) -> str:
    mine = [row for row in rows if row["suite"] == "photos"]
    if not mine:
        return "not run here"
    lines = ["| picture | mesh, dB | mesh, LPIPS | cloud, dB | Gaussians | faces | watertight | CPU s | wall s |",
             "| --- " + "| ---: " * 5 + "| --- | ---: | ---: |"]  # fmt: skip
    for row in mine:
        mesh, cloud, facts = row["mesh"]["reference"], row["cloud"]["reference"], row["mesh_facts"]
        name = row["thing"].removesuffix("_rgba.png")
        lines.append(
            f"| {name} | {mesh['psnr']:.1f} | {mesh['lpips']:.3f} | {cloud['psnr']:.1f} "
            f"| {row['gaussians']:,} | {facts['faces']:,} | {'yes' if facts['watertight'] else 'no'} | "
            f"{row['cpu_seconds']:.0f} | {row['wall_seconds']:.0f} |"
        )
    return "\n".join(lines)


def enlarging_table(rows: Sequence[Row]) -> str:
    columns = [
        ("LPIPS of the photo's view", ("reference", "lpips"), 3),
        ("the photo's view, dB", ("reference", "psnr"), 2),
    ]
    return table(rows, "enlarging", "mesh", columns, "lanczos")


def superres_table(rows: Sequence[Row]) -> str:
    """Small photos by the whole method; differences are to super-resolution by a network."""
    columns = [*NOVEL, ("LPIPS of the photo's view", ("reference", "lpips"), 3)]
    return table(rows, "superres", "mesh", columns, "super-resolution")


@lru_cache
def known_weights() -> dict[str, str]:
    """The identities that rows record of the shipped weights, first, and of those that they began with, to SHA-256."""
    card: Row | None = ViewPrior.shipped().card
    found = {}
    while card is not None:
        found[digest(card["sha256"], ViewPriorConfig().scale)[:12]] = str(card["sha256"])
        card = card.get("begun_from")
    return found


def of_one_prior(rows: Sequence[Row]) -> tuple[list[Row], str | None]:
    """Rows without other weights of the embedded prior than one identity's, and that identity; None: it has no say."""
    identities = [row["weights"] for row in rows if "weights" in row]
    if not identities:
        return list(rows), None
    shipped = next(iter(known_weights()))
    chosen = shipped if shipped in identities else identities[-1]
    return [row for row in rows if row.get("weights", chosen) == chosen], chosen


def with_weights(suite: str, make: Table) -> Table:
    """A table of a suite from rows of one set of weights, and below it which weights these are."""

    def made(rows: Sequence[Row]) -> str:
        mine, identity = of_one_prior([row for row in rows if row["suite"] == suite])
        if identity is None:
            return make(mine)
        known = known_weights()
        name = f"weights `{known[identity][:12]}`" if identity in known else f"weights of identity `{identity}`"
        shipped = "the shipped ones" if identity == next(iter(known)) else "not the shipped ones"
        return f"{make(mine)}\n\nThe embedded prior has {name} here, {shipped}."

    return made


TABLES: dict[str, Table] = {
    "clean": lambda rows: table(rows, "clean", "cloud", STRESS, "off"),
    "janus": lambda rows: table(rows, "janus", "cloud", STRESS, "off"),
    "lathes": lambda rows: table(rows, "lathes", "cloud", STRESS, "off"),
    "ends": with_weights("ends", lambda rows: table(rows, "ends", "mesh", NOVEL, "base")),
    "objects": with_weights("ends", differences_table),
    "small": with_weights("small", lambda rows: table(rows, "small", "mesh", NOVEL, "base")),
    "photos": with_weights("photos", photos_table),
    "enlarging": with_weights("enlarging", enlarging_table),
    "superres": with_weights("superres", superres_table),
}
