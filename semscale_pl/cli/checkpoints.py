"""Checkpoints of a run: last.ckpt after every epoch, best.ckpt by validation, never half-written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO

MONITOR = "val/balanced_accuracy"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside the file and rename, so that a run killed while it saves keeps its previous checkpoint.

    Lightning's own transaction passes through the system's temporary folder, and moving from there to another file
    system is a copy that can be cut short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write the file and put it in place in one step."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        with partial.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)


def checkpoint_callbacks(run_dir: Path, has_validation: bool) -> list[pl.Callback]:
    """Return the callbacks that keep checkpoints/last.ckpt and, with a validation part, checkpoints/best.ckpt."""
    folder = run_dir / "checkpoints"
    common: dict[str, Any] = {"dirpath": folder, "save_top_k": 1, "enable_version_counter": False}
    last = ModelCheckpoint(filename="last", monitor=None, save_on_train_epoch_end=True, **common)
    if not has_validation:
        return [last]
    best = ModelCheckpoint(filename="best", monitor=MONITOR, mode="max", save_on_train_epoch_end=False, **common)
    return [best, last]


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint without running any code in it.

    Raises:
        ValueError: it is not a checkpoint of this package.
    """
    content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if "config" not in content.get("hyper_parameters", {}):
        raise ValueError(f"Expected a checkpoint that `semscale train` wrote, but {path} carries no configuration.")
    return content
