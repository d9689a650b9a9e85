"""Logit adjustment by how confident the model is of each class while it trains (LOCE's mean classification score)."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from semscale_pl.callbacks.reweighting.slot import SlotReweighting
from semscale_pl.callbacks.training_data import TrainingSplit
from semscale_pl.distributed import gather_rows
from semscale_pl.options import check
from semscale_pl.weighting import StepInputs, StepTerms, WeightingReport


class ScoreReweighting(SlotReweighting):
    """Add ``log s`` to the logits, s being each class's running mean of the probability of the true class.

    A step with k images of a class moves its score to ``a^k s + (1 - a^k) mean``, the mean being that of their
    probabilities under the unadjusted logits. A step's prior comes from scores that already hold that step. Under DDP
    every rank sees the rows of all ranks. Mixed images count for their dominant label. It replaces a prior made of
    class frequencies: on top of Balanced Softmax or logit adjustment both priors would add up.

    Args:
        momentum: a, in [0, 1); 0 keeps only the latest mean.
        initial_score: of every class, in (0, 1].
        start_epoch: first epoch with the prior; the scores are kept from the first step on.
        ramp_epochs: epochs until the prior has its full strength, as an exponent of s growing to 1.

    Attributes:
        scores: (C,) mean scores in (0, 1]; None before the fit.

    Raises:
        ValueError: an argument is out of range.

    Reference: Feng et al. (ICCV 2021), section 3; Ma et al. (ICLR 2023), appendix H2.
    """

    def __init__(
        self, momentum: float = 0.9, initial_score: float = 0.01, start_epoch: float = 0, ramp_epochs: int = 0
    ) -> None:
        super().__init__(start_epoch, ramp_epochs)
        check(momentum=momentum, initial_score=initial_score)
        self.momentum, self.initial_score = momentum, initial_score
        self.scores: Tensor | None = None

    def _begin(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with equal scores."""
        num_classes = TrainingSplit.of(trainer, pl_module).num_classes
        self.scores = torch.full((num_classes,), self.initial_score, dtype=torch.float64)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move the scores to the module's device and fill the slot."""
        if self.scores is not None:
            self.scores = self.scores.to(pl_module.device)
        super().on_fit_start(trainer, pl_module)

    def __call__(self, inputs: StepInputs) -> StepTerms:
        """Return this step's log prior; none before ``start_epoch``."""
        super().__call__(inputs)
        if self.strength == 0.0 or self.scores is None:
            return StepTerms()
        return StepTerms(log_prior=self._log_prior(self.scores))

    def state_dict(self) -> dict[str, Any]:
        """Return the scores."""
        return {} if self.scores is None else {"scores": self.scores}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of :meth:`state_dict`."""
        self.scores = state_dict.get("scores", self.scores)

    def report(self) -> WeightingReport:
        """Return the scores and the log prior in force."""
        values = {} if self.scores is None else {"score": self.scores, "log_prior": self._log_prior(self.scores)}
        return WeightingReport(values, super().report().scalars)

    @torch.no_grad()
    def _observe(self, inputs: StepInputs) -> None:
        assert self.scores is not None
        mixed = inputs.mixed_labels
        labels = inputs.labels if mixed is None or inputs.lam >= 0.5 else mixed
        probabilities = inputs.logits.double().softmax(dim=1).gather(1, labels[:, None]).squeeze(1)
        probabilities, labels = gather_rows(probabilities, labels)
        counts, sums = torch.zeros_like(self.scores), torch.zeros_like(self.scores)
        # A row that overflowed, as mixed precision's loss scaling allows for, must not stay in the scores.
        counts.index_add_(0, labels, probabilities.isfinite().double())
        sums.index_add_(0, labels, probabilities.nan_to_num(0.0))
        kept = torch.pow(torch.full_like(counts, self.momentum), counts)  # 1 for a class that was not seen
        updated = kept * self.scores + (1.0 - kept) * sums / counts.clamp_min(1.0)
        # A probability that underflowed to 0 must not make the prior infinite.
        self.scores = updated.clamp_min(torch.finfo(torch.float32).tiny)

    def _log_prior(self, scores: Tensor) -> Tensor:
        return self.strength * scores.log()
