"""Without a process group every exchange is the identity; with one it is held by tests/distributed."""

from __future__ import annotations

import torch

from semscale_pl.distributed import gather_rows, global_row_count, rank, row_counts, world_size


def test_one_process() -> None:
    rows, labels = torch.randn(3, 2, requires_grad=True), torch.arange(3)
    gathered, gathered_labels = gather_rows(rows, labels)
    assert torch.equal(gathered, rows)
    assert torch.equal(gathered_labels, labels)
    assert not gathered.requires_grad
    assert (world_size(), rank(), row_counts(rows), global_row_count(rows)) == (1, 0, [3], 3)
