"""Batches of the denoising loss: omega by its formula, with mean 1, and doubtful rows as negatives."""

from dataclasses import replace

import numpy as np
import pytest

from sensorium.data.batches import Batch, PairBatches, Step
from sensorium.data.view import TrainView
from sensorium.recommenders.wrappers.denoising import DenoisingBatches, RowWeights
from sensorium.testing import tiny_view


def rows_of(view: TrainView, seed: int = 0) -> RowWeights:
    weight = np.random.default_rng(seed).random(len(view.user))
    return RowWeights(weight, weight >= 0.4)


def one_pass(batches: DenoisingBatches, epoch: int = 0) -> list[Batch]:
    return [batches.batch(Step(0, "teacher", epoch, index)) for index in range(len(batches))]


def test_without_weights_they_are_the_usual_batches() -> None:
    view = tiny_view()
    found, wanted = DenoisingBatches(view, 64), PairBatches(view, 64)
    for index in range(len(wanted)):
        step = Step(0, "teacher", 3, index)
        one, other = found.batch(step), wanted.batch(step)
        assert one.neg.tolist() == other.neg.tolist()
        assert one.row.tolist() == other.row.tolist()
        assert one.weight is None


@pytest.mark.parametrize("kappa", [0.0, 0.5])
def test_omega_is_the_formula_and_has_mean_one(kappa: float) -> None:
    view = tiny_view(users=200, items=80, rows_per_user=20)
    rows = rows_of(view)
    batches = DenoisingBatches(view, 256, kappa)
    batches.set_rows(rows)
    known = {(u, i): row for row, (u, i) in enumerate(zip(view.user.tolist(), view.item.tolist(), strict=True))}
    total, count, ratios = 0.0, 0, []
    for epoch in range(20):
        for batch in one_pass(batches, epoch):
            assert batch.weight is not None
            total, count = total + float(batch.weight.sum()), count + len(batch)
            triples = zip(batch.row, batch.user, batch.neg[:, 0], batch.weight, strict=True)
            for row, user, negative, omega in list(triples)[:20]:
                j = known.get((int(user), int(negative)))
                w_uj = 0.0 if j is None else rows.weight[j]
                if j is not None:
                    assert rows.clean[row]
                    assert not rows.clean[j]
                ratios.append(float(omega) / (rows.weight[row] * (1 - w_uj)))
    assert total / count == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-4)


def test_so_many_negatives_of_clean_rows_are_doubtful() -> None:
    view = tiny_view(users=200, items=80, rows_per_user=20)
    rows = rows_of(view)
    batches = DenoisingBatches(view, 512, 0.2)
    batches.set_rows(rows)
    doubtful_users = set(view.user[~rows.clean].tolist())
    own = set((view.user * view.n_items + view.item).tolist())
    could = did = 0
    for epoch in range(10):
        for batch in one_pass(batches, epoch):
            for row, user, negative in zip(batch.row, batch.user, batch.neg[:, 0], strict=True):
                could += bool(rows.clean[row]) and int(user) in doubtful_users
                did += int(user) * view.n_items + int(negative) in own
    assert did / could == pytest.approx(0.2, abs=0.02)


def test_the_slices_of_two_processes_make_the_whole_batch() -> None:
    view = tiny_view()
    batches = DenoisingBatches(view, 64, 0.3)
    batches.set_rows(rows_of(view))
    whole = batches.batch(Step(0, "teacher", 1, 1))
    halves = [batches.batch(Step(0, "teacher", 1, 1, rank, 2)) for rank in (0, 1)]
    for name in ("user", "pos", "neg", "row", "weight"):
        parts = [getattr(half, name) for half in halves]
        assert [*parts[0].tolist(), *parts[1].tolist()] == getattr(whole, name).tolist()


def test_a_model_without_negatives_gets_w_over_its_mean() -> None:
    view = tiny_view()
    rows = rows_of(view)
    batches = DenoisingBatches(view, 64, 0.9, pointwise=True)
    batches.set_rows(rows)
    batch = batches.batch(Step(0, "teacher", 0, 0))
    assert batch.weight is not None
    np.testing.assert_allclose(batch.weight, rows.weight[batch.row] / rows.weight.mean(), rtol=1e-5)


def test_weights_that_the_data_bring_multiply() -> None:
    view = tiny_view()
    given = np.random.default_rng(1).random(len(view.user)).astype(np.float32)
    rows = rows_of(view)
    batches = DenoisingBatches(replace(view, weight=given), 64)
    batches.set_rows(rows)
    found = [(batch.row, batch.weight) for batch in one_pass(batches)]
    product = rows.weight * given
    for row, weight in found:
        np.testing.assert_allclose(weight, product[row] / product.mean(), rtol=1e-4)
