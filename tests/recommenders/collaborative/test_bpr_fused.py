"""The compiled engine beside the torch one: same order, same negatives, same weights."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.stats import chisquare

from sensorium.core.errors import ConfigError, MissingExtraError
from sensorium.data.batches import Batch, Step
from sensorium.evaluation.selection import Selection
from sensorium.recommenders.collaborative.bpr import BPR
from sensorium.testing import tiny_view
from sensorium.testing.data import view_of_rows
from sensorium.testing.subject import train_for
from sensorium.training.config import TrainingConfig
from sensorium.training.loop import TrainingResult, train
from sensorium.training.protocols import TrainingData

pytest.importorskip("numba")

from sensorium.recommenders.collaborative import bpr_fused
from sensorium.recommenders.collaborative.bpr_fused import DrawnPairs, descend

RATE, REG = 0.05, 0.02


def config(**keys: Any) -> BPR.Config:
    return BPR.Config(**{"dim": 16, "reg": REG, "regulariser": "squared", "engine": "fused", **keys})


def train_fused(model: BPR, epochs: int = 2, run: Any = None, **keys: Any) -> TrainingResult:
    settings: Any = {"optimizer": {"name": "sgd", "lr": RATE}, "epochs": epochs, "device": "cpu", **keys}
    scores = iter(range(100))
    return train(
        model,
        TrainingData(None, lambda model: {"x": float(next(scores))}),
        TrainingConfig(**settings),
        selection=Selection("x"),
        seed=0,
        run=run,
    )


def steps(pairs: DrawnPairs, epoch: int = 0) -> Iterator[Batch]:
    for index in range(len(pairs)):
        yield pairs.batch(Step(seed=0, phase="main", epoch=epoch, index=index))


def single_rows(batch: Batch) -> Iterator[Batch]:
    for row in range(len(batch)):
        part = slice(row, row + 1)
        weight = None if batch.weight is None else batch.weight[part]
        yield Batch(batch.user[part], batch.pos[part], batch.neg[part], batch.row[part], weight)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dim", [16, 5])
def test_one_thread_comes_to_the_weights_of_sgd_in_torch(dim: int, weighted: bool) -> None:
    """An epoch through the loop, and one of torch's SGD over batches of one row; every kind of row weight."""
    view = tiny_view()
    fused, plain = BPR(view, config(dim=dim)), BPR(view, config(dim=dim, engine="torch"))
    optimizer = torch.optim.SGD(plain.parameters(), lr=RATE)
    weights = torch.rand(len(view.user), generator=torch.Generator().manual_seed(1)) * 2
    weights[::7] = 0
    before = fused.user_embedding.detach().clone()
    if not weighted:
        train_fused(fused, epochs=1)
    for batch in steps(DrawnPairs(view)):
        if weighted:
            batch.weight = weights[batch.row]
            with torch.no_grad():
                fused.descend(batch, RATE)
        for row in single_rows(batch):
            optimizer.zero_grad()
            sum(plain.loss(row).values(), torch.zeros(())).backward()
            optimizer.step()
    assert not torch.allclose(fused.user_embedding, before, atol=1e-2)
    assert torch.allclose(fused.user_embedding, plain.user_embedding, atol=1e-4)
    assert torch.allclose(fused.item_embedding, plain.item_embedding, atol=1e-4)


def test_the_loss_is_the_mean_of_the_rows_before_their_steps() -> None:
    view = tiny_view()
    model, plain = BPR(view, config()), BPR(view, config(engine="torch"))
    (batch,) = steps(DrawnPairs(view))
    with torch.no_grad():
        found, wanted = model.descend(batch, 1e-9), plain.loss(batch)  # a rate so low that nothing moves
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {name: float(value) for name, value in wanted.items()}, rel=1e-5
    )


