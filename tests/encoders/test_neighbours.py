"""Neighbours by content: centred, masked, on a page; and the number that says whether they make sense."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from sensorium.core.errors import DataError
from sensorium.data.dataset import Dataset
from sensorium.data.features import add_features
from sensorium.data.schema import Source
from sensorium.data.store import write_tables
from sensorium.encoders.neighbours import (
    agreement,
    centred,
    label_matrix,
    nearest,
    neighbours_of,
    write_neighbours,
)
from sensorium.media.images import write_image


@pytest.fixture
def shop(tmp_path: Path) -> Dataset:
    """Twelve items in three groups, with a large common part; the last one has no content."""
    ids = np.arange(12, dtype=np.int32)
    root = tmp_path / "shop"
    root.mkdir()
    titles = [f"group {item % 3} <b>number</b> {item}" for item in range(12)]
    dataset = write_tables(
        root,
        name="shop",
        source=Source(reader="test"),
        interactions=pl.DataFrame({"user": np.zeros(12, dtype=np.int32), "item": ids}),
        items=pl.DataFrame({"item": ids, "item_id": [f"i{item}" for item in ids], "title": titles,
                            "image": ["a.png", "gone.png", *[None] * 10]}),
        users=pl.DataFrame({"user": np.zeros(1, dtype=np.int32), "user_id": ["u"]}),
    )  # fmt: skip
    write_image(root / "a.png", Image.new("RGB", (300, 200), (200, 10, 10)))
    draw = np.random.default_rng(0)
    x = 100 + 3 * np.eye(3)[np.arange(12) % 3] + 0.3 * draw.standard_normal((12, 3))
    present = np.ones(12, dtype=bool)
    present[11] = False
    return add_features(dataset, "text", x.astype(np.float32), present)


def test_the_common_part_is_taken_away(shop: Dataset) -> None:
    for item in range(9):
        near = neighbours_of(shop, f"i{item}", "text", k=2)
        assert {one.item % 3 for one in near} == {item % 3}
        assert all(one.item not in (item, 11) for one in near)
        assert near[0].cosine >= near[1].cosine > 0.8


def test_content_under_a_false_mask_has_no_say() -> None:
    draw = np.random.default_rng(1)
    x = draw.standard_normal((9, 4)).astype(np.float32)
    present = np.arange(9) < 7
    before = centred(x, present)
    x[7:] = 1e9
    assert (centred(x, present) == before).all()
    found, _ = nearest(before, present, np.arange(7), 9)
    assert (found[:, 6:] == -1).all()
    assert set(found[:, :6].ravel().tolist()) == set(range(7))


def test_mean_over_items_that_may_be_seen() -> None:
    x = np.array([[1, 0], [3, 0], [10, 4]], dtype=np.float32)
    unit = centred(x, np.ones(3, dtype=bool), seen=np.array([True, True, False]))
    assert np.allclose(unit[0], [-1, 0])
    assert np.allclose(unit[1], [1, 0])
    assert np.allclose(unit[2], np.array([8, 4]) / np.sqrt(80))


def test_constant_vectors_have_no_direction() -> None:
    """MM-3: no NaN."""
    assert (centred(np.ones((4, 3), dtype=np.float32), np.ones(4, dtype=bool)) == 0).all()


def test_unknown_and_missing_items(shop: Dataset) -> None:
    with pytest.raises(DataError, match="no item 'i99'"):
        neighbours_of(shop, "i99", "text")
    with pytest.raises(DataError, match="item 'i11' of shop has no 'text'"):
        neighbours_of(shop, "i11", "text")


def test_the_page_escapes_titles_and_shows_pictures(shop: Dataset, tmp_path: Path) -> None:
    page = write_neighbours(tmp_path / "page.html", shop, ["i0", "i11"], ["text"], k=3).read_text()
    assert "group 0 &lt;b&gt;number&lt;/b&gt; 0" in page
    assert "<b>number</b>" not in page
    assert page.count("data:image/png") == 1
    assert "has no content of this kind" in page
    assert "given vectors" in page


def test_agreement_against_a_loop() -> None:
    draw = np.random.default_rng(2)
    n, k = 60, 5
    labels = draw.random((n, 6)) < 0.4
    labels[0] = False
    x = (labels @ draw.standard_normal((6, 8)) + 0.4 * draw.standard_normal((n, 8))).astype(np.float32)
    present = draw.random(n) < 0.9
    found = agreement(x, present, labels, k)
    rows = [item for item in range(n) if present[item] and labels[item].any()]

    def jaccard(a: int, b: int) -> float:
        return float((labels[a] & labels[b]).sum() / (labels[a] | labels[b]).sum())

    unit = x[rows].astype(np.float64) - x[rows].astype(np.float64).mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    scores = unit @ unit.T
    np.fill_diagonal(scores, -9)
    near = [[rows[j] for j in np.argsort(-scores[i])[:k]] for i in range(len(rows))]
    assert found.items == len(rows)
    assert found.jaccard == pytest.approx(
        np.mean([jaccard(a, b) for a, bs in zip(rows, near, strict=True) for b in bs]), abs=1e-6
    )
    pairs = [jaccard(a, b) for a in rows for b in rows if a != b]
    assert found.chance == pytest.approx(np.mean(pairs), abs=1e-6)
    assert found.chance_sharing == pytest.approx(np.mean([pair > 0 for pair in pairs]), abs=1e-6)
    assert found.lift > 1.3
    shuffled = agreement(x[draw.permutation(n)], present, labels, k)
    assert shuffled.lift < 1.2


def test_labels_from_text_and_lists() -> None:
    texts = label_matrix(pl.Series(["Action|Comedy", None, "Comedy", ""]))
    assert texts.tolist() == [[True, True], [False, False], [False, True], [False, False]]
    assert label_matrix(pl.Series([["a", "b"], None, ["b"], []])).tolist() == texts.tolist()


def test_a_row_that_dwarfs_the_others_does_not_move_their_directions() -> None:
    """MM-3: with the mean that such a row pulls along, all other items would point the same way."""
    x = np.random.default_rng(0).normal(size=(20, 8))
    x[7] *= 1e6
    x[11] = x[12]
    present = np.arange(20) != 3
    unit = centred(x, present)
    others = np.flatnonzero(present & (np.arange(20) != 7))
    cosines = unit[others] @ unit[others].T
    assert unit[11] @ unit[12] == pytest.approx(1)
    assert np.median(np.abs(cosines)) < 0.5
    x[7] /= 1e6
    assert np.abs(unit[others] - centred(x, present)[others]).max() < 0.3
