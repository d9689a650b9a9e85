"""Drift against features written out epoch by epoch, the file, resume and refusals."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader

from semscale_pl.callbacks.recording.drift import COLUMNS, NAME, FeatureDrift, drift
from semscale_pl.callbacks.step_seed import StepSeed
from semscale_pl.geometry import semantic_scale

Build = Callable[..., Any]


class Keeper(pl.Callback):
    """Keep the training images' features of each epoch."""

    def __init__(self) -> None:
        self.features: list[np.ndarray] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.eval()
        with torch.no_grad():
            rows = [pl_module.features(batch[0]) for batch in trainer.datamodule.eval_train_dataloader()]
        pl_module.train()
        self.features.append(torch.cat(rows).double().numpy())


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / NAME).open(newline="") as file:
        return list(csv.DictReader(file))


def halving(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)


def test_rows_are_those_of_the_features_written_out(
    digits: Build, classifier: Build, trainer: Build, tmp_path: Path
) -> None:
    keeper, data = Keeper(), digits()
    module = classifier(scheduler=halving)
    trainer(FeatureDrift(tmp_path), keeper, max_epochs=3).fit(module, datamodule=data)
    rows = read(tmp_path)
    assert tuple(rows[0]) == COLUMNS
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([0.1, 0.05, 0.025])
    assert all(rows[0][column] == "" for column in COLUMNS[2:])
    labels = data.train_dataset.labels.numpy()
    for row, before, after in zip(rows[1:], keeper.features, keeper.features[1:], strict=False):
        spread = math.sqrt(((before - before.mean(0)) ** 2).sum(1).mean())
        moved = np.linalg.norm(after - before, axis=1) / spread
        assert float(row["mean"]) == pytest.approx(moved.mean(), rel=1e-5)
        assert float(row["p90"]) == pytest.approx(np.quantile(moved, 0.9), rel=1e-5)
        to_norm = np.linalg.norm(after - before, axis=1) / np.linalg.norm(after, axis=1)
        assert float(row["to_norm"]) == pytest.approx(to_norm.mean(), rel=1e-5)
        changes = []
        for label in range(10):
            old, new = (
                float(semantic_scale(torch.from_numpy(part[labels == label]).float())) for part in (before, after)
            )
            changes += [abs(new - old) / new] if new > 0 else []
        assert float(row["scale_change"]) == pytest.approx(np.mean(changes), rel=1e-4)


def test_it_changes_nothing_in_the_training(digits: Build, classifier: Build, trainer: Build, tmp_path: Path) -> None:
    watched, plain = classifier(dropout=0.3), classifier(dropout=0.3)
    trainer(FeatureDrift(tmp_path), StepSeed(5), max_epochs=2).fit(watched, datamodule=digits())
    trainer(StepSeed(5), max_epochs=2).fit(plain, datamodule=digits())
    for one, other in zip(watched.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_resumed_run_writes_what_an_unbroken_one_does(
    digits: Build, classifier: Build, trainer: Build, tmp_path: Path
) -> None:
    def run(folder: str, epochs: int, start_from: Path | None = None) -> None:
        keep = ModelCheckpoint(tmp_path / folder, save_last=True, save_on_train_epoch_end=True)
        loop = trainer(FeatureDrift(tmp_path / folder), StepSeed(5), keep, max_epochs=epochs, enable_checkpointing=True)
        loop.fit(classifier(), datamodule=digits(), ckpt_path=start_from, weights_only=True)

    run("whole", 4)
    run("part", 2)
    run("rest", 4, tmp_path / "part" / "last.ckpt")
    assert read(tmp_path / "whole") == read(tmp_path / "rest")


def test_drift_of_equal_and_of_shifted_features() -> None:
    features = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    assert drift(features, features).tolist() == [0.0] * 50
    shift = torch.tensor([3.0, 4.0, 0.0])
    spread = features.double().sub(features.double().mean(0)).square().sum(1).mean().sqrt()
    torch.testing.assert_close(drift(features, features + shift), (5.0 / spread).expand(50), rtol=1e-6, atol=0)
    assert drift(torch.ones(2, 3), torch.zeros(2, 3)).isnan().all()


def test_refusals(trainer: Build, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_features"):
        FeatureDrift(tmp_path, num_features=0)
    loader = DataLoader(torch.ones(4, 32))  # type: ignore[arg-type]
    with pytest.raises(MisconfigurationException, match="FeatureDrift"):
        trainer(FeatureDrift(tmp_path)).fit(BoringModel(), loader)
