"""The metrics of a ranking (docs/protocol.md), each one function of a few lines over a whole block of lists.

Two kinds. A *query metric* gives one value per query (a user, or a history) from `Relevance`: which places of its list
hold a target. A *list metric* gives one number for all lists from `Exposure`: how often each item was shown. Both are
registry entries; a package adds its own with one decorated function and two lines of its `pyproject.toml`:

    @query_metric("share of queries whose first place is a target")
    def first_place(relevance: Relevance, k: int) -> Floats:
        return relevance.hits[:, 0].astype(float)

    [project.entry-points."sensorium.metrics"]
    first_place = "mypackage:first_place"

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sensorium.core import registry
from sensorium.core.errors import ConfigError

GROUP = "sensorium.metrics"

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]


# --- what a metric sees
# --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Relevance:
    """The lists of n queries as a metric sees them; sums over places are made once and shared by all metrics and all k.

    Attributes:
        hits: bool [n, K], whether the item at this place (0 = first) is a target of the query; each target counts once.
        n_targets: int64 [n], the number of targets of each query, at least 1.
    """

    hits: Booleans
    n_targets: Integers

    @cached_property
    def found(self) -> Integers:
        """Number of targets among the first places: int64 [n, K]."""
        return np.cumsum(self.hits, axis=1, dtype=np.int64)

    @cached_property
    def gain(self) -> Floats:
        """Discounted cumulative gain up to each place: float64 [n, K]."""
        return np.cumsum(self.hits * discounts(self.hits.shape[1]), axis=1)

    @cached_property
    def precision_at_hits(self) -> Floats:
        """Sum of the precisions at the places of the hits, up to each place: float64 [n, K]."""
        places = np.arange(1, self.hits.shape[1] + 1)
        return np.cumsum(self.hits * self.found / places, axis=1)


@dataclass(frozen=True)
class Exposure:
    """How often each item was shown in the first k places of all lists.

    Attributes:
        shown: int64 [I], the number of lists that hold each item; items outside the candidates are left out.
        item_count: int64 [I], the number of train users of each item, or None when it was not given.
        n_users: The number of users, or None when it was not given.
    """

    shown: Integers
    item_count: Integers | None = None
    n_users: int | None = None


@dataclass(frozen=True)
class QueryMetric:
    """A metric with one value per query: `compute(relevance, k) -> float64 [n]`."""

    compute: Callable[[Relevance, int], Floats]
    summary: str
    higher_is_better: bool = True


@dataclass(frozen=True)
class ListMetric:
    """A metric of all lists together: `compute(exposure) -> float`."""

    compute: Callable[[Exposure], float]
    summary: str
    higher_is_better: bool = True


Metric = QueryMetric | ListMetric


def query_metric(
    summary: str, *, higher_is_better: bool = True
) -> Callable[[Callable[[Relevance, int], Floats]], QueryMetric]:
    """Make a query metric of a function `(relevance, k) -> float64 [n]`; the summary is for people who choose one."""
    return lambda function: QueryMetric(function, summary, higher_is_better)


def list_metric(summary: str, *, higher_is_better: bool = True) -> Callable[[Callable[[Exposure], float]], ListMetric]:
    """Make a list metric of a function `(exposure) -> float`."""
    return lambda function: ListMetric(function, summary, higher_is_better)


def load_metrics(names: Sequence[str]) -> dict[str, Metric]:
    """Return the registered metrics of these names.

    Raises:
        UnknownNameError: A name that is in no registry; the message holds the nearest one.
        ConfigError: The registered object is not a metric.
    """
    loaded: dict[str, Metric] = {}
    for name in names:
        target = registry.get(GROUP, name)
        if not isinstance(target, QueryMetric | ListMetric):
            raise ConfigError(
                f"'{name}' of {GROUP} is {type(target).__name__}, not a metric: use query_metric or list_metric"
            )
        loaded[name] = target
    return loaded


# --- one value per query
# -------------------------------------------------------------------------------------------------------


def discounts(k: int) -> Floats:
    """Return 1 / log2(place + 1) for places 1..k: float64 [k]."""
    return np.asarray(1.0 / np.log2(np.arange(2, k + 2)), dtype=np.float64)


@query_metric("hits in the first k places / number of targets")
def recall(relevance: Relevance, k: int) -> Floats:
    """Recall@k = hits / |T|."""
    return relevance.found[:, k - 1] / relevance.n_targets


@query_metric("hits in the first k places / k")
def precision(relevance: Relevance, k: int) -> Floats:
    """Precision@k = hits / k, also when the list is shorter than k."""
    return np.asarray(relevance.found[:, k - 1] / k, dtype=np.float64)


@query_metric("1 when the first k places hold a target, else 0")
def hit_rate(relevance: Relevance, k: int) -> Floats:
    """HitRate@k = 1[hits > 0]."""
    return (relevance.found[:, k - 1] > 0).astype(np.float64)


@query_metric("discounted gain of the first k places / that of the best list of min(targets, k) hits")
def ndcg(relevance: Relevance, k: int) -> Floats:
    """NDCG@k = DCG / ideal DCG, the ideal over min(|T|, k) places: a list that cannot be better scores 1."""
    ideal = np.cumsum(discounts(k))
    return np.asarray(relevance.gain[:, k - 1] / ideal[np.minimum(relevance.n_targets, k) - 1], dtype=np.float64)


@query_metric("mean over min(targets, k) of the precision at each hit's place")
def average_precision(relevance: Relevance, k: int) -> Floats:
    """MAP@k = sum over hits of the precision at their place / min(|T|, k)."""
    return np.asarray(relevance.precision_at_hits[:, k - 1] / np.minimum(relevance.n_targets, k), dtype=np.float64)


@query_metric("1 / place of the first hit, 0 without one")
def reciprocal_rank(relevance: Relevance, k: int) -> Floats:
    """MRR@k = 1 / rank of the first hit in the first k places, 0 if there is none."""
    first = relevance.hits[:, :k].argmax(axis=1)
    return np.where(relevance.found[:, k - 1] > 0, 1.0 / (first + 1), 0.0)


# --- one value for all lists
# ---------------------------------------------------------------------------------------------------


@list_metric("share of the catalogue that stands in at least one list")
def coverage(exposure: Exposure) -> float:
    """Coverage@k = |union of lists| / I."""
    return float(np.count_nonzero(exposure.shown) / len(exposure.shown))


@list_metric("mean over list entries of -log2((train users of the item + 1) / (users + 1))")
def novelty(exposure: Exposure) -> float:
    """Novelty@k: how surprising the shown items are, in bits; NaN when nothing was shown.

    Raises:
        ConfigError: The train counts of the items or the number of users were not given.
    """
    if exposure.item_count is None or exposure.n_users is None:
        raise ConfigError(
            "novelty needs the train count of every item and the number of users: pass item_count and n_users"
        )
    total = exposure.shown.sum()
    bits = -np.log2((exposure.item_count + 1.0) / (exposure.n_users + 1.0))
    return float(exposure.shown @ bits / total) if total else float("nan")


@list_metric(
    "inequality of the items' exposure: 0 when all are shown equally often, near 1 when few get all",
    higher_is_better=False,
)
def gini(exposure: Exposure) -> float:
    """Gini@k of the exposure counts, all items included; NaN when nothing was shown."""
    counts = np.sort(exposure.shown)
    total, size = counts.sum(), len(counts)
    places = np.arange(1, size + 1, dtype=np.float64)
    return float((2 * places - size - 1) @ counts / (size * total)) if total else float("nan")
