"""Histories and targets against a transcription of the protocol, one user after the other, and honest scorers on it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import binom
from torch import Tensor

from sensorium.core.errors import ConfigError
from sensorium.core.seeds import catalogue_order
from sensorium.data.dataset import Dataset
from sensorium.data.schema import Source
from sensorium.data.sequences import SequenceStore
from sensorium.data.splits import KNOWN, TEST, TRAIN, VALID, Split, make_split
from sensorium.data.store import write_tables
from sensorium.data.view import train_view
from sensorium.data.windows import cut
from sensorium.evaluation.histories import HistoryScorer, OwnerScorer, history_task, with_repeats
from sensorium.evaluation.ranking import evaluate, rank

USERS, ITEMS = 1_000, 60
L = 4


def lists(seed: int = 0) -> list[list[int]]:
    """Histories of 1 to 15 items, some of which stand again."""
    draw = np.random.default_rng(seed)
    return [draw.integers(ITEMS, size=draw.integers(1, 16)).tolist() for _ in range(USERS)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The lists as a log with an order of its own; the file holds the rows in another one."""
    folder = tmp_path_factory.mktemp("log") / "log"
    folder.mkdir()
    rows = [(user, item, place) for user, items in enumerate(lists()) for place, item in enumerate(items)]
    shuffled = [rows[place] for place in np.random.default_rng(1).permutation(len(rows))]
    user, item, order = (list(column) for column in zip(*shuffled, strict=True))
    return write_tables(
        folder,
        name="log",
        source=Source(reader="test"),
        interactions=pl.DataFrame(
            {
                "user": pl.Series(user, dtype=pl.Int32),
                "item": pl.Series(item, dtype=pl.Int32),
                "order": pl.Series(order, dtype=pl.Int64),
            }
        ),
        items=pl.DataFrame({"item": np.arange(ITEMS, dtype=np.int32), "item_id": [f"i{i}" for i in range(ITEMS)]}),
        users=pl.DataFrame({"user": np.arange(USERS, dtype=np.int32), "user_id": [f"u{u}" for u in range(USERS)]}),
    )


def histories_of(dataset: Dataset, split: Split, part: str, **options: str) -> dict[int, tuple[list[int], int]]:
    """User -> (history, target), of splits with one target for each user."""
    histories, task = history_task(dataset, split, part, **options)  # type: ignore[arg-type]
    store = histories.of(task.query)
    parts = np.split(store.values, store.offsets[1:-1])
    return {
        int(user): (items.tolist(), int(target))
        for user, items, target in zip(task.query, parts, task.target_items, strict=True)
    }


# --- the split, transcribed -----------------------------------------------------------------------------------------


def test_leave_last_out_with_max_len_is_its_transcription(dataset: Dataset) -> None:
    split = make_split(dataset, {"name": "leave_last_out", "max_len": L}, seed=0, repeats="all")
    full = lists()
    kept = {user: items[-(L + 3) :] for user, items in enumerate(full) if len(items) >= 5}
    store = train_view(dataset, split, ordered=True).sequences
    windows = cut(store, L, "last")
    found = {
        int(user): store.values[start:end].tolist()
        for user, start, end in zip(windows.user, windows.start, windows.end, strict=True)
    }
    assert found == {user: s[:-2] for user, s in kept.items()}
    count = Counter(item for s in kept.values() for item in s[:-2])
    assert np.array_equal(np.bincount(store.values, minlength=ITEMS), [count[item] for item in range(ITEMS)])
    assert split.candidates is not None
    assert set(np.flatnonzero(split.candidates)) == {item for s in kept.values() for item in s}
    for part, cut_off in (("valid", 2), ("test", 1)):
        wanted = {user: (s[:-cut_off], s[-cut_off]) for user, s in kept.items()}
        assert histories_of(dataset, split, part, repeat_policy="mask", mask="window") == wanted
        whole = {user: (full[user][:-cut_off], s[-cut_off]) for user, s in kept.items()}
        assert histories_of(dataset, split, part, repeat_policy="mask") == whole
        dropped = {user: pair for user, pair in whole.items() if pair[1] not in pair[0]}
        assert histories_of(dataset, split, part) == dropped


def test_without_max_len_all_items_compete(dataset: Dataset) -> None:
    split = make_split(dataset, "leave_last_out", seed=0, repeats="all")
    assert split.candidates is None
    assert not (split.label == KNOWN).any()
    with pytest.raises(ConfigError, match=r"set data\.split\.max_len"):
        history_task(dataset, split, "test", mask="window")


