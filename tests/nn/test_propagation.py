import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.nn.propagation import bipartite_adjacency, lightgcn
from sensorium.nn.sparse import from_scipy

from .matrices import nearest_items

USERS, ITEMS = 7, 5


def dense_adjacency(
    user: npt.NDArray[np.int64], item: npt.NDArray[np.int64], weight: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Â by its definition."""
    a = np.zeros((USERS + ITEMS, USERS + ITEMS))
    for u, i, w in zip(user, item, weight, strict=True):
        a[u, USERS + i] += w
        a[USERS + i, u] += w
    degree = a.sum(1) + 1e-7
    return a / np.sqrt(degree[:, None] * degree[None, :])


def layers_one_by_one(adjacency: torch.Tensor, embeddings: torch.Tensor, layers: int) -> torch.Tensor:
    """LGN by its definition."""
    stack = [embeddings]
    for _ in range(layers):
        stack.append(adjacency @ stack[-1])
    return torch.stack(stack).mean(0)


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_adjacency_equals_its_definition(data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1)), min_size=1))
    weight = np.array(data.draw(st.lists(st.floats(0, 4), min_size=len(pairs), max_size=len(pairs))))
    user, item = np.array(pairs).T
    adjacency = bipartite_adjacency(user, item, weight, USERS, ITEMS)
    found = (adjacency @ torch.eye(USERS + ITEMS)).numpy()
    np.testing.assert_allclose(found, dense_adjacency(user, item, weight), atol=1e-6)
    np.testing.assert_array_equal(found, found.T)


def test_weights_of_one_are_no_weights() -> None:
    user, item = np.array([0, 1, 3]), np.array([4, 4, 0])
    plain = bipartite_adjacency(user, item, None, USERS, ITEMS)
    ones = bipartite_adjacency(user, item, np.ones(3, dtype=np.float32), USERS, ITEMS)
    eye = torch.eye(USERS + ITEMS)
    assert torch.equal(plain @ eye, ones @ eye)
    assert plain.symmetric


def test_other_weights_give_another_graph_without_loops() -> None:
    user, item = np.array([0, 1, 1]), np.array([4, 4, 0])
    found = bipartite_adjacency(user, item, np.array([2.0, 0.0, 1.0]), USERS, ITEMS) @ torch.eye(USERS + ITEMS)
    assert found[0, USERS + 4] == pytest.approx(2 / np.sqrt(2 * 2))
    assert found[1, USERS + 4] == 0
    assert found[1, USERS + 0] == pytest.approx(1)
    assert torch.diagonal(found).count_nonzero() == 0


def test_nodes_without_an_edge_keep_a_share_of_themselves() -> None:
    adjacency = bipartite_adjacency(np.array([0]), np.array([0]), None, USERS, ITEMS)
    final = lightgcn(adjacency, torch.ones(USERS + ITEMS, 2), 3)
    assert torch.isfinite(final).all()
    assert final[1, 0] == pytest.approx(1 / 4)


@pytest.mark.parametrize("layers", [0, 1, 2, 4])
@pytest.mark.parametrize("symmetric", [True, False])
def test_mean_of_layers_and_its_gradient_equal_the_definition(layers: int, symmetric: bool) -> None:
    if symmetric:
        rows = np.random.default_rng(0).permutation(USERS * ITEMS)[:20]
        matrix = bipartite_adjacency(rows // ITEMS, rows % ITEMS, None, USERS, ITEMS)
    else:
        matrix = from_scipy(nearest_items(USERS + ITEMS, 3).astype(np.float32))
    dense = matrix @ torch.eye(USERS + ITEMS)
    embeddings, target = torch.randn(2, USERS + ITEMS, 4, generator=torch.Generator().manual_seed(0))
    one, other = embeddings.clone().requires_grad_(), embeddings.clone().requires_grad_()

    found, expected = lightgcn(matrix, one, layers), layers_one_by_one(dense, other, layers)
    (found * target).sum().backward()
    (expected * target).sum().backward()

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-5)


def test_gradcheck_on_twelve_nodes() -> None:
    """In float64, a matrix whose transpose is another one."""
    matrix = from_scipy(nearest_items(12, 3).astype(np.float64))
    embeddings = torch.randn(12, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: lightgcn(matrix, x, 3), (embeddings,))
    assert torch.autograd.gradgradcheck(lambda x: lightgcn(matrix, x, 2), (embeddings,))


def test_embeddings_are_left_as_they_are() -> None:
    adjacency = bipartite_adjacency(np.array([0, 1]), np.array([0, 2]), None, USERS, ITEMS)
    embeddings = torch.randn(USERS + ITEMS, 4)
    before = embeddings.clone()
    lightgcn(adjacency, embeddings, 3)
    assert torch.equal(embeddings, before)


def test_wrong_weights_are_named() -> None:
    user, item = np.array([0, 1]), np.array([0, 2])
    for weight in (np.array([1.0, -0.5]), np.array([1.0, np.nan])):
        with pytest.raises(ValueError, match="finite and at least 0"):
            bipartite_adjacency(user, item, weight, USERS, ITEMS)
    with pytest.raises(ValueError, match="2 users, 2 items and 1 weights"):
        bipartite_adjacency(user, item, np.ones(1), USERS, ITEMS)
