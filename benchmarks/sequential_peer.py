"""RecTools' SASRec on the splits of docs/results/sequential.md, measured by the project's own evaluator.

    python benchmarks/peers --install                     # RecTools into an environment of its own, once
    python benchmarks/sequential_peer.py beauty --length 20 [--epochs 25] [--seed 0]
    python benchmarks/sequential_peer.py scientific --length 10
    python benchmarks/sequential_peer.py --table

It is trained on the sequences that our models are trained on (d 64, two blocks, two heads, batches of 128, its own
loss, a softmax over all items), asked after the same histories, and its epochs are chosen on validation by HR@10, every
third one being looked at. A row of docs/results/rows/sequential-peer.jsonl is one training.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from peers.environments import PEERS

from sensorium.core.files import json_line, write_text
from sensorium.core.rundir import machine_class
from sensorium.data.catalogue import open_dataset
from sensorium.data.sequences import sequences
from sensorium.data.splits import TRAIN, make_split
from sensorium.evaluation.bootstrap import mean_interval
from sensorium.evaluation.histories import history_task
from sensorium.evaluation.results import measure

ROWS = Path(__file__).parents[1] / "docs" / "results" / "rows" / "sequential-peer.jsonl"
PAGE = ROWS.parents[1] / "sequential.md"
KS, METRICS = (10, 20), ("hit_rate", "ndcg")


def trained(name: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Train RecTools' model and measure the lists of its best epoch."""
    dataset = open_dataset(name)
    split = make_split(dataset, {"name": "leave_last_out", "max_len": asked["length"]}, seed=0, repeats="all")
    train = sequences(dataset, split, [TRAIN])
    given: dict[str, Any] = {"train": train.values, "train_offsets": train.offsets}
    tasks = {}
    for part in ("valid", "test"):
        histories, task = history_task(dataset, split, part)
        store = histories.of(np.arange(split.n_users))
        given |= {part: store.values, f"{part}_offsets": store.offsets, f"{part}_users": task.query}
        tasks[part] = task
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        np.savez(folder / "data.npz", **given)
        (folder / "asked.json").write_text(json.dumps({**asked, "k": max(KS)}))
        words = [PEERS["rectools"].interpreter, Path(__file__).parent / "peers" / "rectools_lists.py"]
        words += [folder / "data.npz", folder, folder / "asked.json"]
        done = subprocess.run([str(word) for word in words], check=True, stdout=subprocess.PIPE, text=True)
        said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        found = {}
        for line in said[:-1]:
            with np.load(folder / f"lists-{line['epoch']}.npz") as lists:
                results = {part: measure(task, lists[part], ks=KS, metrics=METRICS) for part, task in tasks.items()}
            found[line["epoch"]] = results
            print(line, {part: round(result.summary["hit_rate@10"], 4) for part, result in results.items()}, flush=True)
    best = max(found, key=lambda epoch: found[epoch]["valid"].summary["hit_rate@10"])
    test = found[best]["test"]
    interval = mean_interval(test.per_query["hit_rate@10"], seed=0)
    return {
        "dataset": name,
        **asked,
        "best_epoch": best,
        "users": len(tasks["test"]),
        "valid_hit_rate@10": found[best]["valid"].summary["hit_rate@10"],
        "test": {metric: test.summary[metric] for metric in sorted(test.summary)},
        "interval": [interval.low, interval.high],
        "cpu_seconds": said[-2]["cpu_seconds"],
        "versions": said[-1]["versions"],
        "machine": machine_class(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def fill() -> None:
    """Write the table into the page."""
    lines = [
        "| data | seed | HR@10, users | HR@20 | NDCG@10 | valid HR@10 | best epoch |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in map(json.loads, ROWS.read_text(encoding="utf-8").splitlines()):
        low, high = row["interval"]
        lines.append(
            f"| {row['dataset']} | {row['seed']} | {row['test']['hit_rate@10']:.4f} [{low:.4f}, {high:.4f}] | "
            f"{row['test']['hit_rate@20']:.4f} | {row['test']['ndcg@10']:.4f} | {row['valid_hit_rate@10']:.4f} | "
            f"{row['best_epoch']} of {row['epochs']} |"
        )
    page = PAGE.read_text(encoding="utf-8")
    first, _, rest = page.partition("<!-- sequential-peer -->\n")
    write_text(
        PAGE, f"{first}<!-- sequential-peer -->\n" + "\n".join(lines) + "\n" + rest[rest.index("<!-- end -->") :]
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("dataset", nargs="?", choices=["beauty", "scientific"])
    arguments.add_argument("--length", type=int, default=20)
    arguments.add_argument("--epochs", type=int, default=24)
    arguments.add_argument("--every", type=int, default=3)
    arguments.add_argument("--lr", type=float, default=1e-3)
    arguments.add_argument("--dropout", type=float, default=0.1)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--table", action="store_true", help="fill the page's table and end")
    chosen = vars(arguments.parse_args())
    if chosen.pop("table"):
        fill()
        return
    if (name := chosen.pop("dataset")) is None:
        arguments.error("name a data set, or --table")
    if not PEERS["rectools"].installed:
        sys.exit("RecTools is not installed: python benchmarks/peers --install")
    row = trained(name, chosen)
    with ROWS.open("a", encoding="utf-8") as handle:
        handle.write(json_line(row) + "\n")


if __name__ == "__main__":
    main()
