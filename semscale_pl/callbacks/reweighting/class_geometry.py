"""Re-weighting by measures of the classes' geometry other than S: as weights, as margins or as a prior on logits."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor

from semscale_pl.callbacks.reweighting.scale_controls import ShuffledResidualReweighting, training_counts
from semscale_pl.geometry import interclass_weights
from semscale_pl.geometry.class_measures import class_spreads, effective_dimensions, fisher_ratios, nearest_distances
from semscale_pl.imbalance import CountFit, fit_scales_to_counts
from semscale_pl.options import check
from semscale_pl.pool import FeaturePool
from semscale_pl.weighting import StepTerms, WeightingReport


class ClassGeometryReweighting(ShuffledResidualReweighting):
    """Treat each class by ``w = n^-p Q^-power``, Q being a measure of its features and n its number of samples.

    Q is a function of the pool's class moments and is computed anew in every step, as S is. ``of`` names it:
    ``semantic_scale`` (S; S' with ``interclass=False``), ``interclass`` (W), ``distance`` of the nearest other class
    mean, ``separation`` (least Fisher ratio to another class), ``spread`` (trace of the covariance), ``dimension``
    (participation ratio). ``part`` says what of it counts, by the least-squares line of log Q in log n: the ``whole``,
    its ``residual`` (Q given n), what n alone predicts (``count``), and the controls in which the residuals are handed
    to other classes around a ring (``shuffled``, ``shuffled_residual``, for ``whole`` and ``residual``).

    ``form`` says what w does: ``weights`` weight the losses; ``prior`` adds ``-log w`` to the logits, so that p = 1
    and power 0 is Balanced Softmax on a plain loss; ``margins`` take ``max_margin w / max w`` off the logit of a
    sample's own class, so that p = 1/4 and power 0 is LDAM on ``loss=ldam loss.max_margin=0``.

    Args:
        of, part, form: see above.
        power: exponent of Q, of either sign.
        p: exponent of n.
        max_margin: the largest margin, of ``form=margins``, in units of the logits that enter the loss.
        seed: of the ring.
        floor: smallest Q, as a share of the largest; decides for a class of one sample, which has no dimension or S.
        max_ratio: cap on the largest over the smallest ``Q^-power``; n^-p has none.
        options: of :class:`~semscale_pl.callbacks.reweighting.semantic_scale.SemanticScaleReweighting`;
            ``normalization`` matters to ``form=weights`` alone.

    Attributes:
        measure: (C,) Q, NaN for an absent class; None before there are weights.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> ClassGeometryReweighting(of="separation", form="margins", p=0.25).stage
        1

    Reference: Ma et al. (ICLR 2023), sections 3 and 4, for S and W; Cao et al. (NeurIPS 2019) for margins; Menon et al.
    (ICLR 2021) for priors.
    """

    measure: Tensor | None = None

    def __init__(
        self,
        of: str = "separation",
        part: str = "whole",
        form: str = "weights",
        power: float = 1.0,
        p: float = 0.0,
        max_margin: float = 0.5,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(seed=seed, **options)
        check("reweighting", of=of, part=part, form=form, p=p, max_margin=max_margin)
        check("ClassGeometryReweighting", power=power)
        self.of, self.part, self.form, self.p, self.max_margin = of, part, form, p, max_margin
        self.power = power

    def report(self) -> WeightingReport:
        """Return S', W, S, Q and what takes its place, and the weights, margins or log prior in force."""
        base = super().report()
        values = {name: value for name, value in base.per_class.items() if name != "weight" or self.form == "weights"}
        if self.measure is not None:
            values["measure"] = self.measure
        if self.weights is not None and self.form != "weights":
            terms = self._make_terms()
            found = {"log_prior": terms.log_prior, "margin": terms.margins}
            values |= {name: value for name, value in found.items() if value is not None}
        return WeightingReport(values, base.scalars)

    def _begin(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.form == "margins" and getattr(pl_module, "mixing", None) is not None:
            raise MisconfigurationException(
                "Expected images that are not mixed with `form=margins`, as a mixed one has two classes. Take "
                "`mixing=none`, or `form=weights` or `form=prior`."
            )
        super()._begin(trainer, pl_module)
        self.measure = None

    def _weigh(self, scales: Tensor, frequencies: Tensor) -> None:
        assert self.pool is not None
        counts = training_counts(self, scales)
        self.measure = torch.where(frequencies > 0, self._measured(self.pool, scales), math.nan)
        fit = fit_scales_to_counts(self.measure, counts, self.floor)
        part = self._substituted(fit)
        self.substitute, self._num_floored = part.exp(), fit.num_floored
        logs = -self.power * part
        cap = torch.where(logs.isnan(), math.inf, logs).min() + math.log(self.max_ratio)
        self._num_capped = (logs > cap + 1e-12).sum()
        # An absent class has a NaN in its part; the logarithm of its count must not turn that into an infinity.
        raw = (logs.minimum(cap) - self.p * counts.double().clamp_min(1.0).log()).exp()
        self.weights = self._normalized(raw, frequencies)

    def _measured(self, pool: FeaturePool, scales: Tensor) -> Tensor:
        """Return Q of the classes (C,), NaN where absent."""
        if self.of == "semantic_scale":
            return scales.double()
        if self.of == "spread":
            return class_spreads(pool.moments)
        if self.of == "dimension":
            return effective_dimensions(pool.moments)
        if self.of == "interclass":
            return interclass_weights(pool.centres(), self.alpha)
        if self.of == "distance":
            return nearest_distances(pool.centres())
        return fisher_ratios(pool.centres(), class_spreads(pool.moments))

    def _substituted(self, fit: CountFit) -> Tensor:
        if self.part == "whole":
            return fit.fitted + fit.residuals
        if self.part == "residual":
            return fit.residuals
        if self.part == "count":
            return fit.fitted
        shuffled = super()._substituted(fit)
        return shuffled if self.part == "shuffled" else shuffled - fit.fitted

    def _make_terms(self) -> StepTerms:
        assert self.weights is not None
        if self.form == "prior":
            return StepTerms(log_prior=-self.strength * self.weights.log())
        if self.form == "margins":
            return StepTerms(margins=self.strength * self.max_margin * self.weights / self.weights.max())
        return super()._make_terms()