def test_several_threads_walk_through_all_rows(caplog: pytest.LogCaptureFixture) -> None:
    """Without meeting in a row they come to the weights of one thread; they say that they do not repeat."""
    users, items = torch.randn(6, 8), torch.randn(12, 8)
    ids = torch.arange(6)
    batch = Batch(ids, ids, ids[:, None] + 6, ids)
    alone, together = (users.clone(), items.clone()), (users.clone(), items.clone())
    one, two = descend(*alone, batch, rate=0.1, reg=0.1), descend(*together, batch, rate=0.1, reg=0.1, threads=4)
    assert torch.equal(alone[0], together[0])
    assert torch.equal(alone[1], together[1])
    assert torch.equal(one[0], two[0])
    assert float(one[1]) == pytest.approx(float(two[1]))
    with caplog.at_level(logging.WARNING):
        result = train_fused(BPR(tiny_view(), config(threads=2)), epochs=1)
    assert not result.repeats
    assert "Hogwild" in caplog.text
    assert train_fused(BPR(tiny_view(), config()), epochs=1).repeats


@pytest.fixture(params=[bpr_fused.MOST_BITS, 1 << 8, 1 << 6], ids=["a bit for each pair", "shared", "all set"])
def bits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of the pairs beside the sorted rows: everything, a little, nothing."""
    monkeypatch.setattr(bpr_fused, "MOST_BITS", request.param)


@pytest.mark.usefixtures("bits")
def test_negatives_are_uniform_among_what_a_user_did_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acceptance 5: none is a train item, and chi-square of the rest; items without a train row are never drawn."""
    monkeypatch.setattr(bpr_fused, "ROWS_PER_STEP", 100)
    view = tiny_view()
    pairs = DrawnPairs(view)
    held = set(zip(view.user.tolist(), view.item.tolist(), strict=True))
    wanted = np.zeros(view.n_items)
    drawn = np.zeros(view.n_items)
    for epoch in range(150):
        for batch in steps(pairs, epoch):
            assert not held & set(zip(batch.user.tolist(), batch.neg[:, 0].tolist(), strict=True))
            drawn += np.bincount(batch.neg[:, 0].numpy(), minlength=view.n_items)
    candidates = view.item_count > 0
    for user, count in enumerate(view.user_count):
        free = candidates.copy()
        free[view.item[view.user == user]] = False
        wanted += free / free.sum() * count * 150
    assert not drawn[~candidates].any()
    assert chisquare(drawn[candidates], wanted[candidates]).pvalue > 1e-3


def test_negatives_are_the_same_whatever_is_kept_of_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    view = tiny_view()
    drawn = []
    for most in (bpr_fused.MOST_BITS, 1 << 8):
        monkeypatch.setattr(bpr_fused, "MOST_BITS", most)
        drawn.append(torch.cat([batch.neg for batch in steps(DrawnPairs(view))]))
    assert torch.equal(*drawn)


@pytest.mark.usefixtures("bits")
def test_a_user_who_lacks_one_item_gets_it() -> None:
    """The search ends however full a user is; a user who has everything has no rows."""
    rows = [(user, item) for user in range(3) for item in range(40) if (user, item) not in {(0, 17), (1, 39)}]
    user, item = zip(*rows, strict=True)
    view = view_of_rows(user, item, users=3, items=40)
    (batch,) = steps(DrawnPairs(view))
    assert {(int(u), int(n)) for u, n in zip(batch.user, batch.neg[:, 0], strict=True)} == {(0, 17), (1, 39)}


def test_negatives_are_the_same_for_any_number_of_threads() -> None:
    view = tiny_view()
    one, three = (list(steps(DrawnPairs(view, threads))) for threads in (1, 3))
    assert len(one) == len(three)
    for alone, shared in zip(one, three, strict=True):
        assert torch.equal(alone.neg, shared.neg)
        assert torch.equal(alone.row, shared.row)


