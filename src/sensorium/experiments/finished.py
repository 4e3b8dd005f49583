"""What a complete run left behind, read for tables and pages: config, result, values per user, curves and times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from sensorium.core import registry
from sensorium.core.errors import RunError
from sensorium.core.files import read_json, read_parquet
from sensorium.core.rundir import RunDirectory
from sensorium.experiments.origin import Origin
from sensorium.experiments.rows import flatten

KIND = "recommend"
POPULARITY = ("0", "1-5", "6-20", ">20")  # buckets of targets by their train rows
TEMPERATURE = ("warm", "cold")


class Curve(NamedTuple):
    """A number of the validations by epoch, and the epoch whose state was selected."""

    epochs: list[int]
    values: list[float]
    selected: int


@dataclass(frozen=True)
class FinishedRun:
    """A complete run of kind "recommend".

    Attributes:
        path: Its folder.
        config: The resolved configuration, plain values.
        result: What `result.json` holds.
    """

    path: Path
    config: dict[str, Any]
    result: dict[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> FinishedRun:
        """Read a run.

        Raises:
            RunError: The folder holds no run, an incomplete one, or one of another kind.
        """
        run = RunDirectory.open(path)
        if run.kind != KIND:
            raise RunError(f"{path} is a run of kind '{run.kind}', tables and reports are made of kind '{KIND}'")
        result = run.result
        if result is None:
            raise RunError(f"{path} is not complete: finish it with 'sensorium resume {path}'")
        return cls(Path(path), run.config, result)

    # --- what it is -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.path.resolve().name

    @property
    def model(self) -> str:
        """The registered name of its model."""
        return str(self.result["model"])

    @property
    def seed(self) -> int:
        """The seed of everything but the split."""
        return int(self.result["seed"])

    @property
    def selection(self) -> str:
        """The number that selected the weights, "recall@20"."""
        return str(self.result["selection"]["name"])

    @property
    def headline(self) -> str:
        """The test's number for titles and plots: the one that selected, or where the test lacks it, its first."""
        metrics: dict[str, Any] = self.test["metrics"]
        return self.selection if self.selection in metrics else next(iter(metrics))

    @property
    def settings(self) -> dict[str, Any]:
        """What makes it a row of its own: every key by its full path but the seed, and the origin of each feature."""
        keys = {key: value for key, value in flatten(self.config).items() if key not in ("seed", "evaluation.metrics")}
        return keys | {f"feature {name}": origin for name, origin in self.features.items()}

    @property
    def data(self) -> dict[str, Any]:
        """The data set: name, counts, split, what was left out, features."""
        return dict(self.result["data"])

    @property
    def protocol(self) -> dict[str, str]:
        """What runs must share to stand in one table, in words."""
        data, evaluation = self.data, self.result["evaluation"]
        rating = self.config["data"].get("min_rating")
        return {
            "data": f"{data['name']} ({self.tables[:8]})" + ("" if rating is None else f", ratings from {rating:g}"),
            "split": f"{describe_split(data['split'])}, seed {data['split_seed']}{_repeated(data)}",
            "mask": self._mask(),
            "order of ties": f"seed {evaluation['tie_seed']}",
            "k": ", ".join(map(str, evaluation["ks"])),
        }

    def _mask(self) -> str:
        """What the test hid: for user ids as configured, for histories by their own two keys."""
        evaluation = self.result["evaluation"]
        if self.test["rules"].get("query") != "history":
            return str(evaluation["mask"])
        return f"{evaluation.get('history', 'full')} history, repeats {evaluation.get('repeat_policy', 'drop')}"

    @cached_property
    def tables(self) -> str:
        """Digest of its users, items and interactions: what tells its data from others, whatever their features."""
        return Origin.read(self.path).tables

    @property
    def features(self) -> dict[str, str]:
        """The item features that the model read: what made each, and the first digits of its values."""
        return origins(self.data["features"])

    # --- what came out ----------------------------------------------------------------------------------------------

    @property
    def test(self) -> dict[str, Any]:
        """The test: metrics, intervals, n, excluded, counts, tie_share, ties, rules."""
        return dict(self.result["test"])

    @property
    def tie_share(self) -> float | None:
        """Share of lists with a tie at the largest cut."""
        share: float | None = self.test["tie_share"]
        return share

    def bucket(self, name: str) -> dict[str, Any]:
        """Return the test on the targets of one bucket: items, n, metrics, intervals."""
        return dict(self.result["buckets"][name])

    @property
    def cold(self) -> dict[str, Any] | None:
        """The test in which cold items compete among themselves; None when the split has none."""
        return None if "cold_items" not in self.result else dict(self.result["cold_items"]["among_cold"])

    @cached_property
    def per_user(self) -> pl.DataFrame:
        """One row per test user: user_id, and a float64 column for every metric that has a value per user."""
        return read_parquet(self.path / "per_user.parquet")

    @cached_property
    def per_user_cold(self) -> pl.DataFrame:
        """The same where cold items compete among themselves."""
        return read_parquet(self.path / "per_user_cold.parquet")

    # --- how it came about ------------------------------------------------------------------------------------------

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions and machine class."""
        return dict(read_json(self.path / "environment.json"))

    @cached_property
    def _directory(self) -> RunDirectory:
        return RunDirectory(self.path)

    def curve(self, metric: str) -> Curve:
        """Return a metric on validation by epoch; epochs whose value was not finite are left out."""
        points = [
            (record["epoch"], record["valid"][metric])
            for record in self._directory.records("metrics.jsonl")
            if record.get("valid", {}).get(metric) is not None
        ]
        return Curve([epoch for epoch, _ in points], [value for _, value in points], self.best_epoch)

    @property
    def losses(self) -> dict[str, Curve]:
        """The loss terms by epoch: "main: ranking" -> its curve."""
        terms: dict[str, Curve] = {}
        for record in self._directory.records("metrics.jsonl"):
            for phase, values in record.get("loss", {}).items():
                for term, value in values.items():
                    curve = terms.setdefault(f"{phase}: {term}", Curve([], [], self.best_epoch))
                    curve.epochs.append(record["epoch"])
                    curve.values.append(value)
        return terms

    @property
    def best_epoch(self) -> int:
        """The epoch whose state was tested; 0 for a model that is complete once built."""
        return int(self.result["training"]["best_epoch"])

    @cached_property
    def timing(self) -> Mapping[str, float]:
        """What the whole took: seconds of training, validation and test, and the peak of memory in bytes."""
        records = self._directory.records("timing.jsonl")
        return records[-1] if records else {}

    @property
    def seconds(self) -> float:
        """Wall time of training, validation and test."""
        return sum(self.timing.get(f"{part}_seconds", 0.0) for part in ("train", "validation", "after_training"))


def origins(features: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return what made each feature of a result, and the first digits of its values."""
    return {
        name: f"{describe_origin(info['provenance'])}, digest {info['digest'][:8]}" for name, info in features.items()
    }


def _repeated(data: Mapping[str, Any]) -> str:
    return ", repeats kept" if data.get("repeats", "first") == "all" else ""


def describe_origin(provenance: Mapping[str, Any] | str) -> str:
    """Return where a feature comes from, in words: its encoder and what that read, or "unknown" for a given matrix."""
    if isinstance(provenance, str):
        return provenance
    encoder, fields = provenance.get("encoder"), provenance.get("fields")
    if encoder is None:
        return ", ".join(f"{key} {value}" for key, value in provenance.items())
    said = f"{encoder} of {', '.join(fields)}" if fields else str(encoder)
    return f"{said}, RANDOM WEIGHTS: untrained" if provenance.get("untrained") else said


def describe_split(split: Mapping[str, Any]) -> str:
    """Return a split in words: its name, and its options where they are not the usual ones."""
    known = registry.entries("sensorium.splits").get(split["name"])  # a package that brought it may be gone
    config = None if known is None else getattr(known.load(), "Config", None)
    usual = {} if config is None else {key: field.default for key, field in config.model_fields.items()}
    unusual = [f"{key}={value}" for key, value in split.items() if key != "name" and usual.get(key) != value]
    return f"{split['name']} ({', '.join(unusual)})" if unusual else str(split["name"])
