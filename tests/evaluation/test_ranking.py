"""Full ranking: against loops, for knowing nothing, for any block size and number of processes, along two roads."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sensorium.core.errors import TrainingError
from sensorium.core.seeds import catalogue_order
from sensorium.evaluation.ranking import Ranked, evaluate, join, rank, rank_candidates, score_candidates
from sensorium.evaluation.results import measure
from sensorium.evaluation.tasks import list_task, ranking_task, restrict, task_from_rows

from .brute_force import PER_QUERY, list_metrics_of, metrics_of, ranked_list
from .doubles import Parts, Table, Vectors, per_query, random_task


@pytest.mark.parametrize("case", range(200))
def test_equals_brute_force(case: int) -> None:
    """Loops give the same to 1e-9, with ties, k > |T|, users without test items, masked items."""
    rng = np.random.default_rng(case)
    n_users, n_items = int(rng.integers(1, 12)), int(rng.integers(2, 120))
    levels = int(rng.choice([1, 2, 4, 20, 10_000]))
    scores = rng.integers(0, levels, (n_users, n_items)).astype(np.float32) / levels - 0.3
    task = random_task(
        rng, n_users, n_items, share=float(rng.choice([0.02, 0.1, 0.5])), masked=float(rng.choice([0, 0.3]))
    )
    if not len(task):
        return
    ks = sorted(rng.choice(np.arange(1, 25), size=3, replace=False).tolist())
    item_count = rng.integers(0, n_users + 1, n_items)
    metrics = [*PER_QUERY, "coverage", "novelty", "gini"]
    result = evaluate(
        Table(scores), task, ks=ks, metrics=metrics, tie_seed=case, item_count=item_count, n_users=n_users
    )
    place = catalogue_order(n_items, case).tolist()
    targets = per_query(task, task.target_offsets, task.target_items)
    masks = per_query(task, task.mask_offsets, task.mask_items)
    full = [ranked_list(scores[user].tolist(), masks[row], place, n_items) for row, user in enumerate(task.query)]
    for k in ks:
        expected = [metrics_of(full[row], targets[row], k) for row in range(len(task))]
        for name in PER_QUERY:
            values = [row[name] for row in expected]
            assert result.per_query[f"{name}@{k}"] == pytest.approx(values, abs=1e-9)
            assert result.summary[f"{name}@{k}"] == pytest.approx(np.mean(values), abs=1e-9)
        of_lists = list_metrics_of([row[:k] for row in full], item_count.tolist(), n_users)
        for name, value in of_lists.items():
            assert result.summary[f"{name}@{k}"] == pytest.approx(value, abs=1e-9)
        ties = [
            len(row) > k and scores[user, row[k - 1]] == scores[user, row[k]]
            for user, row in zip(task.query, full, strict=True)
        ]
        assert result.ties[k] == pytest.approx(np.mean(ties))
    assert result.excluded["users_without_targets"] == n_users - len(task)
    assert result.tie_share == result.ties[ks[-1]]


def test_lists_of_a_wide_catalogue_equal_brute_force() -> None:
    """The same where the catalogue is wide enough for the search by groups, with ties inside and at the cut."""
    rng = np.random.default_rng(0)
    scores = np.round(rng.normal(size=(25, 2500)), 1).astype(np.float32)
    task = random_task(rng, 25, 2500, share=0.01, masked=0.02)
    place = catalogue_order(2500, 3)
    found = rank(Table(scores), task, k=20, tie_order=place)
    masks = per_query(task, task.mask_offsets, task.mask_items)
    for row, user in enumerate(task.query):
        assert found.items[row].tolist() == ranked_list(scores[user].tolist(), masks[row], place.tolist(), 20)
    assert found.tie_at_cut.any()


@pytest.mark.parametrize("relabelled", [False, True])
def test_a_constant_scorer_gets_chance(relabelled: bool) -> None:
    """A constant scorer gets k / candidates within its interval, though all test items hold the lowest ids."""
    n_users, n_items, k = 1500, 400, 20
    rng = np.random.default_rng(1)
    label = rng.permutation(n_items) if relabelled else np.arange(n_items)
    # One target per user, among the ten lowest ids; ten masked items per user, among the others.
    items = rng.integers(0, 10, n_users)
    masked = np.repeat(np.arange(n_users), 10), rng.integers(10, n_items, n_users * 10)
    task = task_from_rows(n_items, (np.arange(n_users), label[items]), (masked[0], label[masked[1]]))
    values = []
    for seed in range(40):
        scorer = Vectors(np.zeros((n_users, 1), np.float32), np.ones((n_items, 1), np.float32))
        result = evaluate(scorer, task, ks=[k], metrics=["recall"], tie_seed=seed)
        assert result.tie_share == 1
        values.append(result.summary[f"recall@{k}"])
    # One permutation holds for all users, so that the ten target items are the independent draws: 40 permutations of
    # ten.
    chance = float(np.mean(k / task.n_candidates))
    error = np.sqrt(chance * (1 - chance) / (40 * 10))
    assert abs(np.mean(values) - chance) < 3 * error


def test_relabelling_changes_nothing() -> None:
    """Relabelling: users and items under other ids, the tie order carried along: the same metrics."""
    rng = np.random.default_rng(2)
    n_users, n_items = 60, 300
    scores = rng.integers(0, 30, (n_users, n_items)).astype(np.float32)  # many ties
    task = random_task(rng, n_users, n_items)
    place = catalogue_order(n_items, 0)
    new_user, new_item = rng.permutation(n_users), rng.permutation(n_items)
    moved_scores, moved_place = np.empty_like(scores), np.empty_like(place)
    moved_scores[np.ix_(new_user, new_item)] = scores
    moved_place[new_item] = place
    rows = np.repeat(task.query, task.n_targets)
    mask_rows = np.repeat(task.query, np.diff(task.mask_offsets))
    moved = task_from_rows(
        n_items,
        (new_user[rows], new_item[task.target_items]),
        (new_user[mask_rows], new_item[task.mask_items]),
    )
    ks, metrics = [1, 5, 20], [*PER_QUERY, "coverage", "gini"]
    before = measure(task, rank(Table(scores), task, k=20, tie_order=place).items, ks=ks, metrics=metrics)
    after = measure(moved, rank(Table(moved_scores), moved, k=20, tie_order=moved_place).items, ks=ks, metrics=metrics)
    assert after.summary == pytest.approx(before.summary, abs=1e-9)


N_USERS, N_ITEMS = 101, 1500


def the_scorer() -> Vectors:
    rng = np.random.default_rng(5)
    return Vectors(rng.normal(size=(N_USERS, 64)).astype(np.float32), rng.normal(size=(N_ITEMS, 64)).astype(np.float32))


def test_any_block_size_gives_the_same() -> None:
    """Blocks of 1, 50, 100 and 101 on 101 users; scores are the same bits."""
    task = random_task(np.random.default_rng(6), N_USERS, N_ITEMS, share=0.05)
    assert len(task) == 101
    results = [
        evaluate(the_scorer(), task, ks=[5, 20], metrics=[*PER_QUERY, "coverage", "gini"], block=block)
        for block in (4096, 1, 50, 100, 101)
    ]
    ranked = [
        rank(the_scorer(), task, k=20, tie_order=catalogue_order(N_ITEMS, 0), block=block) for block in (101, 1, 50)
    ]
    for result in results[1:]:
        assert result.summary == results[0].summary
        assert np.array_equal(result.lists, results[0].lists)
    for other in ranked[1:]:
        assert np.array_equal(other.scores, ranked[0].scores)


ONE_SHARD = """
import sys
import numpy as np, torch
from sensorium.core.seeds import catalogue_order
from sensorium.evaluation.ranking import rank
from sensorium.evaluation.tasks import shard, task_from_rows

