"""Mixup and CutMix of the global batch: one share per batch, drawn from the seed and the step alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from semscale_pl.distributed import gather_rows, rank, row_counts
from semscale_pl.options import check
from semscale_pl.seeding import beside, derive_seed, seeded

# Beside the streams that the datamodule takes from the same seed: 0 the order, 1 augmentation, 2 loaders.
_STREAM = 3


class Mixed(NamedTuple):
    """Images (B, ...), ``lam`` parts of the batch's own and ``1 - lam`` of partners with these labels and indices (B,).

    A partner may come from another rank.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor | None
    lam: float


class _Recipe(NamedTuple):
    """The share of the first image, and the box that CutMix fills with the second; None for mixup."""

    lam: float
    box: tuple[slice, slice] | None


@dataclass(frozen=True)
class Mixing:
    """Mix the images of a batch pairwise, with mixup, CutMix or a coin toss between the two.

    Whether a batch is mixed, how, and with which partners depends on the seed and the step alone, so that a resumed run
    mixes as an unbroken one. Partners are a permutation of the batch of all ranks: several ranks do what one process
    does. For that a mixed batch is gathered once: each rank receives the images of all others, of CutMix the box alone.

    Args:
        mixup_alpha: parameter of the Beta distribution that mixup's share is drawn from; 0 switches mixup off.
        cutmix_alpha: the same for CutMix.
        probability: of a batch to be mixed at all.
        seed: of all draws.

    Raises:
        ValueError: a parameter is out of range, or both kinds are off.

    Reference: Zhang et al. (ICLR 2018); Yun et al. (ICCV 2019), Algorithm 1.
    """

    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    probability: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        check(mixup_alpha=self.mixup_alpha, cutmix_alpha=self.cutmix_alpha, probability=self.probability)
        check(seed=self.seed)
        if self.mixup_alpha == self.cutmix_alpha == 0:
            raise ValueError(
                "Expected `mixup_alpha` or `cutmix_alpha` above 0, but got 0 and 0. Use no mixing to switch both off."
            )

    def __call__(self, images: Tensor, labels: Tensor, indices: Tensor | None, *step: int) -> Mixed | None:
        """Mix one batch; to be called on all ranks, also with no rows.

        Args:
            images: (B, channels, height, width) of this rank.
            labels, indices: (B,) that travel with the images; the indices may be None, on all ranks.
            step: integers that name the step, such as epoch and batch; equal on all ranks.

        Returns:
            None where the batch is left alone, on all ranks alike.
        """
        seed = derive_seed(derive_seed(self.seed, _STREAM), *step)
        with seeded(seed):
            recipe = (
                self._draw(*images.shape[-2:])
                if torch.rand((), dtype=torch.float32).item() < self.probability
                else None
            )
        if recipe is None:
            return None
        region = (..., *(recipe.box or (slice(None), slice(None))))
        numbered = [] if indices is None else [indices]
        parts, names, *numbers = _partners(derive_seed(seed), images[region], labels, *numbered)
        if recipe.box is None:
            mixed = recipe.lam * images + (1.0 - recipe.lam) * parts
        else:
            mixed = images.clone()
            mixed[region] = parts
        return Mixed(mixed, names, numbers[0] if numbers else None, recipe.lam)

    def _draw(self, height: int, width: int) -> _Recipe:
        cut = self.cutmix_alpha > 0 and (self.mixup_alpha == 0 or torch.rand((), dtype=torch.float32).item() < 0.5)
        alpha = self.cutmix_alpha if cut else self.mixup_alpha
        parameter = torch.tensor(alpha, dtype=torch.float32)
        lam = float(torch.distributions.Beta(parameter, parameter).sample())
        return _draw_box(lam, height, width) if cut else _Recipe(lam, None)


def _draw_box(lam: float, height: int, width: int) -> _Recipe:
    side = (1.0 - lam) ** 0.5
    row, column = int(torch.randint(height, ())), int(torch.randint(width, ()))
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    top, bottom = max(row - half_height, 0), min(row + half_height, height)
    left, right = max(column - half_width, 0), min(column + half_width, width)
    # The box may stick out of the image: the share is that of the pixels really kept.
    kept = 1.0 - (bottom - top) * (right - left) / (height * width)
    return _Recipe(kept, (slice(top, bottom), slice(left, right)))


def _partners(seed: int, *rows: Tensor) -> tuple[Tensor, ...]:
    """Return what a permutation of the rows of all ranks puts beside this rank's own."""
    counts = row_counts(rows[0])
    order = torch.randperm(sum(counts), generator=torch.Generator().manual_seed(seed))
    first = sum(counts[: rank()])
    mine = beside(order[first : first + counts[rank()]], rows[0])
    return tuple(every[mine] for every in gather_rows(*rows, counts=counts))
