"""The leak audit: does a protocol, with its model, know what it must not? (docs/protocol.md)

    permuted items   the items of the train rows are shuffled over all users: which item went to whom is lost,
                     popularity is all that is left. Nobody's lists can then be better than the order of popularity,
                     unless they know the test rows.
    uniform items    all items are drawn anew, uniformly: every list is worth chance, no more and no less.
    replaced rows    other test rows, then other valid rows, beside the same train rows: the trained weights are the
                     same bits.

For each of them a data set is written to a temporary folder, files and all, and the configuration is run on it as it
would be on its own data: a leak is found wherever it may be, in a model that opens files as well as in the making of
views.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sensorium.core.config import build, dump
from sensorium.core.seeds import numpy_generator
from sensorium.data.dataset import Dataset
from sensorium.data.splits import TEST, TRAIN, VALID, Split
from sensorium.evaluation.bootstrap import resampled_means
from sensorium.evaluation.tasks import RankingTask
from sensorium.experiments.config import RunConfig, read_config
from sensorium.experiments.measuring import Tested, fit, measure_test
from sensorium.experiments.setup import open_split, set_up
from sensorium.experiments.shuffles import other_items, permuted_items, uniform_items
from sensorium.experiments.variants import write_variant

K = 20
METRIC = f"recall@{K}"
ERRORS = 3.0  # standard errors that a number may lie off
FIXED_EPOCHS = 2

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Check:
    """One question of the audit.

    Attributes:
        name: "permuted items", "uniform items", "test rows replaced", "valid rows replaced".
        passed: Whether the answer is good; None where the split allows no verdict and the numbers are only shown.
        sentence: The answer, with model, difference and standard error.
        difference: The model's Recall@20 minus what it is compared with; None where weights were compared.
        se: Its standard error over users: by bootstrap, or that of chance.
    """

    name: str
    passed: bool | None
    sentence: str
    difference: float | None = None
    se: float | None = None


@dataclass(frozen=True)
class AuditResult:
    """All answers for one configuration."""

    model: str
    dataset: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.passed is not False for check in self.checks)

    def lines(self) -> list[str]:
        """Return one line per check."""
        words = {True: "passed", False: "FAILED", None: "shown "}
        return [f"{words[check.passed]}  {check.name}: {check.sentence}" for check in self.checks]


def audit(config: RunConfig | Mapping[str, Any] | str | Path, *, overrides: Iterable[str] = ()) -> AuditResult:
    """Ask a configuration whether its numbers can be trusted. The data set itself is not changed.

    Args:
        config: As for `run`.
        overrides: "key.path=value", applied to it.

    Returns:
        The answers; look at `passed`.

    Raises:
        ConfigError: A wrong key or value, or a configuration that does not fit the data.
        DataError: The data are too dense to be permuted.
    """
    checked = read_config(config, [*overrides, "data.repeats=first"])  # shuffled rows hold no pair twice
    dataset, split = open_split(checked)
    with TemporaryDirectory(prefix="sensorium-audit-") as folder:
        audited = _Audited(checked, dataset, split, Path(folder))
        checks = (
            audited.permuted_items(),
            audited.uniform_items(),
            *audited.replaced_rows(),
        )
    return AuditResult(checked.model.name, dataset.info.name, checks)


@dataclass(frozen=True)
class _Audited:
    """A configuration with its data, and a folder for variants of them."""

    config: RunConfig
    dataset: Dataset
    split: Split
    folder: Path

    def permuted_items(self) -> Check:
        """Compare the model with Popularity where only popularity is left."""
        split, parts = self.split, self._shuffled_parts()
        rows = np.flatnonzero(np.isin(split.label, parts))
        held_out = ~np.isin(split.label, parts)
        forbidden = np.sort(split.user[held_out] * split.n_items + split.item[held_out])
        item = split.item.copy()
        generator = numpy_generator(self.config.seed, "audit", "permuted items")
        item[rows] = permuted_items(split.user[rows], split.item[rows], forbidden, split.n_items, generator)
        data = self._variant("permuted", item)
        model = self._test(data)
        ceiling = self._test(data, {"name": "popularity"})
        difference, se = _difference(_recall(model), _recall(ceiling))
        told = (
            f"{self.config.model.name} has {METRIC} {model.result.summary[METRIC]:.4f}, Popularity, the ceiling, "
            f"{ceiling.result.summary[METRIC]:.4f}: difference {difference:+.4f}, SE {se:.4f}"
        )
        if split.name != "random_per_user":  # only there the held-out rows are known to be a random draw
            told += f"; under {split.name} popularity may drift between train and test rows, so this decides nothing"
            return Check("permuted items", None, told, difference, se)
        return Check(
            "permuted items",
            difference <= ERRORS * se,
            f"{told}; at most {ERRORS:g} SE above is allowed",
            difference,
            se,
        )

    def uniform_items(self) -> Check:
        """Compare the model with chance where nothing is left."""
        split = self.split
        generator = numpy_generator(self.config.seed, "audit", "uniform items")
        tested = self._test(self._variant("uniform", uniform_items(split.user, split.n_items, generator)))
        chance, se = _chance(tested.task)
        difference = float((_recall(tested) - chance).mean())
        told = (
            f"{self.config.model.name} has {METRIC} {tested.result.summary[METRIC]:.4f}, "
            f"chance is {chance.mean():.4f}: difference {difference:+.4f}, SE {se:.4f}; "
            f"at most {ERRORS:g} SE on either side is allowed"
        )
        return Check("uniform items", abs(difference) <= ERRORS * se, told, difference, se)

    def replaced_rows(self) -> list[Check]:
        """Compare weights that were trained beside other held-out rows."""
        split = self.split
        before = self._weights(self._variant("same", split.item))
        known = np.flatnonzero(np.bincount(split.item[split.label == TRAIN], minlength=split.n_items))
        taken = np.sort(split.user * split.n_items + split.item)
        checks = []
        for label, part in ((TEST, "test"), (VALID, "valid")):
            rows = np.flatnonzero(split.label == label)
            generator = numpy_generator(self.config.seed, "audit", "replaced rows", part)
            item = split.item.copy()
            item[rows] = other_items(split.user[rows], split.item[rows], taken, known, split.n_items, generator)
            changed = int((item != split.item).sum())
            after = self._weights(self._variant(f"other-{part}", item))
            unequal = sorted(
                name for name in before.keys() | after.keys() if not _same_bits(before.get(name), after.get(name))
            )
            verdict = f"'{unequal[0]}' of its weights changed" if unequal else "its weights are the same bits"
            told = (
                f"{changed} of {len(rows)} {part} rows replaced, {self.config.model.name} trained for "
                f"{FIXED_EPOCHS} epochs: {verdict}"
            )
            checks.append(Check(f"{part} rows replaced", not unequal, told))
        return checks

    # --- running a variant ------------------------------------------------------------------------------------------

    def _variant(self, name: str, item: npt.NDArray[np.int64]) -> Dataset:
        return write_variant(self.dataset, self.split, item, self.folder / name)

    def _configured(self, data: Dataset, **changes: Any) -> RunConfig:
        """Return the configuration for a variant: its rows carry their labels, all else is as configured."""
        tree = dump(self.config)
        tree["data"] |= {"dataset": data.root.as_posix(), "split": {"name": "column"}, "min_rating": None}
        evaluation = tree["evaluation"]
        evaluation["ks"] = sorted({*evaluation["ks"], K})
        evaluation["metrics"] = list(dict.fromkeys([*evaluation["metrics"], "recall"]))
        return build(RunConfig, tree | changes, source="audit")

    def _test(self, data: Dataset, model: dict[str, Any] | None = None) -> Tested:
        """Train as configured, the model or another one, and test."""
        setup = set_up(self._configured(data, **({} if model is None else {"model": model})), data)
        fit(setup)
        return measure_test(setup)

    def _weights(self, data: Dataset) -> dict[str, Tensor]:
        """Train for a fixed number of epochs and return the last state: what is selected may follow the valid rows,
        weights may not.
        """
        training = dump(self.config.training)
        training |= {"epochs": FIXED_EPOCHS, "validate_every": FIXED_EPOCHS, "patience": 0}
        setup = set_up(self._configured(data, training=training), data)
        fit(setup)
        return {name: tensor.cpu() for name, tensor in setup.model.state_dict().items()}

    def _shuffled_parts(self) -> list[int]:
        """A history at test holds train and valid rows; a user id knows train rows alone."""
        return [TRAIN, VALID] if self.config.model.target.query_kind == "history" else [TRAIN]


def _recall(tested: Tested) -> Floats:
    return tested.result.per_query[METRIC]


def _difference(values: Floats, reference: Floats) -> tuple[float, float]:
    """Return the mean of the paired difference over users, and its standard error by bootstrap."""
    gap = values - reference
    return float(gap.mean()), float(resampled_means(gap[:, None], seed=0, resamples=1000).std(ddof=1))


def _chance(task: RankingTask) -> tuple[Floats, float]:
    """Return each user's expected Recall@20 for a list that knows nothing, [n], and the standard error of their mean.

    Of C items that compete, T are targets and k are listed: the hits are hypergeometric, their mean k T / C and their
    variance k T/C (1 - T/C) (C - k)/(C - 1). The error is that of chance itself: an estimate from the lists would be
    too small just where they have few hits.
    """
    competing, targets = task.n_candidates, task.n_targets
    listed = np.minimum(K, competing)
    share = targets / competing
    variance = listed * share * (1 - share) * (competing - listed) / np.maximum(competing - 1, 1)
    return listed / competing, float(np.sqrt((variance / targets**2).sum()) / len(task))


def _same_bits(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None or one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))
