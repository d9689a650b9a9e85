"""A Gaussian classifier in closed form: the moments that it needs, streamed, and the affine scores that they give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from semscale_pl.distributed import gather_rows
from semscale_pl.geometry.moments import ClassMoments
from semscale_pl.options import BORROWING, check
from semscale_pl.validation import ArrayLike, as_tensor

_ROWS_AT_ONCE = 8192
# Of the mean squared distance between class means: the reach of borrowing from similar classes.
BANDWIDTH = 0.1


class DiscriminantMoments(nn.Module):
    """Keep counts, means and one weighted within-class scatter of classes while rows come and go, in D^2 + C D numbers.

    The scatter is ``sum_c w_c S_c`` with S_c the scatter of class c about its own mean, and the covariance is the
    scatter over ``sum_c w_c (n_c - 1)``, which is unbiased whatever the weights. They are settings: those of ``equal``
    are 1/(n_c - 1) for the sizes that were told, or else for the number of rows with which a class first comes, and
    they stay when single rows come and go later. (Were they to follow the counts, S_c itself would be needed: C D^2
    numbers. :meth:`of_classes` takes them from there.) A class of one row has no say in the covariance.

    Adding, removing and merging are exact: the result is that of the rows that are left, to rounding.

    Args:
        num_classes: C.
        num_features: D.
        voices: ``equal``: every class counts the same in the covariance; ``pooled``: every row does (w_c = 1).
        class_sizes: (C,) number of rows that each class will have, for ``equal``; 0 where it is not known.

    Attributes:
        counts: (C,) int64.
        means: (C, D) float64, zeros for an empty class.
        scatter: (D, D) float64.
        weights: (C,) float64, w_c; 0 for a class that has not come yet and whose size is not known.

    Raises:
        ValueError: a size is below 1, another name of voices, or sizes of another shape.

    Example:
        >>> moments = DiscriminantMoments(2, 1)
        >>> moments.add(torch.tensor([[0.0], [2.0], [7.0], [9.0]]), torch.tensor([0, 0, 1, 1]))
        >>> moments.covariance()
        tensor([[2.]], dtype=torch.float64)
    """

    counts: Tensor
    means: Tensor
    scatter: Tensor
    weights: Tensor
    planned: Tensor

    def __init__(
        self, num_classes: int, num_features: int, voices: str = "equal", class_sizes: ArrayLike | None = None
    ) -> None:
        super().__init__()
        check(num_classes=num_classes, num_features=num_features, voices=voices)
        self.voices = voices
        planned = torch.zeros(num_classes, dtype=torch.float64)
        if class_sizes is not None:
            sizes = as_tensor(class_sizes, "class_sizes")
            if sizes.shape != planned.shape:
                raise ValueError(
                    f"Expected `class_sizes` of shape ({num_classes},), but got shape {tuple(sizes.shape)}."
                )
            planned = torch.where(sizes > 0, self._weights_for(sizes), 0.0)
        self.register_buffer("counts", torch.zeros(num_classes, dtype=torch.int64))
        self.register_buffer("means", torch.zeros(num_classes, num_features, dtype=torch.float64))
        self.register_buffer("scatter", torch.zeros(num_features, num_features, dtype=torch.float64))
        self.register_buffer("weights", planned.clone())
        self.register_buffer("planned", planned)

    @classmethod
    def of(
        cls, features: Tensor, labels: Tensor, num_classes: int | None = None, voices: str = "equal"
    ) -> DiscriminantMoments:
        """Compute the moments of features (N, D) with labels (N,) int64 in [0, C)."""
        sizes = torch.bincount(labels, minlength=num_classes or 0)
        moments = cls(len(sizes), features.shape[1], voices, sizes.cpu()).to(features.device)
        moments.add(features, labels)
        return moments

    @classmethod
    def of_classes(cls, classes: ClassMoments, voices: str = "equal") -> DiscriminantMoments:
        """Take counts, means and scatter of moments that keep each class's own, with the weights of their counts."""
        counts = classes.counts
        moments = cls(classes.num_classes, classes.num_features, voices, counts.cpu()).to(counts.device)
        moments.counts.copy_(counts)
        moments.means.copy_(torch.where((counts > 0)[:, None], classes.centres(), 0.0))
        for label in counts.nonzero().flatten().split(1):  # one class at a time, so that no second C D^2 is needed
            moments.scatter += moments.weights[label] * classes.scatter(label)[0]
        return moments

    @property
    def present(self) -> Tensor:
        """Which classes have rows, (C,) bool."""
        return self.counts > 0

    @property
    def divisor(self) -> Tensor:
        """``sum_c w_c (n_c - 1)``, () float64: how many classes have a say, or rows less classes for pooled voices."""
        return (self.weights * (self.counts - 1).clamp_min(0)).sum()

    def covariance(self) -> Tensor:
        """Return the shared covariance within classes, (D, D) float64, symmetric; zeros where no class has two rows."""
        if not bool((self.counts > 1).any()):
            return torch.zeros_like(self.scatter)
        return (self.scatter + self.scatter.T) / (2.0 * self.divisor)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Take rows in: features (B, D) of any floating dtype, and labels (B,) int64 in [0, C)."""
        self._learn_weights(labels)
        for rows, own in zip(features.split(_ROWS_AT_ONCE), labels.split(_ROWS_AT_ONCE), strict=True):
            self._exchange(rows.double(), own, 1.0)

    def remove(self, features: Tensor, labels: Tensor) -> None:
        """Take rows out, which must have been added with the same values.

        Raises:
            ValueError: a class has fewer rows than are to go, or the rows spread more than all that were added; nothing
                is changed then.
        """
        self.check_removal(features, labels)
        for rows, own in zip(features.split(_ROWS_AT_ONCE), labels.split(_ROWS_AT_ONCE), strict=True):
            self._exchange(rows.double(), own, -1.0)
        gone = (self.counts == 0) & (torch.bincount(labels, minlength=len(self.counts)) > 0)
        self.weights[gone] = self.planned[gone]

    def check_removal(self, features: Tensor, labels: Tensor) -> None:
        """Raise ValueError where rows cannot be those that were added, as far as counts and spreads tell."""
        left = self.counts - torch.bincount(labels, minlength=len(self.counts))
        if bool((left < 0).any()):
            label = int((left < 0).nonzero()[0])
            raise ValueError(
                f"Expected to remove at most the {int(self.counts[label])} samples that class {label} has, but got "
                f"{int(self.counts[label] - left[label])}. Remove samples that were added, once each."
            )
        spreads, shifts = self.scatter.diagonal().clone(), torch.zeros_like(self.means)
        for rows, own in zip(features.split(_ROWS_AT_ONCE), labels.split(_ROWS_AT_ONCE), strict=True):
            centred = rows.double() - self.means[own]
            spreads -= self.weights[own] @ centred.square()
            shifts.index_add_(0, own, centred)
        spreads -= self.weights @ (shifts.square() / left.clamp_min(1)[:, None])
        # Spreads of what is left: below 0 by more than rounding, the rows were not among those that are summed up.
        if bool((spreads < -1e-6 * self.scatter.diagonal().max().clamp_min(1e-300)).any()):
            raise ValueError(
                f"Expected to remove samples that were added, with the same values and labels, but these {len(labels)} "
                "spread more than all that were. Remove the samples of an earlier fit or update."
            )

    def extended(self, num_classes: int) -> DiscriminantMoments:
        """Return a copy with room for C classes, the new ones empty and last."""
        other = DiscriminantMoments(num_classes, self.means.shape[1], self.voices).to(self.counts.device)
        size = len(self.counts)
        for name in ("counts", "means", "weights", "planned"):
            getattr(other, name)[:size] = getattr(self, name)
        other.scatter.copy_(self.scatter)
        return other

    def joined(self, other: DiscriminantMoments) -> DiscriminantMoments:
        """Return the moments of the rows of both, as of two shards.

        Raises:
            ValueError: a class that both have does not weigh the same in both.
        """
        both = self.present & other.present
        if not bool(torch.isclose(self.weights[both], other.weights[both], rtol=1e-12, atol=0.0).all()):
            label = int(both.nonzero()[int((self.weights[both] - other.weights[both]).abs().argmax())])
            raise ValueError(
                f"Expected both parts to weigh class {label} alike, but got {float(self.weights[label]):.6g} and "
                f"{float(other.weights[label]):.6g}. Give both the `class_sizes` of all parts together."
            )
        total = self.extended(len(self.counts))
        total.counts += other.counts
        total.weights = torch.where(other.present, other.weights, self.weights)
        share = other.counts.double() / total.counts.clamp_min(1)
        shifts = other.means - self.means
        total.means += share[:, None] * shifts  # 0 and 1 where one of them is empty, whose mean is 0
        across = (total.weights * self.counts * share)[:, None] * shifts
        total.scatter += other.scatter + shifts.T @ across
        return total

    def gathered(self) -> DiscriminantMoments:
        """Return the moments of the rows of all ranks, joined in rank order; every rank has to call it."""
        names = ("counts", "means", "scatter", "weights")
        parts = zip(*gather_rows(*(getattr(self, name)[None] for name in names)), strict=True)
        total: DiscriminantMoments | None = None
        for values in parts:
            part = self.extended(len(self.counts))
            for name, value in zip(names, values, strict=True):
                getattr(part, name).copy_(value)
            total = part if total is None else total.joined(part)
        assert total is not None
        return total

    def _weights_for(self, sizes: Tensor) -> Tensor:
        ones = torch.ones_like(sizes, dtype=torch.float64)
        return ones if self.voices == "pooled" else 1.0 / (sizes - 1).clamp_min(1).double()

    def _learn_weights(self, labels: Tensor) -> None:
        coming = torch.bincount(labels, minlength=len(self.counts))
        new = (self.weights == 0.0) & (coming > 0)
        self.weights[new] = self._weights_for(coming)[new]

    def _exchange(self, rows: Tensor, labels: Tensor, sign: float) -> None:
        """Take rows in (1) or out (-1): the scatter about the old means, less that of the old means about the new."""
        classes, own, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
        sums = rows.new_zeros(len(classes), rows.shape[1])
        empty = (self.counts[classes] == 0)[:, None]
        firsts = sums.index_add(0, own, rows) / sizes[:, None]
        reference = torch.where(empty, firsts, self.means[classes])
        centred = rows - reference[own]
        counts = self.counts[classes] + int(sign) * sizes
        shifts = sign * sums.index_add(0, own, centred) / counts.clamp_min(1)[:, None]
        weights = self.weights[classes]
        self.scatter.addmm_((sign * weights[own])[:, None].mul(centred).T, centred)
        self.scatter.addmm_((weights * counts)[:, None].mul(shifts).T, shifts, alpha=-1.0)
        self.counts[classes] = counts
        self.means[classes] = torch.where((counts == 0)[:, None], 0.0, reference + shifts)
        if not bool((self.counts > 1).any()):
            self.scatter.zero_()  # what rounding has left


@dataclass(frozen=True, eq=False)
class DiscriminantSettings:
    """How a Gaussian classifier is made of moments.

    Args:
        shrinkage: a in [0, 1]: covariance (1 - a) Sigma + a tr(Sigma)/D I.
        k: pseudo-samples of the borrowed mean: a class mean becomes (n_c m_c + k b_c) / (n_c + k).
        borrowing: what b_c is: ``similar``: the mean of the other class means, each weighted by
            exp(-distance^2 / bandwidth); ``grand``: the mean of all class means.
        bandwidth: in squared units of the features; None: 0.1 times the mean squared distance between class means.
        prior: ``uniform``, ``frequency`` (of the counts), or (C,) probabilities such as those of the test.
        temperature: divides the log-likelihoods, not the log of the prior.
    """

    shrinkage: float = 0.5
    k: float = 10.0
    borrowing: str = "similar"
    bandwidth: float | None = None
    prior: str | Tensor = "uniform"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check("discriminant", shrinkage=self.shrinkage, k=self.k, borrowing=self.borrowing, bandwidth=self.bandwidth)
        check("discriminant", temperature=self.temperature)
        if not isinstance(self.prior, Tensor):
            check("discriminant", prior=self.prior)


class Discriminant(NamedTuple):
    """Weights (C, D) and offsets (C,), float64.

    The scores ``x @ weight.T + offset`` are log-posteriors but for a part that all classes share. A class without rows
    has offset -inf, so that it is never predicted.
    """

    weight: Tensor
    offset: Tensor

    def scores(self, features: Tensor) -> Tensor:
        """Return the scores (N, C) float64 of features (N, D)."""
        blocks = (rows.double() @ self.weight.T + self.offset for rows in features.split(_ROWS_AT_ONCE))
        return torch.cat(list(blocks))


@torch.no_grad()
def gaussian_discriminant(moments: DiscriminantMoments, settings: DiscriminantSettings | None = None) -> Discriminant:
    """Make the classifier of Gaussians with one covariance, in closed form.

    With A the inverse of the shrunk covariance and u_c the class means, the scores are (u_c - g)^T A (x - g) -
    (u_c - g)^T A (u_c - g) / 2 over the temperature, plus the log-prior; g is the mean of the class means, for digits.
    Where no class has two rows, or none any spread, A is the identity: the nearest mean. A singular covariance without
    shrinkage is inverted on its range alone.

    Raises:
        ValueError: no class has rows, or a prior that fits neither the classes nor the range (0, 1].

    Example:
        >>> moments = DiscriminantMoments.of(torch.tensor([[0.0], [2.0], [7.0], [9.0]]), torch.tensor([0, 0, 1, 1]))
        >>> found = gaussian_discriminant(moments, DiscriminantSettings(k=0.0))
        >>> found.scores(torch.tensor([[4.0], [5.0]])).argmax(dim=1)
        tensor([0, 1])

    Reference: Hastie, Tibshirani, Friedman (2009), eq. 4.10 and section 4.3.1.
    """
    settings = settings or DiscriminantSettings()
    if not bool(moments.present.any()):
        raise ValueError("Expected moments of at least one sample, but got none. Add samples first.")
    means = shrunk_means(moments, settings)
    centre = means[moments.present].mean(0)
    centred = means - centre
    weight = _solved(moments.covariance(), settings.shrinkage, centred) / settings.temperature
    offset = -(weight @ centre) - 0.5 * (weight * centred).sum(1) + log_prior(moments.counts, settings.prior)
    absent = ~moments.present
    return Discriminant(weight.masked_fill(absent[:, None], 0.0), offset.masked_fill(absent, -torch.inf))


def shrunk_means(moments: DiscriminantMoments, settings: DiscriminantSettings) -> Tensor:
    """Return the class means (C, D) with k pseudo-samples of the borrowed ones; zeros for empty classes."""
    present = moments.present.nonzero().flatten()
    means, counts = moments.means[present], moments.counts[present].double()[:, None]
    if settings.k > 0 and len(present) > 1:
        logits = borrowing_logits(means, means, settings.borrowing, bandwidth_of(moments, settings))
        if settings.borrowing == "similar":
            logits.fill_diagonal_(-torch.inf)
        borrowed = torch.softmax(logits, dim=1) @ means
        means = (counts * means + settings.k * borrowed) / (counts + settings.k)
    return moments.means.index_copy(0, present, means)


def bandwidth_of(moments: DiscriminantMoments, settings: DiscriminantSettings) -> float:
    """Return the bandwidth of borrowing from similar classes; 1 where all class means are the same."""
    if settings.bandwidth is not None:
        return settings.bandwidth
    means = moments.means[moments.present]
    # The mean over pairs of different classes is twice the variance of the means.
    spread = 2.0 * float((means - means.mean(0)).square().sum()) / max(1, len(means) - 1)
    return BANDWIDTH * spread or 1.0


def borrowing_logits(means: Tensor, others: Tensor, borrowing: str, bandwidth: float) -> Tensor:
    """Return the logs of the weights (K, L) with which means (K, D) borrow from others (L, D), not normalised."""
    assert borrowing in BORROWING
    if borrowing == "grand":
        return means.new_zeros(len(means), len(others))
    exact = "donot_use_mm_for_euclid_dist"  # differences, so that a large offset of all means costs no digits
    return -torch.cdist(means, others, compute_mode=exact).square() / bandwidth


def log_prior(counts: Tensor, prior: str | Tensor) -> Tensor:
    """Return the log of the prior (C,); -inf for classes without rows where it follows the counts.

    Raises:
        ValueError: a given one is not (C,) numbers above 0.
    """
    if isinstance(prior, Tensor):
        if prior.shape != counts.shape or not bool((prior > 0).all() & prior.isfinite().all()):
            raise ValueError(
                f"Expected `prior` to be {len(counts)} probabilities above 0, but got shape {tuple(prior.shape)} with "
                f"smallest {float(prior.min()) if prior.numel() else 'none'}."
            )
        return (prior.double() / prior.double().sum()).log().to(counts.device)
    if prior == "uniform":
        return torch.zeros_like(counts, dtype=torch.float64)
    return (counts.double() / counts.sum()).log()


@torch.no_grad()
def estimated_shrinkage(
    moments: DiscriminantMoments, estimator: str, features: Tensor | None = None, labels: Tensor | None = None
) -> float:
    """Estimate how far to shrink the covariance to the sphere, in [0, 1].

    A residual of class c counts with weight w_c: so the number of samples is 1 / sum p_i^2 of the normalised weights,
    which is N for ``pooled`` voices.

    Args:
        estimator: ``oas``, of the moments alone; ``ledoit_wolf``, which looks at the samples a second time.
        features, labels: (N, D) and (N,), those of the moments, for ``ledoit_wolf``.

    Reference: Ledoit and Wolf (2004), section 3.2; Chen et al. (IEEE TSP 2010), eq. 23.
    """
    check("discriminant", estimator=estimator)
    covariance = moments.covariance()
    dim, trace, square = len(covariance), covariance.trace(), covariance.square().sum()
    spread = float(square - trace.square() / dim)
    if spread <= 0.0:
        return 1.0
    counts, weights = moments.counts, moments.weights.masked_fill(moments.counts < 2, 0.0)
    mass, squares = (counts * weights).sum(), (counts * weights.square()).sum()
    if estimator == "oas":
        size = mass.square() / squares
        return min(1.0, float((square / dim + trace.square() / dim) / ((size + 1.0) * spread / dim)))
    assert features is not None
    assert labels is not None
    fourth = covariance.new_zeros(())
    for rows, own in zip(features.split(_ROWS_AT_ONCE), labels.split(_ROWS_AT_ONCE), strict=True):
        norms = (rows.double() - moments.means[own]).square().sum(1)
        fourth += (weights[own] * norms).square().sum()
    # Both terms in units of the residuals' weighted mean square, which is the covariance up to a factor.
    factor = moments.divisor / mass
    noise = fourth / mass.square() / factor.square() - square * squares / mass.square()
    return float(noise.clamp(0.0, spread)) / spread


def _solved(covariance: Tensor, shrinkage: float, means: Tensor) -> Tensor:
    """Return the means (C, D) times the inverse of the shrunk covariance."""
    level = covariance.trace() / len(covariance)
    if not bool(level > 0):
        return means.clone()
    shrunk = (1.0 - shrinkage) * covariance
    shrunk.diagonal().add_(shrinkage * level)
    factor, failed = torch.linalg.cholesky_ex(shrunk)
    if shrinkage > 0 and not bool(failed):
        return torch.cholesky_solve(means.T, factor).T.contiguous()
    values, vectors = torch.linalg.eigh(shrunk)
    floor = values[-1] * len(values) * torch.finfo(values.dtype).eps
    inverse = torch.where(values > floor, 1.0 / values, 0.0)
    return (means @ vectors * inverse) @ vectors.T
