"""What one class says about itself: count, centre, volume, spectrum and rank, in float64 and bounded memory."""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch
from scipy.linalg import cython_lapack

from semscale_pl.geometry.volumes import bits_of_grams, bits_of_singular_values, scaled_volume


class Workspace(threading.local):
    """Named arrays, of each thread its own.

    Example:
        >>> space = Workspace()
        >>> first = space.array("sums", (2, 3))
        >>> np.shares_memory(first, space.array("sums", (3, 1)))
        True
    """

    def __init__(self) -> None:
        self._kept: dict[str, np.ndarray] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: type = np.float64) -> np.ndarray:
        """Return an array with anything in it; what the same name returned before is overwritten with it.

        Args:
            name: of its use.
            shape: of the array.
            dtype: of its numbers.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if name not in self._kept or self._kept[name].nbytes < size:
            self._kept[name] = np.empty(size, np.uint8)
        return self._kept[name][:size].view(dtype).reshape(shape)


# Float64 numbers of a block of centred rows: 4 MiB, which a CPU's cache takes.
_BLOCK_ELEMENTS = 2**19
# Beyond, sums of squares overflow in float64. Single-precision numbers cannot get there.
LARGEST = 1e100


@dataclass(frozen=True)
class Centre:
    """A mean as a row plus the mean difference to it, so that a large common offset costs no digits.

    Args:
        first: (d,) float64.
        delta: (d,) float64.
        bounded: whether no number of a row is beyond :data:`LARGEST`.
    """

    first: np.ndarray
    delta: np.ndarray
    bounded: bool = True

    @property
    def mean(self) -> np.ndarray:
        """The mean, (d,)."""
        return self.first + self.delta

    @property
    def is_finite(self) -> bool:
        """Whether all rows were finite, and not too large to be squared."""
        return self.bounded and bool(np.isfinite(self.mean).all())


def centre_of(rows: np.ndarray, space: Workspace) -> Centre:
    """Compute the mean of rows (m, d)."""
    if rows.dtype == np.float32:  # float64 holds the sum of its numbers, whatever their offset
        mean = rows.sum(0, dtype=np.float64) / len(rows)
        return Centre(mean, np.zeros_like(mean))
    first = rows[0].astype(np.float64)
    total, bounded = np.zeros_like(first), True
    with np.errstate(invalid="ignore", over="ignore"):
        for block in _blocks(rows, space):
            bounded = bounded and bool(max(block.max(), -block.min()) <= LARGEST)
            block -= first
            total += block.sum(0)
    return Centre(first, total / len(rows), bounded)


def scatter_of(rows: np.ndarray, centre: Centre, space: Workspace) -> np.ndarray:
    """Compute the (d, d) sum of the outer products of centred rows (m, d), in that space."""
    shape = (rows.shape[1], rows.shape[1])
    total, product = space.array("scatter", shape), space.array("product", shape)
    for number, block in enumerate(_blocks(rows, space, centre)):
        # numpy sees a product with itself and computes half of it.
        np.matmul(block.T, block, out=product if number else total)
        if number:
            total += product
    return total


def gram_of_columns(rows: np.ndarray, centre: Centre, space: Workspace) -> np.ndarray:
    """Compute the (m, m) products of the centred rows in that space, a block of columns at a time."""
    width = max(1, _BLOCK_ELEMENTS // len(rows))
    shape = (len(rows), len(rows))
    total, product = space.array("scatter", shape), space.array("product", shape)
    for start in range(0, rows.shape[1], width):
        part = slice(start, start + width)
        (block,) = _blocks(rows[:, part], space, Centre(centre.first[part], centre.delta[part]))
        np.matmul(block, block.T, out=product if start else total)
        if start:
            total += product
    return total


def variances_of(rows: np.ndarray, centre: Centre, space: Workspace) -> np.ndarray:
    """Compute the variance of each feature of rows (m, d)."""
    total = np.zeros_like(centre.first)
    for block in _blocks(rows, space, centre):
        total += np.square(block, out=block).sum(0)
    return total / len(rows)


def _blocks(rows: np.ndarray, space: Workspace, centre: Centre | None = None) -> Iterator[np.ndarray]:
    """Yield copies of blocks of rows in float64, less their centre, each in the place of the one before."""
    height = max(1, _BLOCK_ELEMENTS // rows.shape[1])
    for start in range(0, len(rows), height):
        part = rows[start : start + height]
        block = space.array("block", part.shape)
        if centre is None:
            block[:] = part
        else:
            np.subtract(part, centre.first, out=block)
            if centre.delta.any():
                block -= centre.delta
        yield block


# Here and not where it is used: `max_memory` is counted from after the imports.


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


# Numbers of a block of centred rows: 2 MiB, about what the cache of one core takes.
_SINGLE_BLOCK_ELEMENTS = 2**19
# Fewer features gain nothing by it; and it is given up where it failed for half of so many classes.
_FEWEST_DIMENSIONS, _TRIALS = 64, 8


class SinglePrecision:
    """Whether float32 is worth another try: not where it failed for half of the first classes."""

    def __init__(self) -> None:
        self._tried, self._failed = 0, 0

    @property
    def pays(self) -> bool:
        """Whether to try it for the next class."""
        return self._tried < _TRIALS or 2 * self._failed < self._tried

    def tell(self, held: bool) -> None:
        """Count a try."""
        self._tried += 1
        self._failed += not held

    def suits(self, rows: np.ndarray) -> bool:
        """Whether to try it for rows (m, d)."""
        count, dim = rows.shape
        return rows.dtype == np.float32 and _FEWEST_DIMENSIONS <= dim <= count and self.pays


def single_precision_scatter(rows: np.ndarray, space: Workspace) -> tuple[np.ndarray, np.ndarray]:
    """Compute the mean, and the sum of the outer products of the rows about it.

    The mean is subtracted as a sum of two float32: what the first one leaves is small, so that its errors and those of
    the products are of the spread of the rows and not of their offset.

    Args:
        rows: (m, d) float32.
        space: to compute in.

    Returns:
        (d,) mean in float64, and (d, d) float64 in that space, not finite where a row is not, or where squares overflow
        float32.
    """
    count, dim = rows.shape
    height = max(1, _SINGLE_BLOCK_ELEMENTS // dim)
    scatter, product = space.array("scatter", (dim, dim)), space.array("product", (dim, dim), np.float32)
    block = space.array("block", (min(height, count), dim), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = rows.sum(0, dtype=np.float64) / count
        centre = mean.astype(np.float32)
        rest = (mean - centre).astype(np.float32)
        for start in range(0, count, height):
            part = rows[start : start + height]
            centred = np.subtract(part, centre, out=block[: len(part)])
            centred -= rest
            np.matmul(centred.T, centred, out=product)  # numpy sees a product with itself and computes one half of it
            np.add(scatter if start else 0.0, product, out=scatter)
    return mean, scatter


# Relative error above which a fast result is not taken; results are promised to 1e-6.
_TOLERANCE = 1e-7
# Of 20,000 matrices, nearly singular, sparse and coarsely rounded ones among them, none was further off than 8.3 times
# the error that is estimated with such a multiple of the norm.
_SINGLE_TOLERANCE, _INDEPENDENT = 1e-7, 8.0
# Beyond, what was factored is rounding more than data.
_FIRST_ORDER = 5e-3
_PROBES = 8
_SMALL_TRACE = 1e-4


def fast_bits(gram: np.ndarray, space: Workspace) -> float | None:
    """Compute 1/2 log2 det(I + G) where rounding allows it.

    Args:
        gram: (n, n) float64.
        space: to compute in.

    Returns:
        Bits; None where the result may be further off than a relative 1e-6, or G is next to nothing.
    """
    factor = space.array("factor", gram.shape)
    factor[:] = gram
    found = _pivots_with_identity(factor)
    if found is None:
        return None
    nats, trace, inverse = found[0], found[1].sum(), found[2]
    # An error E of G moves log det by tr((I + G)^-1 E); E is about eps times the trace.
    error = float(np.finfo(np.float64).eps) * float((1.0 + trace) * inverse.sum())
    return nats / math.log(2.0) if error < _TOLERANCE * nats else None


def single_precision_bits(scatter: np.ndarray, factor: float, space: Workspace) -> float | None:
    """Compute 1/2 log2 det(I + f Z) of a matrix Z that was added up in float32, where rounding allows it.

    Args:
        scatter: (n, n) float64, Z.
        factor: f.
        space: to compute in.

    Returns:
        Bits; None where the result may be further off than a relative 1e-6, or f Z is next to nothing.
    """
    single = space.array("product", scatter.shape, np.float32)
    with np.errstate(over="ignore"):  # where squares overflow float32, the trace tells
        np.multiply(scatter, factor, out=single, casting="same_kind")
    found = _pivots_with_identity(single)
    if found is None:
        return None
    nats, diagonal, inverse = found
    trace, norm = _scaled_inverse(single, np.sqrt(1.0 + diagonal))
    # What the pivots alone tell is a lower bound of both.
    known = (1.0 + diagonal) * inverse
    trace, norm = max(trace, float(known.sum())), max(norm, float(known.max()))
    eps = float(np.finfo(np.float32).eps)
    if not eps * norm < _FIRST_ORDER:
        return None
    # An error E moves the result by tr((I + G)^-1 E) / 2, and E_ij is about eps sqrt((1 + G_ii) (1 + G_jj)): if all of
    # them are independent, this is about eps times the norm, and if they share a sign, it is up to the trace.
    error = 0.5 * eps * (_INDEPENDENT * norm + trace)
    return nats / math.log(2.0) if error < _SINGLE_TOLERANCE * nats else None


def bits_of_gram(
    gram: np.ndarray, count: int, dim: int, space: Workspace, estimator: str = "plain"
) -> tuple[float, bool]:
    """Compute 1/2 log2 det(I + G), by the eigenvalues of G where a Cholesky factor has not enough digits.

    Args:
        gram: (n, n) float64.
        count: samples behind it, for the shrinkage.
        dim: d.
        space: to compute in.
        estimator: ``plain``, or ``shrunk`` (OAS).

    Returns:
        Bits, and whether they hold to a relative 1e-6; what is better than eigenvalues needs the rows.
    """
    quick = fast_bits(gram, space) if estimator == "plain" else None
    if quick is not None:
        return quick, True
    counts, matrix = torch.tensor([count]), torch.from_numpy(gram)[None]
    bits, exact = bits_of_grams(matrix, counts, dim, estimator)
    if bool(exact):
        return float(bits), True
    values = torch.linalg.eigvalsh(matrix).clamp_min(0.0).sqrt()
    return float(bits_of_singular_values(values, counts, dim, estimator)), False


def _pivots_with_identity(matrix: np.ndarray) -> tuple[float, np.ndarray, np.ndarray] | None:
    """Factor I + G in the place of G; return half its log-determinant, the diagonal of G and the pivots' ^-2."""
    diagonal = matrix.diagonal().astype(np.float64)
    trace = float(diagonal.sum())
    if not math.isfinite(trace) or trace < _SMALL_TRACE:
        return None
    matrix.flat[:: len(matrix) + 1] += 1.0
    pivots = cholesky_pivots(matrix)
    if pivots is None:
        return None
    wide = pivots.astype(np.float64)
    return float(np.log(wide).sum()), diagonal, wide**-2.0


