"""GUIDER: a student trained beside a teacher that knows ids alone, on rows that are weighed by how far they are meant.

Teach Me How to Denoise: A Universal Framework for Denoising Multi-modal Recommender Systems via Guided Calibration.
WSDM 2025. docs/methods/guider.md says what the paper claims, what its code does, and what was decided here.

    before epoch t    both models' own hooks; then, at t = 0 by content alone and every few epochs from t0 until weights
                      are frozen, each train row's weight w anew (`calibration`), and both graphs with w on their edges
    phase "teacher"   L_DBPR: the teacher's own loss on rows weighed by omega (`denoising`)
    the student's     its own loss, rows weighed by w / mean w, + lambda * what it learns from the teacher's vectors
                      (`distillation`), which are computed once an epoch and stay

The student's phase keeps the name that it has in the student, and every draw is of its own step, so that with all
weights 1 and lambda = 0 the student is, bit for bit, the plain backbone. To rank, the student alone is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Component, component
from sensorium.core.errors import ConfigError
from sensorium.core.seeds import torch_generator
from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.data.weights import with_mean_one
from sensorium.recommenders.base import Backbone, ModelInfo, Recommender, Representations
from sensorium.recommenders.collaborative.content import choose_features
from sensorium.recommenders.wrappers.calibration import (
    Calibration,
    CalibrationConfig,
    combine,
    read_content,
)
from sensorium.recommenders.wrappers.denoising import DenoisingBatches, RowWeights
from sensorium.recommenders.wrappers.distillation import (
    DistillationConfig,
    clouds,
    common_descent,
    row_number,
    score_loss,
    taps,
    transfer_loss,
)
from sensorium.recommenders.wrappers.evidence import vector_evidence
from sensorium.recommenders.wrappers.legacy import LegacyWeights
from sensorium.training.protocols import BeginsEpochs, Phase

RECOMMENDERS = "sensorium.recommenders"
TRANSFER, SCORES = "transfer", "transfer_scores"


class Guider(Backbone):
    """A student and its teacher. It is a backbone itself: its vectors are the student's."""

    info = ModelInfo(
        summary="denoises interactions by content and a teacher, around any backbone",
        citation="Teach Me How to Denoise: A Universal Framework for Denoising Multi-modal Recommender Systems via "
        "Guided Calibration. WSDM 2025",
        features="required",
    )

    class Config(Recommender.Config):
        """The keys of GUIDER."""

        student: component(RECOMMENDERS) = Field(  # type: ignore[valid-type]
            "vbpr", description="any backbone that is trained in one phase"
        )
        teacher: component(RECOMMENDERS) = Field(  # type: ignore[valid-type]
            {"name": "lightgcn", "layers": 2}, description="a backbone that knows ids alone"
        )
        calibration: CalibrationConfig = Field(CalibrationConfig(), description="how train rows are weighed")
        distill: DistillationConfig = Field(DistillationConfig(), description="what is learned from the teacher")
        dbpr: bool = Field(True, description="false = every row counts the same in both losses and graphs")
        edge_weight: bool = Field(True, description="weights stand on the edges of both graphs")
        student_weight: bool = Field(True, description="weights multiply the student's ranking term")
        doubtful_negatives: float = Field(
            0.0,
            ge=0,
            lt=1,
            description="kappa, share of the teacher's negatives from doubtful rows; search {0, .1, .2}",
        )
        teacher_batch_size: int = Field(2048, ge=1, description="rows of a batch of the teacher's phase")
        legacy_weights: bool = Field(False, description="the released code's weights instead, to compare with")

    config: Config
    weight: Tensor
    clean: Tensor
    teacher_z: Tensor
    share: Tensor

    def __init__(self, view: TrainView, config: Config) -> None:
        super().__init__(view, config)
        self.student = _held(view, config.student, "student")
        self.teacher = _held(view, config.teacher, "teacher")
        self.pointwise = self.student.pointwise  # type: ignore[misc]  # that of the student that was chosen
        self._view = view
        self._weighs = config.calibration.mode != "none" and not config.legacy_weights
        choose_features(view, config.calibration.features, model="guider")
        self._content = read_content(view, config.calibration) if self._weighs else None
        rows = len(view.user)
        self.register_buffer("weight", torch.ones(rows))  # w [E]
        self.register_buffer("clean", torch.ones(rows, dtype=torch.bool))
        self.register_buffer("teacher_z", torch.zeros(rows))
        self.register_buffer("share", torch.zeros(()))  # pi0; 0 before the first calibration
        self.legacy = LegacyWeights(self, view, config.calibration.features) if config.legacy_weights else None
        self.projections = nn.ModuleDict()
        if config.distill.mode in ("ot", "pointwise") and config.distill.weight > 0:
            self._add_projections()
        self._given = None if view.weight is None else torch.from_numpy(with_mean_one(view.weight))
        self._batches = DenoisingBatches(
            view, config.teacher_batch_size, config.doubtful_negatives, pointwise=self.teacher.pointwise
        )
        self._row_weight: Tensor | None = None  # of the student's ranking term, [E]
        self._outer: Tensor | None = None
        self._epoch = 0
        self._guide: Representations | None = None

    def _add_projections(self) -> None:
        with torch.no_grad(), _evaluated(self.student), _evaluated(self.teacher):
            width = self.teacher.represent().item.shape[1]
            for name, vectors in taps(self.student.represent()):
                self.projections[name] = self.linear(f"tap {name}", vectors.shape[1], width, bias=False)

    # --- a backbone -------------------------------------------------------------------------------------------------

    def represent(self) -> Representations:
        """Return the student's vectors."""
        return self.student.represent()

    def set_edge_weight(self, weight: Tensor | None) -> None:
        """Multiply the weights on the edges of both graphs: float32 [E], or None for 1."""
        self._outer = weight
        self._use_weights()

    def phases(self) -> list[Phase]:
        """Return the teacher's pass, where anything comes of it, and the student's."""
        own, own_of_teacher = _only_phase(self.student, "student"), _only_phase(self.teacher, "teacher")
        student = replace(own, parameters=[*own.parameters, *self.projections.parameters()], loss=self.loss)
        if not self._listens():
            return [student]
        return [Phase("teacher", own_of_teacher.parameters, self._teacher_loss, self._batches), student]

    def _listens(self) -> bool:
        """Say whether the student or the calibration reads the teacher at all."""
        distill = self.config.distill
        learns = (distill.mode != "none" and distill.weight > 0) or distill.kl_weight > 0
        return learns or (self._weighs and self.config.calibration.mode in ("teacher", "full"))

    # --- weights ----------------------------------------------------------------------------------------------------

    def begin_epoch(self, epoch: int, generator: torch.Generator) -> None:
        """Call both models' own hooks, the student's with the generator that it would have alone; then recalibrate."""
        _begin(self.student, epoch, generator)
        _begin(self.teacher, epoch, torch_generator(self.seed, "teacher", "begin_epoch", epoch))
        self._epoch, self._guide = epoch, None
        if self._weighs and self.config.calibration.is_due(epoch):
            self._recalibrate(epoch)

    def _recalibrate(self, epoch: int) -> None:
        settings = self.config.calibration
        say = settings.teacher_say(epoch)
        found = None
        if settings.mode in ("teacher", "full") and say > 0:
            with torch.no_grad(), _evaluated(self.teacher):
                vectors = self.teacher.represent()
            evidence = vector_evidence(vectors.user, vectors.item, self._view)
            found = (evidence - evidence.mean()) / max(float(evidence.std()), 1e-12)
        assert self._content is not None  # rows are weighed only then
        made = combine(self._view, self._content, settings, found, say)
        for name, values in (("weight", made.weight), ("clean", made.clean), ("teacher_z", made.teacher_z)):
            getattr(self, name).copy_(torch.from_numpy(values))
        self.share.fill_(made.share)
        self._use_weights()

    def _use_weights(self) -> None:
        """Bring the weights as they stand to the batches and the graphs."""
        weighed = self._weighs and self.config.dbpr and float(self.share) > 0
        rows = RowWeights(self.weight.double().cpu().numpy(), self.clean.cpu().numpy()) if weighed else None
        self._batches.set_rows(rows)
        edges = self.weight if weighed and self.config.edge_weight else None
        if self._outer is not None:
            edges = self._outer if edges is None else edges * self._outer.to(edges)
        for model in (self.student, self.teacher):
            model.set_edge_weight(edges)
        self._guide = None
        self._forget_vectors()
        mean = self.weight if self._given is None else self.weight * self._given.to(self.weight)
        self._row_weight = self.weight / mean.mean() if weighed and self.config.student_weight else None

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load a state, and bring its weights to the batches and the graphs."""
        found = super().load_state_dict(state_dict, strict, assign)
        self._use_weights()
        return found

    @property
    def calibration(self) -> Calibration | None:
        """What is known of the train rows as the model stands; None for a model that weighs none."""
        if self._content is None:
            return None
        z = self.teacher_z.double().cpu().numpy()
        mode, say = self.config.calibration.mode, self.config.calibration.teacher_say(10**9)
        logit = (0.0 if mode == "teacher" else self._content.logit) + (say * z if mode != "content" else 0.0)
        weight, clean = self.weight.double().cpu().numpy(), self.clean.cpu().numpy()
        return Calibration(weight, clean, np.asarray(logit), z, float(self.share), self._content)

    # --- losses -----------------------------------------------------------------------------------------------------

    def _teacher_loss(self, batch: Batch) -> Mapping[str, Tensor]:
        if self.legacy is not None and self.config.dbpr:
            batch = _times(batch, self.legacy(batch))
        return _only_phase(self.teacher, "teacher").loss(batch)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the student's terms, its ranking term weighed by rows, and what it learns from the teacher."""
        weighed = batch
        if self._row_weight is not None:
            weighed = _times(batch, self._row_weight[batch.row])
        elif self.legacy is not None and self.config.dbpr:
            weighed = _times(batch, self.legacy(batch))
        terms = dict(_only_phase(self.student, "student").loss(weighed))
        ramp = min(max((self._epoch - self.config.calibration.start) / self.config.distill.warm_up, 0.0), 1.0)
        if ramp == 0 or not self._listens():
            return terms
        if self.config.distill.balance == "mgda":
            return self._balanced(terms, self._transfer(batch, 1.0))
        return {**terms, **self._transfer(batch, ramp)}

    def _transfer(self, batch: Batch, ramp: float) -> dict[str, Tensor]:
        """Return the terms of what is learned from the teacher, each times its weight."""
        settings = self.config.distill
        of_scores = settings.kl_weight + (settings.weight if settings.mode == "kl" else 0.0)
        of_vectors = settings.weight if self.projections else 0.0
        terms = {}
        if of_vectors > 0:
            every = settings.every or (4 if batch.user.device.type == "cpu" else 1)
            terms[TRANSFER] = self.weight.new_zeros(())
            if row_number(batch) % every == 0:
                chosen = clouds(batch, self.weight[batch.row], settings.points, self.seed)
                found = transfer_loss(self.represent(), self._teacher(), self.projections, chosen, settings)
                terms[TRANSFER] = ramp * of_vectors * every * found
        if of_scores > 0:
            users = torch.unique(batch.user)
            if len(users) > settings.kl_users:
                generator = torch_generator(self.seed, "kl users", row_number(batch))
                chosen_users = torch.randperm(len(users), generator=generator)[: settings.kl_users]
                users = users[chosen_users.to(users.device)]
            found = score_loss(self.represent(), self._teacher(), users, settings.temperature)
            terms[SCORES] = ramp * of_scores * found
        return terms

    def _balanced(self, terms: dict[str, Tensor], transfer: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return all terms under the weights of `distillation.common_descent`."""
        total = torch.stack(list(transfer.values())).sum()
        if not total.requires_grad:  # a batch that pays for no transport
            return {**terms, **transfer}
        parameters = [parameter for parameter in self.student.parameters() if parameter.requires_grad]
        own, learned = common_descent(torch.stack(list(terms.values())).sum(), total, parameters)
        scaled = {name: own * value for name, value in terms.items()}
        return scaled | {name: learned * value for name, value in transfer.items()}

    def _teacher(self) -> Representations:
        """Return the teacher's vectors, without gradients: once an epoch, by the student's first batch that asks."""
        if self._guide is None:
            with torch.no_grad(), _evaluated(self.teacher):
                self._guide = self.teacher.represent()
        return self._guide


# --- the two models -------------------------------------------------------------------------------------------------


def _held(view: TrainView, chosen: Component, role: str) -> Backbone:
    """Build a model that can be held.

    Raises:
        ConfigError: It is no backbone, holds a model, has more than one phase, or is a teacher that reads content.
    """
    cls: Any = chosen.target
    what = f"model.{role}: '{chosen.name}'"
    if not (isinstance(cls, type) and issubclass(cls, Backbone)) or cls.query_kind != "user":
        raise ConfigError(f"{what} is no backbone that is asked by user id, so it cannot be the {role}")
    inner = [name for name, value in chosen.config if isinstance(value, Component) and value.group == RECOMMENDERS]
    if inner:
        raise ConfigError(f"{what} holds a model itself ({inner[0]}), so it cannot be the {role}: wrap the other way")
    if role == "teacher" and cls.info.features != "none":
        raise ConfigError(f"{what} reads item features, and a teacher knows ids alone: choose lightgcn or bpr")
    build: Any = cls  # a class, of which only its constructor's protocol is known
    model: Backbone = build(view, chosen.config)
    _only_phase(model, role)
    return model


def _only_phase(model: Backbone, role: str) -> Phase:
    phases = model.phases()
    if len(phases) != 1 or phases[0].steps != "pass":
        raise ConfigError(
            f"model.{role}: {type(model).__name__} is trained in {len(phases)} phases, and a {role} has one: a "
            "pass over the train rows"
        )
    return phases[0]


def _begin(model: Backbone, epoch: int, generator: torch.Generator) -> None:
    if isinstance(model, BeginsEpochs):
        model.begin_epoch(epoch, generator)


def _times(batch: Batch, weight: Tensor) -> Batch:
    return replace(batch, weight=weight if batch.weight is None else weight * batch.weight)


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a while."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
