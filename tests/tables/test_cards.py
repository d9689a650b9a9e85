"""Seats of worker processes: threads, cards and memory shared by those side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from semscale_pl.tables import cache
from semscale_pl.tables.cache import CellRun
from semscale_pl.tables.cards import CONTEXT_BYTES, memory_share, seats_for, spread, take_share, visible_cards
from semscale_pl.tables.schema import Cell, parse_table

RUN = CellRun(Cell("A", "", 0, ()), Path("a"))


def test_cells_of_the_cpu_get_one_thread_and_no_card() -> None:
    seats = seats_for([RUN], 3)
    assert [dict(seat.environment)["OMP_NUM_THREADS"] for seat in seats] == ["1", "1", "1"]
    assert all("CUDA_VISIBLE_DEVICES" not in seat.environment and seat.sharers == 0 for seat in seats)


def test_cores_are_shared_between_the_cells_of_a_card() -> None:
    assert {seat.environment["OMP_NUM_THREADS"] for seat in spread(["0"], 8, 16)} == {"2"}
    assert spread(["0"], 32, 16)[0].environment["OMP_NUM_THREADS"] == "1"
    assert spread(["0"], 1, 64)[0].environment["OMP_NUM_THREADS"] == "8"
    assert [seat.sharers for seat in spread(["0"], 5, 16)] == [5] * 5


@pytest.mark.parametrize("sharers", [1, 2, 8, 32])
def test_shares_with_their_contexts_fit_the_card(sharers: int) -> None:
    total = 80 * 2**30
    assert sharers * (memory_share(total, sharers) * total + CONTEXT_BYTES) == pytest.approx(total)
    assert memory_share(2**30, sharers) == 0.5 / sharers if sharers > 1 else True


def test_one_cell_alone_keeps_the_whole_card(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[tuple[float, int]] = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=64 * 2**30))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: set_to.append(given))
    take_share(1)
    take_share(4)
    assert set_to == [(memory_share(64 * 2**30, 4), 0)]


def test_cards_are_those_that_the_environment_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_cards() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-1f")
    assert visible_cards() == ["3", "GPU-1f"]


def test_a_gpu_that_is_not_there_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match="Expected a GPU for trainer=gpu, but torch sees none"):
        seats_for([replace(RUN, on_card=True)], 2)


def test_a_cell_asks_for_a_card_by_its_trainer(tmp_path: Path) -> None:
    content = {"name": "t", "measures": [{"name": "a", "key": "results.last.top1"}], "seeds": [0]}
    rows = {"cpu": [], "gpu": ["trainer=gpu"], "several": ["trainer=gpu", "trainer.devices=2"]}
    table = parse_table({**content, "rows": [{"name": name, "overrides": given} for name, given in rows.items()]})
    found = cache.locate(table, table.cells(), tmp_path)
    assert [run.on_card for run in found] == [False, True, False]
    assert len({run.folder for run in found}) == 3