def _scaled_inverse(factor: np.ndarray, scale: np.ndarray) -> tuple[float, float]:
    """Estimate trace and Frobenius norm of D A^-1 D by a few random vectors (Hutchinson's estimator)."""
    # Normal numbers: of two equal features, random signs see nothing wherever they are the same for both.
    probes = np.random.default_rng(0).standard_normal((_PROBES, len(factor))).astype(factor.dtype)
    solved = probes * scale.astype(factor.dtype)
    cholesky_solve(factor, solved)
    solved *= scale.astype(factor.dtype)
    return float((probes * solved).sum()) / _PROBES, math.sqrt(float(np.square(solved).sum()) / _PROBES)


# An eigenvalue below this share of the largest counts as none.
_RANK_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Ruler:
    """How classes are measured.

    Args:
        root: sqrt(ratio) / unit.
        spectrum: largest eigenvalues of each covariance to keep; 0 computes none.
        shrunk: whether to compute the scale of the OAS-shrunk covariance too.
        single: remembers whether float32 has enough digits for these features.
        space: to compute in.
    """

    root: float
    spectrum: int = 64
    shrunk: bool = False
    single: SinglePrecision = field(default_factory=SinglePrecision)
    space: Workspace = field(default_factory=Workspace)


@dataclass(frozen=True)
class ClassStatistics:
    """The numbers of one class.

    Args:
        count: samples m.
        mean: (d,) centre.
        variances: (d,) of each feature.
        bits: semantic scale S'.
        shrunk_bits: with the OAS-shrunk covariance; NaN where not asked for.
        eigenvalues: (k,) largest of the covariance, descending; empty where not asked for.
        rank: of the covariance; -1 where no eigenvalues were asked for.
        distinct: samples that differ; -1 where they were not compared.
    """

    count: int
    mean: np.ndarray
    variances: np.ndarray
    bits: float
    shrunk_bits: float
    eigenvalues: np.ndarray
    rank: int
    distinct: int


