"""Learning-rate schedules that torch does not offer in one piece."""

from __future__ import annotations

from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


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
