"""Does a tracing protocol leak? `sensorium trace audit CONFIG` asks, and ends with status 1 when a check fails.

    random labels   fair coins for answers, trained as the run says (at most 10 epochs): the test AUC must be .5
    copy probe      coins of which half stand twice in a row: a model that sees past answers must find them, or the
                    audit is blind
    causality       an answer that is flipped, anywhere or at the edge of a window, changes no logit at or before it,
                    and some after it; a question that is changed none before it
    padding         students alone, together, and under any padding of any content have the same logits
    split           no student on two sides; other validation and test answers leave the trained weights bit-equal
    identity        the same config and seed, the same numbers

Causality and padding are asked of a model that was trained on the true answers: on coins nearly everything is flat.
Where half of the coins stand twice, a third of the rows can be copied: whoever copies them and no other reaches AUC
1 - (2/3)² / 2 = .778, whoever repeats the last answer blindly .667. A probe below .60 has learned neither.

The tolerance around .5 is .02, or three standard deviations of a perfect null where the test is so small that these are
more: sd = sqrt((n1 + n0 + 1) / (12 n1 n0)).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sensorium.core.config import apply_overrides, build, dump, load_yaml
from sensorium.core.progress import Progress
from sensorium.core.seeds import numpy_generator
from sensorium.tracing.config import TraceConfig
from sensorium.tracing.data.catalogue import open_tracing
from sensorium.tracing.data.dataset import Answers, TracingDataset
from sensorium.tracing.evaluation.metrics import auc
from sensorium.tracing.evaluation.predicting import Predictions, predict
from sensorium.tracing.expanded import predict_expanded
from sensorium.tracing.job import fit
from sensorium.tracing.probing import causality, padding
from sensorium.tracing.setup import TraceSetup, random_labels, set_up

TOLERANCE = 0.02
EPOCHS = 10
FOUND = 0.60  # AUC of the copy probe from which on the audit can see


@dataclass(frozen=True)
class AuditCheck:
    """One question and its answer."""

    name: str
    passed: bool
    detail: str

    def line(self) -> str:
        """Return it in one line."""
        return f"{'passed' if self.passed else 'FAILED'}  {self.name}: {self.detail}"


@dataclass(frozen=True)
class TraceAudit:
    """What an audit found.

    Attributes:
        model: The tracer's name.
        dataset: The data set's name.
        protocol: "question" or "pykt-expanded".
        checks: In their order.
        random_auc: Test AUC on random labels.
        probe_auc: Test AUC of the copy probe.
    """

    model: str
    dataset: str
    protocol: str
    checks: tuple[AuditCheck, ...]
    random_auc: float
    probe_auc: float

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def lines(self) -> list[str]:
        """Return the checks, one line each."""
        return [check.line() for check in self.checks]


def audit(config: TraceConfig | Mapping[str, Any] | str | Path, *, overrides: Iterable[str] = ()) -> TraceAudit:
    """Ask whether the protocol of a tracing run leaks.

    Raises:
        ConfigError: A wrong key.
        DataError: The data cannot be read.
    """
    tree: Mapping[str, Any] = (
        load_yaml(config)
        if isinstance(config, str | Path)
        else dump(config)
        if isinstance(config, TraceConfig)
        else config
    )
    source = str(config) if isinstance(config, str | Path) else "the configuration"
    asked = build(TraceConfig, apply_overrides(tree, overrides), source=source)
    dataset = open_tracing(asked.data.dataset)
    work = _Audit(_shortened(asked, EPOCHS), dataset)
    with Progress(5, "audit", unit="checks") as bar:
        coins = work.random_labels()
        bar.advance()
        probe = work.copy_probe()
        bar.advance()
        changed = work.causality_and_padding()
        bar.advance()
        repeated = work.split_and_identity()
        bar.advance(2)
    checks = (coins.check, probe.check, *changed, *repeated)
    return TraceAudit(asked.model.name, dataset.name, asked.protocol, checks, coins.auc, probe.auc)


@dataclass(frozen=True)
class _Measured:
    check: AuditCheck
    auc: float


@dataclass(frozen=True)
class _Audit:
    config: TraceConfig
    dataset: TracingDataset

    def _answers(self) -> Answers:
        return self.dataset.answers(self.config.data.attempts)

    def _test(self, setup: TraceSetup, answers: Answers) -> Predictions:
        windows = setup.config.windows
        students = setup.split.test
        if setup.config.protocol == "pykt-expanded":
            found = predict_expanded(setup.model, answers, students, size=windows.length, stride=windows.stride)
            return found.one_by_one
        return predict(setup.model, setup.answers, students, size=windows.length, stride=windows.stride)

    def random_labels(self) -> _Measured:
        """Train on coins, and test."""
        answers = random_labels(self._answers(), seed=0)
        setup = self._trained(self.config, answers)
        found = self._test(setup, answers)
        value, allowed = auc(found.p, found.response), _tolerance(found.response)
        passed = abs(value - 0.5) <= allowed
        detail = f"test AUC {value:.4f} on fair coins, allowed .5 ± {allowed:.3f} ({len(found):,} rows)"
        if not passed:
            detail += ": answers reach their own predictions"
        return _Measured(AuditCheck("random labels", passed, detail), value)

    def copy_probe(self) -> _Measured:
        """Train on coins of which half stand twice, question and answer: a leak that must be found."""
        answers = planted_copies(random_labels(self._answers(), seed=0))
        tree = dump(self.config) | {"protocol": "question"}
        own = self.config.model.target
        who = self.config.model.name
        if not own.info.trained:  # counts cannot copy by design: a small network stands in, so that the audit is tested
            tree["model"], who = {"name": "dkt", "dim": 32, "question_dropout": 0.0, "ema": 0.0}, "dkt"
        config = build(TraceConfig, tree, source="copy probe")
        training = config.training.model_copy(update={"patience": 0})
        setup = self._trained(config.model_copy(update={"training": training}), answers)
        found = self._test(setup, answers)
        value = auc(found.p, found.response)
        passed = value >= FOUND
        detail = f"{who} reaches AUC {value:.4f} where half of the coins can be copied, and must reach {FOUND:.2f}"
        if not passed:
            detail += ": this audit would not see a leak"
        return _Measured(AuditCheck("copy probe", passed, detail), value)

    def causality_and_padding(self) -> tuple[AuditCheck, AuditCheck]:
        """Train on the true answers, which teach what coins do not, and change rows and padding of the test."""
        setup = self._trained(self.config, self._answers())
        return AuditCheck("causality", *causality(setup)), AuditCheck("padding", *padding(setup))

    def split_and_identity(self) -> tuple[AuditCheck, AuditCheck]:
        """Train one epoch three times: as it is, again, and with other validation and test answers."""
        config, answers = _shortened(self.config, 1), self._answers()
        first = self._trained(config, answers)
        again = self._trained(config, answers)
        sides = first.split
        others = answers.response.copy()
        held_out = np.isin(answers.student, np.concatenate([sides.valid, sides.test]))
        others[held_out] = 1 - others[held_out]
        changed = self._trained(config, replace(answers, response=others))
        everyone = np.concatenate([sides.train, sides.valid, sides.test])
        twice = len(everyone) - len(np.unique(everyone))
        same = _equal_states(first, changed)
        detail = (
            f"{twice} students stand on two sides; with all other validation and test answers the trained weights are "
            f"{'bit-equal' if same else 'OTHERS'}"
        )
        split = AuditCheck("split", not twice and same, detail)
        repeats = _equal_states(first, again)
        told = (
            "the same config and seed give the same weights, bit by bit" if repeats else "two runs of one seed differ"
        )
        return split, AuditCheck("identity", repeats, told)

    def _trained(self, config: TraceConfig, answers: Answers) -> TraceSetup:
        setup = set_up(config, self.dataset, answers=answers)
        fit(setup)
        return setup


def planted_copies(answers: Answers, *, share: float = 0.5, seed: int = 0) -> Answers:
    """Return the rows with a share of them standing twice in a row, question and answer alike."""
    twice = numpy_generator(seed, "copies").random(len(answers.question)) < share
    row = np.repeat(np.arange(len(twice)), 1 + twice)
    lengths = np.bincount(answers.student[row], minlength=answers.n_students)
    return Answers(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        question=answers.question[row],
        response=answers.response[row],
        time=None if answers.time is None else answers.time[row],
        concepts=answers.concepts,
        concept_weight=answers.concept_weight,
        n_concepts=answers.n_concepts,
        has_questions=answers.has_questions,
    )


def _shortened(config: TraceConfig, epochs: int) -> TraceConfig:
    training = config.training.model_copy(update={"epochs": min(epochs, config.training.epochs), "checkpoint": "none"})
    return config.model_copy(update={"training": training})


def _tolerance(response: npt.NDArray[np.int8]) -> float:
    right = int(response.sum())
    wrong = len(response) - right
    sd = np.sqrt((right + wrong + 1) / (12 * max(1, right) * max(1, wrong)))
    return max(TOLERANCE, 3 * float(sd))


def _equal_states(a: TraceSetup, b: TraceSetup) -> bool:
    one, two = a.model.state_dict(), b.model.state_dict()
    return all(torch.equal(value, two[name]) for name, value in one.items())
