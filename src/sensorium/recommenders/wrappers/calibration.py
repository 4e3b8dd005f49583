"""Calibration: how far each train row is meant, read from content alone, and brought together with a model's evidence.

    e_m(u, i)     evidence of each modality against a null of popular items (`evidence`)
    c_i           how far the item's modalities agree, standardised (`agreement`)
    phi(u, i)     [e_1, ..., e_M, mean_m e_m * c_i];  [e_1] for one modality
    lambda(u, i)  log density ratio of observed rows against null pairs, in nats (`posterior`)
    l = lambda + beta * rho * z_T,    z_T the teacher's evidence, standardised over the train rows
    w = sigmoid(l - b), with mean 1 - pi0

`calibrate(view, config)` needs no model and no training, and is usable by itself to clean data.

The teacher never enters the regression: it was fitted to the train rows and not to the null pairs, so that it would
seem to know everything.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from sensorium.core.config import Config
from sensorium.core.seeds import numpy_generator
from sensorium.data.sampling import NegativeSampler
from sensorium.data.view import TrainView
from sensorium.recommenders.collaborative.content import choose_features
from sensorium.recommenders.wrappers.agreement import Method, agreement, standardised_agreement
from sensorium.recommenders.wrappers.evidence import Pairs, Similarity, TopSimilarity, unit_vectors
from sensorium.recommenders.wrappers.posterior import (
    NoiseShare,
    clean_rows,
    estimate_share,
    fit_density_ratio,
    weights,
)

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

NO_INFORMATION = 0.05
"""A spread of lambda over the rows, in nats, below which content says nothing."""

AGREEMENT = "agreement"
"""Name of the coefficient of mean evidence times agreement."""


class CalibrationConfig(Config):
    """How train rows are weighed. Defaults are those that were tried (docs/results/guider.md)."""

    mode: Literal["none", "content", "teacher", "full"] = Field(
        "full", description="which evidence weighs a row; none = every row counts the same"
    )
    features: list[str] | None = Field(None, description="modalities that are read; null = all of the data set")
    aggregate: Literal["mean", "topk"] = Field(
        "mean", description="over the user's other items: their mean similarity, or that of the top_k most similar"
    )
    top_k: int = Field(5, ge=1, description="how many, for topk")
    agreement: Method = Field(
        "relational", description="cosine = for modalities of one shared space, as CLIP makes them"
    )
    anchors: int = Field(512, ge=8, description="items that describe an item for its agreement")
    null_pairs: int = Field(2, ge=1, description="null pairs drawn for each train row")
    teacher_weight: float = Field(0.7, ge=0, description="beta, weight of the teacher's evidence; search {.3, .7, 1}")
    start: int = Field(5, ge=0, description="epochs before the teacher has a say")
    ramp: int = Field(20, ge=1, description="epochs over which its say grows to beta")
    settle: int = Field(20, ge=0, description="epochs after that at whose end weights are frozen: late is memorisation")
    every: int = Field(4, ge=1, description="epochs between recalibrations; search {1, 4}")
    max_share: float = Field(0.3, gt=0, lt=1, description="cap of the estimated share of noise; search {.2, .3, .4}")
    share: float | None = Field(None, gt=0, lt=1, description="the share of noise where it is known; null = estimated")
    hard: bool = Field(False, description="rows that are not clean are removed instead of weighing less")
    user_prior: float | None = Field(
        None, gt=0, description="rows that a user's own share of noise weighs; null = one share for all"
    )

    def teacher_say(self, epoch: int) -> float:
        """Return beta * rho at an epoch."""
        return self.teacher_weight * min(max((epoch - self.start) / self.ramp, 0.0), 1.0)

    def is_due(self, epoch: int) -> bool:
        """Say whether rows are weighed anew before an epoch."""
        if epoch == 0:
            return True
        last = self.start + self.ramp + self.settle
        return self.start <= epoch <= last and (epoch - self.start) % self.every == 0


@dataclass(frozen=True, eq=False)
class ContentEvidence:
    """What content says about the train rows, before any posterior.

    Attributes:
        evidence: By modality, e float64 [E].
        logit: lambda, float64 [E].
        agreement: S, float64 [I].
        coefficients: By modality and "agreement", of the standardised features; 0 says that it was of no use.
        estimate: The share of noise that content points to, not capped.
        information: Standard deviation of lambda over the rows, in nats.
    """

    evidence: Mapping[str, Floats]
    logit: Floats
    agreement: Floats
    coefficients: Mapping[str, float]
    estimate: NoiseShare
    information: float


@dataclass(frozen=True, eq=False)
class Calibration:
    """How far each train row is meant.

    Attributes:
        weight: w in (0, 1), float64 [E]; 0 or 1 where rows are removed.
        clean: bool [E], w >= 1/2, and of each user at least the better half.
        logit: l, float64 [E].
        teacher_z: The teacher's standardised evidence, float64 [E]; 0 without one.
        share: pi0, the share of noise that w is scaled to.
        content: What content says.
    """

    weight: Floats
    clean: npt.NDArray[np.bool_]
    logit: Floats
    teacher_z: Floats
    share: float
    content: ContentEvidence


def calibrate(view: TrainView, config: CalibrationConfig | None = None) -> Calibration:
    """Weigh the train rows of a view by content alone.

    Args:
        view: Rows and features.
        config: All settings; None takes the defaults.

    Raises:
        DataError: The view has no features.
        ConfigError: A feature that it does not have.
    """
    config = config or CalibrationConfig()
    return combine(view, read_content(view, config), config)


def combine(
    view: TrainView,
    content: ContentEvidence,
    config: CalibrationConfig,
    teacher_z: Floats | None = None,
    say: float = 0.0,
) -> Calibration:
    """Bring content and a teacher's evidence together.

    Args:
        view: Whose rows.
        content: What content says.
        config: Mode and shares.
        teacher_z: Standardised evidence of the teacher, float64 [E], or None.
        say: beta * rho.
    """
    teacher_z = np.zeros(len(view.user)) if teacher_z is None else teacher_z
    logit = np.zeros(len(view.user)) if config.mode == "teacher" else content.logit
    if config.mode in ("teacher", "full"):
        logit = logit + say * teacher_z
    share = config.share
    if share is None:  # without content there is nothing to estimate it from
        share = config.max_share if config.mode == "teacher" else min(config.max_share, content.estimate.share)
    share = max(share, 1 / (len(view.user) + 1))
    w = weights(logit, share, view.user, user_prior=config.user_prior)
    clean = clean_rows(logit, w, view.user)
    return Calibration(clean.astype(np.float64) if config.hard else w, clean, logit, teacher_z, share, content)


def read_content(view: TrainView, config: CalibrationConfig) -> ContentEvidence:
    """Return what content says about the train rows; errors as for `calibrate`."""
    chosen = choose_features(view, config.features, model="guider")
    rows = Pairs(view.user, view.item)
    null = null_pairs(view, config.null_pairs)
    vectors = {name: unit_vectors(features, view.item_count > 0) for name, features in chosen.items()}
    present = [features.present for features in chosen.values()]
    evidence, of_null = {}, []
    for name, z in vectors.items():
        similarity = (
            Similarity(view, z, chosen[name].present)
            if config.aggregate == "mean"
            else TopSimilarity(view, z, chosen[name].present, config.top_k)
        )
        evidence[name] = similarity.of_rows(rows)
        of_null.append(similarity.of_others(null))
    agreed = agreement(
        list(vectors.values()),
        present,
        method=config.agreement,
        anchors=config.anchors,
        generator=numpy_generator(view.seed, "anchors"),
    )
    standardised = standardised_agreement(agreed, present)
    observed = _features(list(evidence.values()), standardised[view.item])
    drawn = _features(of_null, standardised[null.item])
    ratio = fit_density_ratio(observed, drawn, not_negative=len(evidence))
    logit = ratio.of(observed)
    information = float(logit.std())
    if information < NO_INFORMATION:
        log.warning(
            "content tells train rows from chance by %.3f nats only: it carries next to no information about them",
            information,
        )
    return ContentEvidence(
        evidence,
        logit,
        agreed,
        dict(zip([*evidence, AGREEMENT], ratio.coefficients.tolist(), strict=False)),
        estimate_share(logit, ratio.of(drawn), view.user),
        information,
    )


def null_pairs(view: TrainView, each: int) -> Pairs:
    """Return `each` null pairs (u, j) for every train row of u, j by popularity and not among the items of u.

    Rows of users who hold every item have none.
    """
    sampler = NegativeSampler(view, popularity_alpha=1.0)
    user = view.user[sampler.has_negatives[view.user]]
    item = sampler.draw(user, each, numpy_generator(view.seed, "null pairs"))
    return Pairs(np.repeat(user, each), item.ravel())


def _features(evidence: list[Floats], agreed: Floats) -> Floats:
    """Return phi: float64 [n, M + 1], or [n, 1] for one modality."""
    together = np.column_stack(evidence)
    return together if len(evidence) == 1 else np.column_stack([together, together.mean(1) * agreed])
