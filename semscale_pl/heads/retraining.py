"""Second stages that train: a new classifier (cRT), or one scale for each class of the trained one (LWS)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semscale_pl.heads.fitting import Schedule, fit
from semscale_pl.heads.recipe import Finished, Trained, choose, class_weights
from semscale_pl.models.classifiers import Affine
from semscale_pl.options import check
from semscale_pl.seeding import derive_seed, seeded

# Around the default, which is 0.2 for batches of 512 in the code of Kang et al., for ours of 128.
LR, LR_GRID = 0.05, (0.005, 0.02, 0.05, 0.2, 1.0)


class _Training:
    """What both have in common: SGD on the frozen features, with rate and epochs from the validation part.

    Args:
        lr: learning rate at first; None chooses it on the validation part, and is 0.05 without one.
        epochs: None chooses them on the validation part.
        lr_grid, epochs_grid: what is tried, each rate with each number of epochs.
        weights: ``none`` draws all classes alike; ``inverse_frequency`` and ``semantic_scale`` draw every sample once
            an epoch and weight its loss, see :func:`semscale_pl.heads.recipe.class_weights`; ``balanced_softmax`` draws
            every sample once an epoch and adds the log of its class's share to the logits in the loss.
        batch_size, momentum, weight_decay: of SGD.
    """

    default_epochs = 10

    def __init__(
        self,
        lr: float | None = None,
        epochs: int | None = None,
        lr_grid: Sequence[float] = LR_GRID,
        epochs_grid: Sequence[int] = (5, 10, 20),
        weights: str = "none",
        batch_size: int = 128,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
    ) -> None:
        check("recipe", lr=lr, epochs=epochs, lr_grid=lr_grid, epochs_grid=epochs_grid, weights=weights)
        check("recipe", batch_size=batch_size, momentum=momentum, weight_decay=weight_decay)
        self.lr, self.epochs = lr, epochs
        self.lr_grid, self.epochs_grid = sorted(lr_grid), sorted(epochs_grid)
        self.weights = weights
        self.batch_size, self.momentum, self.weight_decay = batch_size, momentum, weight_decay

    def _chosen(
        self, trained: Trained, start: Callable[[], nn.Module], finish: Callable[[nn.Module], Affine]
    ) -> Finished:
        weights = self._weights(trained)
        shares = trained.counts.double() / trained.counts.sum()
        log_prior = shares.log() if self.weights == "balanced_softmax" else None

        def make(lr: float, epochs: int) -> Affine:
            head = start()
            schedule = Schedule(lr, epochs, self.batch_size, self.momentum, self.weight_decay)
            fit(head, trained.train, schedule, derive_seed(trained.seed, 1), weights, log_prior)
            return finish(head)

        grids: dict[str, Sequence[float]] = {"lr": self.lr_grid, "epochs": self.epochs_grid}
        defaults = {"lr": LR, "epochs": self.default_epochs}
        return choose(trained, make, grids, {"lr": self.lr, "epochs": self.epochs}, defaults)

    def _weights(self, trained: Trained) -> Tensor | None:
        if self.weights == "none":
            return None
        alike = self.weights == "balanced_softmax"
        return torch.ones(len(trained.frequencies)) if alike else class_weights(self.weights, trained)


class Retraining(_Training):
    """Classifier re-training (cRT): start the classifier again at random and train it on the frozen features.

    Its arguments are those of the training; without a validation part it takes 10 epochs.

    Reference: Kang et al. (ICLR 2020), section 4.1.
    """

    name = "crt"

    def __call__(self, trained: Trained) -> Finished:
        """Return the new classifier, of the kind of the trained one."""

        def start() -> nn.Module:
            head = copy.deepcopy(trained.head).to(trained.train.features.dtype)
            with seeded(derive_seed(trained.seed, 0)):
                head.reset_parameters()  # type: ignore[operator]
            return head.requires_grad_(True)

        return self._chosen(trained, start, lambda head: head.affine())  # type: ignore[operator]


class LearnableWeightScaling(_Training):
    """Learn one factor for each class's logit, from 1, and leave the trained classifier as it is (LWS).

    The factor multiplies the bias too, as in the authors' code; the paper's formula, for a classifier without one, does
    not say. Without a validation part it takes 5 epochs.

    Reference: Kang et al. (ICLR 2020), section 4.1, eq. 5.
    """

    name, default_epochs = "lws", 5

    def __call__(self, trained: Trained) -> Finished:
        """Return the trained classifier with scaled class vectors and biases."""
        affine = Affine(*trained.head.affine())  # type: ignore[operator]

        def finish(head: nn.Module) -> Affine:
            scales: Tensor = head.scales.detach()  # type: ignore[assignment, operator]
            bias = None if affine.bias is None else scales * affine.bias
            return Affine(scales[:, None] * affine.weight, bias, affine.normalize)

        return self._chosen(trained, lambda: _Scaled(affine), finish)


class _Scaled(nn.Module):
    """A frozen affine head whose logits are each multiplied by a learned scale."""

    def __init__(self, affine: Affine) -> None:
        super().__init__()
        self._affine = affine
        self.scales = nn.Parameter(torch.ones_like(affine.weight[:, 0]))

    def forward(self, features: Tensor) -> Tensor:
        return self.scales * F.linear(features, self._affine.weight, self._affine.bias)
