"""Scale: a generated log becomes a data set, grows, and becomes sequences; seconds, peak memory, sizes.

    export OMP_NUM_THREADS=2 POLARS_MAX_THREADS=2
    python benchmarks/scale.py                        # import 1 M rows of 0.3 M users
    python benchmarks/scale.py --rows 10              # 10 M rows of 3 M users
    python benchmarks/scale.py --what append          # a hundredth of the rows joins the data set
    python benchmarks/scale.py --what sequences       # the packed sequences of such a log
    python benchmarks/scale.py --table                # fills the tables of docs/results/scale.md from the rows

The log is gzip CSV, unsorted, with ids of 28 characters; it is written once into --folder (default: a temporary one).
Each job runs in a process of its own, so that its peak memory is its own; what a process takes that imports the
libraries and nothing else is said beside it. Users have a long tail of rows, items too (a tenth as many items as
users). For sequences, the tables are written without an import. Each measurement is a row of --out.
"""

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from sensorium.core.files import json_line, write_text
from sensorium.core.resources import readable_bytes
from sensorium.core.rundir import machine_class
from sensorium.data.schema import Source
from sensorium.data.store import new_folder, write_tables

ROWS = Path(__file__).parents[1] / "docs" / "results" / "rows" / "scale.jsonl"
PAGE = ROWS.parents[1] / "scale.md"
CHUNK = 1_000_000
MEASURE = """
import json, sys, time
from sensorium.core.resources import peak_memory
{imports}
base = peak_memory()
begun, cpu = time.monotonic(), time.process_time()
data = {work}
print(json.dumps({{"seconds": time.monotonic() - begun, "cpu": time.process_time() - cpu, "peak": peak_memory(),
                   "base": base}}))
"""
JOBS = {
    "import": (
        "from sensorium.data.importing import ImportConfig, import_dataset",
        "import_dataset(sys.argv[1], sys.argv[2], ImportConfig(), overwrite=True)",
    ),
    "append": (
        "from sensorium.data.appending import append_to_dataset\nfrom sensorium.data.importing import ImportConfig",
        "append_to_dataset(sys.argv[1], sys.argv[2], ImportConfig())",
    ),
    "sequences": (
        "from sensorium.data.dataset import Dataset\nfrom sensorium.data.sequences import stored_sequences",
        "stored_sequences(Dataset.open(sys.argv[2]), timestamps=True)",
    ),
}


