"""The Gaussian classifier as a head: fitted in one pass over training features, affine ever after."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semscale_pl.geometry import (
    Discriminant,
    DiscriminantMoments,
    DiscriminantSettings,
    choose_open,
    estimated_shrinkage,
    gaussian_discriminant,
)
from semscale_pl.models.classifiers import Affine
from semscale_pl.options import check, is_sequence

# What the logit of a class without training samples is below the mean of the others' offsets.
_BELOW = 1e4
_CHOSEN = ("shrinkage", "k", "temperature")


class Fitted(NamedTuple):
    """A fitted head, the settings that it was made with, and what leave-one-out said of each pair it tried."""

    affine: Affine
    chosen: dict[str, Any]
    tried: list[dict[str, float]]


@dataclass(frozen=True)
class GaussianFit:
    """How a Gaussian classifier is fitted to features.

    Args:
        choose: ``leave_one_out`` chooses what is None of the next three, by log-loss on the training features with
            every class the same voice; ``fixed`` takes shrinkage 0.5, k 10 and temperature 1 for it.
        shrinkage: of the covariance to the sphere, in [0, 1]; ``oas`` or ``ledoit_wolf`` estimate it.
        k: pseudo-samples of the mean that a class borrows.
        temperature: of the probabilities.
        voices: ``equal``: every class counts the same in the covariance; ``pooled``: every sample does.
        borrowing: ``similar`` classes lend, or ``grand``: all.
        prior: ``uniform``, ``frequency`` or a list of C numbers, one for each class.

    Raises:
        ValueError: a value is out of range.
    """

    choose: str = "leave_one_out"
    shrinkage: float | str | None = None
    k: float | None = None
    temperature: float | None = None
    voices: str = "equal"
    borrowing: str = "similar"
    prior: str | Sequence[float] = "uniform"

    def __post_init__(self) -> None:
        check("classifier", **asdict(self))

    @property
    def sees_twice(self) -> bool:
        """Whether the samples are looked at again after their moments."""
        return self.shrinkage == "ledoit_wolf" or bool(self._open())

    @torch.no_grad()
    def of_batches(self, batches: Iterable[tuple[Tensor, Tensor]], class_sizes: Tensor) -> Fitted:
        """Fit in one pass over batches of features (B, D) and labels (B,).

        Memory is D^2 + C D numbers, and N D where the samples are looked at again.

        Args:
            class_sizes: (C,) samples that each class will have.

        Raises:
            ValueError: there is no sample, the prior has another number of classes, or a shrinkage of 0 with open
                settings.
        """
        moments: DiscriminantMoments | None = None
        kept: list[tuple[Tensor, Tensor]] = []
        for features, labels in batches:
            if moments is None:
                sizes = class_sizes.to(torch.int64).cpu()
                moments = DiscriminantMoments(len(sizes), features.shape[1], self.voices, sizes).to(features.device)
            moments.add(features, labels)
            if self.sees_twice:
                kept.append((features, labels))
        if moments is None:
            raise ValueError("Expected at least one training sample for a Gaussian classifier, but got none.")
        rows = [torch.cat(part) for part in zip(*kept, strict=True)]
        return self._of(moments, *rows)

    def of(self, features: Tensor, labels: Tensor, num_classes: int) -> Fitted:
        """Fit features (N, D) with labels (N,) of C classes."""
        return self.of_batches([(features, labels)], torch.bincount(labels, minlength=num_classes))

    def _of(self, moments: DiscriminantMoments, features: Tensor | None = None, labels: Tensor | None = None) -> Fitted:
        estimated: float | None = None
        if isinstance(self.shrinkage, str):
            estimated = estimated_shrinkage(moments, self.shrinkage, features, labels)
        settings, tried = self._settings(estimated), list[dict[str, float]]()
        if self._open():
            assert features is not None
            assert labels is not None
            settings, tried = choose_open(moments, features, labels, settings, self._open())
        chosen = {name: float(getattr(settings, name)) for name in _CHOSEN}
        return Fitted(finite_affine(gaussian_discriminant(moments, settings)), chosen, tried)

    def _open(self) -> list[str]:
        return [name for name in _CHOSEN if getattr(self, name) is None] if self.choose == "leave_one_out" else []

    def _settings(self, estimated: float | None) -> DiscriminantSettings:
        given = {"shrinkage": estimated} if estimated is not None else {}
        given |= {name: getattr(self, name) for name in _CHOSEN if not isinstance(getattr(self, name), str | None)}
        prior = torch.tensor(list(self.prior), dtype=torch.float64) if is_sequence(self.prior) else self.prior
        return DiscriminantSettings(**given, borrowing=self.borrowing, prior=prior)  # type: ignore[arg-type]


def finite_affine(found: Discriminant) -> Affine:
    """Return a classifier as a head whose logits are all finite, and whose absent classes still never win.

    The vectors of the others are taken about their mean, which changes no difference of logits: so they sum to 0, and
    the largest logit of a sample is never below the mean of the offsets. Absent classes lie far below that.
    """
    present = found.offset.isfinite()
    weight = torch.where(present[:, None], found.weight - found.weight[present].mean(0), 0.0)
    centre = found.offset[present].mean()
    return Affine(weight, torch.where(present, found.offset - centre, -_BELOW), False)


class GaussianClassifier(nn.Module):
    """Classify by Gaussians with one covariance; nothing trains, neither this head nor the backbone before it.

    :class:`semscale_pl.callbacks.head_start.HeadStart` fits it when training begins, in one pass over the training
    features; until then all logits are 0.

    Args:
        num_features: D, width of the backbone's output.
        num_classes: C.
        choose, shrinkage, k, temperature, voices, borrowing, prior: see :class:`GaussianFit`.

    Example:
        >>> head = GaussianClassifier(num_features=1, num_classes=3, choose="fixed", k=0.0)
        >>> rows, labels = torch.tensor([[0.0], [2.0], [7.0], [9.0]]), torch.tensor([0, 0, 1, 1])
        >>> _ = head.fit([(rows, labels)], torch.tensor([2, 2, 0]))
        >>> head(torch.tensor([[3.0], [6.0]])).argmax(dim=1)
        tensor([0, 1])

    Reference: Hastie, Tibshirani, Friedman (2009), section 4.3.
    """

    weight: Tensor
    bias: Tensor
    trains_nothing = True
    init = "gaussian"

    def __init__(
        self,
        num_features: int,
        num_classes: int,
        choose: str = "leave_one_out",
        shrinkage: float | str | None = None,
        k: float | None = None,
        temperature: float | None = None,
        voices: str = "equal",
        borrowing: str = "similar",
        prior: str | Sequence[float] = "uniform",
    ) -> None:
        super().__init__()
        check(num_features=num_features, num_classes=num_classes)
        self.num_features, self.num_classes = num_features, num_classes
        self.way = GaussianFit(choose, shrinkage, k, temperature, voices, borrowing, prior)
        self.fitted: Fitted | None = None
        self.register_buffer("weight", torch.zeros(num_classes, num_features))
        self.register_buffer("bias", torch.zeros(num_classes))

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]], class_sizes: Tensor) -> Fitted:
        """Fit the head to batches of features (B, D) and labels (B,), see :meth:`GaussianFit.of_batches`."""
        self.fitted = self.way.of_batches(batches, class_sizes)
        self.weight.copy_(self.fitted.affine.weight)
        assert self.fitted.affine.bias is not None
        self.bias.copy_(self.fitted.affine.bias)
        return self.fitted

    def affine(self) -> Affine:
        """Return a copy of the head as an affine function."""
        return Affine(self.weight.clone(), self.bias.clone(), False)

    def features(self, x: Tensor) -> Tensor:
        """Return the backbone's output (B, D)."""
        return x

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, D) to logits (B, C)."""
        return F.linear(features, self.weight, self.bias)

    def penalty(self) -> Tensor | None:
        """Return None: this head adds nothing to the loss."""
        return None
