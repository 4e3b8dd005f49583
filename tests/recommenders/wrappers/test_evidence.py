"""Evidence of content: the formula with loops, the null, masks, and what must not matter."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sensorium.data.dataset import Features
from sensorium.data.view import TrainView
from sensorium.recommenders.wrappers.calibration import null_pairs
from sensorium.recommenders.wrappers.evidence import (
    Pairs,
    Similarity,
    TopSimilarity,
    unit_vectors,
    vector_evidence,
)
from sensorium.testing import tiny_view
from sensorium.testing.data import with_masked_content

from .noisy import noisy_view


def similarity(view: TrainView, name: str = "text") -> Similarity:
    features = view.features[name]
    return Similarity(view, unit_vectors(features, view.item_count > 0), features.present)


def by_loops(view: TrainView, pairs: Pairs, name: str = "text", *, own: bool) -> list[float]:
    """The definition, one pair at a time, in double precision."""
    features = view.features[name]
    z = unit_vectors(features, view.item_count > 0).double().numpy()
    share = view.item_count * features.present
    q = share / share.sum()
    mu = sum(q[j] * z[j] for j in range(view.n_items))
    sigma = sum(q[j] * np.outer(z[j], z[j]) for j in range(view.n_items)) - np.outer(mu, mu)
    found = []
    for user, item in zip(pairs.user, pairs.item, strict=True):
        others = [i for i in view.item[view.user == user] if not (own and i == item)]
        if not features.present[item] or not any(features.present[i] for i in others):
            found.append(0.0)
            continue
        p = sum(z[i] for i in others) / len(others)
        found.append(float(p @ (z[item] - mu) / np.sqrt(p @ sigma @ p + 1e-12)))
    return found


def test_train_rows_are_measured_against_the_user_s_other_rows() -> None:
    view = tiny_view(missing=0.3)
    rows = Pairs(view.user, view.item)
    np.testing.assert_allclose(similarity(view).of_rows(rows), by_loops(view, rows, own=True), atol=2e-4)


def test_other_pairs_are_measured_against_all_rows_of_the_user() -> None:
    view = tiny_view(missing=0.3)
    pairs = null_pairs(view, 2)
    np.testing.assert_allclose(similarity(view).of_others(pairs), by_loops(view, pairs, own=False), atol=2e-4)
    held = set(zip(view.user.tolist(), view.item.tolist(), strict=True))
    assert not held & set(zip(pairs.user.tolist(), pairs.item.tolist(), strict=True))


def test_a_user_of_one_row_and_an_item_without_content_say_nothing() -> None:
    view = tiny_view()
    keep = (view.user != 0) | (np.arange(len(view.user)) == 0)  # user 0 keeps one row
    view = replace(view, user=view.user[keep], item=view.item[keep])
    found = similarity(view).of_rows(Pairs(view.user, view.item))
    assert found[0] == 0
    assert (found[~view.features["text"].present[view.item]] == 0).all()
    assert (found[1:] != 0).any()


def test_a_row_is_no_evidence_for_itself() -> None:
    """With unrelated content rows look like null pairs; a profile with the item itself would lift the mean by 1.4."""
    draw = np.random.default_rng(0)
    view, _ = noisy_view()
    noise = Features(draw.normal(size=(view.n_items, 30)).astype(np.float32), np.ones(view.n_items, dtype=bool))
    view = replace(view, features={"text": noise})
    found = similarity(view).of_rows(Pairs(view.user, view.item))
    assert -0.5 < found.mean() < 0.25  # taking an item out of a profile leaves a slight lean away from it


def test_null_pairs_have_mean_zero_and_deviation_one() -> None:
    view, _ = noisy_view(users=400, items=150)
    for name in view.features:
        pairs = null_pairs(view, 2)
        found = similarity(view, name).of_others(pairs)
        shown = found[view.features[name].present[pairs.item]]
        assert abs(shown.mean()) < 0.25
        assert abs(shown.std() - 1) < 0.2


def test_scale_and_offset_of_a_modality_change_nothing() -> None:
    view = tiny_view()
    rows = Pairs(view.user, view.item)
    x, present = view.features["text"]
    moved = replace(view, features={"text": Features(np.where(present[:, None], 10 * x + 3, 0), present)})
    np.testing.assert_allclose(similarity(moved).of_rows(rows), similarity(view).of_rows(rows), atol=1e-3)


def test_content_under_a_false_mask_changes_no_bit() -> None:
    view = tiny_view(missing=0.4)
    rows = Pairs(view.user, view.item)
    wanted = similarity(view).of_rows(rows)
    for value in (1e9, None):
        assert similarity(with_masked_content(view, value)).of_rows(rows).tolist() == wanted.tolist()


def test_the_mean_of_the_most_similar_is_an_option_with_the_same_null() -> None:
    view, mask = noisy_view()
    features = view.features["text"]
    z = unit_vectors(features, view.item_count > 0)
    top = TopSimilarity(view, z, features.present, k=3)
    rows = Pairs(view.user, view.item)
    row = int(np.flatnonzero(features.present[view.item])[17])
    found = top.of_rows(rows)
    others = [i for i in view.item[view.user == view.user[row]] if i != view.item[row] and features.present[i]]
    similar = sorted((float(z[view.item[row]] @ z[i]) for i in others), reverse=True)[:3]
    everyone = [*others, view.item[row]]
    null = [np.mean(sorted((float(z[j] @ z[i]) for i in everyone), reverse=True)[:3]) for j in range(view.n_items)]
    q = view.item_count * features.present / (view.item_count * features.present).sum()
    sd = np.sqrt(q @ (null - q @ null) ** 2)
    assert found[row] == pytest.approx((np.mean(similar) - q @ null) / sd, abs=1e-3)
    assert found[~mask].mean() > found[mask].mean() + 0.5


def test_a_model_s_vectors_are_measured_in_the_same_way() -> None:
    view = tiny_view()
    generator = torch.Generator().manual_seed(0)
    user, item = torch.randn(view.n_users, 5, generator=generator), torch.randn(view.n_items, 5, generator=generator)
    q = view.item_count / view.item_count.sum()
    mu = q @ item.numpy()
    sigma = (item.numpy() - mu).T @ (q[:, None] * (item.numpy() - mu))
    u = user.numpy()[view.user]
    wanted = (u * (item.numpy()[view.item] - mu)).sum(1) / np.sqrt(np.einsum("ni,ij,nj->n", u, sigma, u) + 1e-12)
    np.testing.assert_allclose(vector_evidence(user, item, view), wanted, atol=1e-4)


def test_dense_and_sparse_pairs_give_the_same_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The products of whole blocks, several of them, against rows fetched one pair at a time."""
    from sensorium.recommenders.wrappers import evidence

    view = tiny_view(missing=0.3)
    rows, found = Pairs(view.user, view.item), {}
    for cells in (0, 10**9):
        monkeypatch.setattr(evidence, "CELLS_FOR_A_FETCH", cells)
        monkeypatch.setattr(evidence, "CELLS_AT_ONCE", 5 * view.n_items)
        found[cells] = similarity(view).of_rows(rows)
    assert np.abs(found[0]).max() > 1
    np.testing.assert_allclose(found[10**9], found[0], atol=1e-4)
