"""The device that the tests of this folder are for, and small runs on it.

``pytest -m cuda tests/cuda`` where there is a card; with SEMSCALE_TEST_DEVICE=cpu the CPU stands in for one, as far as
it can. The tests need pytest, torch and what the package needs, no more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from semscale_pl.config.checks import check_train
from semscale_pl.config.composing import config_dir
from semscale_pl.training import building
from semscale_pl.training.run import train

# cuBLAS reads it when it starts; without it, Lightning's deterministic training is refused by torch.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
NAME = os.environ.get("SEMSCALE_TEST_DEVICE", "cuda")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip where there is no card, and let libraries of other versions than ours warn."""
    absent = NAME == "cuda" and not torch.cuda.is_available()
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.filterwarnings("default"))
            if absent:
                item.add_marker(
                    pytest.mark.skip(reason="no CUDA device; SEMSCALE_TEST_DEVICE=cpu rehearses on the CPU")
                )


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Return the card, or the CPU in a rehearsal."""
    return torch.device(NAME)


@pytest.fixture(autouse=True)
def _own_products() -> Iterator[None]:
    """Keep a test's arithmetic to itself."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def settings(device: torch.device) -> list[str]:
    """Return what makes a small run on the device repeatable bit by bit."""
    own = ["trainer=gpu", "trainer.benchmark=false"] if device.type == "cuda" else ["trainer=cpu"]
    small = ["dataset=digits_lt", "imbalance_factor=20", "backbone.width=4", "trainer.max_epochs=2"]
    return [*own, *small, "trainer.deterministic=true"]


@pytest.fixture(scope="session")
def composed() -> Callable[..., DictConfig]:
    """Return a function from overrides to a checked configuration."""

    def compose_from(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            cfg = compose("train", overrides=list(overrides))
        check_train(cfg)
        return cfg

    return compose_from


@pytest.fixture
def trained(
    settings: list[str], composed: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Return a function that trains in a folder, with further callbacks, and returns the record."""
    build = building.build_callbacks

    def run(folder: str, *overrides: str, callbacks: tuple[pl.Callback, ...] = ()) -> dict[str, Any]:
        monkeypatch.setattr(building, "build_callbacks", lambda *parts: [*build(*parts), *callbacks])
        train(composed(*settings, *overrides), tmp_path / folder)
        record: dict[str, Any] = json.loads((tmp_path / folder / "metrics.json").read_text())
        return record

    return run


@pytest.fixture
def parameters(tmp_path: Path) -> Callable[[str], dict[str, torch.Tensor]]:
    """Return a function from a run's folder to the state that its last checkpoint holds, on the CPU."""

    def read(folder: str) -> dict[str, torch.Tensor]:
        path = tmp_path / folder / "checkpoints/last.ckpt"
        state: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        return state

    return read


@pytest.fixture
def fitted(composed: Callable[..., DictConfig], tmp_path: Path) -> Callable[..., list[float]]:
    """Return a function that takes a few steps with its overrides and returns their losses."""

    def fit(*overrides: str) -> list[float]:
        cfg = composed("dataset=digits_lt", "+trainer.enable_checkpointing=false", *overrides)
        pl.seed_everything(0, verbose=False)
        datamodule = building.build_datamodule(cfg)
        counts = [int(count) for count in datamodule.class_counts]
        module = building.build_module(cfg, datamodule.num_classes, datamodule.class_names, counts)
        losses: list[float] = []
        keep = pl.callbacks.LambdaCallback(
            on_train_batch_end=lambda trainer, module, outputs, *_: losses.append(float(outputs["loss"]))
        )
        reweighting = building.built_or_none(cfg.reweighting)
        callbacks = [one for one in (reweighting, keep) if one is not None]
        building.build_trainer(cfg, callbacks, [], tmp_path, datamodule.has_validation).fit(
            module, datamodule=datamodule
        )
        return losses

    return fit
