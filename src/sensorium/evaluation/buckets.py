"""Where a number comes from: a ranking measured on the targets of one bucket of items, warm or cold, rare or popular.

Buckets are by the number of train rows of an item: 0, 1-5, 6-20, more than 20. Two questions are asked of a
bucket. Among the whole catalogue, does the model find these items? (`measure_buckets`, from lists that exist.) And
among themselves, does it tell them apart? (`evaluate_within`, a ranking of its own.) They differ: a model may order
cold items well and still show none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sensorium.evaluation.metrics import Booleans, Integers
from sensorium.evaluation.ranking import evaluate
from sensorium.evaluation.results import RankingResult, measure
from sensorium.evaluation.scoring import Scorer
from sensorium.evaluation.tasks import RankingTask, restrict

BOUNDS = ((0, 0), (1, 5), (6, 20), (21, None))


def popularity_buckets(item_count: Integers) -> dict[str, Booleans]:
    """Return the items by train rows: "0", "1-5", "6-20", ">20" -> bool [I].

    Args:
        item_count: int64 [I], train rows of each item.
    """
    return {
        f">{low - 1}" if high is None else str(low) if low == high else f"{low}-{high}": (item_count >= low)
        & (True if high is None else item_count <= high)
        for low, high in BOUNDS
    }


def frequency_buckets(item_count: Integers) -> dict[str, Booleans]:
    """Return the items by train rows, in bins of twice the width each: "0", "1", "2-3", "4-7", ... -> bool [I].

    Args:
        item_count: int64 [I], train rows of each item.
    """
    found = {"0": item_count == 0}
    low = 1
    while low <= item_count.max(initial=0):
        high = 2 * low - 1
        found[str(low) if low == high else f"{low}-{high}"] = (item_count >= low) & (item_count <= high)
        low *= 2
    return found


def warm_and_cold(item_count: Integers) -> dict[str, Booleans]:
    """Return the items with a train row and those without: "warm", "cold" -> bool [I]."""
    return {"warm": item_count > 0, "cold": item_count == 0}


def measure_buckets(
    task: RankingTask,
    result: RankingResult,
    buckets: Mapping[str, Booleans],
    *,
    ks: Sequence[int],
    metrics: Sequence[str],
    item_count: Integers | None = None,
    n_users: int | None = None,
) -> dict[str, RankingResult]:
    """Measure existing lists on the targets of each bucket: all items compete, only the bucket's count as right.

    Queries without a target in the bucket are left out and counted; a bucket without any has n = 0 and an empty
    summary.

    Args:
        task: The task that the lists answer.
        result: What `evaluate` or `evaluate_lists` returned for it.
        buckets: Name -> bool [I].
        ks: The list lengths, at most those of the result.
        metrics: Names of registered metrics.
        item_count: int64 [I], train users of each item (novelty needs it).
        n_users: Number of users (novelty needs it).
    """
    if not np.array_equal(task.query, result.query):
        raise ValueError("these lists answer another task")
    parts: dict[str, RankingResult] = {}
    for name, items in buckets.items():
        part = restrict(task, items)
        rows = np.searchsorted(task.query, part.query)
        parts[name] = measure(
            part,
            result.lists[rows],
            ks=ks,
            metrics=metrics,
            item_count=item_count,
            n_users=n_users,
            rules={key: rule for key, rule in result.rules.items() if key not in part.rules},
        )
    return parts


def evaluate_within(
    scorer: Scorer,
    task: RankingTask,
    items: Booleans,
    *,
    ks: Sequence[int],
    metrics: Sequence[str],
    tie_seed: int = 0,
    block: int = 4096,
    item_count: Integers | None = None,
    n_users: int | None = None,
) -> RankingResult:
    """Rank the items of one bucket among themselves: only they compete and count as right; else as `evaluate`."""
    part = restrict(task, items, candidates=items)
    return evaluate(
        scorer,
        part,
        ks=ks,
        metrics=metrics,
        tie_seed=tie_seed,
        block=block,
        item_count=item_count,
        n_users=n_users,
    )
