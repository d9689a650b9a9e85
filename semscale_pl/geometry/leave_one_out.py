"""Leave-one-out scores of a Gaussian classifier in closed form, and the settings that they choose."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from semscale_pl.geometry.discriminant import (
    DiscriminantMoments,
    DiscriminantSettings,
    bandwidth_of,
    borrowing_logits,
    log_prior,
)
from semscale_pl.options import check

_ROWS_AT_ONCE = 1024
SHRINKAGE_GRID = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
K_GRID = (0.0, 1.0, 3.0, 10.0, 30.0)
TEMPERATURE_GRID = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
_GRIDS = {"shrinkage": SHRINKAGE_GRID, "k": K_GRID, "temperature": TEMPERATURE_GRID}
# Factors of the best temperature of the grid, for the pair of shrinkage and k that is chosen.
_FINER = tuple(2.0 ** (step / 4) for step in range(-3, 4))
# Largest log of a weight of borrowing over that of the nearest class, so that its square is finite.
_MOST = 150.0
_KEPT = 2**26  # numbers: half a GiB of rotated samples
# Of the trace of the scatter: less is rounding. And the relative error of what is interpolated.
_NO_SPREAD, _PRECISION = 1e-12, 1e-16


class Chosen(NamedTuple):
    """The settings that leave-one-out chose, and what it said of each that was tried.

    ``tried`` has one entry for each shrinkage and k: the class-balanced ``log_loss`` in nats at the best temperature of
    the grid, and the class-balanced ``error`` there. It is empty where no class has two samples; the settings are then
    the given ones.
    """

    settings: DiscriminantSettings
    tried: list[dict[str, float]]


@torch.no_grad()
def leave_one_out_scores(
    moments: DiscriminantMoments, features: Tensor, labels: Tensor, settings: DiscriminantSettings | None = None
) -> Tensor:
    """Return the scores of each sample by the classifier of all others, exactly, in O(N D^2 + N D C).

    Without a sample its class has another mean, count and scatter, the covariance another trace, and what all classes
    borrow changes. The settings stand as they are, the weights of classes in the covariance and the bandwidth of
    borrowing among them, whose default is that of all samples.

    Args:
        moments: of exactly these samples.
        features, labels: (N, D) and (N,).
        settings: with a shrinkage above 0.

    Returns:
        (N, C) float64 on the features' device, -inf for classes without samples; NaN rows for samples that are alone in
        their class, which no classifier knows without them.

    Raises:
        ValueError: the shrinkage is 0, or the samples are not those of the moments.

    Example:
        >>> x, y = torch.tensor([[0.0], [2.0], [7.0], [9.0]]), torch.tensor([0, 0, 1, 1])
        >>> leave_one_out_scores(DiscriminantMoments.of(x, y), x, y, DiscriminantSettings(k=0.0)).argmax(dim=1)
        tensor([0, 0, 1, 1])
    """
    settings = settings or DiscriminantSettings()
    _check(moments, labels, [settings.shrinkage])
    base = _Base(moments, settings)
    scores = features.new_full((len(labels), len(moments.counts)), torch.nan, dtype=torch.float64)
    for block in base.blocks(features, labels):
        likelihoods = next(block.likelihoods([settings.shrinkage], [settings.k]))[0]
        full = torch.full_like(scores[block.rows], -torch.inf)
        full[:, base.present] = likelihoods / settings.temperature + block.log_prior
        scores[block.rows] = full
    return scores


@torch.no_grad()
def choose_settings(
    moments: DiscriminantMoments,
    features: Tensor,
    labels: Tensor,
    settings: DiscriminantSettings | None = None,
    *,
    shrinkages: Sequence[float] = SHRINKAGE_GRID,
    ks: Sequence[float] = K_GRID,
    temperatures: Sequence[float] = TEMPERATURE_GRID,
    criterion: str = "log_loss",
) -> Chosen:
    """Choose shrinkage, k and temperature by leave-one-out, every class with the same voice.

    The best pair of shrinkage and k has the smallest criterion, of equal ones the first; the temperature is the one of
    the smallest log-loss, looked at more finely where there are several to try. Classes of one sample are rivals of the
    others and have no voice. One eigendecomposition serves all pairs, O(D^3 + N D^2); each shrinkage costs O(N D C)
    more, one product of matrices.

    Args:
        moments, features, labels: see :func:`leave_one_out_scores`.
        settings: what is not chosen (borrowing, bandwidth, prior), and the answer where nothing can be chosen.
        shrinkages, ks, temperatures: to try.
        criterion: class-balanced ``log_loss``, or ``error``, which a few samples of rare classes decide.

    Raises:
        ValueError: see :func:`leave_one_out_scores`.
    """
    check("discriminant", criterion=criterion)
    settings = settings or DiscriminantSettings()
    _check(moments, labels, shrinkages)
    if not bool((moments.counts > 1).any()):
        return Chosen(settings, [])
    base = _Base(moments, settings)
    errors, losses = _totals(base.blocks(features, labels), moments.counts, shrinkages, ks, temperatures)
    lowest, at = losses.min(dim=1)
    errors = errors.gather(1, at[:, None]).squeeze(1)
    pairs = [(shrinkage, k) for shrinkage in shrinkages for k in ks]
    tried = [
        {"shrinkage": shrinkage, "k": k, "error": float(error), "log_loss": float(loss)}
        for (shrinkage, k), error, loss in zip(pairs, errors, lowest, strict=True)
    ]
    best = int((errors if criterion == "error" else lowest).argmin())
    (shrinkage, k), temperature = pairs[best], float(temperatures[int(at[best])])
    if len(temperatures) > 1:
        finer = [temperature * factor for factor in _FINER]
        _, losses = _totals(base.blocks(features, labels), moments.counts, [shrinkage], [k], finer)
        temperature = finer[int(losses.argmin())]
    return Chosen(replace(settings, shrinkage=shrinkage, k=k, temperature=temperature), tried)


def choose_open(
    moments: DiscriminantMoments,
    features: Tensor,
    labels: Tensor,
    settings: DiscriminantSettings,
    names: Collection[str],
    criterion: str = "log_loss",
) -> Chosen:
    """Choose those of shrinkage, k and temperature that are named, as :func:`choose_settings` does; the rest stands.

    Raises:
        ValueError: the shrinkage stands and is 0.
    """
    if names and "shrinkage" not in names and settings.shrinkage == 0:
        raise ValueError(
            "Expected a `shrinkage` above 0 where k or temperature is chosen by leave-one-out, but got 0, given or "
            "estimated (oas, ledoit_wolf). Give both k and temperature, or a small shrinkage such as 0.001."
        )
    if not names:
        return Chosen(settings, [])
    grids = {name: grid if name in names else (getattr(settings, name),) for name, grid in _GRIDS.items()}
    return choose_settings(
        moments,
        features,
        labels,
        settings,
        shrinkages=grids["shrinkage"],
        ks=grids["k"],
        temperatures=grids["temperature"],
        criterion=criterion,
    )


def _check(moments: DiscriminantMoments, labels: Tensor, shrinkages: Sequence[float]) -> None:
    if min(shrinkages) <= 0:
        raise ValueError(
            "Expected a `shrinkage` above 0 for leave-one-out, but got 0: without one sample the covariance may be "
            "singular. Take a small one, such as 0.001."
        )
    if not torch.equal(torch.bincount(labels, minlength=len(moments.counts)), moments.counts):
        raise ValueError(
            f"Expected the {int(moments.counts.sum())} samples that the moments are of, but got {len(labels)} with "
            "other class counts. Give exactly those samples."
        )


def _totals(
    blocks: Iterator[_Block],
    counts: Tensor,
    shrinkages: Sequence[float],
    ks: Sequence[float],
    temperatures: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """Return class-balanced errors and log-losses (P, T) of the P pairs of shrinkage and k, k varying fastest."""
    errors = torch.zeros(len(shrinkages), len(ks), len(temperatures), dtype=torch.float64, device=counts.device)
    losses = torch.zeros_like(errors)
    voices = int((counts > 1).sum())
    for block in blocks:
        for at, likelihoods in enumerate(block.likelihoods(shrinkages, ks)):
            wrong, lost = _wrong_and_lost(likelihoods, block.label, block.log_prior, temperatures)
            errors[at] += wrong / (block.count * voices)
            losses[at] += lost / (block.count * voices)
    return errors.flatten(0, 1).cpu(), losses.flatten(0, 1).cpu()


def _wrong_and_lost(
    likelihoods: Tensor, label: int, prior: Tensor, temperatures: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return the errors and sums of log-losses (K, T) of the likelihoods (K, n, C) of samples of one class."""
    likelihoods = likelihoods - likelihoods.amax(dim=2, keepdim=True)
    own, mass_of = likelihoods[:, :, label], prior.exp()
    wrong = likelihoods.new_empty(len(likelihoods), len(temperatures))
    lost = torch.empty_like(wrong)
    is_flat = bool((prior == prior[0]).all())
    if is_flat:  # then the temperature changes no order
        wrong[:] = likelihoods.argmax(dim=2).ne(label).sum(dim=1, keepdim=True)
    before, powers = 0.0, likelihoods
    for at in sorted(range(len(temperatures)), key=lambda at: -temperatures[at]):
        temperature = temperatures[at]
        # Squares are cheaper than exponentials where a temperature is half of the one before.
        powers = powers.square_() if before == 2.0 * temperature else (likelihoods / temperature).exp_()
        before = temperature
        lost[:, at] = ((powers @ mass_of).log_() - own / temperature - prior[label]).sum(dim=1)
        if not is_flat:
            wrong[:, at] = (likelihoods / temperature + prior).argmax(dim=2).ne(label).sum(dim=1)
    return wrong, lost


