"""Randomness as a function of named integers, so that a resumed run draws what an unbroken one drew."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# The constants of splitmix64 as signed integers: torch's int64 wraps around as unsigned arithmetic does.
_GOLDEN, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


def derive_seed(*parts: int) -> int:
    """Hash integers, such as (seed, epoch, index), in their order to a seed in [0, 2^63).

    The hash is stable across processes, platforms and versions; neighbouring inputs give unrelated seeds.

    Example:
        >>> derive_seed(0, 1, 2) == derive_seed(0, 1, 2), derive_seed(0, 1, 2) == derive_seed(0, 2, 1)
        (True, False)
    """
    text = ",".join(str(int(part)) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with torch's CPU generator seeded, then put the generator back where it was."""
    # Not torch.manual_seed: that takes fifty times as long and seeds the GPUs' generators too.
    generator = torch.default_generator
    before = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(before)


def beside(drawn: Tensor, other: Tensor) -> Tensor:
    """Return what was drawn on the CPU on the device of another tensor, copied there without waiting.

    A copy out of memory that is not pinned would wait until the device has done all that it was given before.
    """
    if other.device.type == "cpu":
        return drawn
    if other.device.type == "cuda":
        return drawn.pin_memory().to(other.device, non_blocking=True)
    return drawn.to(other.device)


class Draws:
    """Random numbers of many samples at once, a function of each sample's own (seed, epoch, index).

    A sample draws the same numbers in any batch, on any rank, in any process and on any device: number n of a key is
    splitmix64 of key and n, nothing is kept but how many numbers have been drawn.

    Args:
        keys: (B,) int64, of each sample; see :meth:`of`.

    Example:
        >>> both = Draws.of(0, torch.tensor([5, 5]), torch.tensor([7, 8])).uniform(2)
        >>> alone = Draws.of(0, torch.tensor([5]), torch.tensor([8])).uniform(2)
        >>> torch.equal(both[1:], alone)
        True

    Reference: Steele, Lea, Flood (OOPSLA 2014); the constants are those of Vigna's splitmix64.
    """

    def __init__(self, keys: Tensor) -> None:
        self.keys = keys
        self._drawn = 0

    @classmethod
    def of(cls, seed: int, epochs: Tensor, indices: Tensor) -> Draws:
        """Return the draws of samples (B,) in their epochs (B,)."""
        start = derive_seed(seed)
        return cls(_mixed(_mixed(start + (epochs + 1) * _GOLDEN) + (indices + 1) * _GOLDEN))

    @classmethod
    def from_torch(cls, size: int) -> Draws:
        """Return the draws of samples without a name, which torch's generator gives keys to."""
        return cls(torch.randint(-(2**63), 2**63 - 1, (size,)))

    def __len__(self) -> int:
        return len(self.keys)

    def uniform(self, count: int) -> Tensor:
        """Return the next numbers of each sample, (B, count) float64, uniform in [0, 1) in steps of 2^-53."""
        places = torch.arange(self._drawn + 1, self._drawn + count + 1, device=self.keys.device)
        self._drawn += count
        bits = _mixed(self.keys[:, None] + places * _GOLDEN)
        return _shifted(bits, 11).double() * 2.0**-53


def _mixed(bits: Tensor) -> Tensor:
    bits = (bits ^ _shifted(bits, 30)) * _FIRST
    bits = (bits ^ _shifted(bits, 27)) * _SECOND
    return bits ^ _shifted(bits, 31)


def _shifted(bits: Tensor, places: int) -> Tensor:
    """Shift to the right and fill with zeros; torch's own shift repeats the sign."""
    return (bits >> places) & ((1 << (64 - places)) - 1)
