"""Import at scale: a generated log as gzip CSV, unsorted, with ids of 28 characters; seconds, peak memory, sizes.

    OMP_NUM_THREADS=2 POLARS_MAX_THREADS=2 python benchmarks/scale.py                # 1 M rows, 0.3 M users
    OMP_NUM_THREADS=2 POLARS_MAX_THREADS=2 python benchmarks/scale.py --rows 10      # 10 M rows, 3 M users

The log is written once into --folder (default: a temporary one). The import runs in a process of its own, so that its
peak memory is its own; what a process takes that imports the libraries and nothing else is said beside it. Users have
a long tail of rows, items too (a tenth as many items as users).
"""

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from sensorium.core.resources import readable_bytes
from sensorium.core.rundir import machine_class

CHUNK = 1_000_000
IMPORT = """
import json, sys, time
from pathlib import Path
import sensorium.data.importing as importing

def peak_memory():  # VmHWM begins anew with each program; ru_maxrss is handed on by the parent
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

base = peak_memory()
begun, cpu = time.monotonic(), time.process_time()
data = importing.import_dataset(sys.argv[1], sys.argv[2], importing.ImportConfig(), overwrite=True)
print(json.dumps({"seconds": time.monotonic() - begun, "cpu": time.process_time() - cpu, "peak": peak_memory(),
                  "base": base, "users": data.n_users, "items": data.n_items, "rows": data.n_interactions}))
"""


def write_log(path: Path, rows: int, users: int) -> None:
    """Write the log in pieces; ids are seeded hexadecimal text of 28 characters."""
    draw = np.random.default_rng(0)
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


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=float, default=1.0, help="millions of rows; 0.3 times as many users")
    arguments.add_argument("--folder", type=Path, help="where the log and the data set lie, and stay")
    chosen = arguments.parse_args()
    rows = int(chosen.rows * 1e6)
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / f"log-{chosen.rows:g}m.csv.gz"
        if not log.exists():
            write_log(log, rows, int(0.3 * rows))
        out = folder / f"data-{chosen.rows:g}m"
        done = subprocess.run(
            [sys.executable, "-c", IMPORT, str(log), str(out)], check=True, capture_output=True, text=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        size = sum(path.stat().st_size for path in out.glob("*.parquet"))
        print(f"machine: {machine_class()}")
        print(f"log: {rows:,} rows, {readable_bytes(log.stat().st_size)} gzip")
        print(f"data set: {found['users']:,} users, {found['items']:,} items, {found['rows']:,} rows")
        print(f"Parquet: {readable_bytes(size)}")
        print(f"import: {found['seconds']:.1f} s, {found['cpu']:.1f} s of CPU, {rows / found['seconds']:,.0f} rows/s")
        print(f"peak memory: {readable_bytes(found['peak'])}, of which libraries {readable_bytes(found['base'])}")
        more = found["peak"] - found["base"]
        print(f"peak over Parquet: {found['peak'] / size:.2f}; without the libraries {more / size:.2f}")


if __name__ == "__main__":
    main()
