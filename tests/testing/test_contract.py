"""The contract tests, swept over every registered model, and tried on models that are wrong on purpose."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sensorium.core import registry
from sensorium.core.errors import ConfigError, UnknownNameError
from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.recommenders.base import ModelInfo, Recommender, Representations
from sensorium.recommenders.collaborative.bpr import BPR
from sensorium.recommenders.collaborative.itemknn import ItemKNN
from sensorium.recommenders.collaborative.lightgcn import LightGCN
from sensorium.recommenders.collaborative.popularity import Popularity
from sensorium.recommenders.collaborative.vbpr import VBPR
from sensorium.testing import CHECKS, ContractError, NotApplicable, check_recommender, subject_of, tiny_view

GROUP = "sensorium.recommenders"
ASKED_BY_USER = [name for name in registry.names(GROUP) if registry.get(GROUP, name).query_kind == "user"]


# A process of its own costs seconds a model: by default one model of each kind has it.
IN_A_PROCESS = {"bpr", "vbpr", "contentknn", "freedom", "dssm", "guider"}
PAIRS = [
    pytest.param(model, check, marks=[pytest.mark.slow] if check == "new process" and model not in IN_A_PROCESS else [])
    for model in ASKED_BY_USER
    for check in CHECKS
]


@pytest.mark.parametrize(("model", "check"), PAIRS)
def test_every_registered_model_keeps_the_contract(model: str, check: str) -> None:
    """TR-1, CS-1 and every other check, for each model."""
    try:
        CHECKS[check](subject_of(model))
    except NotApplicable as reason:
        pytest.skip(str(reason))


OPTIONS = [
    ("vbpr", {"bias": True, "dim": 8}),
    ("vbpr", {"protocol": "mmrec", "feature_scale": 0.1, "dim": 8}),
    ("lightgcn", {"layers": 0, "dim": 8}),
    ("itemknn", {"shrink": 10.0, "k": 3}),
    ("bm3", {"protocol": "mmrec", "layers": 2, "dim": 8}),
    ("lgmrec", {"hyperedges": 3, "layers": 2, "keep": 1.0, "dim": 8}),
    ("dragon", {"protocol": "mmrec", "user_neighbours": 3, "dim": 8}),
    ("contentknn", {"center": False, "k": 3}),
]


@pytest.mark.parametrize(("model", "config"), OPTIONS)
def test_options_keep_the_contract_too(model: str, config: dict[str, object]) -> None:
    subject = subject_of(model, config)
    for name, check in CHECKS.items():
        if name != "new process":  # costs seconds, and the options change nothing about it
            with suppress(NotApplicable):
                check(subject)


THIRD_PARTY = '''
import torch
from pydantic import Field
from sensorium.nn.losses import bpr
from sensorium.recommenders.base import ModelInfo, Recommender, known_ids


class Offsets(Recommender):
    """Matrix factorisation with item offsets, as somebody outside would write it."""

    info = ModelInfo(summary="matrix factorisation with item offsets", citation="nobody")

    class Config(Recommender.Config):
        dim: int = Field(8, ge=1, description="width")

    def __init__(self, view, config):
        super().__init__(view, config)
        self.user = self.id_embedding("user", view.user_count, config.dim)
        self.item = self.id_embedding("item", view.item_count, config.dim)
        self.offset = torch.nn.Parameter(torch.zeros(view.n_items, 1))

    def query_vectors(self, queries):
        rows = self.user[known_ids(queries, self.n_users, "user")]
        return torch.cat([rows, rows.new_ones(len(rows), 1)], 1)

    def item_vectors(self):
        return torch.cat([self.item, self.offset], 1)

    def loss(self, batch):
        users, items = self.query_vectors(batch.user), self.item_vectors()
        positive = (users * items[batch.pos]).sum(-1)
        negative = (users[:, None] * items[batch.neg]).sum(-1)
        return {"ranking": bpr(positive, negative, batch.weight)}
'''


def test_a_model_of_another_package_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "somebody_else.py").write_text(THIRD_PARTY)
    monkeypatch.syspath_prepend(tmp_path)
    import somebody_else

    with registry.registered(GROUP, "offsets", somebody_else.Offsets):
        outcome = check_recommender("offsets", {"dim": 4}, view=tiny_view(users=20, items=15, rows_per_user=5))
    assert outcome["new process"] == "passed"
    assert outcome["masked content"] == "not applicable: the model reads no features"
    assert set(outcome) == set(CHECKS)


def test_unknown_names_and_configs_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'lightgcn'"):
        check_recommender("lihgtgcn")
    with pytest.raises(ConfigError, match=r"model\.dmi: unknown key; did you mean model\.dim"):
        check_recommender("bpr", {"dmi": 3})


def test_a_model_that_is_asked_by_history_is_told_so() -> None:
    class ByHistory(Popularity):
        query_kind = "history"

    with pytest.raises(ConfigError, match="ByHistory is asked by history, these checks ask by user id"):
        check_recommender(ByHistory)


# --- models that are wrong on purpose, each in one way ----------------------------------------------------------------


class GlobalRandomStart(BPR):
    """Draws initial values from torch's global generator."""

    def __init__(self, view: TrainView, config: BPR.Config) -> None:
        super().__init__(view, config)
        torch.nn.init.normal_(self.user_embedding)


