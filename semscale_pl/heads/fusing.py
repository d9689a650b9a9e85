"""Second stages by class moments: the Gaussian head of a network's features, alone or fused with the trained head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semscale_pl.geometry import Discriminant
from semscale_pl.heads.recipe import Finished, Trained, choose
from semscale_pl.models.classifiers import Affine
from semscale_pl.models.gaussian import Fitted, GaussianFit, finite_affine
from semscale_pl.options import check
from semscale_pl.validation import ArrayLike, as_tensor

WEIGHT_GRID = (0.25, 0.5, 1.0, 2.0, 4.0)


def score_spread(scores: ArrayLike, labels: Any) -> float:
    """Return the root mean square over samples and classes of scores less each sample's mean over the classes.

    Every class has the same voice, as samples of one count one over their number. Columns of -inf, those of classes
    that a head has not seen, are left out.

    Args:
        scores: (N, C) logits or log-probabilities of the training samples.
        labels: (N,), of any kind.

    Raises:
        ValueError: shapes that do not fit, no sample, or scores that are neither finite nor -inf for a whole class.
    """
    values = as_tensor(scores, "scores").double()
    _, own, counts = np.unique(np.asarray(labels), return_inverse=True, return_counts=True)
    if values.ndim != 2 or len(own) != len(values) or not len(own):
        raise ValueError(
            f"Expected `scores` (N, C) and `labels` (N,) of the same samples, but got {tuple(values.shape)} and "
            f"{np.shape(labels)}."
        )
    values = values[:, _known(values, "scores")]
    squares = (values - values.mean(dim=1, keepdim=True)).square().mean(dim=1)
    shares = torch.from_numpy(1.0 / (counts[own] * len(counts))).to(squares)
    return float((squares * shares).sum()) ** 0.5


def fused_scores(logits: ArrayLike, gaussian: ArrayLike, spreads: tuple[float, float], weight: float = 1.0) -> Tensor:
    """Add the standardised scores of a trained classifier, whatever it is, and of a Gaussian head.

    Each sample's scores are taken about their mean over the classes and divided by their spread on the training
    samples: one number for a classifier, so that how sure it is of a sample still counts. The sum is then brought to
    the spread of the Gaussian head, whose temperature leave-one-out has chosen.

    Args:
        logits: (N, C) of the trained classifier, such as a torchvision model's or a LightningModule's.
        gaussian: (N, C), such as ``GaussianHead.predict_log_proba`` gives, with the classes in the order of the logits:
            the head's are in that of ``classes_``, where classes that came by ``update`` are last.
        spreads: :func:`score_spread` of both on the training samples, of the classes that both know.
        weight: of the Gaussian head; 0 leaves the trained classifier's decisions, the larger the more are the head's.

    Returns:
        (N, C) float64, logits of probabilities; -inf for classes that a head has -inf for.

    Raises:
        ValueError: shapes that do not fit, a weight or spreads out of range, or scores that are neither finite nor -inf
            for a whole class.

    Example:
        >>> import semscale_pl as ss
        >>> features = torch.tensor([[0.0], [1.0], [4.0], [5.0], [9.0], [8.0]])  # of any network, and its logits:
        >>> labels, logits = torch.tensor([0, 0, 1, 1, 2, 2]), 4.0 - (features - torch.tensor([1.0, 4.0, 9.0])).abs()
        >>> head = ss.GaussianHead().fit(features, labels)
        >>> own = head.predict_log_proba(features)
        >>> spreads = ss.score_spread(logits, labels), ss.score_spread(own, labels)
        >>> ss.fused_scores(logits, own, spreads).argmax(dim=1)
        tensor([0, 0, 1, 1, 2, 2])
    """
    check("fused_scores", weight=weight)
    if len(spreads) != 2 or not all(math.isfinite(spread) and spread >= 0 for spread in spreads):
        raise ValueError(
            f"Expected `spreads` to be two numbers of at least 0, those of score_spread, but got {spreads!r}."
        )
    one, other = as_tensor(logits, "logits").double(), as_tensor(gaussian, "gaussian").double()
    if one.shape != other.shape or one.ndim != 2:
        raise ValueError(
            f"Expected `logits` and `gaussian` of one shape (N, C), but got {tuple(one.shape)} and "
            f"{tuple(other.shape)}."
        )
    known = _known(one, "logits") & _known(other, "gaussian")
    means = (values[:, known].mean(dim=1, keepdim=True) for values in (one, other))
    first, second = (values - mean for values, mean in zip((one, other), means, strict=True))
    return _sum(first, second.where(known, -torch.inf), spreads, weight)


class Gaussian:
    """Classify by Gaussians with one covariance of the frozen training features.

    Args:
        choose, shrinkage, k, temperature, voices, borrowing, prior: see
            :class:`semscale_pl.models.gaussian.GaussianFit`; what is None is chosen on the training features by
            leave-one-out, not on the validation part.

    Reference: Hastie, Tibshirani, Friedman (2009), section 4.3.
    """

    name = "gaussian"

    def __init__(
        self,
        choose: str = "leave_one_out",
        shrinkage: float | str | None = None,
        k: float | None = None,
        temperature: float | None = None,
        voices: str = "equal",
        borrowing: str = "similar",
        prior: str | Sequence[float] = "uniform",
    ) -> None:
        check(type(self).__name__, prior=prior)
        self.way = GaussianFit(choose, shrinkage, k, temperature, voices, borrowing, prior)

    def __call__(self, trained: Trained) -> Finished:
        """Return the Gaussian head."""
        fitted = self._fitted(trained)
        found = choose(trained, lambda: self._as_head(fitted.affine, trained), {}, {}, {})
        return found._replace(chosen=fitted.chosen)

    def _fitted(self, trained: Trained) -> Fitted:
        return self.way.of(*trained.train, num_classes=len(trained.frequencies))

    def _as_head(self, affine: Affine, trained: Trained) -> Affine:
        dtype, unit = trained.train.features.dtype, trained.head.affine().normalize  # type: ignore[operator]
        assert affine.bias is not None
        return Affine(affine.weight.to(dtype), affine.bias.to(dtype), unit)


class Fused(Gaussian):
    """Add the standardised scores of the trained head and ``weight`` times those of the Gaussian head of its features.

    Standardised by the spread on the training samples, as in :func:`fused_scores`: so the sum is an affine head again.

    Args:
        weight: None chooses it on the validation part, and is 1 without one.
        weight_grid: what is tried.
        options: those of :class:`Gaussian`.
    """

    name = "fused"

    def __init__(
        self,
        weight: float | None = 1.0,
        weight_grid: Sequence[float] = WEIGHT_GRID,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        check("recipe", weight=weight, weight_grid=weight_grid)
        self.weight, self.weight_grid = weight, sorted(weight_grid)

    def __call__(self, trained: Trained) -> Finished:
        """Return the sum as one head."""
        fitted, present = self._fitted(trained), trained.counts > 0
        own, gaussian = (_centred(head, present) for head in (_evaluated(trained), fitted.affine))
        features, labels = trained.train
        spreads = tuple(score_spread(head.scores(features), labels) for head in (own, gaussian))

        def make(weight: float) -> Affine:
            parts = (_sum(*pair, spreads, weight) for pair in zip(own, gaussian, strict=True))
            return self._as_head(finite_affine(Discriminant(*parts)), trained)

        found = choose(trained, make, {"weight": self.weight_grid}, {"weight": self.weight}, {"weight": 1.0})
        return found._replace(chosen={**found.chosen, **fitted.chosen})


def _known(scores: Tensor, name: str) -> Tensor:
    """Return which classes (C,) a head knows: those that it gives (N, C) finite scores, not -inf.

    Raises:
        ValueError: a class has both, or NaN or +inf, for which it would be left out of all samples in silence.
    """
    known = scores.isfinite().all(dim=0)
    strange = ~known & (scores != -torch.inf).any(dim=0)
    if bool(strange.any()):
        column = scores[:, strange][:, 0]
        raise ValueError(
            f"Expected `{name}` to be finite, or -inf for all samples of a class that a head does not know, but got "
            f"{float(column[~column.isfinite()][0])} among those of class {int(strange.nonzero()[0])}. Give logits, "
            "not the logarithms of probabilities that are 0, and samples whose features are finite."
        )
    return known


def _evaluated(trained: Trained) -> Affine:
    """Return the trained head as it is evaluated, with what its loss adds to the logits then."""
    weight, bias, normalize = trained.head.affine()  # type: ignore[operator]
    bias = torch.zeros_like(weight[:, 0]) if bias is None else bias
    return Affine(weight, bias if trained.offsets is None else bias + trained.offsets.to(bias), normalize)


def _centred(affine: Affine, present: Tensor) -> Discriminant:
    """Take vectors and offsets about their means over the present classes; the others' offsets become -inf."""
    assert affine.bias is not None
    weight, bias = affine.weight.double(), affine.bias.double()
    weight = torch.where(present[:, None], weight - weight[present].mean(dim=0), 0.0)
    return Discriminant(weight, torch.where(present, bias - bias[present].mean(), -torch.inf))


def _sum(one: Tensor, other: Tensor, spreads: tuple[float, ...], weight: float) -> Tensor:
    """Return the standardised sum in units of the second; -inf where one of them is, also at a weight of 0."""
    first, second = (spread or 1.0 for spread in spreads)
    total = (one * (second / first) + weight * other) / (1.0 + weight)
    return torch.where(one.isfinite() & other.isfinite(), total, -torch.inf)