def test_passes_differ_and_repeat() -> None:
    pairs, again = DrawnPairs(tiny_view()), DrawnPairs(tiny_view())
    (first,), (second,), (repeated,) = steps(pairs, 0), steps(pairs, 1), steps(again, 0)
    assert first.row.tolist() != second.row.tolist()
    by_row = [dict(zip(batch.row.tolist(), batch.neg[:, 0].tolist(), strict=True)) for batch in (first, second)]
    assert by_row[0] != by_row[1]
    assert torch.equal(first.neg, repeated.neg)
    assert sorted(first.row.tolist()) == list(range(len(tiny_view().user)))


def test_interrupted_training_goes_on_to_the_same_bits(tmp_path: Any) -> None:
    from sensorium.core.rundir import RunDirectory

    def directory(name: str) -> RunDirectory:
        return RunDirectory.create(tmp_path / name, {"kind": "toy"})

    straight, model = directory("straight"), BPR(tiny_view(), config())
    train_fused(model, epochs=4, run=straight)
    run, calls = directory("killed"), iter(range(10))

    def die_in_the_third_epoch(batch: Batch, rate: float) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return BPR.descend(broken, batch, rate)

    broken = BPR(tiny_view(), config())
    broken.descend = die_in_the_third_epoch  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        train_fused(broken, epochs=4, run=run)
    resumed = BPR(tiny_view(), config())
    settings: Any = {"optimizer": {"name": "sgd", "lr": RATE}, "epochs": 4, "device": "cpu"}
    scores = iter([2.0, 3.0])
    train(
        resumed,
        TrainingData(None, lambda model: {"x": next(scores)}),
        TrainingConfig(**settings),
        selection=Selection("x"),
        seed=0,
        run=run,
    )
    assert torch.equal(model.user_embedding, resumed.user_embedding)
    assert (run.path / "metrics.jsonl").read_text() == (straight.path / "metrics.jsonl").read_text()


def test_what_it_cannot_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="regulariser"):
        BPR.Config(engine="fused")
    with pytest.raises(ValidationError, match="threads"):
        BPR.Config(threads=2)
    view = tiny_view()
    model = BPR(view, config())
    with pytest.raises(ConfigError, match=r"training.optimizer.name is adam and must be sgd for phase 'main' of BPR"):
        train_fused(model, optimizer={"name": "adam"})
    with pytest.raises(ConfigError, match=r"training.negatives is 3 and must be 1"):
        train_fused(model, negatives=3)
    monkeypatch.setitem(sys.modules, "numba", None)
    for engine in ("fused", "compiled"):
        with pytest.raises(MissingExtraError, match=r"pip install 'sensorium\[fast\]'; or set model.engine to torch"):
            BPR(view, config(engine=engine))


def test_the_torch_engine_knows_the_squared_regulariser() -> None:
    view = tiny_view()
    model = BPR(view, config(engine="torch"))
    batch = next(steps(DrawnPairs(view)))
    rows = model.user_embedding[batch.user], model.item_embedding[batch.pos], model.item_embedding[batch.neg]
    wanted = REG * sum(float(part.square().sum()) for part in rows) / 2 / len(batch)
    assert float(model.loss(batch)["reg"]) == pytest.approx(wanted, rel=1e-5)


def test_the_compiled_engine_trains_to_the_numbers_of_torch() -> None:
    """Two epochs of Adam in batches, with the norm of the published tables; row weights too."""
    view = tiny_view()
    models = [BPR(view, BPR.Config(dim=16, reg=0.3, engine=engine)) for engine in ("torch", "compiled")]
    for model in models:
        train_for(model, view, epochs=2)
    assert torch.allclose(models[0].item_embedding, models[1].item_embedding, atol=1e-5)
    assert torch.allclose(models[0].user_embedding, models[1].user_embedding, atol=1e-5)
    batch = next(steps(DrawnPairs(view)))
    batch.weight = torch.rand(len(batch))
    terms = [{name: float(value.detach()) for name, value in model.loss(batch).items()} for model in models]
    assert terms[0] == pytest.approx(terms[1], rel=1e-5)
