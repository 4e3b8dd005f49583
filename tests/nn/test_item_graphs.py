"""Graphs of alike items, against loops over all pairs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.core.seeds import catalogue_order
from sensorium.nn import item_graphs
from sensorium.nn.item_graphs import Neighbours, item_neighbours, knn_graph, nearest, normalised
from sensorium.nn.sparse import from_scipy


def vectors(n: int, d: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(loc=0.7, size=(n, d)).astype(np.float32)


def by_loops(
    x: np.ndarray, present: np.ndarray, k: int, weight: str, center: np.ndarray | None, order: np.ndarray
) -> np.ndarray:
    """The definition, pair by pair in double precision, as a dense matrix."""
    n = len(x)
    moved = x.astype(np.float64) - (0 if center is None else center)
    cosine = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if present[i] and present[j]:
                cosine[i, j] = moved[i] @ moved[j] / np.linalg.norm(moved[i]) / np.linalg.norm(moved[j])
    weights = np.zeros((n, n))
    for i in range(n):
        others = [j for j in range(n) if j != i and present[j]] if present[i] else []
        others.sort(key=lambda j: (-round(cosine[i, j], 5), order[j]))
        for j in others[: k - 1]:
            weights[i, j] = 1 if weight == "binary" else max(cosine[i, j], 0)
        weights[i, i] = 1
    sums = weights.sum(1)
    return weights / np.sqrt(np.outer(sums, sums))


@pytest.mark.parametrize("weight", ["binary", "cosine"])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(("n", "k"), [(40, 5), (700, 4), (6, 10), (1, 3), (30, 1)])
def test_graph_equals_the_definition(n: int, k: int, weight: str, centred: bool) -> None:
    x = vectors(n)
    present = np.random.default_rng(1).random(n) < 0.8
    present[0] = True
    center = x[present].mean(0) if centred and n > 1 else None
    order = catalogue_order(n, 0)
    found = knn_graph(x, present, k, weight, center=center, order=order).toarray()
    if n < 100:
        assert np.allclose(found, by_loops(x, present, k, weight, center, order), atol=1e-5)
    else:  # large enough for groups of columns: the sets of neighbours, by a full sort
        moved = x - (0 if center is None else center)
        unit = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        cosine = np.where(present[None, :], unit @ unit.T, -np.inf)
        np.fill_diagonal(cosine, np.inf)
        for i in np.flatnonzero(present):
            wanted = np.argsort(-cosine[i])[:k]
            if weight == "cosine":
                wanted = wanted[cosine[i, wanted] > 0]
            held = cosine[i, np.flatnonzero(found[i])]
            assert np.allclose(np.sort(held)[:-1], np.sort(cosine[i, wanted])[:-1], atol=2e-6)  # inf is the item itself


@given(
    n=st.integers(1, 120),
    k=st.integers(1, 12),
    kinds=st.integers(1, 8),
    seed=st.integers(0, 99),
    rows=st.integers(1, 64),
)
@settings(max_examples=40, deadline=None)
def test_equally_near_items_are_taken_by_the_order(n: int, k: int, kinds: int, seed: int, rows: int) -> None:
    """Few distinct vectors, so that nearly every cut goes through equals; in blocks of any height."""
    draw = np.random.default_rng(seed)
    x = vectors(kinds, 4, seed)[draw.integers(kinds, size=n)]
    present = draw.random(n) < 0.9
    order = draw.permutation(n).astype(np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_graphs, "ROWS", rows)
        found = knn_graph(x, present, k, "binary", center=None, order=order).toarray()
    assert np.allclose(found, by_loops(x, present, k, "binary", None, order), atol=1e-6)


def test_other_ids_give_the_same_graph_when_the_order_is_carried_along() -> None:
    n = 500
    draw = np.random.default_rng(3)
    x = vectors(60, 8)[draw.integers(60, size=n)]
    present, order = draw.random(n) < 0.8, catalogue_order(n, 0)
    new = draw.permutation(n)
    old = np.argsort(new)
    before = knn_graph(x, present, 7, "cosine", center=None, order=order).toarray()
    after = knn_graph(x[old], present[old], 7, "cosine", center=None, order=order[old]).toarray()
    assert np.allclose(after, before[np.ix_(old, old)], atol=1e-6)
    other = knn_graph(x, present, 7, "cosine", center=None, order=catalogue_order(n, 1)).toarray()
    assert not np.allclose(other, before), "here the order decides, so that another one gives another graph"


@pytest.mark.parametrize("filling", [0.0, 1e9, np.nan])
def test_items_without_content_are_alone_and_never_read(filling: float) -> None:
    x, present = vectors(50), np.arange(50) % 3 > 0
    x[~present] = filling
    found = knn_graph(x, present, 6, "binary", center=x[present].mean(0), order=catalogue_order(50, 0)).toarray()
    absent = np.flatnonzero(~present)
    assert np.array_equal(found[absent], np.eye(50)[absent])
    assert np.array_equal(found[:, absent], np.eye(50)[:, absent])
    assert np.allclose(found[present].sum(1), 1)  # binary: every value is 1 / k


def test_a_vector_on_the_center_points_nowhere() -> None:
    x = vectors(30)
    x[4] = x[np.arange(30) != 4].mean(0)
    found = knn_graph(x, np.ones(30, dtype=bool), 5, "cosine", center=x.mean(0), order=np.arange(30)).toarray()
    assert np.isfinite(found).all()
    assert np.array_equal(found[4], np.eye(30)[4])
    assert np.array_equal(found[:, 4], np.eye(30)[4])


def test_negative_cosines_are_no_edges_and_leave_row_sums_above_zero() -> None:
    x = np.array([[1, 0], [-1, 0.1], [-1, -0.1]], dtype=np.float32)
    found = knn_graph(x, np.ones(3, dtype=bool), 3, "cosine", center=None, order=np.arange(3)).toarray()
    assert found[0].tolist() == [1, 0, 0]
    assert (found >= 0).all()


def test_the_graph_is_directed_and_its_gradient_needs_the_transpose() -> None:
    graph = knn_graph(vectors(80), np.ones(80, dtype=bool), 5, "cosine", center=None, order=np.arange(80))
    assert np.abs((graph - graph.T).toarray()).max() > 0.1
    matrix = from_scipy(graph)
    dense = torch.randn(80, 3, requires_grad=True)
    upstream = torch.randn(80, 3)
    (matrix @ dense).backward(upstream)
    assert torch.allclose(dense.grad, torch.from_numpy(graph.toarray()).T @ upstream, atol=1e-5)


def test_nearest_starts_with_the_row_itself_even_among_copies() -> None:
    unit = torch.nn.functional.normalize(torch.ones(40, 3))
    columns, cosines = nearest(unit, 4)
    assert columns[:, 0].tolist() == list(range(40))
    assert columns[20].tolist() == [20, 0, 1, 2]
    assert torch.allclose(cosines, torch.ones(40, 4))
    assert nearest(unit[:0], 4)[0].shape == (0, 0)


@pytest.mark.parametrize(("k", "lengths", "message"), [(0, 9, "at least 1"), (3, 8, "do not belong together")])
def test_wrong_arguments_are_refused(k: int, lengths: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        item_neighbours(vectors(9), np.ones(lengths, dtype=bool), k, center=None, order=np.arange(9))


class TestCache:
    """A graph that took long is read from the disk the next time."""

    @pytest.fixture
    def searches(self, monkeypatch: pytest.MonkeyPatch, sensorium_home: Path) -> list[int]:
        """Keep every graph, and note each search."""
        made: list[int] = []

        def counted(*arguments: object) -> Neighbours:
            made.append(1)
            return search(*arguments)

        search = item_graphs._search
        monkeypatch.setattr(item_graphs, "_search", counted)
        monkeypatch.setattr(item_graphs, "WORTH_KEEPING", 0)
        return made

    def make(self, **changed: object) -> Neighbours:
        x = vectors(60)
        given: dict[str, object] = {
            "x": x,
            "present": np.arange(60) != 7,
            "k": 5,
            "center": x.mean(0),
            "order": catalogue_order(60, 0),
        }
        return item_neighbours(**{**given, **changed})

    def test_second_time_from_the_disk(self, searches: list[int]) -> None:
        first, second = self.make(), self.make()
        assert len(searches) == 1
        assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
        masked = vectors(60)
        masked[7] = 1e9
        self.make(x=masked, center=vectors(60).mean(0))
        assert len(searches) == 1, "what stands under a False mask is no part of the key"

    @pytest.mark.parametrize(
        "changed",
        [
            {"x": vectors(60, seed=5)},
            {"present": np.ones(60, dtype=bool)},
            {"k": 6},
            {"center": None},
            {"order": catalogue_order(60, 1)},
        ],
        ids=lambda changed: next(iter(changed)),
    )
    def test_another_file_for_anything_else(self, searches: list[int], changed: dict[str, object]) -> None:
        self.make()
        self.make(**changed)
        assert len(searches) == 2

    @pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other"])
    def test_damaged_files_are_made_anew(self, searches: list[int], sensorium_home: Path, damage: str) -> None:
        first = self.make()
        (file,) = sensorium_home.rglob("*.safetensors")
        content = bytearray(file.read_bytes())
        if damage == "cut":
            content = content[:-100]
        elif damage == "flip":
            content[-300] ^= 1
        elif damage == "empty":
            content = bytearray()
        else:
            content = bytearray(b"no item graph at all")
        file.write_bytes(content)
        again = self.make()
        assert len(searches) == 2
        assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
        self.make()
        assert len(searches) == 2, "the file was replaced"

    def test_a_cache_that_cannot_be_written_costs_time_only(
        self, searches: list[int], sensorium_home: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (sensorium_home / "cache").mkdir()
        (sensorium_home / "cache" / "item-graphs").write_text("a file where the folder should be")
        self.make()
        assert "not kept" in caplog.text

    def test_small_searches_leave_no_file(self, sensorium_home: Path) -> None:
        self.make()
        assert not list(sensorium_home.rglob("*.safetensors"))


def test_weights_come_from_one_table() -> None:
    table = Neighbours(
        np.array([[0, 1], [1, -1]], dtype=np.int32), np.array([[1.0, 0.25], [1.0, 0.0]], dtype=np.float32)
    )
    assert np.allclose(normalised(table, "binary").toarray(), [[1 / 2, 1 / np.sqrt(2)], [0, 1]])
    assert np.allclose(normalised(table, "cosine").toarray(), [[1 / 1.25, 0.25 / np.sqrt(1.25)], [0, 1]])


LARGE = """
import sys
import numpy as np
from sensorium.core.resources import peak_memory
n = int(sys.argv[1])
from sensorium.nn.item_graphs import knn_graph
from sensorium.nn.sparse import from_scipy
import torch
x = np.random.default_rng(0).normal(size=(n, 16)).astype(np.float32)
base = peak_memory()
graph = from_scipy(knn_graph(x, np.ones(n, bool), 10, "cosine", center=x.mean(0), order=np.arange(n)))
product = graph @ torch.from_numpy(x)
assert product.isfinite().all()
print((peak_memory() - base) // 1024)
"""


def peak_kilobytes(n: int, home: Path) -> int:
    outcome = subprocess.run(
        [sys.executable, "-c", LARGE, str(n)],
        env={"OMP_NUM_THREADS": "1", "SENSORIUM_HOME": str(home), "PATH": "", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )
    return int(outcome.stdout)


def test_no_matrix_of_all_pairs_is_made(tmp_path: Path) -> None:
    """20,000 items: 1.6 GB as a dense matrix; below .45 GB on top of the libraries."""
    assert peak_kilobytes(20_000, tmp_path) < 450_000


@pytest.mark.slow
def test_two_hundred_thousand_items_under_a_memory_cap(tmp_path: Path) -> None:
    """160 GB as a dense matrix; below .7 GB on top of the libraries."""
    assert peak_kilobytes(200_000, tmp_path) < 700_000


def test_what_is_barely_equal_or_barely_above_is_found() -> None:
    """The sum of a cut and the tolerance is rounded: no value at that edge may belong to neither side."""
    cut = torch.rand(500, 1, generator=torch.Generator().manual_seed(0)) * 0.9
    edge = cut + item_graphs.EQUAL
    near = [torch.nextafter(edge, torch.tensor(-1.0)), edge, torch.nextafter(edge, torch.tensor(2.0))]
    rows = torch.cat([cut - 0.1, *near, cut], dim=1)
    columns, values = item_graphs._with_ties(rows, cut, 4)
    assert columns.sort(dim=1).values.tolist() == [[1, 2, 3, 4]] * len(cut)
    assert torch.equal(values, rows.gather(1, columns))
