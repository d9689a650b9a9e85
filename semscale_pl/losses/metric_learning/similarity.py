"""What all losses of similarities share: their input is a cosine, and they scale it themselves."""

from __future__ import annotations

from torch import Tensor

from semscale_pl.losses.base import PerSampleLoss


class SimilarityLoss(PerSampleLoss):
    """A loss of similarities (B, C) in [-1, 1], those of a cosine classifier with scale 1 or of class centres.

    Args:
        scale: what the similarities are multiplied by where a probability is asked for, an inverse temperature.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = float(scale)

    def evaluation_logits(self, logits: Tensor) -> Tensor:
        """Return the scaled similarities (B, C), without margins: the softmax of bare ones is nearly uniform."""
        return self.scale * logits
