"""The semantic scale imbalance as a logit adjustment: log S in the place of log n."""

from __future__ import annotations

from torch import Tensor

from semscale_pl.callbacks.semantic_scale import SemanticScaleReweighting
from semscale_pl.weighting import StepInputs, StepTerms, WeightingReport


class ScalePriorReweighting(SemanticScaleReweighting):
    """Add ``power * log S`` to the logits instead of weighting the losses with ``S^-power``.

    Takes the arguments of :class:`~semscale_pl.callbacks.semantic_scale.SemanticScaleReweighting`; pool, stages, floor
    and cap are the same, and the ramp scales the prior. The prior is minus the log of the weights, which is
    ``power * log S`` of the floored scales up to a constant that no loss over a softmax sees; so ``normalization`` has
    no effect on training. It adds to what Balanced Softmax or logit adjustment put on the logits themselves.

    Example:
        >>> callback = ScalePriorReweighting(start_epoch=5, power=1.0)
        >>> callback.report().per_class
        {}

    Reference: Ma et al. (ICLR 2023), section 4; Menon et al. (ICLR 2021), section 4, for adjusted logits.
    """

    def __call__(self, inputs: StepInputs) -> StepTerms:
        """Return this step's log prior; none before ``start_epoch``."""
        terms = super().__call__(inputs)
        if terms.class_weights is None or self.weights is None:
            return terms
        return StepTerms(log_prior=self._log_prior(self.weights))

    def report(self) -> WeightingReport:
        """Return S', W, S and the log prior in force, and how many classes the floor and the cap touched."""
        base = super().report()
        values = {name: value for name, value in base.per_class.items() if name != "weight"}
        if self.weights is not None:
            values["log_prior"] = self._log_prior(self.weights)
        return WeightingReport(values, base.scalars)

    def _log_prior(self, weights: Tensor) -> Tensor:
        return -self.strength * weights.log()