class DropoutAtTest(BPR):
    """Is random in evaluation mode."""

    def represent(self) -> Representations:
        user, item, _ = super().represent()
        return Representations(user + 0.01 * torch.rand_like(user), item)

    def item_vectors(self) -> Tensor:
        return self.represent().item

    def query_vectors(self, queries: Tensor) -> Tensor:
        super().query_vectors(queries)
        return self.represent().user[queries]


class ReadsTestRows(BPR):
    """Finds the data set behind the view, and counts all of its rows."""

    def __init__(self, view: TrainView, config: BPR.Config) -> None:
        super().__init__(view, config)
        dataset = getattr(view.features, "_dataset", None)
        if dataset is not None:
            items = dataset.interactions().select("item").collect()["item"].to_numpy()
            self.register_buffer("count", torch.from_numpy(np.bincount(items, minlength=view.n_items)))


class IgnoresMasks(VBPR):
    """Reads the features of items that have none."""

    def __init__(self, view: TrainView, config: VBPR.Config) -> None:
        super().__init__(view, config)
        raw = np.concatenate([features.x for features in view.features.values()], axis=1)
        self.content.values = torch.from_numpy(raw) / 100


class OneModalityOnly(VBPR):
    """Has a place for exactly two feature sets."""

    def __init__(self, view: TrainView, config: VBPR.Config) -> None:
        super().__init__(view, config)
        self.first, self.second = view.features


class NeedsContentEverywhere(VBPR):
    """Divides by the number of modalities that an item has."""

    def __init__(self, view: TrainView, config: VBPR.Config) -> None:
        super().__init__(view, config)
        present = np.stack([features.present for features in view.features.values()])
        self.content.values /= torch.from_numpy(present.sum(0)[:, None]).float()


class BuiltWithoutFeatures(BPR):
    """Says that it needs features, and does not look."""

    info = ModelInfo(summary="says that it needs features", citation="none", features="required")


class LastUserForUnknown(BPR):
    """Answers for user -1 with the last user's list."""

    def query_vectors(self, queries: Tensor) -> Tensor:
        return self.represent().user[queries]


class RemembersTooLong(BPR):
    """Keeps the vectors of the first evaluation."""

    kept: Representations | None = None

    def represent(self) -> Representations:
        if self.kept is None:
            self.kept = Representations(*(value.detach().clone() for value in super().represent()[:2]))
        return super().represent() if torch.is_grad_enabled() else self.kept