def test_several_targets_in_turn_each_after_its_own_history(dataset: Dataset) -> None:
    t = 3
    split = make_split(dataset, {"name": "leave_last_out", "targets_per_user": t}, seed=0, repeats="all")
    long = {user: items for user, items in enumerate(lists()) if len(items) >= 5 + 2 * t}
    assert set(split.user.tolist()) == set(long)
    for part, end in (("valid", t), ("test", 0)):
        histories, task = history_task(dataset, split, part, repeat_policy="mask")  # type: ignore[arg-type]
        store = histories.of(task.query)
        found = [
            (int(user), items.tolist(), int(target))
            for user, items, target in zip(
                task.users, np.split(store.values, store.offsets[1:-1]), task.target_items, strict=True
            )
        ]
        wanted = [
            (user, items[:place], items[place])
            for user, items in long.items()
            for place in range(len(items) - end - t, len(items) - end)
        ]
        assert found == wanted
    assert split.label[split.user == next(iter(long))].tolist().count(TRAIN) == len(next(iter(long.values()))) - 2 * t


def test_cold_items_of_sequences_are_in_no_window_and_no_validation(dataset: Dataset) -> None:
    split = make_split(dataset, {"name": "cold_items", "ratio": 0.2, "targets": "last"}, seed=0, repeats="all")
    cold = split.cold_items
    assert cold is not None
    assert 9 <= cold.sum() <= 15
    assert not cold[split.item[np.isin(split.label, [TRAIN, VALID])]].any()
    assert cold[split.item[split.label == TEST]].all()
    wanted = {user: (s[:-1], s[-1]) for user, s in enumerate(lists()) if len(s) >= 5 and cold[s[-1]]}
    assert histories_of(dataset, split, "test", repeat_policy="mask") == wanted
    valid = {user: (s[:-2], s[-2]) for user, s in enumerate(lists()) if len(s) >= 5 and not cold[s[-2]]}
    assert histories_of(dataset, split, "valid", repeat_policy="mask") == valid


def test_a_global_cut_asks_each_user_once(tmp_path: Path) -> None:
    folder = tmp_path / "timed"
    folder.mkdir()
    rows = [(user, (user + place) % 9, 100 * place + user) for user in range(10) for place in range(6)]
    user, item, time = (list(column) for column in zip(*rows, strict=True))
    timed = write_tables(
        folder,
        name="timed",
        source=Source(reader="test"),
        interactions=pl.DataFrame(
            {"user": pl.Series(user, dtype=pl.Int32), "item": pl.Series(item, dtype=pl.Int32), "timestamp": time}
        ),
        items=pl.DataFrame({"item": np.arange(9, dtype=np.int32), "item_id": [f"i{i}" for i in range(9)]}),
        users=pl.DataFrame({"user": np.arange(10, dtype=np.int32), "user_id": [f"u{u}" for u in range(10)]}),
    )
    split = make_split(timed, {"name": "global_time", "valid": 1 / 6, "test": 1 / 3}, seed=0, repeats="all")
    histories, task = history_task(timed, split, "test")
    store = histories.of(task.query)
    assert [part.tolist() for part in np.split(store.values, store.offsets[1:-1])] == [
        [(user + place) % 9 for place in range(4)] for user in range(10)
    ]
    assert task.n_targets.tolist() == [2] * 10


# --- rankings -------------------------------------------------------------------------------------------------------


class Scorer(torch.nn.Module):
    """Scores a history by a function of it: float [I]."""

    def __init__(self, kind: str, targets: dict[tuple[int, ...], int] | None = None) -> None:
        super().__init__()
        self.kind, self.targets = kind, targets or {}

    def query_vectors(self, queries: SequenceStore) -> Tensor:
        rows = torch.zeros(len(queries), ITEMS)
        for row, (start, end) in enumerate(zip(queries.offsets, queries.offsets[1:], strict=False)):
            history = queries.values[start:end].tolist()
            if self.kind == "history":
                rows[row, history] = 1.0
            elif self.kind == "oracle":
                rows[row, self.targets[tuple(history)]] = 1.0
            elif self.kind == "random":
                rows[row] = torch.randn(ITEMS, generator=torch.Generator().manual_seed(len(history) + sum(history)))
        return rows

    def item_vectors(self) -> Tensor:
        return torch.eye(ITEMS)


@pytest.fixture(scope="module")
def split(dataset: Dataset) -> Split:
    return make_split(dataset, "leave_last_out", seed=0, repeats="all")


def hit_rates(dataset: Dataset, split: Split, scorer: Scorer, policy: str, ks: tuple[int, ...] = (5, 10)) -> dict:  # type: ignore[type-arg]
    histories, task = history_task(dataset, split, "test", repeat_policy=policy)  # type: ignore[arg-type]
    result = evaluate(HistoryScorer(scorer, histories), task, ks=ks, metrics=["hit_rate"])
    return {**result.summary, "n": result.n, "both": with_repeats(task, result)}