def statistics_of_rows(rows: np.ndarray, ruler: Ruler) -> ClassStatistics | None:
    """Compute the numbers of a class that is in memory.

    Args:
        rows: (m, d), m >= 1.
        ruler: how to measure.

    Returns:
        The numbers; None where a feature is not finite.

    Reference: Ma et al. (ICLR 2023), section 2.
    """
    if not (ruler.spectrum or ruler.shrunk) and ruler.single.suits(rows):
        quick = _in_single_precision(rows, ruler)
        ruler.single.tell(quick is not None)
        if quick is not None:
            return quick
    count, dim = rows.shape
    centre = centre_of(rows, ruler.space)
    if not centre.is_finite:
        return None
    if count < dim:
        gram, variances = gram_of_columns(rows, centre, ruler.space), variances_of(rows, centre, ruler.space)
    else:
        gram = scatter_of(rows, centre, ruler.space)
        variances = gram.diagonal() / count

    def exactly() -> float:
        return float(scaled_volume(torch.from_numpy(rows), ruler.root / math.sqrt(count), True, "plain"))

    return assemble(centre, count, gram, variances, ruler, _num_distinct(rows), exactly)


def assemble(
    centre: Centre,
    count: int,
    gram: np.ndarray,
    variances: np.ndarray,
    ruler: Ruler,
    distinct: int = -1,
    exactly: Callable[[], float] | None = None,
) -> ClassStatistics:
    """Turn sums over a class into its numbers.

    Args:
        centre: of the class.
        count: samples m >= 1.
        gram: (n, n) products of the centred rows on the smaller side; overwritten.
        variances: (d,) of each feature.
        ruler: how to measure.
        distinct: see :class:`ClassStatistics`.
        exactly: computes the scale where the Gram matrix has not enough digits; its eigenvalues serve otherwise.
    """
    variances = np.array(variances)
    if count == 1 or not variances.any():
        none = np.zeros(min(1, ruler.spectrum))
        rank, shrunk = (0 if ruler.spectrum else -1), (0.0 if ruler.shrunk else math.nan)
        return ClassStatistics(count, centre.mean, variances, 0.0, shrunk, none, rank, min(distinct, 1))
    eigenvalues, rank = _spectrum(gram, count, ruler.spectrum)
    gram *= ruler.root**2 / count
    bits, holds = bits_of_gram(gram, count, len(variances), ruler.space)
    if not holds and exactly is not None:
        bits = exactly()
    shrunk = bits_of_gram(gram, count, len(variances), ruler.space, "shrunk")[0] if ruler.shrunk else math.nan
    return ClassStatistics(count, centre.mean, variances, bits, shrunk, eigenvalues, rank, distinct)


