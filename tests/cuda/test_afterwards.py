"""What a card has trained is of use on a machine without one, and one card serves two runs at a time."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig
from PIL import Image

from semscale_pl.tables.cache import locate
from semscale_pl.tables.schema import parse_table
from semscale_pl.tables.workers import run_cells
from semscale_pl.training.evaluation import evaluate
from semscale_pl.training.prediction import predict
from semscale_pl.training.provenance import device_name
from semscale_pl.training.run import train

pytestmark = pytest.mark.cuda


@pytest.fixture(scope="module")
def run(settings: list[str], composed: Callable[..., DictConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train once on the device, in mixed precision."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(composed(*settings, "reweighting=semantic_scale", "reweighting.start_epoch=1", "trainer.precision=bf16-mixed",
                   "trainer.max_epochs=3"), folder)  # fmt: skip
    return folder


# Predicts and exports; the arguments are a checkpoint, a folder of pictures and where to write.
WITHOUT_CARD = """
import sys
from pathlib import Path
import torch
from semscale_pl.training.export import export
from semscale_pl.training.prediction import predict
assert not torch.cuda.is_available()
ckpt, pictures, out = sys.argv[1:]
assert predict(ckpt, pictures, Path(out) / "alone.csv").predicted == 3
difference, allowed = export(ckpt, Path(out) / "model.pt", "torchscript")
assert difference <= allowed
"""


def test_an_evaluation_agrees_with_and_without_the_card(run: Path, device: torch.device) -> None:
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    for split in ("test", "train"):
        ours = evaluate(run / "checkpoints/last.ckpt", accelerator, split)
        theirs = evaluate(run / "checkpoints/last.ckpt", "cpu", split)
        for name in ("top1", "balanced_accuracy", "ece", "mean_average_precision"):
            assert ours[name] == pytest.approx(theirs[name], abs=5e-3), name  # type: ignore[literal-required]
    recorded = json.loads((run / "metrics.json").read_text())["results"]["last"]["top1"]
    assert theirs["top1"] is not None
    assert evaluate(run / "checkpoints/last.ckpt")["top1"] == pytest.approx(recorded, abs=0.02)


def test_a_machine_without_a_card_predicts_and_exports(run: Path, device: torch.device, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = torch.Generator().manual_seed(0)
    for number in range(3):
        values = torch.randint(0, 256, (8, 8), generator=rng, dtype=torch.uint8)
        Image.fromarray(values.numpy()).save(pictures / f"{number}.png")
    ckpt = run / "checkpoints/last.ckpt"
    line = [sys.executable, "-c", WITHOUT_CARD, str(ckpt), str(pictures), str(tmp_path)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    predict(ckpt, pictures, tmp_path / "here.csv", accelerator="gpu" if device.type == "cuda" else "cpu")
    alone, here = (
        list(csv.DictReader((tmp_path / name).read_text().splitlines())) for name in ("alone.csv", "here.csv")
    )
    assert len(alone) == 3
    for row, expected in zip(here, alone, strict=True):
        assert float(row["probability"]) == pytest.approx(float(expected["probability"]), abs=1e-4)
    module = torch.jit.load(str(tmp_path / "model.pt"))
    logits = module(torch.zeros(2, 1, 8, 8))
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()


def test_two_cells_at_a_time(settings: list[str], device: torch.device, tmp_path: Path) -> None:
    rows = [{"name": "CE"}, {"name": "DSB", "overrides": ["reweighting=semantic_scale", "reweighting.start_epoch=1"]}]
    measures = [{"name": "top-1", "key": "results.last.top1"}]
    table = parse_table({"name": "two", "base": settings, "rows": rows, "seeds": [0], "measures": measures})
    runs = locate(table, table.cells(), tmp_path)
    outcomes = list(run_cells(table, runs, jobs=2))
    assert [outcome.failure for outcome in outcomes] == [None, None]
    records = [found for one in runs if (found := one.metrics()) is not None]
    assert len(records) == 2
    assert {record["provenance"]["device"] for record in records} == {device_name(device)}