def test_a_scorer_that_knows_nothing_gets_chance_whatever_the_ids_are(dataset: Dataset, split: Split) -> None:
    histories, task = history_task(dataset, split, "test")
    scorer = HistoryScorer(Scorer("constant"), histories)
    for tie_seed in range(3):
        result = evaluate(scorer, task, ks=[10], metrics=["hit_rate"], tie_seed=tie_seed)
        hits = result.per_query["hit_rate@10"].sum()
        low, high = (sum_of_quantiles(task.n_candidates, 10, level) for level in (1e-4, 1 - 1e-4))
        assert low <= hits <= high
        assert result.tie_share == 1.0
    # The order of ties is the catalogue's alone: with ids renamed and the order carried along, the lists are renamed.
    order = catalogue_order(ITEMS, 0)
    renamed = np.random.default_rng(2).permutation(ITEMS)
    before = rank(scorer, task, k=10, tie_order=order).items
    moved = np.empty(ITEMS, dtype=np.int64)
    moved[renamed] = order
    masks = np.concatenate([np.sort(renamed[part]) for part in np.split(task.mask_items, task.mask_offsets[1:-1])])
    other = type(task)(ITEMS, task.query, task.target_offsets, renamed[task.target_items], task.mask_offsets, masks)
    assert np.array_equal(rank(scorer, other, k=10, tie_order=moved).items, renamed[before])


def sum_of_quantiles(competing: np.ndarray, k: int, level: float) -> float:  # type: ignore[type-arg]
    """A quantile of the hits of chance: of a binomial at the mean chance, whose variance is no smaller than theirs."""
    return float(binom.ppf(level, len(competing), float((k / competing).mean())))


def test_an_oracle_hits_always(dataset: Dataset, split: Split) -> None:
    targets = {tuple(history): target for history, target in histories_of(dataset, split, "test").values()}
    assert hit_rates(dataset, split, Scorer("oracle", targets), "drop")["hit_rate@5"] == 1.0


def test_a_scorer_that_prefers_the_history_gets_nothing_but_where_it_is_free(dataset: Dataset, split: Split) -> None:
    scorer = Scorer("history")
    histories, task = history_task(dataset, split, "test")
    listed = rank(HistoryScorer(scorer, histories), task, k=10, tie_order=catalogue_order(ITEMS, 0))
    assert not (listed.scores > 0).any()
    assert hit_rates(dataset, split, scorer, "mask")["both"]["mask"] == pytest.approx(
        hit_rates(dataset, split, Scorer("constant"), "mask")["both"]["mask"]
    )
    assert hit_rates(dataset, split, scorer, "free")["hit_rate@10"] > 0.15


def test_dropped_and_masked_repeats_are_one_number(dataset: Dataset, split: Split) -> None:
    dropped, masked = (hit_rates(dataset, split, Scorer("random"), policy) for policy in ("drop", "mask"))
    assert dropped["n"] < masked["n"]
    assert masked["hit_rate@10"] * masked["n"] == pytest.approx(dropped["hit_rate@10"] * dropped["n"], abs=1e-9)
    assert dropped["both"] == masked["both"]
    assert dropped["both"]["drop"]["hit_rate@10"] == pytest.approx(dropped["hit_rate@10"])
    assert dropped["both"]["mask"]["hit_rate@10"] == pytest.approx(masked["hit_rate@10"])
    assert (dropped["both"]["n"], dropped["both"]["n_drop"]) == (masked["n"], dropped["n"])


def test_free_needs_repeats(dataset: Dataset) -> None:
    once = make_split(dataset, "leave_last_out", seed=0)
    with pytest.raises(ConfigError, match=r"data\.repeats: all"):
        history_task(dataset, once, "test", repeat_policy="free")


def test_models_that_user_ids_ask_answer_several_targets_of_a_user(dataset: Dataset) -> None:
    split = make_split(dataset, {"name": "leave_last_out", "targets_per_user": 2}, seed=0, repeats="all")
    histories, task = history_task(dataset, split, "test")

    class Known(torch.nn.Module):
        def query_vectors(self, queries: Tensor) -> Tensor:
            return torch.nn.functional.one_hot(queries % ITEMS, ITEMS).float()

        def item_vectors(self) -> Tensor:
            return torch.eye(ITEMS)

    listed = rank(OwnerScorer(Known(), histories.user), task, k=1, tie_order=np.arange(ITEMS)).items[:, 0]
    assert task.owner is not None
    hidden = [task.mask_items[a:b] for a, b in zip(task.mask_offsets, task.mask_offsets[1:], strict=False)]
    free = np.array([user % ITEMS not in items for user, items in zip(task.owner, hidden, strict=True)])
    assert free.any()
    assert np.array_equal(listed[free], (task.owner % ITEMS)[free])
