"""Learning-rate schedules that torch does not offer in one piece, and the rule for the size of a batch."""

from __future__ import annotations

from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def linear_scaling(rate: float, batch_size: int, reference_batch: int) -> float:
    """Scale a learning rate in proportion to the global batch.

    Args:
        rate: learning rate that suits ``reference_batch``.
        batch_size: samples of one optimizer step, of all ranks and accumulated batches together.
        reference_batch: samples of one step for which ``rate`` was chosen.

    Raises:
        ValueError: a batch below 1.

    >>> linear_scaling(0.1, batch_size=512, reference_batch=128)
    0.4

    Reference: Goyal et al. (2017), Accurate, Large Minibatch SGD, section 2.1. Large batches need a warm-up as well.
    """
    if min(batch_size, reference_batch) < 1:
        raise ValueError(
            f"Expected `batch_size` and `reference_batch` to be at least 1, but got {batch_size} and {reference_batch}."
        )
    return rate * batch_size / reference_batch


def warmup_multistep(
    optimizer: Optimizer,
    total_epochs: int,
    milestones: Sequence[float] = (0.8, 0.9),
    gamma: float = 0.1,
    warmup_epochs: int = 5,
) -> LambdaLR:
    """Warm the learning rate up linearly, then cut it at each milestone.

    Args:
        optimizer: whose learning rates are scheduled.
        total_epochs: of the training.
        milestones: shares of the total in [0, 1], or epochs where above 1.
        gamma: factor at each milestone.
        warmup_epochs: epochs until the full rate; epoch e uses (e + 1) / warmup_epochs of it.

    Raises:
        ValueError: no epochs, or a negative milestone or warm-up.

    Reference: Cao et al. (NeurIPS 2019), appendix C: 200 epochs, cut at 160 and 180, 5 epochs of warm-up.
    """
    if total_epochs < 1 or warmup_epochs < 0 or any(milestone < 0 for milestone in milestones):
        raise ValueError(
            f"Expected `total_epochs` of at least 1 and no negative `warmup_epochs` or `milestones`, but got "
            f"{total_epochs}, {warmup_epochs} and {list(milestones)}."
        )
    epochs = [round(milestone * total_epochs) if milestone <= 1 else int(milestone) for milestone in milestones]

    def factor(epoch: int) -> float:
        rising = min(1.0, (epoch + 1) / warmup_epochs) if warmup_epochs else 1.0
        return rising * gamma ** sum(epoch >= milestone for milestone in epochs)

    return LambdaLR(optimizer, factor)
