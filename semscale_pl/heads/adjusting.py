"""Second stages without training: tau-normalization, nearest class mean and post-hoc logit adjustment."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from semscale_pl.heads.recipe import Finished, Trained, choose, class_weights
from semscale_pl.losses import posthoc_logits
from semscale_pl.models.class_means import ClassMeans
from semscale_pl.models.classifiers import Affine
from semscale_pl.options import METRICS, check

# 0 to 2 in steps of 0.1, as in the code of Kang et al.
TAU_GRID = tuple(round(0.1 * step, 1) for step in range(21))


class TauNormalization:
    """Divide every class vector by its length to the power tau, and drop the biases.

    Args:
        tau: 0 leaves the vectors as they are, 1 gives them one length; None chooses it on the validation part, and is
            1 without one.
        tau_grid: what is tried.

    Reference: Kang et al. (ICLR 2020), section 4.1, eq. 4.
    """

    name = "tau_norm"

    def __init__(self, tau: float | None = None, tau_grid: Sequence[float] = TAU_GRID) -> None:
        check("recipe", tau=tau, tau_grid=tau_grid)
        self.tau, self.tau_grid = tau, sorted(tau_grid)

    def __call__(self, trained: Trained) -> Finished:
        """Return the head with normalized class vectors."""
        weight, _, normalize = trained.head.affine()  # type: ignore[operator]
        norms = weight.norm(dim=1, keepdim=True)
        lengths = torch.where(norms > 0, norms, 1.0)

        def make(tau: float) -> Affine:
            return Affine(weight / lengths.pow(tau), None, normalize)

        return choose(trained, make, {"tau": self.tau_grid}, {"tau": self.tau}, {"tau": 1.0})


class NearestMean:
    """Classify by the nearest mean of the training features.

    Args:
        metric: ``euclidean``, or ``cosine`` with the means of features at unit length; None chooses it on the
            validation part, and is ``cosine`` without one.

    Reference: Kang et al. (ICLR 2020), section 4.1.
    """

    name = "ncm"

    def __init__(self, metric: str | None = None) -> None:
        check("recipe", metric=metric)
        self.metric = metric

    def __call__(self, trained: Trained) -> Finished:
        """Return the nearest-mean rule."""
        features, labels = trained.train
        num_classes, dtype = len(trained.frequencies), features.dtype
        unit = trained.head.affine().normalize  # type: ignore[operator]

        def make(metric: str) -> Affine:
            rows = F.normalize(features, dim=1) if metric == "cosine" else features
            weight, bias, normalize = ClassMeans.of(rows, labels, num_classes).head(metric)
            return Affine(weight.to(dtype), None if bias is None else bias.to(dtype), normalize or unit)

        return choose(trained, make, {"metric": METRICS}, {"metric": self.metric}, {"metric": "cosine"})


class LogitAdjustment:
    """Take ``tau`` times the log of a prior off the logits of a head that was trained with plain cross-entropy.

    Args:
        tau: strength; None chooses it on the validation part, and is 1 without one.
        tau_grid: what is tried.
        prior: ``frequency``: with which the first stage drew each class; ``semantic_scale``: log S of the training
            features in the place of log q, floored and capped as the class weights 1/S are.

    Reference: Menon et al. (ICLR 2021), eq. 9; Ma et al. (ICLR 2023), section 3, for S.
    """

    name = "logit_adjustment"

    def __init__(
        self, tau: float | None = None, tau_grid: Sequence[float] = TAU_GRID, prior: str = "frequency"
    ) -> None:
        check("recipe", tau=tau, tau_grid=tau_grid, prior=prior)
        self.tau, self.tau_grid, self.prior = tau, sorted(tau_grid), prior

    def __call__(self, trained: Trained) -> Finished:
        """Return the head with adjusted biases."""
        weight, bias, normalize = trained.head.affine()  # type: ignore[operator]
        offsets = torch.zeros_like(weight[:, 0]) if bias is None else bias
        prior = self._prior(trained)

        def make(tau: float) -> Affine:
            return Affine(weight, posthoc_logits(offsets[None], prior, tau)[0].to(weight), normalize)

        return choose(trained, make, {"tau": self.tau_grid}, {"tau": self.tau}, {"tau": 1.0})

    def _prior(self, trained: Trained) -> Tensor:
        if self.prior == "frequency":
            return trained.frequencies
        return 1.0 / class_weights("semantic_scale", trained)
