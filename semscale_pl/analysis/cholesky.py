"""A Cholesky factor, computed in place and used without Python's global lock."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import numpy as np

# Here and not where it is used: `max_memory` is counted from after the imports.
from scipy.linalg import cython_lapack


def cholesky_pivots(matrix: np.ndarray) -> np.ndarray | None:
    """Compute the diagonal of the Cholesky factor.

    scipy's and numpy's own functions either hold the lock, so that classes computed side by side wait for each other,
    or take three times as long.

    Args:
        matrix: (n, n) float32 or float64, symmetric, in C order; its upper half is overwritten with the factor.

    Returns:
        (n,) pivots, not copied; None where the matrix is not positive definite, or not finite.

    Raises:
        ValueError: another type or layout.

    Example:
        >>> cholesky_pivots(np.array([[4.0, 2.0], [2.0, 10.0]]))
        array([2., 3.])
    """
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    if not square or matrix.dtype not in (np.float32, np.float64) or not matrix.flags.carray:
        raise ValueError(
            f"Expected a square matrix of floats in C order, but got shape {matrix.shape} of {matrix.dtype}. Copy it."
        )
    function = _lapack("spotrf" if matrix.dtype == np.float32 else "dpotrf")
    size, failed = ctypes.c_int(len(matrix)), ctypes.c_int(0)
    # A symmetric matrix is its own transpose, so what is upper in C order is lower in LAPACK's.
    function(b"L", ctypes.byref(size), matrix.ctypes.data, ctypes.byref(size), ctypes.byref(failed))
    pivots = matrix.diagonal()
    return None if failed.value or not np.isfinite(pivots).all() else pivots


def cholesky_solve(factor: np.ndarray, right: np.ndarray) -> None:
    """Solve A x = b in the place of b.

    Args:
        factor: (n, n) of A, as :func:`cholesky_pivots` leaves it.
        right: (k, n) of the same type, in C order: a b in each row, overwritten with its x.

    Raises:
        ValueError: the types or shapes do not fit, or another layout.

    Example:
        >>> matrix, right = np.array([[4.0, 2.0], [2.0, 10.0]]), np.array([[6.0, 12.0]])
        >>> _ = cholesky_pivots(matrix)
        >>> cholesky_solve(matrix, right)
        >>> right
        array([[1., 1.]])
    """
    fits = right.ndim == 2 and right.shape[1] == len(factor) and right.dtype == factor.dtype
    if not fits or not right.flags.carray or not factor.flags.carray:
        raise ValueError(
            f"Expected rows of {len(factor)} numbers of {factor.dtype} in C order, but got shape {right.shape} of "
            f"{right.dtype}. Copy them."
        )
    function = _lapack("spotrs" if factor.dtype == np.float32 else "dpotrs")
    size, count, failed = ctypes.c_int(len(factor)), ctypes.c_int(len(right)), ctypes.c_int(0)
    sides = ctypes.byref(size)
    data = factor.ctypes.data, right.ctypes.data
    function(b"L", sides, ctypes.byref(count), data[0], sides, data[1], sides, ctypes.byref(failed))


@cache
def _lapack(name: str) -> Callable[..., None]:
    """Return a function that scipy exports for callers in C."""
    capsule = ctypes.py_object(cython_lapack.__pyx_capi__[name])
    name_of, pointer_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.restype, name_of.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointer_of.restype, pointer_of.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    integer, matrix = ctypes.POINTER(ctypes.c_int), ctypes.c_void_p
    kinds: dict[str, list[type]] = {
        "potrf": [integer, matrix, integer, integer],
        "potrs": [integer, integer, matrix, integer, matrix, integer, integer],
    }
    # ctypes gives up the lock while such a function runs.
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_char_p, *kinds[name[1:]])
    return prototype(pointer_of(capsule, name_of(capsule)))
