"""LAPACK called directly gives numpy's factor, and refuses what it would read or write beyond."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from semscale_pl.measuring.kernel import cholesky_pivots, cholesky_solve


def matrix_of(size: int, dtype: type = np.float64) -> np.ndarray:
    rows = np.random.default_rng(size).standard_normal((2 * size, size))
    return (rows.T @ rows).astype(dtype)


@pytest.mark.parametrize(("dtype", "accuracy"), [(np.float64, 1e-13), (np.float32, 1e-4)])
@pytest.mark.parametrize("size", [1, 2, 7, 64, 200])
def test_pivots_are_those_of_numpy(size: int, dtype: type, accuracy: float) -> None:
    matrix = matrix_of(size, dtype)
    expected = np.linalg.cholesky(matrix.astype(np.float64)).diagonal()
    found = cholesky_pivots(matrix.copy())
    assert found is not None
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=accuracy)


def test_the_lower_half_is_neither_read_nor_written() -> None:
    matrix = matrix_of(30)
    expected = cholesky_pivots(matrix.copy())
    lower = np.tril_indices(30, -1)
    matrix[lower] = np.nan
    np.testing.assert_array_equal(cholesky_pivots(matrix), expected)
    assert np.isnan(matrix[lower]).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_what_is_not_positive_definite_has_none(dtype: type) -> None:
    assert cholesky_pivots(np.array([[1.0, 2.0], [2.0, 1.0]], dtype)) is None
    assert cholesky_pivots(np.array([[np.nan]], dtype)) is None


def test_threads_do_not_disturb_each_other() -> None:
    matrices = [matrix_of(size) for size in (150, 160, 170, 180)] * 5
    expected = [np.linalg.cholesky(matrix).diagonal() for matrix in matrices]
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(cholesky_pivots, [m.copy() for m in matrices]), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-12)


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(4)[:, :3],
        np.ones(4),
        np.eye(4, dtype=np.int64),
        np.eye(4, dtype=np.float16),
        np.asfortranarray(matrix_of(4)),
        np.eye(8)[::2, ::2],
        np.broadcast_to(np.float64(1.0), (3, 3)),
    ],
)
def test_other_types_and_layouts_are_refused(matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match="Expected a square matrix of floats in C order, but got shape"):
        cholesky_pivots(matrix)


@pytest.mark.parametrize(("dtype", "accuracy"), [(np.float64, 1e-10), (np.float32, 1e-2)])
@pytest.mark.parametrize("size", [1, 5, 100])
def test_solutions_are_those_of_numpy(size: int, dtype: type, accuracy: float) -> None:
    matrix = matrix_of(size, dtype)
    right = np.random.default_rng(0).standard_normal((3, size)).astype(dtype)
    expected = np.linalg.solve(matrix.astype(np.float64), right.T.astype(np.float64)).T
    assert cholesky_pivots(matrix) is not None
    cholesky_solve(matrix, right)
    assert np.abs(right - expected).max() <= accuracy * np.abs(expected).max()


@pytest.mark.parametrize(
    "right", [np.ones(4), np.ones((2, 5)), np.ones((2, 4), np.float32), np.asfortranarray(np.ones((2, 4)))]
)
def test_right_sides_that_do_not_fit_are_refused(right: np.ndarray) -> None:
    factor = np.eye(4)
    with pytest.raises(ValueError, match="Expected rows of 4 numbers of float64 in C order"):
        cholesky_solve(factor, right)
