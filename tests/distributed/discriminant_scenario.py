"""One rank that holds a share of the samples, which need not have all classes or any; run by test_discriminant.py."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from semscale_pl.geometry import DiscriminantMoments

# Rows of each rank: classes on one rank alone and one on two, unequal shares, and a rank without a sample.
SHARES = {2: (11, 6), 3: (11, 0, 6)}


def samples() -> tuple[Tensor, Tensor]:
    """Return all samples, sorted by class, so that ranks see different classes."""
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor([9, 5, 2, 1]))
    return torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 10.0, labels


def main(number: int, ranks: int, folder: Path) -> None:
    """Gather the moments of all ranks and save them."""
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=number, world_size=ranks)
    features, labels = samples()
    moments = DiscriminantMoments(4, 3, class_sizes=torch.bincount(labels))
    moments.add(features.split(SHARES[ranks])[number], labels.split(SHARES[ranks])[number])
    torch.save(moments.gathered().state_dict(), folder / f"rank{number}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
