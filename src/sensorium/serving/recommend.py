"""Answers of a run by external ids: ranked items with titles for users or a history, and the scores of given items.

A user is answered with items that they have not met: by default everything that the data set holds of them is hidden,
`as_evaluated` hides what the test hid, and then the list is the one that was evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from sensorium.core import registry
from sensorium.core.errors import ConfigError, DataError, SensoriumError
from sensorium.core.seeds import catalogue_order
from sensorium.data.dataset import Dataset
from sensorium.data.sequences import everything, sequences
from sensorium.data.splits import KNOWN, TRAIN, VALID
from sensorium.evaluation.histories import Histories, HistoryScorer
from sensorium.evaluation.ranking import rank, score_candidates
from sensorium.evaluation.scoring import Scorer, evaluating
from sensorium.evaluation.tasks import asks_users_often, list_task
from sensorium.experiments.run import LoadedRun, load_run
from sensorium.recommenders.base import AnswersHistory
from sensorium.serving.filters import Candidates, Ids, SeenItems, candidates, everything_seen, masked_at_test, name_some
from sensorium.serving.folding import FoldedScorer, fold_in, folds_in
from sensorium.serving.items import with_added_items

Integers = npt.NDArray[np.int64]

UNKNOWN_USER = "unknown user"
NOTHING_LEFT = "nothing left to recommend"


@dataclass(frozen=True)
class RankedItem:
    """One place of an answer."""

    rank: int
    item_id: str
    title: str
    score: float


@dataclass(frozen=True)
class Answer:
    """The items for one request.

    Attributes:
        user_id: Whom it is for; None for a history.
        history: The item ids that it follows from; None for a user.
        items: Best first; fewer than asked when fewer remain.
        asked: How many items were asked for.
        available: How many items remain after all filters.
        note: What the caller should know, a phrase; "" when there is nothing to say.
    """

    user_id: str | None
    history: tuple[str, ...] | None
    items: tuple[RankedItem, ...]
    asked: int
    available: int
    note: str


@dataclass(frozen=True)
class Answers:
    """Answers in the order of the requests, and notices about the filters, one sentence each."""

    answers: tuple[Answer, ...]
    notices: tuple[str, ...]


def recommend(
    run: str | Path | LoadedRun,
    *,
    user: str | None = None,
    users: Sequence[str] | None = None,
    history: Sequence[str] | None = None,
    k: int = 10,
    only: Ids | None = None,
    exclude: Ids | None = None,
    as_evaluated: bool = False,
) -> Answers:
    """Recommend items to one user, to several, or to whoever has a history of items.

    Args:
        run: A run's folder, or a run that is already loaded.
        user: One external user id.
        users: External user ids; each gets an answer, in this order. An id that the run doesn't know is answered so.
        history: External item ids, oldest first, for models that can answer one.
        k: How many items.
        only: Recommend nothing but these items: external ids, or a file with one a line.
        exclude: Never recommend these.
        as_evaluated: Hide what the test hid instead of everything that the user has interacted with.

    Raises:
        ConfigError: Not exactly one of user, users and history; k below 1; a history for a model that can't answer
            one, or as it was evaluated.
        DataError: No id of the history, or of `only`, is in the catalogue.
        RunError: The run is not there, or holds no weights.
    """
    if sum(given is not None for given in (user, users, history)) != 1:
        raise ConfigError("recommend for exactly one of: a user, several users, a history")
    if isinstance(users, str) or isinstance(history, str):
        raise ConfigError("users and history are lists of ids, not one text")
    if history is not None and as_evaluated:
        raise ConfigError("a history was in no test: as_evaluated is for users")
    if k < 1:
        raise ConfigError(f"k is the number of items to recommend: it is {k} and must be at least 1")
    loaded = run if isinstance(run, LoadedRun) else load_run(run)
    if not as_evaluated:
        loaded = with_added_items(loaded)
    competing = candidates(loaded.dataset, only, exclude)
    if history is not None:
        return _answer_history(loaded, history, k, competing)
    ids = [user] if user is not None else list(users or [])
    found = loaded.dataset.users_of(ids)
    known = np.unique(found[found >= 0])
    seen = hidden(loaded, as_evaluated, known)
    items, scores, available = ranked_lists(
        loaded, known, seen, k=k, competing=competing.items, as_evaluated=as_evaluated
    )
    row_of = {int(number): row for row, number in enumerate(known)}
    catalogue = _Catalogue.of(loaded.dataset)
    answers = []
    for text, number in zip(ids, found.tolist(), strict=True):
        if number < 0:
            answers.append(Answer(text, None, (), k, 0, UNKNOWN_USER))
            continue
        row = row_of[number]
        listed = catalogue.listed(items[row], scores[row])
        note = _note(len(listed), k, trained=loaded.view.user_count[number] > 0)
        answers.append(Answer(text, None, listed, k, int(available[row]), note))
    return Answers(tuple(answers), competing.notices)


def score(run: str | Path | LoadedRun, *, user: str, items: Sequence[str]) -> list[float]:
    """Return the score of each given item for a user: the very numbers by which `recommend` ranks.

    Raises:
        ConfigError: The user or an item is unknown.
        RunError: The run is not there, or holds no weights.
    """
    loaded = with_added_items(run if isinstance(run, LoadedRun) else load_run(run))
    users, numbers = loaded.dataset.users_of([user]), loaded.dataset.items_of(items)
    if users[0] < 0:
        raise ConfigError(f"user '{user}' is not in {loaded.dataset.info.name}")
    unknown = [text for text, number in zip(items, numbers, strict=True) if number < 0]
    if unknown:
        raise ConfigError(f"items that are not in {loaded.dataset.info.name}: {', '.join(unknown[:5])}")
    offsets = np.array([0, len(numbers)])
    found = score_candidates(scorer_of(loaded), loaded.dataset.n_items, users, offsets, numbers)
    return [float(value) for value in found]


def _answer_history(run: LoadedRun, history: Sequence[str], k: int, competing: Candidates) -> Answers:
    """Answer whoever has met these items; they are not recommended again."""
    model = run.model
    if not isinstance(model, AnswersHistory) and not folds_in(model):
        raise ConfigError(
            f"'{run.config.model.name}' answers the users that it was trained on and no history; "
            f"models that answer a history: {', '.join(models_that_answer_histories()) or 'none is registered'}"
        )
    numbers = run.dataset.items_of(history)
    unknown = [text for text, number in zip(history, numbers, strict=True) if number < 0]
    known = numbers[numbers >= 0]
    if not len(known):
        raise DataError(f"no item of this history is in {run.dataset.info.name}: {name_some(unknown)}")
    notices = competing.notices
    if unknown:
        notices += (
            f"{len(unknown)} of {len(history)} items of the history are not in the catalogue: {name_some(unknown)}",
        )
    task = list_task(run.dataset.n_items, np.zeros(1, dtype=np.int64), (np.zeros_like(known), known), competing.items)
    order = catalogue_order(run.dataset.n_items, run.config.evaluation.tie_seed)
    asked = [torch.from_numpy(known)]
    if isinstance(model, AnswersHistory):
        scorer: Scorer = _HistoryScorer(model, asked)
    else:
        people, items, method = fold_in(run, asked)
        scorer = FoldedScorer(people, items)
        notices += (f"'{run.config.model.name}' was not trained with this history: it is folded in ({method})",)
    with evaluating(model):
        ranked = rank(scorer, task, k=k, tie_order=order)
    listed = _Catalogue.of(run.dataset).listed(ranked.items[0], ranked.scores[0])
    answer = Answer(None, tuple(history), listed, k, int(task.n_candidates[0]), _note(len(listed), k, trained=True))
    return Answers((answer,), notices)


@dataclass(frozen=True)
class _HistoryScorer:
    """Histories as queries: query q is histories[q]."""

    model: AnswersHistory
    histories: Sequence[Tensor]

    def score(self, queries: Tensor, items: Tensor | None, /) -> Tensor:
        """Return scores float32 [n, I], or [n, len(items)]."""
        scores = self.model.score_history([self.histories[query] for query in queries.tolist()])
        return scores if items is None else scores[:, items]


def models_that_answer_histories() -> list[str]:
    """Return the names of the registered models that can answer a history."""
    found = []
    for name, entry in registry.entries("sensorium.recommenders").items():
        try:
            target = entry.load()
        except SensoriumError:
            continue  # it cannot run here, so it cannot answer either
        if hasattr(target, "score_history") or folds_in(target):
            found.append(name)
    return found


def hidden(run: LoadedRun, as_evaluated: bool, users: Integers | None = None) -> SeenItems:
    """Return the items that are never recommended to each user.

    Raises:
        ConfigError: As it was evaluated, where the evaluation had several lists for each user.
    """
    evaluation = run.config.evaluation
    history = run.model.query_kind == "history"
    if as_evaluated and asks_users_often(run.split):
        raise ConfigError("this run was evaluated with several lists for each user: they are in its lists.parquet")
    if history and evaluation.repeat_policy == "free":
        nothing = np.zeros(0, dtype=np.int64)
        return SeenItems.of_rows(run.dataset.n_users, nothing, nothing)
    if as_evaluated:  # of a history all that was asked with was hidden
        return masked_at_test(run.split, evaluation.history if history else evaluation.mask)
    return everything_seen(run.dataset, users)


def ranked_lists(
    run: LoadedRun,
    users: Integers,
    seen: SeenItems,
    *,
    k: int,
    competing: npt.NDArray[np.bool_] | None,
    as_evaluated: bool = False,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], Integers]:
    """Rank for user numbers int64 [n].

    Only if `as_evaluated` a model that a history asks reads what the test did, and only the items compete that competed
    there.

    Returns:
        items int32 [n, k] (-1 = none), scores float32 [n, k], and how many items remain for each user, int64 [n].
    """
    tested = run.split.candidates if as_evaluated else None
    if tested is not None:
        competing = tested if competing is None else competing & tested
    task = list_task(run.dataset.n_items, users, seen.of(users), competing)
    order = catalogue_order(run.dataset.n_items, run.config.evaluation.tie_seed)
    ranked = rank(scorer_of(run, as_evaluated), task, k=k, tie_order=order)
    return ranked.items, ranked.scores, task.n_candidates


def scorer_of(run: LoadedRun, as_evaluated: bool = False) -> Scorer:
    """Return who is asked by user number: the model, or the model with everybody's history.

    A history is all that the data set holds of a user, or, as it was evaluated, what came before the test: under
    `evaluation.history: window` without the rows beyond the split's `max_len`.
    """
    if run.model.query_kind != "history":
        return run.model
    if as_evaluated:
        beyond = [KNOWN] if run.config.evaluation.history == "full" else []
        store = sequences(run.dataset, run.split, [TRAIN, VALID, *beyond])
    else:
        store = everything(run.dataset, run.split.seed, min_rating=run.config.data.min_rating)
    return HistoryScorer(run.model, Histories.of_users(store))


@dataclass(frozen=True)
class _Catalogue:
    """External ids and titles of all items, text [I] each."""

    item_ids: pl.Series
    titles: pl.Series

    @classmethod
    def of(cls, dataset: Dataset) -> _Catalogue:
        """Read them."""
        return cls(dataset.item_ids(), dataset.titles())

    def listed(self, items: npt.NDArray[np.int32], scores: npt.NDArray[np.float32]) -> tuple[RankedItem, ...]:
        """Return one ranked list, items int32 [k] and scores float32 [k]; -1 ends it."""
        chosen = items[items >= 0]
        rows = zip(
            self.item_ids.gather(chosen), self.titles.gather(chosen), scores[: len(chosen)].tolist(), strict=True
        )
        return tuple(RankedItem(place, *row) for place, row in enumerate(rows, start=1))


def _note(listed: int, asked: int, *, trained: bool) -> str:
    if listed == 0:
        return NOTHING_LEFT
    notes = [f"{listed} of {asked} available"] if listed < asked else []
    if not trained:
        notes.append("this user has no training rows: the ranking is not personal")
    return "; ".join(notes)