def write_log(path: Path, rows: int, users: int, seed: int = 0) -> None:
    """Write the log in pieces; ids are text of 28 characters."""
    draw = np.random.default_rng(seed)
    with gzip.open(path, "wb", compresslevel=1) as handle:
        handle.write(b"user_id,item_id,rating,timestamp\n")
        for start in range(0, rows, CHUNK):
            n = min(CHUNK, rows - start)
            user = (users * draw.random(n) ** 1.5).astype(np.uint64)
            item = (users // 10 * draw.random(n) ** 3).astype(np.uint64)
            frame = pl.DataFrame(
                {
                    "user_id": text(user, np.uint64(0x9E3779B97F4A7C15)),
                    "item_id": text(item, np.uint64(0xBF58476D1CE4E5B9)),
                    "rating": draw.integers(1, 6, n),
                    "timestamp": 1_500_000_000 + draw.integers(0, 10**8, n),
                }
            )
            handle.write(frame.write_csv(include_header=False).encode())


def text(code: np.ndarray, factor: np.uint64) -> pl.Series:
    """28 characters for each code, in an order that is not that of the codes."""
    mixed = (code + np.uint64(1)) * factor
    mixed ^= mixed >> np.uint64(31)
    digits = pl.col("code").cast(pl.String).str.zfill(20)
    return pl.DataFrame({"code": mixed}).select("ID" + digits + digits.str.slice(14, 6)).to_series()


def write_rows(folder: Path, rows: int, users: int) -> None:
    """Write a data set with the users, items and times of such a log, and short ids."""
    draw = np.random.default_rng(0)
    items = users // 10
    user = (users * draw.random(rows) ** 1.5).astype(np.int32)
    item = (items * draw.random(rows) ** 3).astype(np.int32)
    timestamp = (1_500_000_000 + draw.integers(0, 10**8, rows)) * 1000
    tables = {
        kind: pl.DataFrame({kind: np.arange(count, dtype=np.int32)}).with_columns(
            pl.col(kind).cast(pl.String).str.zfill(9).alias(f"{kind}_id")
        )
        for kind, count in (("user", users), ("item", items))
    }
    with new_folder(folder) as temporary:
        write_tables(
            temporary,
            name=folder.name,
            source=Source(reader="made"),
            interactions=pl.DataFrame({"user": user, "item": item, "timestamp": timestamp}),
            items=tables["item"],
            users=tables["user"],
        )


def measure(job: str, *arguments: Path) -> dict[str, float]:
    """Run a job in a process of its own."""
    imports, work = JOBS[job]
    words = [sys.executable, "-c", MEASURE.format(imports=imports, work=work), *map(str, arguments)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def tables(rows: list[dict[str, float]]) -> dict[str, str]:
    """Return the table of each job, by rows of the log; the last measurement of a size stands."""
    made = {}
    for job in JOBS:
        found = {row["rows"]: row for row in rows if row["job"] == job}
        lines = [
            "| rows | users | Parquet | CPU | clock | peak memory | over Parquet | without the libraries |",
            "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for size, row in sorted(found.items()):
            peak, base, parquet = (row[name] for name in ("peak", "base", "parquet"))
            lines.append(
                f"| {size / 1e6:g} M | {row['users'] / 1e6:g} M | {parquet / 2**20:.1f} MB | {row['cpu']:.1f} s | "
                f"{row['seconds']:.1f} s | {peak / 2**20:.0f} MB | {peak / parquet:.2f} | "
                f"{(peak - base) / parquet:.2f} |"
            )
        made[job] = "\n".join(lines) + "\n"
    return made


def fill() -> None:
    """Write the tables into the page."""
    made = tables([json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()])
    page = PAGE.read_text(encoding="utf-8")
    for job, table in made.items():
        page = re.sub(
            rf"(<!-- scale: {job} -->\n).*?(<!-- end -->)",
            lambda block, table=table: f"{block[1]}{table}{block[2]}",
            page,
            flags=re.DOTALL,
        )
    write_text(PAGE, page)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--what", choices=list(JOBS), default="import")
    arguments.add_argument("--rows", type=float, default=1.0, help="millions of rows; 0.3 times as many users")
    arguments.add_argument("--folder", type=Path, help="where the log and the data sets lie, and stay")
    arguments.add_argument("--out", type=Path, default=ROWS, help="the rows of measurements; this one joins them")
    arguments.add_argument("--table", action="store_true", help="fill the page's tables and end")
    chosen = arguments.parse_args()
    if chosen.table:
        fill()
        return
    rows, users = int(chosen.rows * 1e6), int(0.3e6 * chosen.rows)
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        log, out = folder / f"log-{chosen.rows:g}m.csv.gz", folder / f"data-{chosen.rows:g}m"
        if chosen.what == "sequences":
            out = folder / f"rows-{chosen.rows:g}m"
            if not out.exists():
                write_rows(out, rows, users)
            found = measure("sequences", log, out)
        else:
            if not log.exists():
                write_log(log, rows, users)
                print(f"log: {rows:,} rows, {readable_bytes(log.stat().st_size)} gzip")
            if chosen.what == "append":
                more = folder / f"more-{chosen.rows:g}m.csv.gz"
                write_log(more, rows // 100, users, seed=1)
                if not out.exists():
                    measure("import", log, out)
                found, rows = measure("append", more, out), rows // 100
            else:
                found = measure("import", log, out)
        size = sum(path.stat().st_size for path in out.glob("*.parquet"))
        more_than_base = found["peak"] - found["base"]
        row = {
            "job": chosen.what,
            "rows": int(chosen.rows * 1e6),
            "users": users,
            **found,
            "parquet": size,
            "machine": machine_class(),
            "threads": os.environ.get("POLARS_MAX_THREADS", "all"),
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
        }
        with chosen.out.open("a", encoding="utf-8") as handle:
            handle.write(json_line(row) + "\n")
        print(f"machine: {machine_class()}")
        print(f"Parquet: {readable_bytes(size)}")
        print(
            f"{chosen.what}: {found['seconds']:.1f} s, {found['cpu']:.1f} s of CPU, {rows / found['cpu']:,.0f} rows/s"
        )
        print(f"peak memory: {readable_bytes(found['peak'])}, of which libraries {readable_bytes(found['base'])}")
        print(f"peak over Parquet: {found['peak'] / size:.2f}; without the libraries {more_than_base / size:.2f}")


if __name__ == "__main__":
    main()
