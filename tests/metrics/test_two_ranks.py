"""The report over two real gloo ranks equals one process, also where the ranks hold unequal numbers of rows or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

NUM_CLASSES = 11
COUNTS = list(range(110, 0, -10))
# Rows of the first rank, in turn: uneven, and all.
CUTS = (23, 60)


def rows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(60, NUM_CLASSES, generator=generator), torch.randint(NUM_CLASSES, (60,), generator=generator)


def run_rank(rank: int, folder: str) -> None:
    """Compute the report of each cut on one of two ranks and write it down."""
    # The package goes first: it makes torchvision importable beside a CPU-only torch.
    import semscale_pl  # noqa: F401
    from semscale_pl.metrics import ClassificationReport, report

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    logits, labels = rows()
    found = []
    for limit in (1000, 1):
        report.LARGE = limit
        for cut in CUTS:
            mine = slice(None, cut) if rank == 0 else slice(cut, None)
            metric = ClassificationReport(NUM_CLASSES, COUNTS)
            for part in torch.arange(60)[mine].split(7):
                metric.update(logits[part], labels[part])
            found.append(metric.compute())
    Path(folder, f"rank{rank}.json").write_text(json.dumps(found, allow_nan=False))
    torch.distributed.destroy_process_group()


def expected(limit: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    from semscale_pl.metrics import ClassificationReport, report

    monkeypatch.setattr(report, "LARGE", limit)
    metric = ClassificationReport(NUM_CLASSES, COUNTS)
    metric.update(*rows())
    found: dict[str, Any] = metric.compute()
    return found


def test_two_ranks_equal_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = torch.multiprocessing.get_context("spawn")
    processes = [context.Process(target=run_rank, args=(rank, str(tmp_path))) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    late = [process for process in processes if process.is_alive()]
    for process in late:
        process.kill()
    assert not late
    assert [process.exitcode for process in processes] == [0, 0]
    for rank in range(2):
        found = json.loads((tmp_path / f"rank{rank}.json").read_text())
        for result, limit in zip(found, [1000, 1000, 1, 1], strict=True):
            reference = expected(limit, monkeypatch)
            assert result.pop("ece") == pytest.approx(reference.pop("ece"), rel=1e-12)
            assert result == reference
