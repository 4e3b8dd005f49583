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
PAGES = (PAGE, RESULTS / "sequential.md")
BLOCK = re.compile(r"(<!-- speed: ([a-z_]+) -->\n).*?(<!-- end of speed -->)", flags=re.DOTALL)
UNITS = {
    "bpr": "interactions",
    "lightgcn": "interactions",
    "sasrec": "interactions",
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


def profile_table() -> str:
    """Return the parts of every hot path, each beside what the machine can do."""
    lines = [
        "| path | rows | part | ms | share | GB/s | of the triad | GFLOP/s | of the product |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for line in PROFILE_ROWS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        counted = [part for part in row["parts"] if not part["name"].startswith(("of these", "the whole"))]
        total = sum(part["seconds"] for part in counted)
        for part in row["parts"]:
            cells = [row["path"], row["shape"], part["name"], f"{1e3 * part['seconds']:.2f}"]
            cells.append(f"{part['seconds'] / total:.0%}")
            for amount, limit in (("moved", "bytes_per_second"), ("operations", "operations_per_second")):
                rate = part[amount] / part["seconds"]
                cells += [f"{rate / 1e9:.1f}", f"{rate / row['limits'][limit]:.0%}"] if rate else ["", ""]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def limits_line() -> str:
    """Return the machine's limits, as the profiles found them."""
    rows = [json.loads(line) for line in PROFILE_ROWS.read_text(encoding="utf-8").splitlines()]
    triad, product = (
        spread([row["limits"][name] / 1e9 for row in rows], digits=1)
        for name in ("bytes_per_second", "operations_per_second")
    )
    loads = spread([row["load"] for row in rows], digits=1)
    return f"Triad {triad} GB/s, product {product} GFLOP/s on one core of {rows[0]['machine']}; load {loads}.\n"


def filled(page: str) -> str:
    """Return the page with every block made anew."""
    makers = {"versions": versions_line, "profile": profile_table, "limits": limits_line}

    def made(block: re.Match[str]) -> str:
        content = makers[block[2]]() if block[2] in makers else rates_table(block[2])
        return f"{block[1]}{content}{block[3]}"

    return BLOCK.sub(made, page)


def fill() -> None:
    """Fill the pages that have tables of speed."""
    for page in PAGES:
        if page.exists():
            write_text(page, filled(page.read_text(encoding="utf-8")))
