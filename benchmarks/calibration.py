"""How long calibration takes and how much memory: python benchmarks/calibration.py [rows] (1,000,000 by default).

A made view in the shape of MovieLens-1M, 6,040 users and 3,706 items, with three modalities (384, 128 and 512 wide), on
the threads that OMP_NUM_THREADS allows. Memory is the peak of the process over that before the calibration, for these
rows and for half of them: linear in rows means that it at most doubles.
"""

from __future__ import annotations

import multiprocessing
import sys
import time

import numpy as np

from sensorium.core.resources import peak_memory
from sensorium.data.dataset import Features
from sensorium.data.view import TrainView

USERS, ITEMS = 6_040, 3_706
MODALITIES = {"text": 384, "audio": 128, "video": 512}


def made_view(rows: int) -> TrainView:
    """Return a view of distinct pairs, items and users drawn by a power law."""
    draw = np.random.default_rng(0)
    user_share, item_share = (1 / (np.arange(n) + 20.0) ** 0.8 for n in (USERS, ITEMS))
    keys = np.empty(0, dtype=np.int64)
    while len(keys) < rows:
        user = draw.choice(USERS, rows, p=user_share / user_share.sum())
        item = draw.choice(ITEMS, rows, p=item_share / item_share.sum())
        keys = np.unique(np.concatenate([keys, user * ITEMS + item]))
    keys = np.sort(draw.permutation(keys)[:rows])
    features = {
        name: Features(draw.normal(size=(ITEMS, width)).astype(np.float32), draw.random(ITEMS) < 0.9)
        for name, width in MODALITIES.items()
    }
    return TrainView(USERS, ITEMS, keys // ITEMS, keys % ITEMS, None, 0, features, {})


def measure(rows: int) -> None:
    """Calibrate once and print seconds and memory."""
    from sensorium.recommenders.wrappers.calibration import calibrate

    view = made_view(rows)
    calibrate(made_view(2_000))  # what is imported and compiled at the first call is no part of it
    before, begun, cpu = peak_memory(), time.perf_counter(), time.process_time()
    calibrate(view)
    seconds, work = time.perf_counter() - begun, time.process_time() - cpu
    memory = (peak_memory() - before) / 2**20
    print(f"{rows:>9,} rows: {seconds:.1f} s ({work:.1f} s of CPU), {memory:,.0f} MB more at the peak", flush=True)


def main() -> None:
    """Measure half of the rows and all of them, each in a process of its own."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    for count in (rows // 2, rows):
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(count,))
        process.start()
        process.join()


if __name__ == "__main__":
    main()
