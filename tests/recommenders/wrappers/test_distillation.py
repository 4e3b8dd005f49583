"""What a student learns from a teacher: clouds, taps, gradients, and the common descent direction."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sensorium.data.batches import Batch
from sensorium.recommenders.base import Representations
from sensorium.recommenders.wrappers.distillation import (
    DistillationConfig,
    clouds,
    common_descent,
    score_loss,
    transfer_loss,
)


def batch_of(user: list[int], pos: list[int]) -> Batch:
    n = len(user)
    return Batch(torch.tensor(user), torch.tensor(pos), torch.zeros(n, 1, dtype=torch.int64), torch.arange(n))


def vectors(seed: int, users: int = 12, items: int = 10, width: int = 4, taps: bool = True) -> Representations:
    generator = torch.Generator().manual_seed(seed)
    user, item = (torch.randn(n, width, generator=generator, requires_grad=True) for n in (users, items))
    modal = {"text": torch.randn(items, 6, generator=generator, requires_grad=True)} if taps else {}
    return Representations(user, item, modal)


def projections(width: int = 4) -> nn.ModuleDict:
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "item": nn.Linear(width, 4, bias=False),
            "user": nn.Linear(width, 4, bias=False),
            "item text": nn.Linear(6, 4, bias=False),
        }
    )


def test_clouds_hold_distinct_ids_with_the_weight_of_their_rows() -> None:
    batch = batch_of([3, 3, 5, 7], [1, 2, 1, 0])
    found = clouds(batch, torch.tensor([0.5, 0.5, 1.0, 2.0]), 384, seed=0)
    assert found.item.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found.item_mass, np.array([2.0, 1.5, 0.5]) / 4)
    assert found.user.tolist() == [3, 5, 7]
    np.testing.assert_allclose(found.user_mass, np.array([1.0, 1.0, 2.0]) / 4)


def test_large_clouds_are_cut_to_a_subset_that_the_rows_of_the_batch_decide() -> None:
    batch = batch_of(list(range(50)), list(range(50)))
    one, again = (clouds(batch, torch.ones(50), 20, seed=0) for _ in range(2))
    assert len(one.item) == len(one.user) == 20
    assert one.item.tolist() == again.item.tolist()
    assert float(one.item_mass.sum()) == pytest.approx(1)
    assert clouds(batch, torch.ones(50), 20, seed=1).item.tolist() != one.item.tolist()


@pytest.mark.parametrize("mode", ["ot", "pointwise"])
def test_what_is_learned_pulls_the_student_to_the_teacher_and_not_the_reverse(mode: str) -> None:
    settings = DistillationConfig(mode=mode, epsilon=0.1)  # type: ignore[arg-type]
    student, teacher, layers = vectors(0), vectors(1, taps=False), projections()
    chosen = clouds(batch_of([0, 1, 2, 3], [4, 5, 6, 7]), torch.ones(4), 384, seed=0)
    loss = transfer_loss(student, teacher, layers, chosen, settings)
    loss.backward()  # type: ignore[no-untyped-call]
    before = float(loss.detach())
    assert teacher.user.grad is None
    assert teacher.item.grad is None
    touched = {"user": student.user, "item": student.item, "text": student.item_modal["text"]}
    for name, value in touched.items():
        assert value.grad is not None, name
        rows = value.grad.abs().sum(1) > 0
        assert rows.sum() == 4, name  # the batch's alone
    assert all(layer.weight.grad.abs().sum() > 0 for layer in layers.values())
    with torch.no_grad():
        for value in touched.values():
            assert value.grad is not None
            value -= 0.5 * value.grad
        assert float(transfer_loss(student, teacher, layers, chosen, settings)) < before


def test_an_equal_student_has_nothing_to_learn() -> None:
    student = vectors(0, taps=False)
    identity = nn.ModuleDict({name: nn.Linear(4, 4, bias=False) for name in ("item", "user")})
    for layer in identity.values():
        nn.init.eye_(layer.weight)
    chosen = clouds(batch_of([0, 1, 2], [4, 5, 6]), torch.ones(3), 384, seed=0)
    for mode in ("ot", "pointwise"):
        settings = DistillationConfig(mode=mode)  # type: ignore[arg-type]
        assert float(transfer_loss(student, student, identity, chosen, settings)) == pytest.approx(0, abs=1e-4)
    assert float(score_loss(student, student, torch.tensor([0, 3]), 1.0)) == pytest.approx(0, abs=1e-6)


def test_the_scores_divergence_is_its_formula() -> None:
    student, teacher, users = vectors(0), vectors(1), torch.tensor([2, 5])
    wanted = []
    for user in users:
        p = torch.softmax(teacher.user[user] @ teacher.item.T / 2, 0)
        q = torch.softmax(student.user[user] @ student.item.T / 2, 0)
        wanted.append(float((p * (p / q).log()).sum()))
    assert float(score_loss(student, teacher, users, 2.0)) == pytest.approx(np.mean(wanted), abs=1e-5)


def test_the_common_direction_is_the_shortest_sum_of_both_gradients() -> None:
    point = nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
    g_s, g_d = torch.tensor([2.0, 0.0, 1.0]), torch.tensor([-1.0, 1.0, 0.0])

    def terms() -> tuple[Tensor, Tensor]:
        return (g_s * point).sum(), (g_d * point).sum()

    own, learned = common_descent(*terms(), [point])
    alpha = torch.linspace(0, 1, 100_001)
    lengths = (alpha[:, None] * g_s + (1 - alpha[:, None]) * g_d).norm(dim=1)
    best = float(alpha[lengths.argmin()])
    assert float(own) == pytest.approx(max(best, 0.5), abs=1e-4)
    assert float(learned) == pytest.approx(max(1 - best, 1e-4), abs=1e-4)
    assert point.grad is None


def test_parameters_that_one_loss_does_not_reach_count_as_zero() -> None:
    shared, alone = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    own, learned = common_descent((shared * alone).sum(), shared.sum(), [shared, alone])
    assert float(own) == 0.5
    assert float(learned) == 1.0
