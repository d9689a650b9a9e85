"""The reports over two and three real gloo ranks equal one process, also where ranks hold unequal rows or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

NUM_CLASSES = 11
COUNTS = list(range(110, 0, -10))
# Rows of each rank, in turn: uneven, one without any, all on one.
CUTS = ((23, 37), (60, 0), (20, 13, 27), (0, 41, 19), (0, 0, 60))


def rows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    # Rounded for ties, and large enough for probabilities that are 1 in float32.
    logits = (torch.randn(60, NUM_CLASSES, generator=generator) * 20).round()
    return logits, torch.randint(NUM_CLASSES, (60,), generator=generator)


def searches(mine: Tensor, group: Any = None) -> list[Any]:
    """Return what neighbours and clusters say of some rows, once with the first half of all of them as the gallery."""
    from semscale_pl.metrics import ClusteringReport, RetrievalReport

    (logits, labels), found = rows(), []
    separate = RetrievalReport((1, 4), process_group=group)
    for metric in (
        RetrievalReport(process_group=group),
        ClusteringReport(restarts=2, process_group=group),
        separate,
    ):
        for part in mine.split(7) if len(mine) else ():
            if metric is separate:
                half = part[part < 30]
                metric.add_gallery(logits[half], labels[half] % 3)
                metric.update(logits[part[part >= 30]], labels[part[part >= 30]] % 3)
            else:
                metric.update(logits[part], labels[part] % 3)
        found.append(metric.compute())
    return found


def run_rank(rank: int, folder: str) -> None:
    """Compute the report of each cut on one of three ranks, of which the first two take some, and write it down."""
    # The package goes first: it makes torchvision importable beside a CPU-only torch.
    import semscale_pl  # noqa: F401
    from semscale_pl.metrics import ClassificationReport, report, scores

    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=3)
    groups = {2: torch.distributed.new_group([0, 1]), 3: torch.distributed.group.WORLD}
    logits, labels = rows()
    found, searched = [], []
    for limit, scores.IN_MEMORY in ((1000, 2**20), (1, 1000)):
        report.LARGE = limit
        for cut in CUTS:
            if rank >= len(cut):
                continue
            mine = torch.arange(60).split(list(cut))[rank]
            metric = ClassificationReport(NUM_CLASSES, COUNTS, process_group=groups[len(cut)])
            for part in mine.split(7) if len(mine) else ():
                metric.update(logits[part], labels[part])
            found.append([limit, metric.compute()])
            # What was exchanged is forgotten: the rank goes on with its own rows.
            assert metric.average_precision.true_scores == [] or len(metric.average_precision.labels[0]) <= 7
    for cut in CUTS:
        if rank < len(cut):
            searched.append(searches(torch.arange(60).split(list(cut))[rank], groups[len(cut)]))
    Path(folder, f"rank{rank}.json").write_text(json.dumps([found, searched], allow_nan=False))
    torch.distributed.destroy_process_group()


def expected(limit: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    from semscale_pl.metrics import ClassificationReport, report

    monkeypatch.setattr(report, "LARGE", limit)
    metric = ClassificationReport(NUM_CLASSES, COUNTS)
    metric.update(*rows())
    found: dict[str, Any] = metric.compute()
    return found


def test_two_and_three_ranks_equal_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = torch.multiprocessing.get_context("spawn")
    processes = [context.Process(target=run_rank, args=(rank, str(tmp_path))) for rank in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    late = [process for process in processes if process.is_alive()]
    for process in late:
        process.kill()
    assert not late
    assert [process.exitcode for process in processes] == [0, 0, 0]
    alone = json.loads(json.dumps(searches(torch.arange(60))))
    for rank in range(3):
        found, searched = json.loads((tmp_path / f"rank{rank}.json").read_text())
        assert searched == [alone] * sum(rank < len(cut) for cut in CUTS)
        assert len(found) == 2 * sum(rank < len(cut) for cut in CUTS)
        for limit, result in found:
            reference = expected(limit, monkeypatch)
            assert result.pop("ece") == pytest.approx(reference.pop("ece"), rel=1e-12)
            assert result == reference
