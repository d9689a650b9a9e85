"""Which class an epoch shows how often, and how its batches are cut so that several ranks equal one process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Sampler

from semscale_pl.data.source import DataError
from semscale_pl.distributed import rank, world_size
from semscale_pl.options import check
from semscale_pl.seeding import derive_seed


class Sampling(Protocol):
    """A sampling rule, without state."""

    def class_frequencies(self, counts: Tensor, epoch: int) -> Tensor:
        """Return the probability q_c that a drawn sample is of class c, (C,) float64 with sum 1; 0 for an empty class.

        Args:
            counts: (C,) training samples of each class.
            epoch: from 0.
        """

    def draw(self, labels: Tensor, counts: Tensor, epoch: int, seed: int) -> Tensor:
        """Return the positions (N,) of an epoch's samples, as a function of the arguments alone.

        Args:
            labels: (N,) class of each sample.
            counts: (C,) training samples of each class.
            epoch: from 0.
            seed: any integer.
        """


class InstanceSampling:
    """Every sample once per epoch, in a random order: q_c = n_c / N."""

    def class_frequencies(self, counts: Tensor, epoch: int = 0) -> Tensor:
        """Return n_c / N, (C,) float64."""
        return counts.double() / counts.sum()

    def draw(self, labels: Tensor, counts: Tensor, epoch: int, seed: int) -> Tensor:
        """Return a permutation of all samples."""
        return torch.randperm(len(labels), generator=_generator(seed, epoch))


class PowerSampling:
    """N draws with replacement: a class with q_c in proportion to n_c^power, then any of its samples.

    Args:
        power: 1 is instance sampling with replacement, 1/2 square-root, 0 class-balanced, -1 reverse sampling.

    Reference: Kang et al. (ICLR 2020), section 3; reverse sampling: Zhou et al. (CVPR 2020), section 4.2.
    """

    def __init__(self, power: float) -> None:
        check("sampler", power=power)
        self.power = power

    def class_frequencies(self, counts: Tensor, epoch: int = 0) -> Tensor:
        """Return n_c^power over its sum, (C,) float64.

        Example:
            >>> PowerSampling(0.5).class_frequencies(torch.tensor([9, 1, 0])).tolist()
            [0.75, 0.25, 0.0]
        """
        powers = torch.where(counts > 0, counts.clamp(min=1).double() ** self.power, 0.0)
        return powers / powers.sum()

    def draw(self, labels: Tensor, counts: Tensor, epoch: int, seed: int) -> Tensor:
        """Return N positions, drawn with replacement."""
        return _draw(labels, counts, self.class_frequencies(counts, epoch), _generator(seed, epoch))


class ProgressiveSampling:
    """From instance sampling in the first epoch to class-balanced sampling in the last, linearly.

    Args:
        num_epochs: of the training.

    Reference: Kang et al. (ICLR 2020), section 3, equation 2.
    """

    def __init__(self, num_epochs: int) -> None:
        check(num_epochs=num_epochs)
        self.num_epochs = num_epochs

    def class_frequencies(self, counts: Tensor, epoch: int = 0) -> Tensor:
        """Return (1 - t) n_c / N + t / C with t = epoch / (num_epochs - 1), (C,) float64."""
        share = min(1.0, epoch / max(1, self.num_epochs - 1))
        instance = InstanceSampling().class_frequencies(counts)
        return (1 - share) * instance + share * PowerSampling(0.0).class_frequencies(counts)

    def draw(self, labels: Tensor, counts: Tensor, epoch: int, seed: int) -> Tensor:
        """Return N positions, drawn with replacement."""
        return _draw(labels, counts, self.class_frequencies(counts, epoch), _generator(seed, epoch))


class PerClassSampling:
    """Batches of M samples of each of B / M classes, which are drawn anew for every batch: q_c = 1 / C.

    In a batch no class is drawn twice before each was drawn once, and the M samples differ where the class has as many.
    A class's samples are all shown before one comes again, but for a rest of less than M.

    Args:
        samples: M.
        batch_size: B, of all ranks together.

    Raises:
        ValueError: B is no multiple of M.

    Reference: Zhai and Wu (BMVC 2019), section 3.3.
    """

    def __init__(self, samples: int, batch_size: int) -> None:
        check("sampler", samples=samples, batch_size=batch_size)
        if batch_size % samples:
            raise ValueError(
                f"Expected `batch_size` to be a multiple of `sampler.samples`, {samples}, but got {batch_size}. Set "
                f"dataset.batch_size={max(1, batch_size // samples) * samples}, or another sampler.samples."
            )
        self.samples, self.batch_size = samples, batch_size

    def class_frequencies(self, counts: Tensor, epoch: int = 0) -> Tensor:
        """Return 1 / C for each class that has samples, (C,) float64."""
        return PowerSampling(0.0).class_frequencies(counts)

    def draw(self, labels: Tensor, counts: Tensor, epoch: int, seed: int) -> Tensor:
        """Return N positions, M of a class after another; the last batch is cut where N ends."""
        generator = _generator(seed, epoch)
        present, groups = counts.nonzero().flatten(), self.batch_size // self.samples
        rounds = -(-groups // len(present))
        drawn = torch.cat(
            [
                torch.cat([present[torch.randperm(len(present), generator=generator)] for _ in range(rounds)])[:groups]
                for _ in range(-(-len(labels) // self.batch_size))
            ]
        )
        order = torch.empty(len(drawn), self.samples, dtype=torch.int64)
        for label in present.tolist():
            places = (drawn == label).nonzero().flatten()
            order[places] = self._groups((labels == label).nonzero().flatten(), len(places), generator)
        return order.flatten()[: len(labels)]

    def _groups(self, members: Tensor, number: int, generator: torch.Generator) -> Tensor:
        """Return so many groups (number, M) of a class's samples, pass after pass in another order."""
        whole = max(1, len(members) // self.samples)
        passes = []
        for _ in range(-(-number // whole)):
            shuffled = members[torch.randperm(len(members), generator=generator)]
            repeated = shuffled.repeat(-(-self.samples // len(members)))
            passes.append(repeated[: whole * self.samples].view(whole, self.samples))
        return torch.cat(passes)[:number] if passes else members.new_empty(0, self.samples)


class EpochSampler(Sampler[int]):
    """The order of one epoch, as a function of seed and epoch; Lightning sets the epoch through `set_epoch`.

    Args:
        sampling: the rule.
        labels: (N,) class of each training sample.
        counts: (C,) training samples of each class.
        seed: any integer.
        repeated: draw epoch 0 again and again, for ``trainer.overfit_batches``.
    """

    def __init__(
        self, sampling: Sampling, labels: Tensor, counts: Tensor, seed: int, *, repeated: bool = False
    ) -> None:
        self.sampling, self.labels, self.counts, self.seed = sampling, labels, counts, seed
        self.epoch, self.repeated = 0, repeated

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, that the next iteration draws."""
        self.epoch = 0 if self.repeated else epoch

    def __iter__(self) -> Iterator[int]:
        return iter(self.order().tolist())

    def order(self) -> Tensor:
        """Return the positions (N,) of the epoch."""
        return self.sampling.draw(self.labels, self.counts, self.epoch, self.seed)

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
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self.sampler.epoch
        for batch in self.tensors():
            yield [(index, epoch) for index in batch.tolist()]

    def tensors(self) -> Iterator[Tensor]:
        """Yield the positions (B,) of this rank's share of each batch."""
        check_batch_size(self.batch_size)
        parts = self.sampler.order().split(self.batch_size)[: len(self)]
        yield from parts if world_size() == 1 else map(rank_chunk, parts)

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
        self.size, self.batch_size = size, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        return (batch.tolist() for batch in self.tensors())

    def tensors(self) -> Iterator[Tensor]:
        """Yield the positions (B,) of this rank's share of each batch."""
        check_batch_size(self.batch_size)
        for number in range(len(self)):
            end = self.size if number == len(self) - 1 else (number + 1) * self.batch_size
            yield rank_chunk(torch.arange(number * self.batch_size, end))

    def __len__(self) -> int:
        full, rest = divmod(self.size, self.batch_size)
        return max(1, full + (rest >= world_size() and rest > 0))


def rank_chunk(batch: Tensor) -> Tensor:
    """Return this rank's share of a global batch; the shares in rank order are the batch, their sizes nearly equal."""
    ranks = world_size()
    if ranks == 1:
        return batch
    size, extra = divmod(len(batch), ranks)
    start = rank() * size + min(rank(), extra)
    return batch[start : start + size + (rank() < extra)]


def check_batch_size(batch_size: int) -> None:
    """Raise ValueError for a global batch that cannot give every rank a sample."""
    if batch_size < world_size():
        raise ValueError(
            f"Expected `batch_size` to be at least the number of ranks, {world_size()}, but got {batch_size}. "
            "It counts the samples of all ranks together: raise dataset.batch_size."
        )


def _draw(labels: Tensor, counts: Tensor, frequencies: Tensor, generator: torch.Generator) -> Tensor:
    probabilities = (frequencies / counts.clamp(min=1))[labels]
    # Inverse of the cumulative distribution: torch.multinomial stops at 2^24 samples.
    edges = probabilities.cumsum(0)
    draws = torch.rand(len(labels), generator=generator, dtype=torch.float64) * edges[-1]
    return torch.searchsorted(edges, draws, right=True).clamp(max=len(labels) - 1)


def _generator(seed: int, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, epoch))
