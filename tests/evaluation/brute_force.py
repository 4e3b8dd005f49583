"""The metrics of docs/protocol.md in plain loops, as a person would write them: what the fast path must equal."""

import math
from collections.abc import Sequence

PER_QUERY = ("recall", "precision", "hit_rate", "ndcg", "map", "mrr")


def ranked_list(scores: Sequence[float], masked: set[int], place: Sequence[int], k: int) -> list[int]:
    """Sort every item that is not masked by score, equal scores by their place in the tie order."""
    items = [item for item in range(len(scores)) if item not in masked and scores[item] > -math.inf]
    return sorted(items, key=lambda item: (-scores[item], place[item]))[:k]


def metrics_of(ranked: Sequence[int], targets: set[int], k: int) -> dict[str, float]:
    """All metrics of one list."""
    hits = 0
    dcg = ideal = precisions = reciprocal = 0.0
    for rank in range(1, k + 1):
        if rank <= len(targets):
            ideal += 1 / math.log2(rank + 1)
        if rank <= len(ranked) and ranked[rank - 1] in targets:
            hits += 1
            dcg += 1 / math.log2(rank + 1)
            precisions += hits / rank
            reciprocal = reciprocal or 1 / rank
    return {
        "recall": hits / len(targets),
        "precision": hits / k,
        "hit_rate": float(hits > 0),
        "ndcg": dcg / ideal,
        "map": precisions / min(len(targets), k),
        "mrr": reciprocal,
    }


def list_metrics_of(lists: Sequence[Sequence[int]], item_count: Sequence[int], n_users: int) -> dict[str, float]:
    """Coverage, novelty and Gini of all lists, cut at k already."""
    counts = [0] * len(item_count)
    surprise: list[float] = []
    for ranked in lists:
        for item in ranked:
            counts[item] += 1
            surprise.append(-math.log2((item_count[item] + 1) / (n_users + 1)))
    ascending = sorted(counts)
    size = len(counts)
    return {
        "coverage": sum(count > 0 for count in counts) / size,
        "novelty": sum(surprise) / len(surprise),
        "gini": sum((2 * (j + 1) - size - 1) * ascending[j] for j in range(size)) / (size * sum(counts)),
    }
