"""Lists for everybody, timed: 100,000 users x 20,000 items, top 20, ids, scores and ranks into one Parquet file.

    OMP_NUM_THREADS=2 python benchmarks/serving.py          # more than 10,000 users/s, flat memory
    OMP_NUM_THREADS=2 python benchmarks/serving.py --users 20000 --keep

A seeded data set is written, BPR is trained on it for one epoch, and everybody's lists are written by a process of its
own: once whole, once killed (SIGKILL) halfway and called again. Printed: users per second and per CPU-second of the
export (where other programs share the cores only the second one says what the code costs), the largest memory of the
process, the wall time of the whole command, and whether the two files are the same bytes.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from sensorium.core.resources import readable_bytes
from sensorium.core.rundir import machine_class
from sensorium.data.schema import Source
from sensorium.data.store import new_folder, write_tables
from sensorium.experiments.run import run

COMMAND = """
import sys, time
from sensorium.core.resources import peak_memory
from sensorium.experiments.run import load_run
from sensorium.serving.export import recommend_all
begun = time.monotonic()
loaded = load_run(sys.argv[1])
print(f"loaded in {time.monotonic() - begun:.1f} s", flush=True)
before = time.process_time()
written = recommend_all(loaded, sys.argv[2], k=20)
cpu = time.process_time() - before
peak = peak_memory()
print(written.users + written.empty - written.reused, written.seconds, cpu, peak, flush=True)
"""


def write_data(folder: Path, users: int, items: int, rows_per_user: int) -> None:
    """Users with a few taken items each, items in a long tail."""
    rng = np.random.default_rng(0)
    popularity = 1 / (np.arange(items) + 20.0)
    user = np.repeat(np.arange(users), rows_per_user)
    item = rng.choice(items, len(user), p=popularity / popularity.sum())
    pairs = np.unique(user * items + item)
    with new_folder(folder) as new:
        write_tables(
            new,
            name="large",
            source=Source(reader="benchmark"),
            interactions=pl.DataFrame(
                {"user": (pairs // items).astype(np.int32), "item": (pairs % items).astype(np.int32)}
            ),
            items=pl.DataFrame(
                {"item": np.arange(items, dtype=np.int32), "item_id": [f"item-{number}" for number in range(items)]}
            ),
            users=pl.DataFrame(
                {"user": np.arange(users, dtype=np.int32), "user_id": [f"user-{number}" for number in range(users)]}
            ),
        )


def ask(path: Path, out: Path) -> tuple[int, float, float, int, float]:
    """Write all lists in a new process: users, seconds and CPU-seconds of the export, peak memory, wall time."""
    begun = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", COMMAND, path, out], capture_output=True, text=True, check=True)
    users, seconds, cpu, peak = ended.stdout.splitlines()[-1].split()
    return int(users), float(seconds), float(cpu), int(peak), time.monotonic() - begun


def ask_and_kill(path: Path, out: Path, users: int) -> None:
    """Start the same, and kill it when half of its parts are there."""
    parts = out.with_name(f".{out.name}.parts")
    process = subprocess.Popen([sys.executable, "-c", COMMAND, path, out], stdout=subprocess.DEVNULL)
    wanted = max(1, -(-users // 16_384) // 2)
    while process.poll() is None and len(list(parts.glob("0*.parquet"))) < wanted:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--rows-per-user", type=int, default=20)
    parser.add_argument("--keep", action="store_true", help="keep the data set and the run, and say where")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sensorium-serving-"))
    try:
        write_data(folder / "data", chosen.users, chosen.items, chosen.rows_per_user)
        config = {
            "data": {"dataset": str(folder / "data")},
            "model": {"name": "bpr"},
            "training": {"epochs": 1, "batch_size": 65_536},
            "evaluation": {"ks": [20], "metrics": ["recall"]},
        }
        path = run(config, out=folder / "run").path
        print(f"{machine_class()}, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}")
        users, seconds, cpu, peak, wall = ask(path, folder / "whole.parquet")
        print(f"{users:,} users x {chosen.items:,} items, top 20, in {seconds:.1f} s")
        print(f"{users / seconds:,.0f} users/s, {users / cpu:,.0f} users per CPU-second")
        print(f"whole command {wall:.1f} s, largest memory {readable_bytes(peak)}")
        ask_and_kill(path, folder / "killed.parquet", chosen.users)
        left, seconds, *_ = ask(path, folder / "killed.parquet")
        same = (folder / "whole.parquet").read_bytes() == (folder / "killed.parquet").read_bytes()
        print(f"killed halfway and called again: {left:,} users were left ({seconds:.1f} s), same bytes: {same}")
    finally:
        if chosen.keep:
            print(f"kept in {folder}")
        else:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
