"""One rank of three that holds a share of the samples, which need not have all classes; run by test_discriminant.py."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from semscale_pl.geometry import DiscriminantMoments

RANKS = 3


def samples() -> tuple[Tensor, Tensor]:
    """Return all samples, sorted by class, so that ranks see different classes."""
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor([9, 5, 2, 1]))
    return torch.randn(len(labels), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 10.0, labels


def main(number: int, folder: Path) -> None:
    """Gather the moments of all ranks and save them."""
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=number, world_size=RANKS)
    features, labels = samples()
    moments = DiscriminantMoments(4, 3, class_sizes=torch.bincount(labels))
    moments.add(features.tensor_split(RANKS)[number], labels.tensor_split(RANKS)[number])
    torch.save(moments.gathered().state_dict(), folder / f"rank{number}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
