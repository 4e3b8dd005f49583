"""The quantity-aware triplet loss: closed-form values of every branch."""

from math import log2

import pytest
import torch

from sensorium.lifting.contrastive import qa_triplet

W1, W2, W3 = 1.0, log2(3), 2.0


def loss(positives: list[float], negatives: list[float], **options: object) -> float:
    distances = torch.tensor([*positives, *negatives], dtype=torch.float64)
    labels = torch.tensor([1] * len(positives) + [-1] * len(negatives))
    return qa_triplet(distances, labels, **options).item()  # type: ignore[arg-type]


def hinge(value: float) -> float:
    return max(value, 0.0)


def test_single_margin() -> None:
    assert loss([], [0.04, 0.3]) == pytest.approx((0.06 + 0.0) / 2, abs=1e-12)
    assert loss([0.3, 0.05], []) == pytest.approx((0.2 + 0.0) / 2, abs=1e-12)
    assert loss([0.2], [0.25]) == pytest.approx(0.2 - 0.25 + 0.1, abs=1e-12)
    # Three positives, one negative: w = (2, 1) with mean one is (4/3, 2/3).
    near, far = 4 / 3, 2 / 3
    expected = sum(hinge(near * d - far * 0.3 + 0.1) for d in (0.1, 0.2, 0.05)) / 3
    assert loss([0.1, 0.2, 0.05], [0.3]) == pytest.approx(expected, abs=1e-12)


def test_released_margins() -> None:
    options = {"quantity": "raw", "margins": "released"}
    assert loss([], [100.0, 2000.0], **options) == pytest.approx(
        (2500 - W2 * 100 + hinge(2500 - W2 * 2000)) / 2, abs=1e-9
    )
    assert loss([400.0, 100.0], [], **options) == pytest.approx(W2 * 250 + 0.2, abs=1e-9)
    assert loss([300.0], [500.0], **options) == pytest.approx(W1 * 300 - W1 * 500 + 1450, abs=1e-9)
    expected = sum(hinge(W3 * d - W1 * 1900 + 1450) for d in (100.0, 400.0, 900.0)) / 3
    assert loss([100.0, 400.0, 900.0], [1900.0], **options) == pytest.approx(expected, abs=1e-9)


def test_no_quantity_weights() -> None:
    expected = sum(hinge(d - 0.3 + 0.1) for d in (0.1, 0.25)) / 2
    assert loss([0.1, 0.25], [0.3], quantity="none") == pytest.approx(expected, abs=1e-12)


def test_what_is_remembered_is_constant_and_makes_no_loss_alone() -> None:
    fresh = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    remembered = torch.tensor([0.2, 0.1, 0.5], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1, -1, -1])
    found = qa_triplet(fresh, torch.tensor([1]), remembered=remembered, remembered_labels=labels)
    # N_p = N_n = 2: weights are one; pairs of the fresh positive with both remembered negatives.
    assert found.item() == pytest.approx((0.3 - 0.1 + 0.1 + hinge(0.3 - 0.5 + 0.1)) / 2, abs=1e-12)
    found.backward()
    assert fresh.grad is not None
    assert fresh.grad.item() == pytest.approx(0.5)
    assert remembered.grad is None
    ambiguous = qa_triplet(fresh, torch.tensor([0]), remembered=remembered, remembered_labels=labels)
    assert ambiguous.item() == 0
    ambiguous.backward()  # it has a graph, with a gradient of zero


@pytest.mark.parametrize(("gradient", "moved"), [("both", True), ("positives", False)])
def test_who_is_moved(gradient: str, moved: bool) -> None:
    distances = torch.tensor([0.3, 0.2], requires_grad=True)
    qa_triplet(distances, torch.tensor([1, -1]), gradient=gradient).backward()  # type: ignore[arg-type]
    assert distances.grad is not None
    assert distances.grad[0] == 1
    assert distances.grad[1] == (-1 if moved else 0)
