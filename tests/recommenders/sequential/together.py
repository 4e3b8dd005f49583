"""A program that several processes run together: sequential models, whose loss is over the items of the whole batch.

    torchrun --nproc-per-node 2 tests/recommenders/sequential/together.py FOLDER
    python tests/recommenders/sequential/together.py FOLDER

The first process writes FOLDER/<case>.json: the losses of every epoch, and the vectors of all items after the last.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from sensorium.core.processes import joined, processes
from sensorium.core.rundir import RunDirectory
from sensorium.evaluation.selection import Selection
from sensorium.recommenders.sequential.gru4rec import GRU4Rec
from sensorium.recommenders.sequential.model import SequentialRecommender
from sensorium.recommenders.sequential.nextitnet import NextItNet
from sensorium.recommenders.sequential.sasrec import SASRec
from sensorium.recommenders.towers.id import IDTower
from sensorium.testing.histories import ordered_view
from sensorium.training.config import TrainingConfig
from sensorium.training.loop import train
from sensorium.training.protocols import TrainingData

SMALL = {"dim": 8, "length": 5, "dropout": 0.2}
CASES: dict[str, tuple[type[SequentialRecommender], dict[str, Any]]] = {
    "sasrec": (SASRec, {}),
    "gru4rec": (GRU4Rec, {}),
    "nextitnet": (NextItNet, {"windows": "all"}),
    "sampled": (SASRec, {"objective": "sampled"}),
    "full": (SASRec, {"objective": "full", "tower": "features"}),
    "costly": (SASRec, {}),
}


def work(folder: Path) -> None:
    torch.set_num_threads(1)
    view = ordered_view()
    for name, (cls, options) in CASES.items():
        IDTower.costly = name == "costly"  # its vectors then are computed in parts and brought together
        model = cls(view, cls.Config(**SMALL, **options))
        path = folder / name
        if processes().first:
            RunDirectory.create(path, {"kind": "toy"})
        processes().wait()
        # 59 windows: uneven slices, and a last batch of one window, which both processes take whole
        batches = model.make_batches(29, 1)
        train(
            model,
            TrainingData(batches, lambda _: {"last": 0.0}),
            TrainingConfig.model_validate(
                {
                    "epochs": 2,
                    "validate_every": 2,
                    "patience": 0,
                    "device": "cpu",
                    "optimizer": {"name": "adam", "lr": 0.01},
                }
            ),
            selection=Selection("last"),
            seed=0,
            run=RunDirectory.open(path, writes=processes().first),
        )
        if processes().first:
            losses = [record["loss"]["main"] for record in RunDirectory.open(path).records("metrics.jsonl")]
            with torch.no_grad():
                vectors = model.eval().item_vectors().tolist()
            (folder / f"{name}.json").write_text(json.dumps({"losses": losses, "vectors": vectors}))
        processes().wait()
    IDTower.costly = False


if __name__ == "__main__":
    with joined():
        work(Path(sys.argv[1]))
