"""Full ranking: the k best items of every query among all that compete, masked items apart, and the same for given
candidates.

Queries go through in blocks (query vectors, masks), blocks in tiles (scores, choice): no users x items matrix is ever
held. Equal scores are ordered by one seeded permutation of the catalogue (docs/protocol.md), so that a scorer that
knows nothing gets chance. Processes that work together (`core.processes`) rank a shard of the queries each, and every
one of them gets all lists: the same call in all of them gives the lists of one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from sensorium.core.errors import TrainingError
from sensorium.core.processes import processes
from sensorium.core.resources import require_memory
from sensorium.core.seeds import catalogue_order
from sensorium.evaluation.results import RankingResult, measure
from sensorium.evaluation.scoring import Catalogue, Scorer, evaluating
from sensorium.evaluation.tasks import RankingTask, shard
from sensorium.evaluation.topk import Chooser

Integers = npt.NDArray[np.int64]

WORTH_ASKING = 1 << 30  # bytes: smaller work is not held up by a look at the machine's memory


@dataclass(frozen=True)
class Ranked:
    """The lists of n queries.

    Attributes:
        items: int32 [n, k], best first; -1 where fewer than k items compete.
        scores: float32 [n, k]; -inf there.
        tie_at_cut: bool [n], whether the next item has the score of the last.
    """

    items: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    tie_at_cut: npt.NDArray[np.bool_]


def evaluate(
    scorer: Scorer,
    task: RankingTask,
    *,
    ks: Sequence[int],
    metrics: Sequence[str],
    tie_seed: int = 0,
    block: int = 4096,
    item_count: Integers | None = None,
    n_users: int | None = None,
) -> RankingResult:
    """Rank and measure: every metric at every k in one pass over the scores.

    Args:
        scorer: Anything with `query_vectors` and `item_vectors`, or with `score`.
        task: The queries, their targets, what is masked.
        ks: The list lengths.
        metrics: Names of registered metrics.
        tie_seed: Seed of the permutation that orders equal scores; the same for all models of a comparison.
        block: Queries that are asked at once.
        item_count: int64 [I], train users of each item (novelty needs it).
        n_users: Number of users (novelty needs it).

    Raises:
        TrainingError: A score is NaN; the message names the query.
    """
    ranked = rank(scorer, task, k=max(ks), tie_order=catalogue_order(task.n_items, tie_seed), block=block)
    return measure(
        task,
        ranked.items,
        ks=ks,
        metrics=metrics,
        scores=ranked.scores,
        tie_at_cut=ranked.tie_at_cut,
        item_count=item_count,
        n_users=n_users,
        rules=ranking_rules(tie_seed),
    )


def ranking_rules(tie_seed: int) -> dict[str, str]:
    """Return how lists are made of scores, in words, for `result.json` and the reports."""
    return {
        "ranking": "full: every item that competes is scored, none is sampled",
        "scores": "float32, not rounded",
        "ties": f"equal scores in the order of one permutation of the catalogue, tie_seed {tie_seed}",
    }


def rank(scorer: Scorer, task: RankingTask, *, k: int, tie_order: Integers, block: int = 4096) -> Ranked:
    """Return the k best items of each query of the task.

    A score of -inf takes an item out of the competition. The lists don't depend on the block size.

    Args:
        scorer: Anything with `query_vectors` and `item_vectors`, or with `score`.
        task: The queries, what is masked, which items compete; targets are not looked at.
        k: Length of the lists.
        tie_order: int64 [I], place of each item among equal scores (`core.seeds.catalogue_order`).
        block: Queries that are asked at once.

    Raises:
        TrainingError: A score is NaN; the message names the query.
    """
    if k < 1 or block < 1:
        raise ValueError(f"k and block must be at least 1, they are {k} and {block}")
    everyone = processes()
    if everyone.alone:
        return _rank(scorer, task, k, tie_order, block)
    own = _rank(scorer, shard(task, everyone.rank, everyone.world), k, tie_order, block)
    return Ranked(
        *(
            torch.cat(everyone.gather(torch.from_numpy(part))).numpy()
            for part in (own.items, own.scores, own.tie_at_cut)
        )
    )


def _rank(scorer: Scorer, task: RankingTask, k: int, tie_order: Integers, block: int) -> Ranked:
    """Rank in this process alone."""
    columns = None if task.candidates is None else np.flatnonzero(task.candidates)
    n = len(task)
    result = Ranked(
        np.full((n, k), -1, dtype=np.int32), np.full((n, k), -np.inf, dtype=np.float32), np.zeros(n, dtype=bool)
    )
    if columns is not None and not len(columns):
        return result
    with evaluating(scorer):
        catalogue = Catalogue(scorer, task.n_items, columns)
        needed = 8 * n * k + 8 * catalogue.tile_rows * catalogue.width
        if needed > WORTH_ASKING:
            require_memory(needed, f"the ranking of {catalogue.width:,} items for {n:,} queries")
        places = tie_order if columns is None else tie_order[columns]
        chooser = Chooser(torch.from_numpy(places).to(catalogue.device), k, catalogue.tile_rows)
        stride = chooser.scores.shape[1]
        for start in range(0, n, block):
            part = task.rows(start, min(start + block, n))
            hidden, bounds = _hidden(part, columns, stride)
            masked = torch.from_numpy(hidden).to(catalogue.device)
            for first, last in catalogue.tiles(part.query, chooser.scores):
                of_tile = masked[bounds[first] : bounds[last]] - first * stride
                chooser.scores.view(-1).index_fill_(0, of_tile, float("-inf"))
                best = chooser.choose(last - first)
                chosen, scores = best.columns.cpu().numpy(), best.scores.cpu().numpy()
                _refuse_nan(scores, part.query[first:last], scorer)
                rows = slice(start + first, start + last)
                result.items[rows] = chosen if columns is None else np.where(chosen < 0, -1, columns[chosen])
                result.scores[rows] = scores
                result.tie_at_cut[rows] = best.tie_at_cut.cpu().numpy()
    return result


def join(parts: Sequence[Ranked]) -> Ranked:
    """Put the lists of shards together again, in the order of the shards (`tasks.shard`)."""
    return Ranked(
        np.concatenate([part.items for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.tie_at_cut for part in parts]),
    )


def score_candidates(
    scorer: Scorer, n_items: int, query: Integers, offsets: Integers, items: Integers
) -> npt.NDArray[np.float32]:
    """Return the scores of given items for each query: the very numbers that the full ranking compares.

    Args:
        scorer: Anything with `query_vectors` and `item_vectors`, or with `score`.
        n_items: Size of the catalogue.
        query: int64 [n] query ids.
        offsets: int64 [n+1] into items.
        items: int64, the candidates of each query one after another.

    Returns:
        float32, one for each of `items`.

    Raises:
        TrainingError: A score is NaN; the message names the query.
    """
    found = np.empty(len(items), dtype=np.float32)
    with evaluating(scorer):
        catalogue = Catalogue(scorer, n_items)
        scores = torch.empty(catalogue.tile_rows, n_items, device=catalogue.device)
        for start, stop in catalogue.tiles(query, scores):
            rows = np.repeat(np.arange(stop - start), np.diff(offsets[start : stop + 1]))
            span = slice(offsets[start], offsets[stop])
            places = torch.from_numpy(rows * n_items + items[span]).to(catalogue.device)
            found[span] = scores.view(-1)[places].cpu().numpy()
    if np.isnan(found).any():
        row = int(np.searchsorted(offsets, np.flatnonzero(np.isnan(found))[0], side="right")) - 1
        raise TrainingError(_nan_message(int(query[row]), scorer))
    return found


def rank_candidates(
    scorer: Scorer, n_items: int, query: Integers, offsets: Integers, items: Integers, *, tie_order: Integers
) -> tuple[Integers, npt.NDArray[np.float32]]:
    """Order the given candidates of each query, best first; arguments as for `score_candidates`.

    Returns:
        The items of each query in their new order, and their scores; the offsets stay.
    """
    scores = score_candidates(scorer, n_items, query, offsets, items)
    rows = np.repeat(np.arange(len(query)), np.diff(offsets))
    order = np.lexsort((tie_order[items], -scores, rows))
    return items[order], scores[order]


def _hidden(task: RankingTask, columns: Integers | None, stride: int) -> tuple[Integers, Integers]:
    """Return row * stride + column of every masked item that competes, and where each query's begin: int64 [n+1]."""
    rows = np.repeat(np.arange(len(task)), np.diff(task.mask_offsets))
    if columns is None:
        return rows * stride + task.mask_items, task.mask_offsets
    column = np.minimum(np.searchsorted(columns, task.mask_items), len(columns) - 1)
    competes = columns[column] == task.mask_items
    offsets = np.concatenate([[0], np.cumsum(competes)])[task.mask_offsets]
    return rows[competes] * stride + column[competes], offsets


def _refuse_nan(scores: npt.NDArray[np.float32], query: Integers, scorer: Scorer) -> None:
    wrong = np.flatnonzero(np.isnan(scores[:, 0]))
    if len(wrong):
        raise TrainingError(_nan_message(int(query[wrong[0]]), scorer))


def _nan_message(query: int, scorer: Scorer) -> str:
    return (
        f"{type(scorer).__name__} gives NaN as a score for query {query}: its weights or features are not finite, "
        "so it can't be ranked"
    )
