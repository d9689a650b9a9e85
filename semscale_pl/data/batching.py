"""Global batches cut into rank chunks, so that several ranks see together what one process would see alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from semscale_pl.data.samplers import Sampling
from semscale_pl.data.source import DataError
from semscale_pl.distributed import rank, world_size


class EpochSampler(Sampler[int]):
    """The order of one epoch, as a function of seed and epoch; Lightning tells the epoch through `set_epoch`.

    Args:
        sampling: the rule.
        labels: (N,) class of each training sample.
        counts: (C,) training samples of each class.
        seed: any integer.
    """

    def __init__(self, sampling: Sampling, labels: Tensor, counts: Tensor, seed: int) -> None:
        self.sampling = sampling
        self.labels = labels
        self.counts = counts
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws.

        Args:
            epoch: from 0.
        """
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        return iter(self.sampling.draw(self.labels, self.counts, self.epoch, self.seed).tolist())

    def __len__(self) -> int:
        return len(self.labels)


class GlobalBatchSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (index, epoch) keys of this rank: its chunk of every global batch.

    Rank and number of ranks are looked up when an iteration begins. A last global batch with fewer samples than ranks
    is dropped, so that all ranks make the same number of steps with at least one sample each.

    Args:
        sampler: the order of an epoch.
        batch_size: samples of a batch of all ranks together.
        drop_last: drop an incomplete last batch.

    Raises:
        DataError: there is no whole batch, and incomplete ones are dropped.
    """

    def __init__(self, sampler: EpochSampler, batch_size: int, drop_last: bool = False) -> None:
        if drop_last and len(sampler) < batch_size:
            raise DataError(
                f"Expected at least one batch, but {len(sampler)} training images make no batch of {batch_size} and "
                "drop_last drops what is smaller. Lower dataset.batch_size, or set dataset.drop_last=false."
            )
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        check_batch_size(self.batch_size)
        epoch, order = self.sampler.epoch, list(self.sampler)
        for number in range(len(self)):
            batch = order[number * self.batch_size : (number + 1) * self.batch_size]
            yield [(index, epoch) for index in rank_chunk(batch)]

    def __len__(self) -> int:
        full, rest = divmod(len(self.sampler), self.batch_size)
        return full + (rest >= world_size() and rest > 0 and not self.drop_last)


class EvaluationBatchSampler(Sampler[list[int]]):
    """Every sample exactly once over all ranks, in order; each rank gets the same number of batches, none empty.

    Args:
        size: N samples.
        batch_size: samples of a batch of all ranks together; a remainder smaller than the number of ranks joins the
            last batch.
    """

    def __init__(self, size: int, batch_size: int) -> None:
        self.size = size
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        check_batch_size(self.batch_size)
        for number in range(len(self)):
            end = self.size if number == len(self) - 1 else (number + 1) * self.batch_size
            yield rank_chunk(list(range(number * self.batch_size, end)))

    def __len__(self) -> int:
        full, rest = divmod(self.size, self.batch_size)
        return max(1, full + (rest >= world_size() and rest > 0))


def rank_chunk(batch: list[int]) -> list[int]:
    """Return this rank's share of a global batch; the ranks' shares in rank order are the batch.

    Args:
        batch: any items; the sizes of the shares differ by at most one.
    """
    size, extra = divmod(len(batch), world_size())
    start = rank() * size + min(rank(), extra)
    return batch[start : start + size + (rank() < extra)]


def check_batch_size(batch_size: int) -> None:
    """Raise ValueError for a global batch that cannot give every rank a sample."""
    if batch_size < world_size():
        raise ValueError(
            f"Expected `batch_size` to be at least the number of ranks, {world_size()}, but got {batch_size}. "
            "It counts the samples of all ranks together: raise dataset.batch_size."
        )


def loader_generator(seed: int) -> torch.Generator:
    """Return a loader's own generator, so that building an iterator leaves torch's global generator alone.

    Args:
        seed: any integer in [0, 2^63).
    """
    return torch.Generator().manual_seed(seed)
