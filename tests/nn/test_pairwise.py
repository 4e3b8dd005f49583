"""Margins and squares with their gradient written out, beside plain indexing."""

import pytest
import torch
from torch import Tensor

from sensorium.nn.pairwise import margins_and_squares

USERS, ITEMS, WIDTH = 7, 9, 5


def case(rows: int, negatives: int) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(rows * 10 + negatives)

    def table(n: int) -> Tensor:
        return torch.randn(n, WIDTH, generator=draw, dtype=torch.float64).requires_grad_()

    def ids(below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=draw)  # some ids stand twice, also as positive and negative

    return table(USERS), table(ITEMS), ids(USERS, rows), ids(ITEMS, rows), ids(ITEMS, rows, negatives)


def plain(users: Tensor, items: Tensor, user: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    rows = users[user], items[positive], items[negative]
    margins = (rows[0] * rows[1]).sum(1, keepdim=True) - torch.einsum("bd,bnd->bn", rows[0], rows[2])
    return margins, torch.stack([part.square().sum() for part in rows])


@pytest.mark.parametrize(("rows", "negatives"), [(1, 1), (20, 1), (20, 3)])
def test_values_and_gradients_are_those_of_plain_indexing(rows: int, negatives: int) -> None:
    arguments = case(rows, negatives)
    found, wanted = margins_and_squares(*arguments), plain(*arguments)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-12)
    weights = torch.randn(rows, negatives, dtype=torch.float64), torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    tables = arguments[:2]
    for used in ((0, 1), (0,), (1,)):  # both outputs, and either alone
        gradients = [
            torch.autograd.grad(sum((parts[at] * weights[at]).sum() for at in used), tables, retain_graph=True)
            for parts in (found, wanted)
        ]
        for one, other in zip(*gradients, strict=True):
            assert torch.allclose(one, other, atol=1e-12)


def test_gradcheck() -> None:
    users, items, *ids = case(6, 2)
    assert torch.autograd.gradcheck(lambda *tables: margins_and_squares(*tables, *ids), (users, items))


@pytest.mark.parametrize(("rows", "negatives"), [(1, 1), (20, 1), (20, 3)])
def test_compiled_loops_give_the_same(rows: int, negatives: int) -> None:
    pytest.importorskip("numba")
    from sensorium.nn import pairwise_compiled

    users, items, *ids = case(rows, negatives)
    tables = [table.detach().float().requires_grad_() for table in (users, items)]
    found, wanted = (
        function(*tables, *ids) for function in (pairwise_compiled.margins_and_squares, margins_and_squares)
    )
    weights = torch.randn(rows, negatives), torch.tensor([0.3, -1.0, 2.0])
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    for used in ((0, 1), (0,), (1,)):
        gradients = [
            torch.autograd.grad(sum((parts[at] * weights[at]).sum() for at in used), tables, retain_graph=True)
            for parts in (found, wanted)
        ]
        for one, other in zip(*gradients, strict=True):
            assert torch.allclose(one, other, atol=1e-5)