class StateOutsideTheState(BPR):
    """Learns something that no checkpoint holds."""

    def __init__(self, view: TrainView, config: BPR.Config) -> None:
        super().__init__(view, config)
        self.seen = torch.zeros(view.n_items, 1)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        self.seen.index_add_(0, batch.pos, torch.ones(len(batch.pos), 1))
        return super().loss(batch)

    def represent(self) -> Representations:
        user, item, _ = super().represent()
        return Representations(torch.cat([user, torch.ones(len(user), 1)], 1), torch.cat([item, self.seen], 1))


class ForgetsWeights(BPR):
    """Does not multiply by batch.weight."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return super().loss(Batch(batch.user, batch.pos, batch.neg, batch.row, None))


class ShiftsTheBatch(LightGCN):
    """Turns item ids into node ids in place."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        terms = super().loss(batch)
        batch.pos += self.n_users
        return terms


class UnnamedTerms(BPR):
    """Does not say which term is the ranking."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss": sum(super().loss(batch).values(), torch.zeros(()))}


class KeepsEdgeWeights(LightGCN):
    """Cannot go back to the graph without weights."""

    def set_edge_weight(self, weight: Tensor | None) -> None:
        if weight is not None or not hasattr(self, "_adjacency"):
            super().set_edge_weight(weight)


class FrozenRepresentations(BPR):
    """Cuts the gradient."""

    def represent(self) -> Representations:
        return Representations(self.user_embedding.detach(), self.item_embedding)


class TapsPassNoGradient(VBPR):
    """Shows content that nothing can be taught through."""

    def represent(self) -> Representations:
        user, item, modal = super().represent()
        return Representations(user, item, {name: tap.detach() for name, tap in modal.items()})


class SaysItIsPointwise(BPR):
    """Uses negatives, and says that it does not."""

    pointwise = True


class AddsToEdgeWeights(LightGCN):
    """Keeps a little of every row."""

    def set_edge_weight(self, weight: Tensor | None) -> None:
        super().set_edge_weight(None if weight is None else weight + 0.1)


class KeepsEdgeWeightsInTheState(LightGCN):
    """Saves the edge weights with the model."""

    def __init__(self, view: TrainView, config: LightGCN.Config) -> None:
        super().__init__(view, config)
        self.register_buffer("edge_weight", torch.ones(len(view.user)))

    def set_edge_weight(self, weight: Tensor | None) -> None:
        super().set_edge_weight(weight)
        self.edge_weight = torch.ones(len(self.edge_weight)) if weight is None else weight


class GradientOfSilentRows(BPR):
    """Multiplies the value of a row's loss by its weight, and not its gradient."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        weighted = super().loss(batch)["ranking"]
        plain = super().loss(replace(batch, weight=None))["ranking"]
        return {"ranking": plain + (weighted - plain).detach()}


