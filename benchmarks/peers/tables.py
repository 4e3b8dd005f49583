"""From the kept rows to the tables of docs/results/speed.md: medians with the lowest and the highest of the turns."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import median
from typing import Any

from sensorium.core.files import write_text

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
ROWS = RESULTS / "rows" / "speed.jsonl"
PROFILE_ROWS = RESULTS / "rows" / "speed-profile.jsonl"
PAGE = RESULTS / "speed.md"
BLOCK = re.compile(r"(<!-- speed: ([a-z_]+) -->\n).*?(<!-- end of speed -->)", flags=re.DOTALL)
UNITS = {
    "bpr": "interactions",
    "lightgcn": "interactions",
    "evaluation": "users",
    "freedom_graph": "items",
    "freedom_step": "interactions",
    "lattice_build": "items",
}


def latest_rows() -> list[dict[str, Any]]:
    """Return the last row of each task, shape and number of threads, in the order in which they were first measured."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in ROWS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found[row["task"], row["shape"], row["threads"]] = row
    return list(found.values())


def summary(row: dict[str, Any], name: str) -> dict[str, str]:
    """Return how many times as fast one of our ways is as each peer, turn by turn: median (lowest to highest)."""
    rates = row["rates"]
    if not name.startswith("sensorium"):
        return {}
    return {
        peer: spread([own / other for own, other in zip(rates[name], rates[peer], strict=True)], digits=2)
        for peer in rates
        if not peer.startswith("sensorium")
    }


def spread(values: list[float], *, digits: int) -> str:
    """Return the median of some values, with the lowest and the highest."""
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def rates_table(task: str) -> str:
    """Return the table of one task: a line for each shape, number of threads and library."""
    peers = sorted({name for row in latest_rows() if row["task"] == task for name in row["rates"]})
    peers = [name for name in peers if not name.startswith("sensorium")]
    lines = [
        f"| rows | threads | | {UNITS[task]} per second | {' | '.join(f'times {peer}' for peer in peers)} | load |",
        f"|---|---|---|---|{'---|' * len(peers)}---|",
    ]
    for row in latest_rows():
        if row["task"] != task:
            continue
        for name, rates in row["rates"].items():
            ratios = summary(row, name)
            cells = [row["shape"], str(row["threads"]), name, spread(rates, digits=0)]
            lines.append(f"| {' | '.join([*cells, *(ratios.get(peer, '') for peer in peers), str(row['load'])])} |")
    return "\n".join(lines) + "\n"


def versions_line() -> str:
    """Return what was measured, on what."""
    rows = latest_rows()
    versions = {name: number for row in rows for name, number in row["versions"].items()}
    machines = sorted({row["machine"] for row in rows})
    dates = sorted({row["date"] for row in rows})
    return (
        f"{', '.join(f'{name} {number}' for name, number in sorted(versions.items()))}; {'; '.join(machines)}; "
        f"{' and '.join(dates)}\n"
    )


def filled(page: str) -> str:
    """Return the page with every block made anew."""
    return BLOCK.sub(
        lambda block: f"{block[1]}{versions_line() if block[2] == 'versions' else rates_table(block[2])}{block[3]}",
        page,
    )


def fill() -> None:
    """Fill the page."""
    if PAGE.exists():
        write_text(PAGE, filled(PAGE.read_text(encoding="utf-8")))