folder, index = sys.argv[1], int(sys.argv[2])
given = {name: torch.from_numpy(np.load(f"{folder}/{name}.npy")) for name in ("users", "items", "targets", "masked")}

class Model:
    def query_vectors(self, queries):
        return given["users"][queries]
    def item_vectors(self):
        return given["items"]

task = task_from_rows(len(given["items"]), tuple(given["targets"].numpy()), tuple(given["masked"].numpy()))
found = rank(Model(), shard(task, index, 2), k=20, tie_order=catalogue_order(task.n_items, 0))
for name in ("items", "scores", "tie_at_cut"):
    np.save(f"{folder}/{index}-{name}.npy", getattr(found, name))
"""


def test_two_processes_give_the_same(tmp_path: Path) -> None:
    """Queries sharded over two processes and joined, against one process."""
    task = random_task(np.random.default_rng(6), N_USERS, N_ITEMS, share=0.05)
    scorer = the_scorer()
    np.save(tmp_path / "users.npy", scorer.users.numpy())
    np.save(tmp_path / "items.npy", scorer.items.numpy())
    np.save(tmp_path / "targets.npy", np.stack([np.repeat(task.query, task.n_targets), task.target_items]))
    masked = np.repeat(task.query, np.diff(task.mask_offsets))
    np.save(tmp_path / "masked.npy", np.stack([masked, task.mask_items]))
    workers = [subprocess.Popen([sys.executable, "-c", ONE_SHARD, str(tmp_path), str(index)]) for index in range(2)]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    names = [field.name for field in fields(Ranked)]
    joined = join([Ranked(**{name: np.load(tmp_path / f"{index}-{name}.npy") for name in names}) for index in range(2)])
    alone = rank(scorer, task, k=20, tie_order=catalogue_order(N_ITEMS, 0))
    metrics = [*PER_QUERY, "coverage", "gini"]
    together = measure(task, joined.items, ks=[5, 20], metrics=metrics)
    assert together.summary == measure(task, alone.items, ks=[5, 20], metrics=metrics).summary
    for name in names:
        assert np.array_equal(getattr(joined, name), getattr(alone, name)), name


def test_two_roads_one_score() -> None:
    """SV-8: the top 50, the scores of those 50, and a candidate list of those 50 agree in numbers and order."""
    rng = np.random.default_rng(7)
    users, items = rng.normal(size=(40, 16)), rng.normal(size=(600, 16))
    items[100:200] = items[200:300]  # equal scores
    scorer = Vectors(users.astype(np.float32), items.astype(np.float32))
    place = catalogue_order(600, 0)
    query = rng.integers(0, 40, 9)
    ranked = rank(scorer, list_task(600, query), k=50, tie_order=place)
    offsets = np.arange(10) * 50
    shuffled = rng.permuted(ranked.items, axis=1).astype(np.int64).ravel()
    assert np.array_equal(
        score_candidates(scorer, 600, query, offsets, ranked.items.astype(np.int64).ravel()), ranked.scores.ravel()
    )
    ordered, scores = rank_candidates(scorer, 600, query, offsets, shuffled, tie_order=place)
    assert np.array_equal(ordered, ranked.items.ravel())
    assert np.array_equal(scores, ranked.scores.ravel())
    for row in range(9):  # asked alone, the same bits
        alone = rank(scorer, list_task(600, query[row : row + 1]), k=50, tie_order=place)
        assert np.array_equal(alone.scores[0], ranked.scores[row])


def test_only_candidates_compete() -> None:
    """Ranking against a part of the catalogue is the ranking of that part, for both kinds of scorer."""
    rng = np.random.default_rng(8)
    users, items = rng.normal(size=(30, 8)).astype(np.float32), rng.normal(size=(90, 8)).astype(np.float32)
    task = random_task(rng, 30, 90)
    chosen = rng.random(90) < 0.4
    place = catalogue_order(90, 0)
    part = restrict(task, np.ones(90, dtype=bool), candidates=chosen)
    masks = per_query(part, part.mask_offsets, part.mask_items)
    for scorer in (Vectors(users, items), Table(users @ items.T)):
        found = rank(scorer, part, k=15, tie_order=place)
        for row, user in enumerate(part.query):
            hidden = masks[row] | set(np.flatnonzero(~chosen).tolist())
            scores = (torch.from_numpy(users) @ torch.from_numpy(items).T)[user].tolist()
            expected = ranked_list(scores, hidden, place.tolist(), 15)
            assert found.items[row].tolist() == expected + [-1] * (15 - len(expected))
    nobody = restrict(task, np.zeros(90, dtype=bool), candidates=np.zeros(90, dtype=bool))
    assert len(rank(Vectors(users, items), nobody, k=3, tie_order=place).items) == 0


def test_targets_in_the_mask_are_counted() -> None:
    """EV-10: validation masked or not, and a test item that occurs earlier: counted, stated, not a silent 0."""
    # User 0 has items 0..5: valid 4, test 5, and test item 1 that is also a train row. User 1's only test item is
    # masked.
    split = Parts(2, 8, [(0, 0), (0, 1), (0, 2), (0, 3), (1, 7)], [(0, 4)], [(0, 5), (0, 1), (1, 7)])
    scores = np.zeros((2, 8), np.float32)
    scores[:, 4], scores[:, 5] = 2, 1
    plain = evaluate(Table(scores), ranking_task(split, "test"), ks=[1, 2], metrics=["recall"])
    both = evaluate(Table(scores), ranking_task(split, "test", mask="train+valid"), ks=[1, 2], metrics=["recall"])
    assert plain.summary == {"recall@1": 0.0, "recall@2": 1.0}  # the validation item competes
    assert both.summary == {"recall@1": 1.0, "recall@2": 1.0}
    for result in (plain, both):
        assert result.n == 1
        assert result.excluded["unreachable_targets"] == 2
        assert result.excluded["queries_with_unreachable_targets_only"] == 1
    assert plain.rules["masked"] == "the user's train rows"
    assert both.rules["masked"] == "the user's train and valid rows"
    assert {"history", "repeats", "ties", "candidates", "scores"} <= plain.rules.keys()


def test_nan_scores_name_the_query() -> None:
    users = np.ones((300, 4), np.float32)
    users[250, 2] = np.nan
    scorer = Vectors(users, np.ones((50, 4), np.float32))
    task = task_from_rows(50, (np.arange(300), np.arange(300) % 50), (np.zeros(0, int), np.zeros(0, int)))
    with pytest.raises(TrainingError, match="Vectors gives NaN as a score for query 250"):
        evaluate(scorer, task, ks=[5], metrics=["recall"])
    with pytest.raises(TrainingError, match="query 250"):
        score_candidates(scorer, 50, np.array([3, 250]), np.array([0, 2, 3]), np.array([0, 1, 2]))


def test_fewer_items_than_k() -> None:
    """All but two items are masked: the list ends after two, and every metric is still right."""
    task = task_from_rows(6, (np.array([0]), np.array([5])), (np.zeros(4, int), np.arange(4)))
    result = evaluate(Table(np.arange(6.0)[None]), task, ks=[4], metrics=["recall", "precision", "coverage"])
    assert result.lists.tolist() == [[5, 4, -1, -1]]
    assert result.summary == {"recall@4": 1.0, "precision@4": 0.25, "coverage@4": 2 / 6}


def test_an_item_with_minus_infinity_is_out() -> None:
    scores = np.array([[1.0, -np.inf, 0.5]], np.float32)
    ranked = rank(Table(scores), list_task(3, np.array([0])), k=3, tie_order=np.arange(3))
    assert ranked.items.tolist() == [[0, 2, -1]]


class WithDropout(torch.nn.Module):
    """A module whose scores are noise unless it is in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.items = torch.nn.Parameter(torch.arange(200.0)[:, None])

    def query_vectors(self, queries: Tensor) -> Tensor:
        return torch.nn.functional.dropout(torch.ones(len(queries), 1), 0.5, self.training)

    def item_vectors(self) -> Tensor:
        return torch.nn.functional.dropout(self.items, 0.5, self.training)


