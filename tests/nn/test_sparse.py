import numpy as np
import pytest
import scipy.sparse as sp
import torch

from sensorium.nn.sparse import SparseMatrix, bag_product, csr_product, from_scipy

from .matrices import nearest_items, row_normalised, symmetric_matrix

DIM = 8


CASES = {
    "symmetric": (symmetric_matrix(60), True),
    "row-normalised, square": (row_normalised(60, 60), False),
    "row-normalised, wide": (row_normalised(40, 90), False),
    "nearest items": (nearest_items(60), False),
}


@pytest.mark.parametrize("case", CASES)
def test_product_and_gradient_equal_the_dense_ones(case: str) -> None:
    """Product and gradient equal those of dense matrices."""
    matrix, symmetric = CASES[case]
    sparse = from_scipy(matrix.astype(np.float32), symmetric=symmetric)
    dense = torch.from_numpy(matrix.toarray()).float()
    x = torch.randn(matrix.shape[1], DIM, generator=torch.Generator().manual_seed(0))
    target = torch.randn(matrix.shape[0], DIM, generator=torch.Generator().manual_seed(1))
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()

    found, expected = sparse @ one, dense @ other
    (found * target).sum().backward()
    (expected * target).sum().backward()

    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-5)
    assert sparse.symmetric == symmetric


@pytest.mark.parametrize("matrix", [row_normalised(12, 12), row_normalised(12, 7), nearest_items(12, 3)])
def test_gradcheck_in_double_precision(matrix: sp.csr_matrix) -> None:
    sparse = from_scipy(matrix.astype(np.float64))
    x = torch.randn(matrix.shape[1], 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda dense: sparse @ dense, (x,))
    assert torch.autograd.gradgradcheck(lambda dense: sparse @ dense, (x,))


def test_an_untransposed_matrix_in_backward_would_be_seen() -> None:
    """The very check of this file fails for a matrix that takes itself for its transpose."""
    right = from_scipy(nearest_items(12, 3).astype(np.float64))
    wrong = SparseMatrix(right.rows, right.rows)
    x = torch.randn(12, 3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        torch.autograd.gradcheck(lambda dense: wrong @ dense, (x,))


def test_fast_product_equals_the_reference() -> None:
    for matrix, _ in CASES.values():
        rows = from_scipy(matrix.astype(np.float32)).rows.on(torch.device("cpu"))
        x = torch.randn(matrix.shape[1], 64)
        torch.testing.assert_close(bag_product(rows, x), csr_product(rows, x), rtol=0, atol=1e-5)


def test_symmetric_matrix_has_one_copy_and_is_its_transpose() -> None:
    matrix = from_scipy(symmetric_matrix(20), symmetric=True)
    assert matrix.rows is matrix.columns
    assert matrix.T is matrix


def test_transpose_of_a_wide_matrix() -> None:
    matrix = from_scipy(row_normalised(7, 12))
    assert matrix.T.shape == (12, 7)
    assert matrix.T.rows is matrix.columns
    np.testing.assert_allclose(
        (matrix.T @ torch.eye(7, dtype=torch.float64)).numpy(), row_normalised(7, 12).toarray().T, atol=1e-12
    )


def test_matrix_without_entries_gives_zeros() -> None:
    empty = from_scipy(sp.csr_matrix((5, 4), dtype=np.float32))
    x = torch.ones(4, 3, requires_grad=True)
    product = empty @ x
    product.sum().backward()
    assert torch.equal(product, torch.zeros(5, 3))
    assert torch.equal(x.grad, torch.zeros(4, 3))


def test_entries_that_stand_twice_are_added_up() -> None:
    matrix = sp.coo_matrix(([1.0, 2.0, 4.0], ([0, 0, 1], [1, 1, 0])), (2, 2))
    assert torch.equal((from_scipy(matrix) @ torch.eye(2, dtype=torch.float64)), torch.tensor([[0.0, 3.0], [4.0, 0.0]]))


def test_values_do_not_follow_the_array_they_came_from() -> None:
    source = sp.csr_matrix(np.eye(3, dtype=np.float32))
    matrix = from_scipy(source)
    source.data[:] = 7
    assert torch.equal(matrix @ torch.eye(3), torch.eye(3))


def test_half_precision_operands_are_multiplied_in_float32() -> None:
    x = torch.randn(12, 4, dtype=torch.bfloat16, requires_grad=True)
    product = from_scipy(nearest_items(12, 3).astype(np.float32)) @ x
    product.sum().backward()
    assert product.dtype == torch.float32
    assert x.grad.dtype == torch.bfloat16


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="not symmetric"):
        from_scipy(nearest_items(12, 3), symmetric=True)
    with pytest.raises(ValueError, match="not symmetric"):
        from_scipy(row_normalised(3, 4), symmetric=True)
    with pytest.raises(ValueError, match="finite"):
        from_scipy(sp.csr_matrix(np.array([[np.nan, 1.0]])))
    with pytest.raises(ValueError, match=r"\[12, 12\] cannot be multiplied with \[11, 2\]"):
        from_scipy(nearest_items(12, 3)) @ torch.ones(11, 2)
