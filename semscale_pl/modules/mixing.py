"""Mixup and CutMix: one share per batch, so that a pair of labels and one number describe what was mixed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from semscale_pl.options import check


class Mixed(NamedTuple):
    """Images (B, ...), each ``lam`` parts of one and ``1 - lam`` of its partner, whose row in the batch is (B,)."""

    images: Tensor
    partners: Tensor
    lam: float


@dataclass(frozen=True)
class Mixing:
    """Mix the images of a batch pairwise, with mixup, CutMix or a coin toss between the two.

    Args:
        mixup_alpha: parameter of the Beta distribution that mixup's share is drawn from; 0 switches mixup off.
        cutmix_alpha: the same for CutMix.
        probability: of a batch to be mixed at all.

    Raises:
        ValueError: a parameter is out of range, or both kinds are off.

    Reference: Zhang et al. (ICLR 2018); Yun et al. (ICCV 2019), Algorithm 1.
    """

    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        check(mixup_alpha=self.mixup_alpha, cutmix_alpha=self.cutmix_alpha, probability=self.probability)
        if self.mixup_alpha == self.cutmix_alpha == 0:
            raise ValueError(
                "Expected `mixup_alpha` or `cutmix_alpha` above 0, but got 0 and 0. Use no mixing to switch both off."
            )

    def __call__(self, images: Tensor) -> Mixed | None:
        """Mix images (B, channels, height, width) with torch's global generator; None where they are left alone."""
        if torch.rand(()).item() >= self.probability:
            return None
        partners = torch.randperm(images.shape[0]).to(images.device)
        cut = self.cutmix_alpha > 0 and (self.mixup_alpha == 0 or torch.rand(()).item() < 0.5)
        alpha = self.cutmix_alpha if cut else self.mixup_alpha
        lam = float(torch.distributions.Beta(alpha, alpha).sample())
        if cut:
            return _cutmix(images, partners, lam)
        return Mixed(lam * images + (1.0 - lam) * images[partners], partners, lam)


def _cutmix(images: Tensor, partners: Tensor, lam: float) -> Mixed:
    height, width = images.shape[-2:]
    side = (1.0 - lam) ** 0.5
    row, column = int(torch.randint(height, ())), int(torch.randint(width, ()))
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    top, bottom = max(row - half_height, 0), min(row + half_height, height)
    left, right = max(column - half_width, 0), min(column + half_width, width)
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[partners][..., top:bottom, left:right]
    # The box may stick out of the image: the share is that of the pixels really kept.
    return Mixed(mixed, partners, 1.0 - (bottom - top) * (right - left) / (height * width))
