"""Fill the tables of docs/results from the committed rows: python tools/fill_results.py [--check].

A page holds `<!-- rows: TOPIC -->` and `<!-- end of rows -->`; what stands between is the table of that topic's rows.
With --check nothing is written, and the exit status is 1 when a page differs from its rows.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sensorium.core.files import write_text
from sensorium.experiments.rows_table import rows_table

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
BLOCK = re.compile(r"(<!-- rows: ([a-z0-9-]+) -->\n).*?(<!-- end of rows -->)", flags=re.DOTALL)


def filled(page: str) -> str:
    """Return a page with every table made anew from its rows."""
    return BLOCK.sub(lambda block: f"{block[1]}{rows_table(block[2], rows=RESULTS / 'rows')}{block[3]}", page)


def main(arguments: list[str]) -> int:
    """Fill or check all pages; return the exit status."""
    stale = []
    for path in sorted(RESULTS.glob("*.md")):
        page = path.read_text(encoding="utf-8")
        if (made := filled(page)) != page:
            stale.append(path.name)
            if "--check" not in arguments:
                write_text(path, made)
    print(f"tables differ from their rows in: {', '.join(stale)}" if stale else "every table is that of its rows")
    return int(bool(stale) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