class OtherScores(BPR):
    """Scores by something else than its vectors."""

    def score(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        found = self.query_vectors(queries) @ self.item_vectors().T + torch.arange(self.n_items)
        return found if items is None else found[:, items]


class LooksAtNeighbours(ItemKNN):
    """Scores depend on who else is asked."""

    def score(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        found = super().score(queries, items)
        return found - found.mean(0) if len(found) else found


class EmptyUsersDivideByZero(ItemKNN):
    """Means over the items of a user, of whom some have none."""

    def score(self, queries: Tensor, items: Tensor | None = None) -> Tensor:
        count = torch.from_numpy(np.diff(self._interactions.indptr))[queries]
        return super().score(queries, items) / count[:, None]


class PrefersLowIds(Popularity):
    """Breaks ties by id."""

    def item_vectors(self) -> Tensor:
        return super().item_vectors() - 0.5 * torch.arange(self.n_items)[:, None]


class KnowsNothing(Popularity):
    """Gives every item the same score."""

    def item_vectors(self) -> Tensor:
        return torch.ones(self.n_items, 1)


class RandomForUnknownItems(BPR):
    """Orders items that nobody had by the random numbers that it started from."""

    def __init__(self, view: TrainView, config: BPR.Config) -> None:
        super().__init__(view, config)
        self.item_embedding = self.embedding("item_embedding", view.n_items, config.dim)


class EmptyHistories(Popularity):
    """Scores of an empty history are not finite."""

    def score_history(self, histories: list[Tensor]) -> Tensor:  # type: ignore[override]
        return torch.stack([self.count / len(history) for history in histories])


class FullUserIsAnError(BPR):
    """TR-1: cannot live with a user who has everything."""

    def __init__(self, view: TrainView, config: BPR.Config) -> None:
        super().__init__(view, config)
        if (view.user_count == view.n_items).any():
            raise ContractError("no negative for a user")


class SilentKeys(BPR):
    """Has a key that nobody explains."""

    class Config(BPR.Config):
        mystery: int = 3


class Undescribed(Recommender):
    """Has no info."""


class ClaimsTraining(Popularity):
    """Says that it is trained, and has no phase."""

    info = ModelInfo(summary="says that it is trained", citation="none")


WRONG = {
    GlobalRandomStart: "determinism",
    DropoutAtTest: "determinism",
    ReadsTestRows: "test rows",
    IgnoresMasks: "masked content",
    OneModalityOnly: "modalities",
    NeedsContentEverywhere: "item without content",
    BuiltWithoutFeatures: "no features",
    LastUserForUnknown: "unknown ids",
    RemembersTooLong: "state",
    StateOutsideTheState: "new process",
    ForgetsWeights: "batch weight",
    ShiftsTheBatch: "loss terms",
    UnnamedTerms: "loss terms",
    KeepsEdgeWeights: "edge weight",
    FrozenRepresentations: "vectors",
    TapsPassNoGradient: "representations",
    SaysItIsPointwise: "pointwise",
    AddsToEdgeWeights: "edge weight",
    KeepsEdgeWeightsInTheState: "edge weight",
    GradientOfSilentRows: "batch weight",
    OtherScores: "vectors",
    LooksAtNeighbours: "batch is single",
    EmptyUsersDivideByZero: "everyone finite",
    PrefersLowIds: "relabelling",
    KnowsNothing: "better than chance",
    RandomForUnknownItems: "unknown items",
    EmptyHistories: "histories",
    FullUserIsAnError: "full user",
    SilentKeys: "config",
    Undescribed: "description",
    ClaimsTraining: "description",
}


@pytest.mark.parametrize("model", WRONG, ids=lambda model: model.__name__)
def test_a_wrong_model_fails_the_right_check(model: type[Recommender]) -> None:
    with pytest.raises((ContractError, ValueError)):
        CHECKS[WRONG[model]](subject_of(model))


def test_every_check_is_failed_by_somebody() -> None:
    assert set(WRONG.values()) == set(CHECKS)


class DoublyWrong(ForgetsWeights, LastUserForUnknown):
    """Has two faults."""


def test_all_findings_stand_in_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CHECKS, "new process")
    with pytest.raises(ContractError) as failure:
        check_recommender(DoublyWrong)
    text = str(failure.value)
    assert text.startswith(f"DoublyWrong fails 2 of {len(CHECKS)} checks:")
    assert "\n  batch weight: batch.weight does not change the term 'ranking'" in text
    assert "\n  unknown ids: user -1 gets an answer" in text


def test_any_exception_of_a_model_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CHECKS, "new process")
    with pytest.raises(ContractError, match=r"modalities: ValueError: not enough values to unpack"):
        check_recommender(OneModalityOnly)


def test_a_class_inside_a_function_cannot_go_to_another_process() -> None:
    class Local(Popularity):
        pass

    with pytest.raises(NotApplicable, match="not importable"):
        CHECKS["new process"](subject_of(Local))
