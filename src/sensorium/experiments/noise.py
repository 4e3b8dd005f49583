"""Which interactions look unlike their users: a run's or a data set's rows by how far they are meant.

    report = find_noise("runs/mine")                 # a run of GUIDER brings its teacher's evidence too
    report = find_noise("demo", features=["text"])   # all rows of a data set, without any model
    report.rows.head(50)                             # most suspicious first, by external ids

Where it is known which rows are noise (the demo catalogue, or noise that the run's configuration added), the report
says how well they were found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.stats import rankdata

from sensorium.core.files import write_parquet
from sensorium.data.catalogue import open_dataset
from sensorium.data.dataset import Dataset
from sensorium.data.splits import TRAIN, Split
from sensorium.data.view import TrainView, train_view
from sensorium.experiments.loading import load_run
from sensorium.recommenders.wrappers.calibration import Calibration, CalibrationConfig, calibrate
from sensorium.recommenders.wrappers.guider import Guider

PLANTED = "planted"
EVIDENCE = "evidence "
TEACHER = "teacher"
CLEAR = 1.0
"""Evidence further than this from 0, in standard deviations of the null, is put into words as for or against."""


@dataclass(frozen=True)
class Planted:
    """What is known of the noise.

    Attributes:
        share: The share of rows that are noise.
        auc: The chance that a noise row looks worse than another one; .5 says nothing.
    """

    share: float
    auc: float


@dataclass(frozen=True)
class NoiseReport:
    """Every row with its weight.

    Attributes:
        source: What was asked about.
        dataset: The data set of the rows.
        rows: user_id, item_id, title, weight, clean, "evidence <modality>" for each, and teacher and planted where they
            are known; most suspicious first.
        calibration: What the rows were weighed by.
        planted: How well the noise was found, where it is known; None otherwise.
    """

    source: str
    dataset: Dataset
    rows: pl.DataFrame
    calibration: Calibration
    planted: Planted | None

    @property
    def modalities(self) -> list[str]:
        """The modalities that were read."""
        return list(self.calibration.content.evidence)

    def facts(self) -> list[tuple[str, str]]:
        """Return what there is to say about all rows, as name and value."""
        content = self.calibration.content
        estimate = content.estimate
        facts = [
            ("rows", f"{self.rows.height:,}"),
            (
                "share of noise, upper bound",
                f"{estimate.share:.3f} [{estimate.low:.3f}, {estimate.high:.3f}], weights assume "
                f"{self.calibration.share:.3f}",
            ),
            ("coefficients", ", ".join(f"{name} {value:.2f}" for name, value in content.coefficients.items())),
            ("content tells rows from chance by", f"{content.information:.2f} nats (standard deviation)"),
        ]
        if self.planted is not None:
            facts += [
                ("planted share", f"{self.planted.share:.3f}"),
                ("AUC against the planted rows", f"{self.planted.auc:.3f} (chance .5)"),
            ]
        return facts

    def sentence(self, row: dict[str, Any]) -> str:
        """Return the evidence about a row in words."""
        said = [_in_words(name, row[EVIDENCE + name]) for name in self.modalities]
        if TEACHER in row:
            said.append(_in_words("what similar users had", row[TEACHER]))
        return "; ".join(said)


def find_noise(source: str | Path, features: Sequence[str] | None = None) -> NoiseReport:
    """Weigh the rows of a run or of a data set.

    Args:
        source: A run's folder (its train rows are weighed), or a data set's folder or name (all of its rows).
        features: The modalities that are read; None takes those of the run, or all of the data set.

    Raises:
        DataError: There is no such run or data set, or it has no features.
        ConfigError: A feature that it does not have.
    """
    settings = CalibrationConfig(features=None if features is None else list(features))
    if (Path(source) / "config.yaml").exists():
        loaded = load_run(source)
        own = loaded.model.calibration if isinstance(loaded.model, Guider) and features is None else None
        made = calibrate(loaded.view, settings) if own is None else own
        return _report(str(source), loaded.dataset, loaded.view, loaded.split, made, with_teacher=own is not None)
    dataset = open_dataset(source)
    split = _all_rows(dataset)
    view = train_view(dataset, split, features=features)
    return _report(str(source), dataset, view, split, calibrate(view, settings), with_teacher=False)


def write_weights(report: NoiseReport, path: str | Path) -> None:
    """Write the rows as a table that `data import --weights` reads back."""
    write_parquet(Path(path), report.rows)


def _all_rows(dataset: Dataset) -> Split:
    """Return every distinct pair of a data set as a train row."""
    rows = dataset.interactions().select("user", "item").with_row_index("row").collect()
    first = rows.unique(["user", "item"], keep="first", maintain_order=True)
    row, user, item = (first[name].cast(pl.Int64).to_numpy() for name in ("row", "user", "item"))
    label = np.full(len(row), TRAIN, dtype=np.int8)
    return Split("all rows", {}, 0, dataset.n_users, dataset.n_items, row, user, item, label)


def _report(
    source: str, dataset: Dataset, view: TrainView, split: Split, made: Calibration, *, with_teacher: bool
) -> NoiseReport:
    columns: dict[str, Any] = {
        "user_id": dataset.user_ids().gather(view.user),
        "item_id": dataset.item_ids().gather(view.item),
        "title": dataset.titles().gather(view.item),
        "weight": made.weight.astype(np.float32),
        "clean": made.clean,
        **{EVIDENCE + name: values.astype(np.float32) for name, values in made.content.evidence.items()},
    }
    if with_teacher and made.teacher_z.any():
        columns[TEACHER] = made.teacher_z.astype(np.float32)
    mask = _planted(dataset, split, view)
    planted = None
    if mask is not None and 0 < mask.sum() < len(mask):
        columns[PLANTED] = mask
        planted = Planted(float(mask.mean()), area_under_curve(-made.logit, mask))
    rows = pl.DataFrame(columns)[np.argsort(made.logit, kind="stable")]
    return NoiseReport(source, dataset, rows, made, planted)


def _planted(dataset: Dataset, split: Split, view: TrainView) -> npt.NDArray[np.bool_] | None:
    """Return which rows of the view are known to be noise, bool [E]; None where nothing is known."""
    known = PLANTED in dataset.interactions().collect_schema().names()
    if split.injected is None and not known:
        return None
    noise = np.zeros(len(split.row), dtype=bool) if split.injected is None else split.injected.copy()
    if known:
        column = dataset.interactions().select(PLANTED).collect().to_series().cast(pl.Boolean).to_numpy()
        noise |= (split.row >= 0) & column[split.row]
    keys = split.user * split.n_items + split.item
    order = np.argsort(keys)
    wanted = view.user * view.n_items + view.item
    return np.asarray(noise[order[np.searchsorted(keys[order], wanted)]], dtype=bool)


def area_under_curve(score: npt.NDArray[np.floating[Any]], positive: npt.NDArray[np.bool_]) -> float:
    """Return the chance that a positive row scores above another one, equal scores counted half."""
    rank, n = rankdata(score), int(positive.sum())
    return float((rank[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def _in_words(name: str, value: float) -> str:
    if value == 0:
        return f"{name}: nothing to judge by"
    verdict = "against it" if value < -CLEAR else "for it" if value > CLEAR else "says little"
    return f"{name}: {verdict} ({value:+.1f})"
