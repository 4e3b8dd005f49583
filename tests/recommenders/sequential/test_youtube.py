"""YouTube: order does not matter, padding leaves no trace, one target for each window, the contract."""

from __future__ import annotations

import torch

from sensorium.data.batches import Step
from sensorium.recommenders.sequential.youtube import YouTube
from sensorium.testing.histories import HISTORY_CHECKS, HistorySubject, ordered_view
from sensorium.testing.subject import run_checks


def test_the_mean_knows_no_order_and_no_padding() -> None:
    model = YouTube(ordered_view(), YouTube.Config(dim=8, length=6)).eval()
    with torch.no_grad():
        model.encoder.wide.bias += 0.3
        one, other, short = model.score_history(
            [torch.tensor([3, 1, 2]), torch.tensor([1, 2, 3]), torch.tensor([1, 2])]
        )
        x = torch.randn(2, 6, 8)
        mask = torch.tensor([[False, False, True, True, True, True], [True] * 6])
        states = model.encoder(x, mask)
        noisy = torch.where(mask.unsqueeze(-1), x, 1e6)
        assert torch.equal(model.encoder(noisy, mask), states)
        by_hand = model.encoder.out(torch.relu(model.encoder.wide(x[0, 2:].mean(0))))
    assert torch.allclose(one, other, atol=1e-6)
    assert not torch.allclose(one, short, atol=1e-3)
    assert torch.allclose(states[0, -1], by_hand, atol=1e-6)


def test_the_last_item_of_a_window_alone_is_predicted() -> None:
    """The loss by hand, over one target for each window."""
    model = YouTube(ordered_view(), YouTube.Config(dim=8, length=5, dropout=0.0))
    batch = model.make_batches(7, 1).batch(Step(0, "main", 0, 0))
    items = batch.items
    e = model.item_vectors()
    columns = items[items >= 0]
    lost = []
    for window in items:
        history, target = window[:-1][window[:-1] >= 0], window[-1]
        h = model.encoder.out(torch.relu(model.encoder.wide(e[history].mean(0))))
        z = e[columns] @ h - model.log_p[columns + 1]
        others = z[~torch.isin(columns, window)]
        right = e[target] @ h - model.log_p[target + 1]
        lost.append(torch.cat([right[None], others]).logsumexp(0) - right)
    torch.testing.assert_close(model.loss(batch)["ranking"], torch.stack(lost).mean(), rtol=1e-4, atol=1e-5)


def test_contract() -> None:
    checks = {name: check for name, check in HISTORY_CHECKS.items() if name != "order"}  # a mean knows no order
    for tower in ("id", "id+features"):
        config = YouTube.Config(dim=8, length=6, tower=tower)
        subject = HistorySubject(YouTube, config, ordered_view())
        assert set(run_checks(checks, subject, "YouTube").values()) == {"passed"}
