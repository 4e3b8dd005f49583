"""Everything that is asked of a run's uncertainty, on its test students.

    calibration   Brier, NLL, ECE, raw and at the temperature that validation students gave
    selective     every score that rows can be kept by: confidence, variance, BALD; of the model and of dropout passes
    frozen        joint gain and band of the next 5 and 10 answers, none of those between seen
    evidence      mean epistemic variance by the length of the history
    noise         AUC from flipped histories; `contrasts.compare` gives paired differences and falls
    short         the first answers of a learner, and histories cut to their last few

Several runs on the same test stand beside each other; those of one `ensemble` make one more entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from sensorium.core.errors import DataError
from sensorium.core.progress import Progress
from sensorium.tracing.averaging import answering
from sensorium.tracing.base import Tracer
from sensorium.tracing.evaluation.metrics import LENGTHS, auc, measure, reliability
from sensorium.tracing.evaluation.predicting import Predictions
from sensorium.tracing.setup import TraceSetup, load_trained
from sensorium.tracing.ukt.model import UKT
from sensorium.tracing.uncertainty.bands import judge_bands, poisson_binomial, score_distribution
from sensorium.tracing.uncertainty.calibration import fit_temperature, scaled
from sensorium.tracing.uncertainty.decomposition import Decomposed
from sensorium.tracing.uncertainty.frozen import (
    FromDropout,
    FromMembers,
    FromState,
    Predictor,
    choose_blocks,
    joint_likelihood,
    predict_blocks,
)
from sensorium.tracing.uncertainty.noise import RATES, Flip, flip_history
from sensorium.tracing.uncertainty.resampling import Statistic, interval, weighted_mean
from sensorium.tracing.uncertainty.rows import PASSES, Asked, by_dropout, by_members, own_uncertainty, targets
from sensorium.tracing.uncertainty.selective import (
    ROUNDING,
    Selective,
    accuracy_interval,
    accuracy_kept,
    scores_of,
    selective,
)

FIRST = {"1": (1, 1), "2": (2, 2), "3-4": (3, 4), "5-9": (5, 9)}
LAST = (5, 10, 20, 50)
BLOCKS = (5, 10)


@dataclass(frozen=True)
class StudyConfig:
    """What is done.

    Attributes:
        passes: Passes with dropout; 0 leaves them out.
        dropped: Names of the runs that these passes are made of; None = all that can.
        blocks: Frozen blocks of each size at most; None = all.
        noise: Whether histories are flipped.
        short: Whether histories are cut.
        seed: Of blocks, draws and masks.
    """

    passes: int = PASSES
    dropped: Sequence[str] | None = None
    blocks: int | None = 2000
    noise: bool = True
    short: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Studied:
    """One model, or one ensemble.

    Attributes:
        name: As it is shown.
        rows: The tested rows with its p.
        numbers: Everything that goes to `uncertainty.json`.
        orders: By score, for the figure.
        kept: By score, the accuracy of the rows that it keeps as a function of row weights, for paired differences.
        noisy: Predictions from flipped histories, by "rate flip".
        frozen: By the size of a frozen block and who predicts it, minus the joint log-likelihood per answer of each
            block, nats [n], and its student [n].
        temperature: Fitted on validation students.
    """

    name: str
    rows: Predictions
    numbers: dict[str, Any]
    orders: Mapping[str, Selective]
    kept: Mapping[str, Statistic]
    noisy: Mapping[str, Predictions]
    frozen: Mapping[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]
    temperature: float


@dataclass(frozen=True)
class _Subject:
    """Models that answer as one."""

    name: str
    models: Sequence[Tracer]
    setup: TraceSetup

    def asked(self, side: npt.NDArray[np.int64], **changes: Any) -> Asked:
        windows = self.setup.config.windows
        return Asked(self.setup.answers, side, size=windows.length, stride=windows.stride, **changes)

    def says(self, asked: Asked) -> Decomposed:
        return by_members(self.models, asked) if len(self.models) > 1 else own_uncertainty(self.models[0], asked)

    @property
    def whole_history(self) -> bool:
        return any(getattr(model, "whole_history", False) for model in self.models)

    def drops(self, config: StudyConfig) -> bool:
        """Return whether passes with dropout are asked of it: a network without draws of its own."""
        asked = config.passes > 0 and (config.dropped is None or self.name in config.dropped)
        has = any(isinstance(part, nn.Dropout) and part.p > 0 for part in self.models[0].modules())
        return asked and has and len(self.models) == 1


def study(
    runs: Mapping[str, str | Path], *, ensemble: Sequence[str] = (), config: StudyConfig | None = None
) -> list[Studied]:
    """Study runs on their common test students.

    Args:
        runs: Complete tracing runs by name.
        ensemble: Names of runs that make one more entry together.
        config: What is done.

    Raises:
        DataError: The runs were not tested on the same rows, or protocols are mixed.
    """
    config = config or StudyConfig()
    subjects = []
    for name, path in runs.items():
        setup = load_trained(path)
        if setup.config.protocol != "question":
            raise DataError(f"{path} was trained one row per concept: its numbers contain the label")
        model = answering(setup.model)
        assert isinstance(model, Tracer)
        subjects.append(_Subject(name, [model], setup))
    if missing := [name for name in ensemble if name not in runs]:
        raise DataError(f"the ensemble names '{missing[0]}', which is none of the runs")
    if missing := [name for name in config.dropped or () if name not in runs]:
        raise DataError(f"passes with dropout are asked of '{missing[0]}', which is none of the runs")
    if len(ensemble) > 1:
        members = [subject for subject in subjects if subject.name in ensemble]
        subjects.append(_Subject(" + ".join(ensemble), [one.models[0] for one in members], members[0].setup))
    found = []
    with Progress(len(subjects), "study", unit="models") as bar:
        for subject in subjects:
            found.append(_study(subject, config))
            bar.advance()
    for other in found[1:]:
        if not np.array_equal(other.rows.response, found[0].rows.response):
            raise DataError(f"'{other.name}' and '{found[0].name}' were tested on different rows")
    return found


def _study(subject: _Subject, config: StudyConfig) -> Studied:
    setup = subject.setup
    asked = subject.asked(setup.split.test)
    truth = targets(asked)
    own = subject.says(asked)
    rows = replace(truth, p=own.p.astype(np.float32), variance=own.variance.astype(np.float32))
    valid = subject.asked(setup.split.valid)
    temperature = fit_temperature(subject.says(valid).p, targets(valid).response)
    warm = replace(rows, p=scaled(own.p, temperature).astype(np.float32))
    voices = {"": own}
    if subject.drops(config):
        voices["dropout "] = by_dropout(subject.models[0], asked, passes=config.passes, seed=config.seed)
    orders = {
        f"{voice}{score}": (selective(said.p, truth.response, values), values, said)
        for voice, said in voices.items()
        for score, values in scores_of(said).items()
    }
    noisy = _noisy(subject, truth) if config.noise else {}
    frozen = _frozen(subject, config)
    numbers: dict[str, Any] = {
        "raw": measure(rows),
        "temperature": temperature,
        "scaled": measure(warm),
        "selective": {
            name: one.numbers()
            | {"acc@0.8_interval": _ends(accuracy_interval(said.p, truth.response, values, truth.student))}
            for name, (one, values, said) in orders.items()
        },
        "frozen": {name: one for name, (one, _, _) in frozen.items()},
        "evidence": _evidence(rows) if own.variance.max(initial=0.0) > ROUNDING else None,
        "noise": {name: {"auc": auc(one.p, one.response)} for name, one in noisy.items()},
        "short": _short(subject, rows) if config.short else None,
    }
    return Studied(
        subject.name,
        rows,
        numbers,
        {name: one for name, (one, _, _) in orders.items()},
        {name: accuracy_kept(said.p, truth.response, values) for name, (_, values, said) in orders.items()},
        noisy,
        {name: (nll, student) for name, (_, nll, student) in frozen.items()},
        temperature,
    )


def _noisy(subject: _Subject, truth: Predictions) -> dict[str, Predictions]:
    """Return predictions from flipped histories; targets stay what they were."""
    kinds: list[tuple[float, Flip]] = [(rate, "symmetric") for rate in RATES] + [(0.2, "slip"), (0.2, "guess")]
    found = {}
    for rate, flip in kinds:
        flipped = flip_history(subject.setup.answers.response, rate, flip=flip)
        p = subject.says(subject.asked(subject.setup.split.test, response=flipped)).p
        found[f"{rate:g} {flip}"] = replace(truth, p=p.astype(np.float32))
    return found


def _frozen(
    subject: _Subject, config: StudyConfig
) -> dict[str, tuple[dict[str, Any], npt.NDArray[np.float64], npt.NDArray[np.int64]]]:
    """Return by "predictor size" the numbers, the joint NLL of each block and the block's student."""
    voices: dict[str, Predictor] = {"": FromMembers(subject.models)}
    if len(subject.models) == 1 and isinstance(subject.models[0], UKT):
        voices = {"": FromState(subject.models[0], seed=config.seed)}
    if subject.drops(config):
        voices["dropout "] = FromDropout(subject.models[0], config.passes, config.seed)
    if subject.whole_history:
        return {}
    answers, found = subject.setup.answers, {}
    for size in BLOCKS:
        blocks = choose_blocks(answers.offsets, subject.setup.split.test, size, seed=config.seed, most=config.blocks)
        response = answers.response[blocks.rows()]
        for voice, predictor in voices.items():
            draws = predict_blocks(predictor, answers, blocks)
            joint = joint_likelihood(draws, response)
            right = response.sum(axis=1)
            shared = judge_bands(score_distribution(draws), right, seed=config.seed)
            apart = judge_bands(poisson_binomial(draws.mean(axis=0)), right, seed=config.seed)
            gain = interval(weighted_mean(joint.gain), blocks.student)
            crps = interval(weighted_mean(shared.crps - apart.crps), blocks.student)
            one = {
                "blocks": len(blocks),
                "joint_gain": gain.mean,
                "joint_gain_interval": _ends(gain),
                "joint_nll": -float(joint.together.mean()),
                "marginal_nll": -float(joint.apart.mean()),
                "cover": float(shared.covered.mean()),
                "cover_independent": float(apart.covered.mean()),
                "width": float(shared.width.mean()),
                "width_independent": float(apart.width.mean()),
                "crps": float(shared.crps.mean()),
                "crps_independent": float(apart.crps.mean()),
                "crps_difference_interval": _ends(crps),
            }
            found[f"{voice}{size}"] = one, -joint.together, np.asarray(blocks.student, dtype=np.int64)
    return found