class _Base:
    """What all samples share: the eigenvectors of the scatter, and in their coordinates the means that lend.

    Class means are taken about their centre, in which the scores are the same but for what all classes share.

    Attributes:
        present: (C,) indices of the classes that have samples; all else is about these.
        values: (D,) eigenvalues of the scatter.
        means: (C, D) rotated class means.
        lends: (C, C) weight with which row j borrows from column l, 1 for the nearest; unit of the logs: nearest (C,).
        sums: (C, D) ``lends @ means``.
        squares: (C, D) of the means.
    """

    def __init__(self, moments: DiscriminantMoments, settings: DiscriminantSettings) -> None:
        self.moments, self.settings = moments, settings
        self.present = moments.present.nonzero().flatten()
        values, self._vectors = torch.linalg.eigh((moments.scatter + moments.scatter.T) / 2.0)
        self.values, self.trace, self.divisor = values.clamp_min(0.0), moments.scatter.trace(), moments.divisor
        means = moments.means[self.present]
        self.counts, self.weights = moments.counts[self.present].double(), moments.weights[self.present]
        self.means = (means - means.mean(0)) @ self._vectors
        self.bandwidth = bandwidth_of(moments, settings)
        logits = borrowing_logits(self.means, self.means, settings.borrowing, self.bandwidth)
        if settings.borrowing == "similar":
            logits.fill_diagonal_(-torch.inf)
        self.nearest = logits.max(dim=1).values.clamp_min(torch.finfo(torch.float64).min)
        self.lends = (logits - self.nearest[:, None]).exp()
        self.sums = self.lends @ self.means
        self.squares = self.means.square()
        self._rotated: dict[int, Tensor] = {}  # residuals by their number of a thousand, for a second pass

    def blocks(self, features: Tensor, labels: Tensor) -> Iterator[_Block]:
        """Yield the samples class by class, a thousand at most at a time, but those that are alone in their class."""
        positions = self.moments.present.cumsum(0) - 1
        counts = self.moments.counts.tolist()
        for number, rows in enumerate(torch.argsort(labels, stable=True).split(_ROWS_AT_ONCE)):
            residuals = self._rotated.get(number)
            if residuals is None:
                residuals = (features[rows].double() - self.moments.means[labels[rows]]) @ self._vectors
            if (number + 1) * residuals.numel() <= _KEPT:
                self._rotated[number] = residuals
            classes, sizes = torch.unique_consecutive(labels[rows], return_counts=True)
            parts = (classes.tolist(), rows.split(sizes.tolist()), residuals.split(sizes.tolist()))
            for label, own, of_own in zip(*parts, strict=True):
                if counts[label] > 1:
                    yield _Block(self, own, int(positions[label]), of_own)


