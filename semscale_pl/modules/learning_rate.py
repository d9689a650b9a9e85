"""How the learning rate follows the number of samples of a step."""

from __future__ import annotations


def linear_scaling(rate: float, batch_size: int, reference_batch: int) -> float:
    """Scale a learning rate in proportion to the global batch.

    Args:
        rate: learning rate that suits ``reference_batch``.
        batch_size: samples of one optimizer step, of all ranks and accumulated batches together.
        reference_batch: samples of one step for which ``rate`` was chosen.

    Returns:
        ``rate * batch_size / reference_batch``.

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