def test_a_module_is_asked_in_evaluation_mode_and_without_gradients() -> None:
    module = WithDropout().train()
    ranked = rank(module, list_task(200, np.arange(5)), k=3, tie_order=np.arange(200))
    assert ranked.items.tolist() == [[199, 198, 197]] * 5
    assert module.training


def test_vectors_of_the_wrong_shape_are_refused() -> None:
    place = np.arange(5)
    with pytest.raises(ValueError, match=r"item_vectors\(\) of Vectors has shape \[4, 2\], the catalogue 5 items"):
        rank(Vectors(np.ones((3, 2)), np.ones((4, 2))), list_task(5, np.arange(3)), k=1, tie_order=place)
    with pytest.raises(ValueError, match=r"query_vectors\(\) of Vectors has shape"):
        rank(Vectors(np.ones((3, 3)), np.ones((5, 2))), list_task(5, np.arange(3)), k=1, tie_order=place)
    with pytest.raises(ValueError, match=r"score\(\) of Table has shape"):
        rank(Table(np.ones((3, 4))), list_task(5, np.arange(3)), k=1, tie_order=place)


def test_half_precision_vectors_are_scored_in_float32() -> None:
    users, items = torch.full((1, 64), 1.0).half(), torch.ones(2, 64).half()
    items[1, 0] += 2**-10  # float16 sums of 64 would round this away
    ranked = rank(Vectors(users, items), list_task(2, np.array([0])), k=2, tie_order=np.arange(2))
    assert ranked.items[0].tolist() == [1, 0]
    assert ranked.scores[0, 0] > ranked.scores[0, 1]