class _Block:
    """Samples of one class, and the scores of each by the classifier without it.

    In the names below x is the sample, d = x - m its residual, p = m - d/(n-1) the mean of its class without it, and b
    a borrowed mean: that of another class j is (U_j + e p) / (o_j + e), with U_j and o_j what j borrows from the rest.
    Products are under the inverse covariance, diagonal here but for a part of rank one. It differs from sample to
    sample by its trace alone: what no residual is in is computed at a few traces and interpolated to rounding.
    """

    def __init__(self, base: _Base, rows: Tensor, label: int, residuals: Tensor) -> None:
        self.base, self.rows, self.label, self.d = base, rows, label, residuals
        self.count = float(base.counts[label])
        self._step = 1.0 / (self.count - 1.0)
        self.mean = base.means[label]
        self.left = self.mean - self._step * residuals
        self.log_prior = self._log_prior()
        self._removed = float(base.weights[label]) * self.count * self._step
        self._squares = residuals.square()
        self._traces = base.trace - self._removed * self._squares.sum(dim=1, keepdim=True)
        self._borrow()

    def _borrow(self) -> None:
        base, label = self.base, self.label
        logits = self._logits()
        weights = (logits - base.nearest).clamp(-_MOST, _MOST).exp()  # e of (sample, class j)
        self.lends = base.lends.clone()
        self.lends[:, label] = 0.0
        rest = self.lends.sum(dim=1)
        self.rest = base.sums - base.lends[:, label, None] * self.mean
        lonely = rest < 1e-6  # nothing but this class is near: the difference would have lost its digits
        self.rest[lonely] = self.lends[lonely] @ base.means
        self.of_rest, self.of_left = 1.0 / (rest + weights), weights / (rest + weights)
        if base.settings.borrowing == "similar":
            logits[:, label] = -torch.inf
        self.shares = torch.softmax(logits, dim=1) if len(base.means) > 1 else torch.ones_like(logits)
        self.of_itself = self.shares[:, label, None].clone()
        self.shares[:, label] = 0.0
        self._own_squares = (self.shares @ base.means + self.of_itself * self.left).square()

    def _logits(self) -> Tensor:
        """Return the logs of the weights (n, C) with which the means p borrow from the class means."""
        base, step = self.base, self._step
        if base.settings.borrowing == "grand":
            return self.d.new_zeros(len(self.d), len(base.means))
        apart = self.mean - base.means
        squares = apart.square().sum(dim=1) - 2.0 * step * (self.d @ apart.T)
        squares += step**2 * self._squares.sum(dim=1, keepdim=True)
        return squares.clamp_min_(0.0) / -base.bandwidth

    def _log_prior(self) -> Tensor:
        """Return the log of the prior (C,) of the present classes without one sample of this one."""
        counts = self.base.moments.counts.clone()
        counts[self.base.present[self.label]] -= 1
        return log_prior(counts, self.base.settings.prior)[self.base.present]

    def likelihoods(self, shrinkages: Sequence[float], ks: Sequence[float]) -> Iterator[Tensor]:
        """Yield for each shrinkage the scores (K, n, C) at temperature 1 and without prior, k by k."""
        kept = self._kept(ks)
        lent = 1.0 - kept
        nodes, spread = interpolation(self._traces, float(self.base.trace))
        levels = (self._inverse(shrinkage, nodes) for shrinkage in shrinkages)
        diagonals = torch.cat([1.0 / torch.addcmul(level, scale, self.base.values) for level, scale in levels])
        tables = self._tables(diagonals).split(len(nodes), dim=1)
        squares = (part @ diagonals.T for part in (self._squares, self._own_squares))
        of_squares = torch.stack(list(squares)).split(len(nodes), dim=2)
        for shrinkage, table, of_square in zip(shrinkages, tables, of_squares, strict=True):
            own_squares = (of_square * spread).sum(dim=2, keepdim=True)
            (xm, xb), (mm, mb, bb) = self._products(shrinkage, spread @ table, own_squares)
            yield kept * (xm - 0.5 * kept * mm - lent * mb) + lent * (xb - 0.5 * lent * bb)

    def _tables(self, diagonals: Tensor) -> Tensor:
        """Return the products (5, m, C) under diagonals (m, D) of m with means and U, means with both, and U with U."""
        means, rest = self.base.means, self.rest
        cm = (diagonals * self.mean) @ means.T
        of_pairs = (diagonals @ pairs.T for pairs in (self.base.squares, means * rest, rest.square()))
        return torch.stack([cm, cm @ self.lends.T, *of_pairs])

    def _kept(self, ks: Sequence[float]) -> Tensor:
        """Return how much of each class's mean is its own for each k, (K, 1, C)."""
        counts = self.base.counts.clone()
        counts[self.label] -= 1.0
        pseudo = counts.new_tensor(ks)[:, None, None]
        return counts / (counts + (pseudo if len(counts) > 1 else 0.0 * pseudo))

    def _inverse(self, shrinkage: float, traces: Tensor) -> tuple[Tensor, Tensor]:
        """Return level and scale, (m, 1), at traces (m, 1) of the scatter: L is 1 / (scale * eigenvalues + level)."""
        base = self.base
        divisor = base.divisor - base.weights[self.label]
        flat = (traces <= _NO_SPREAD * base.trace) | (divisor <= 0)  # no spread is left: the identity
        divisor = torch.where(divisor > 0, divisor, 1.0)
        level = torch.where(flat, 1.0, shrinkage * traces / (divisor * len(base.values)))
        return level, torch.where(flat, 0.0, (1.0 - shrinkage) / divisor)

    def _products(
        self, shrinkage: float, table: Tensor, squares: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, ...]]:
        """Return the products under L + f L d d^T L that the scores are made of, each (n, C); the names say of what.

        Args:
            shrinkage: one of those of the covariance.
            table: (5, n, C) those under L of :meth:`_tables`.
            squares: (2, n, 1) those of d and of the borrowed mean of the own class with themselves.
        """
        step, of_rest, of_left, shares = self._step, self.of_rest, self.of_left, self.shares
        cm, cr, mm, mr, rr = table
        level, scale = self._inverse(shrinkage, self._traces)
        weighed = self.d / torch.addcmul(level, scale, self.base.values)
        dm = weighed @ self.base.means.T
        dr = dm @ self.lends.T if dm.shape[1] < self.d.shape[1] else weighed @ self.rest.T
        dd, own = squares
        at = slice(self.label, self.label + 1)
        dc, cc = dm[:, at].clone(), cm[:, at]
        xd, dp, pc = dc + dd, dc - step * dd, cc - step * dc
        pp, xp = pc - step * dp, pc + dp
        xm, pm, pr = cm + dm, cm - step * dm, cr - step * dr
        xb, db = of_rest * (cr + dr) + of_left * xp, of_rest * dr + of_left * dp
        mb = of_rest * mr + of_left * pm
        bb = of_rest.square() * rr + 2.0 * of_rest * of_left * pr + of_left.square() * pp
        od, oc = ((shares * part).sum(dim=1, keepdim=True) for part in (dm, cm))
        od, oc = od + self.of_itself * dp, oc + self.of_itself * pc
        for target, its in ((xm, xp), (dm, dp), (mm, pp), (xb, oc + od), (db, od), (mb, oc - step * od), (bb, own)):
            target[:, at] = its
        factor = scale * self._removed
        rank_one = factor / (1.0 - factor * dd)
        ahead = rank_one * xd
        of_pairs = (mm + rank_one * dm.square(), mb + rank_one * dm * db, bb + rank_one * db.square())
        return (xm + ahead * dm, xb + ahead * db), of_pairs


