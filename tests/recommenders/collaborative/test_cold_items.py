"""Items without a train row: what each model makes of them, in the tables of buckets and ranked among themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from sensorium.core import registry
from sensorium.core.seeds import catalogue_order
from sensorium.data.view import TrainView
from sensorium.evaluation.buckets import evaluate_within, measure_buckets, popularity_buckets, warm_and_cold
from sensorium.evaluation.ranking import evaluate
from sensorium.evaluation.tasks import RankingTask, task_from_rows
from sensorium.testing import subject_of, tiny_data

GROUP = "sensorium.recommenders"
WRAPPERS = {"guider", "fmmrec"}
FAMILY = [
    name for name in registry.names(GROUP) if registry.get(GROUP, name).query_kind == "user" and name not in WRAPPERS
]
# Their scores know ids alone, whatever shapes these in training.
OF_IDS = ["popularity", "itemknn", "bpr", "lightgcn", "selfcf", "bm3", "dssm"]
OF_CONTENT: list[tuple[str, dict[str, object]]] = [
    *((name, {}) for name in FAMILY if name not in OF_IDS),
    ("dssm", {"tower": "features"}),
    ("dssm", {"tower": "id+features"}),
]

KS = [3]


class World(NamedTuple):
    """Rows of every fourth item are held out, all of them."""

    view: TrainView
    task: RankingTask
    cold: np.ndarray


@pytest.fixture(scope="module")
def world() -> World:
    view = tiny_data(users=60, items=40, missing=0.0).view
    cold = np.arange(view.n_items) % 4 == 1
    held_out = cold[view.item]
    train = replace(view, user=view.user[~held_out], item=view.item[~held_out])
    task = task_from_rows(view.n_items, (view.user[held_out], view.item[held_out]), (train.user, train.item))
    return World(train, task, train.item_count == 0)


def test_every_model_of_the_family_is_of_one_kind() -> None:
    assert set(OF_IDS) <= set(FAMILY)
    assert {"vbpr", "contentknn", "dragon", "lgmrec", "freedom", "lattice", "mgcn", "smore"} <= {
        n for n, _ in OF_CONTENT
    }


@pytest.mark.parametrize("name", OF_IDS)
def test_ids_alone_order_cold_items_by_the_seeded_order_and_say_so(name: str, world: World) -> None:
    """Lists of cold items alone are the same for everybody, the order of the catalogue, and all of them are ties."""
    model = subject_of(name).train(world.view, epochs=3)
    within = evaluate_within(model, world.task, world.cold, ks=KS, metrics=["recall"])
    place = catalogue_order(world.view.n_items, 0)
    first = sorted(np.flatnonzero(world.cold), key=lambda item: place[item])[: KS[0]]
    assert all(found.tolist() == first for found in within.lists[:, : KS[0]])
    assert within.tie_share == 1.0


@pytest.mark.parametrize(("name", "config"), OF_CONTENT)
def test_content_orders_cold_items_better_than_chance(name: str, config: dict[str, object], world: World) -> None:
    """Contents point to groups, users mostly have items of theirs: found far more often than in a random order."""
    model = subject_of(name, config).train(world.view, epochs=12)
    within = evaluate_within(model, world.task, world.cold, ks=KS, metrics=["recall"])
    chance = KS[0] / int(world.cold.sum())
    assert within.summary["recall@3"] > 1.3 * chance
    assert within.tie_share is not None
    assert within.tie_share < 1.0


@pytest.mark.parametrize("name", ["lightgcn", "vbpr"])
def test_buckets_of_train_rows_hold_every_target_once(name: str, world: World) -> None:
    """The hits of the four buckets, and of warm and cold, add up to those of the whole test."""
    view, task, _ = world
    model = subject_of(name).train(view)
    result = evaluate(model, task, ks=[10], metrics=["recall"])
    for buckets in (popularity_buckets(view.item_count), warm_and_cold(view.item_count)):
        parts = measure_buckets(task, result, buckets, ks=[10], metrics=["recall"])
        hits = np.zeros(len(task))
        for part_name, part in parts.items():
            rows = np.searchsorted(task.query, part.query)
            targets = [
                np.count_nonzero(buckets[part_name][task.target_items[start:stop]])
                for start, stop in zip(task.target_offsets[:-1], task.target_offsets[1:], strict=True)
            ]
            hits[rows] += part.per_query["recall@10"] * np.array(targets)[rows]
        assert np.allclose(hits / np.diff(task.target_offsets), result.per_query["recall@10"])