def _in_single_precision(rows: np.ndarray, ruler: Ruler) -> ClassStatistics | None:
    """Measure a class in half the time; None where its numbers are not finite or have too few digits."""
    count = len(rows)
    mean, scatter = single_precision_scatter(rows, ruler.space)
    variances = scatter.diagonal() / count
    if not np.isfinite(variances).all():
        return None
    bits = single_precision_bits(scatter, ruler.root**2 / count, ruler.space)
    if bits is None:
        return None
    return ClassStatistics(count, mean, variances, bits, math.nan, np.zeros(0), -1, _num_distinct(rows))


def _spectrum(gram: np.ndarray, count: int, size: int) -> tuple[np.ndarray, int]:
    if size == 0:
        return np.zeros(0), -1
    values = np.linalg.eigvalsh(gram)[::-1].clip(0.0) / count
    return values[:size].copy(), int((values > _RANK_TOLERANCE * values[0]).sum())


def _num_distinct(rows: np.ndarray) -> int:
    """Count different rows by one random projection of each; equal rows have equal projections."""
    direction = np.asarray(np.random.default_rng(0).standard_normal(rows.shape[1]), rows.dtype)
    # A matrix product sums a row in an order that can depend on where it stands; einsum's does not.
    return len(np.unique(np.einsum("ij,j->i", rows, direction)))