def interpolation(traces: Tensor, whole: float) -> tuple[Tensor, Tensor]:
    """Return Chebyshev nodes (m, 1) between traces (n, 1), and the matrix (n, m) that takes values there to the traces.

    What is interpolated are sums of w / (v + t) over v >= 0 at traces t. In log t the nearest pole is pi away from the
    real line, so that the error falls as fast as r^-m, r = z + sqrt(z^2 + 1) with z = pi / half the interval. Where as
    many nodes as traces would be needed, or no spread is left at one of them, the traces themselves are the nodes.

    Reference: Trefethen, Approximation Theory and Approximation Practice (2013), theorem 8.2.
    """
    if float(traces.min()) <= _NO_SPREAD * whole:
        return traces, torch.eye(len(traces), dtype=traces.dtype, device=traces.device)
    places = traces.log()
    low, high = float(places.min()), float(places.max())
    middle, half = (low + high) / 2.0, max((high - low) / 2.0, 1e-12)
    number = 2 + math.ceil(-math.log(_PRECISION) / math.asinh(math.pi / half))
    if number >= len(traces):
        return traces, torch.eye(len(traces), dtype=traces.dtype, device=traces.device)
    orders = torch.arange(number, dtype=traces.dtype, device=traces.device)
    angles = (orders + 0.5) * (math.pi / number)
    nodes = (middle + half * angles.cos()).exp()
    found = ((places - middle) / half).clamp(-1.0, 1.0).acos()  # (n, 1)
    series = (found * orders).cos() * (2.0 / number)
    series[:, 0] /= 2.0
    return nodes[:, None], series @ (angles[:, None] * orders).cos().T
