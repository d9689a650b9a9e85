"""Leave-one-out scores of a Gaussian classifier in closed form, and the settings that they choose."""

from __future__ import annotations

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
        likelihoods = next(block.likelihoods(settings.shrinkage, [settings.k]))
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
    others and have no voice. One eigendecomposition serves all pairs; each shrinkage costs O(N D C) more.

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
            "Expected a `shrinkage` above 0 where k or temperature is chosen by leave-one-out, but got 0. "
            "Give both, or a small shrinkage such as 0.001."
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
    errors = torch.zeros(len(shrinkages) * len(ks), len(temperatures), dtype=torch.float64)
    losses = torch.zeros_like(errors)
    voices = int((counts > 1).sum())
    for block in blocks:
        pairs = (scores for shrinkage in shrinkages for scores in block.likelihoods(shrinkage, ks))
        for row, likelihoods in enumerate(pairs):
            wrong, lost = _wrong_and_lost(likelihoods, block.label, block.log_prior, temperatures)
            errors[row] += wrong / (block.count * voices)
            losses[row] += lost / (block.count * voices)
    return errors, losses


def _wrong_and_lost(
    likelihoods: Tensor, label: int, prior: Tensor, temperatures: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """Return the errors and the sum of log-losses (T,) of the likelihoods (n, C) of samples of one class."""
    likelihoods = likelihoods - likelihoods.amax(dim=1, keepdim=True)
    own, is_flat = likelihoods[:, label], bool((prior == prior[0]).all())
    wrong: list[Tensor] = []
    lost: list[Tensor] = []
    for temperature in temperatures:
        scores = likelihoods / temperature
        if not (is_flat and wrong):  # without a prior the temperature changes no order
            wrong.append((scores + prior).argmax(dim=1).ne(label).sum(dtype=torch.float64))
        mass = scores.exp_() @ prior.exp()
        lost.append((mass.log() - own / temperature - prior[label]).sum())
    wrong *= len(temperatures) // len(wrong)
    return torch.stack(wrong).cpu(), torch.stack(lost).cpu()


class _Base:
    """What all samples share: the eigenvectors of the scatter, and in their coordinates the means that lend.

    Class means are taken about their centre, in which the scores are the same but for what all classes share.

    Attributes:
        present: (C,) indices of the classes that have samples; all else is about these.
        values: (D,) eigenvalues of the scatter.
        means: (C, D) rotated class means.
        lends: (C, C) weight with which row j borrows from column l, 1 for the nearest; unit of the logs: nearest (C,).
        sums: (C, D) ``lends @ means``.
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
        logits = self.logits(self.means)
        if settings.borrowing == "similar":
            logits.fill_diagonal_(-torch.inf)
        self.nearest = logits.max(dim=1).values.clamp_min(torch.finfo(torch.float64).min)
        self.lends = (logits - self.nearest[:, None]).exp()
        self.sums = self.lends @ self.means

    def logits(self, means: Tensor) -> Tensor:
        """Return the logs of the weights (K, C) with which means (K, D) borrow from the class means."""
        return borrowing_logits(means, self.means, self.settings.borrowing, self.bandwidth)

    def blocks(self, features: Tensor, labels: Tensor) -> Iterator[_Block]:
        """Yield the samples class by class, a thousand at most at a time, but those that are alone in their class."""
        order = torch.argsort(labels, stable=True)
        own = torch.split(order, self.moments.counts.tolist())
        for position, label in enumerate(self.present.tolist()):
            if len(own[label]) < 2:
                continue
            for rows in own[label].split(_ROWS_AT_ONCE):
                residuals = (features[rows].double() - self.moments.means[label]) @ self._vectors
                yield _Block(self, rows, position, residuals)


class _Block:
    """Samples of one class, and the scores of each by the classifier without it.

    In the names below x is the sample, d = x - m its residual, p = m - d/(n-1) the mean of its class without it, and b
    a borrowed mean: that of another class j is (U_j + e p) / (o_j + e), with U_j and o_j what j borrows from the rest.
    """

    def __init__(self, base: _Base, rows: Tensor, label: int, residuals: Tensor) -> None:
        self.base, self.rows, self.label, self.d = base, rows, label, residuals
        self.count = float(base.counts[label])
        self._step = 1.0 / (self.count - 1.0)
        self.mean = base.means[label]
        self.left = self.mean - self._step * residuals
        self.log_prior = self._log_prior()
        self._borrow()

    def _borrow(self) -> None:
        base, label = self.base, self.label
        logits = base.logits(self.left)
        weights = (logits - base.nearest).clamp(-_MOST, _MOST).exp()  # e of (sample, class j)
        lends = base.lends.clone()
        lends[:, label] = 0.0
        rest = lends.sum(dim=1)
        self.rest = base.sums - base.lends[:, label, None] * self.mean
        lonely = rest < 1e-6  # nothing but this class is near: the difference would have lost its digits
        self.rest[lonely] = lends[lonely] @ base.means
        self.of_rest, self.of_left = 1.0 / (rest + weights), weights / (rest + weights)
        if base.settings.borrowing == "similar":
            logits[:, label] = -torch.inf
        own = torch.softmax(logits, dim=1) if len(base.means) > 1 else torch.ones_like(logits)
        shares = own[:, label, None].clone()
        own[:, label] = 0.0
        self.own = own @ base.means + shares * self.left

    def _log_prior(self) -> Tensor:
        """Return the log of the prior (C,) of the present classes without one sample of this one."""
        counts = self.base.moments.counts.clone()
        counts[self.base.present[self.label]] -= 1
        return log_prior(counts, self.base.settings.prior)[self.base.present]

    def likelihoods(self, shrinkage: float, ks: Sequence[float]) -> Iterator[Tensor]:
        """Yield for each k the scores (n, C) at temperature 1 and without prior."""
        inverse, rank_one = self._inverse(shrinkage)
        xd, (xm, dm, mm), (xb, db, mb, bb) = self._products(inverse)
        for k in ks:
            kept = self.base.counts / (self.base.counts + k)
            kept[self.label] = (self.count - 1.0) / (self.count - 1.0 + k)
            if len(kept) == 1:
                kept = torch.ones_like(kept)
            lent = 1.0 - kept
            xu, du = kept * xm + lent * xb, kept * dm + lent * db
            uu = kept.square() * mm + 2.0 * kept * lent * mb + lent.square() * bb
            yield xu + rank_one * xd * du - 0.5 * (uu + rank_one * du.square())

    def _inverse(self, shrinkage: float) -> tuple[Tensor, Tensor]:
        """Return diagonals L (n, D) and factors f (n, 1): the inverse covariance without x is L + f L d d^T L."""
        base = self.base
        weight = float(base.weights[self.label])
        removed = weight * self.count * self._step
        divisor = base.divisor - weight
        squares = self.d.square().sum(dim=1, keepdim=True)
        trace = base.trace - removed * squares
        flat = (trace <= 1e-12 * base.trace) | (divisor <= 0)  # no spread is left: the identity
        divisor = divisor if bool(divisor > 0) else torch.ones_like(divisor)
        level = torch.where(flat, 1.0, shrinkage * trace / (divisor * len(base.values)))
        scale = torch.where(flat, 0.0, (1.0 - shrinkage) / divisor)
        inverse = 1.0 / (scale * base.values + level)
        factor = scale * removed
        return inverse, factor / (1.0 - factor * (self.d.square() * inverse).sum(dim=1, keepdim=True))

    def _products(self, inverse: Tensor) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return the products under L that the scores are made of, each (n, C) or (n, 1); the names say of what."""
        means, rest, step, left, own = self.base.means, self.rest, self._step, self.left, self.own
        d, m = self.d * inverse, self.mean * inverse
        dd, dc, cc = (product.sum(dim=1, keepdim=True) for product in (d * self.d, d * self.mean, m * self.mean))
        pp, dp = cc - 2.0 * step * dc + step**2 * dd, dc - step * dd
        xp = cc + (1.0 - step) * dc - step * dd
        dm, dr, cm, cr = d @ means.T, d @ rest.T, m @ means.T, m @ rest.T
        mm, mr, rr = inverse @ means.square().T, inverse @ (means * rest).T, inverse @ rest.square().T
        xm, pm, pr = cm + dm, cm - step * dm, cr - step * dr
        of_rest, of_left = self.of_rest, self.of_left
        xb, db = of_rest * (cr + dr) + of_left * xp, of_rest * dr + of_left * dp
        mb = of_rest * mr + of_left * pm
        bb = of_rest.square() * rr + 2.0 * of_rest * of_left * pr + of_left.square() * pp
        at = slice(self.label, self.label + 1)
        xm[:, at], dm[:, at], mm[:, at] = xp, dp, pp
        weighed = own * inverse
        for target, other in ((xb, self.mean + self.d), (db, self.d), (mb, left), (bb, own)):
            target[:, at] = (weighed * other).sum(dim=1, keepdim=True)
        return dc + dd, (xm, dm, mm), (xb, db, mb, bb)