def _evidence(rows: Predictions) -> dict[str, Any]:
    """Return the mean epistemic variance by the length of the history, and how much of it evidence removes."""
    assert rows.variance is not None
    means = {}
    for name, (low, high) in LENGTHS.items():
        inside = (rows.position >= low) & (rows.position <= high)
        means[name] = float(rows.variance[inside].mean()) if inside.any() else None
    first, last = means["1-4"], means["100+"]
    return {"mean_variance": means, "fall": None if not first or last is None else 1 - last / first}


def _short(subject: _Subject, rows: Predictions) -> dict[str, Any]:
    found: dict[str, Any] = {"first": {}, "last": {}}
    for name, (low, high) in FIRST.items():
        inside = (rows.position >= low) & (rows.position <= high)
        if inside.any():
            found["first"][name] = _numbers(rows.p[inside], rows.response[inside], rows.variance, inside)
    for length in LAST:  # every row sees its last `length` answers and no more, models that count too
        asked = subject.asked(subject.setup.split.test)
        asked = replace(asked, size=length + 1, stride=1, cut=True)
        said = subject.says(asked)
        found["last"][str(length)] = _numbers(said.p, rows.response, said.variance, np.ones(len(said.p), dtype=bool))
    return found


def _numbers(p: Any, response: Any, variance: Any, inside: npt.NDArray[np.bool_]) -> dict[str, float | None]:
    doubt = (
        None
        if variance is None or np.max(variance, initial=0.0) <= ROUNDING
        else float(np.asarray(variance)[inside].mean())
    )
    return {"n": len(p), "auc": auc(p, response), "ece": reliability(p, response).ece, "variance": doubt}


def _ends(found: Any) -> list[float]:
    return [found.low, found.high]
