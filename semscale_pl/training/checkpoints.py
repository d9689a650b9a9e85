"""Checkpoints of a run: last.ckpt after every whole epoch, best.ckpt by validation, cut.ckpt of a run cut short."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities import rank_zero_only

from semscale_pl.callbacks.recording.interruption import CUT, LAST, in_mid_epoch, is_trial, reached_limit
from semscale_pl.distributed import from_first_rank
from semscale_pl.files import copy_file, remove_partial, replacing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write beside the file and rename, so that a run killed while it saves keeps its previous checkpoint.

    Lightning's own transaction passes through the system's temporary folder, and moving from there to another file
    system is a copy that can be cut short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write the file and put it in place in one step; what a kill left of an earlier attempt goes."""
        remove_partial(path)  # Lightning calls this on the first rank alone
        with replacing(path) as partial, partial.open("wb") as file:
            torch.save(checkpoint, file)


class BestCheckpoint(ModelCheckpoint):
    """Keep the best epoch's checkpoint, also where a run is resumed in another folder.

    Lightning forgets score and file there, so that the next epoch counts as the best so far, however bad it is.
    """

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, but not where a limit ends the training in mid-epoch: a resumed run does not come by there."""
        if trainer.state.fn != "fit" or not (in_mid_epoch(trainer) and reached_limit(trainer)):
            super().on_validation_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of `state_dict`, and the best file into this run's folder."""
        source = Path(str(state_dict["best_model_path"]))
        elsewhere = self.dirpath is not None and state_dict.get("dirpath") != self.dirpath
        found = from_first_rank(source.is_file())  # the ranks must agree: what they exchange later depends on it
        if elsewhere and state_dict["best_model_path"] and not found:
            warnings.warn(f"{source} is gone: the best epoch is that of the resumed run alone.", stacklevel=2)
        if not elsewhere or not found:
            super().load_state_dict(state_dict)
            return
        target, score = str(Path(str(self.dirpath)) / source.name), state_dict["best_model_score"]
        rank_zero_only(copy_file)(source, target)
        files = {"best_model_path": target, "kth_best_model_path": target, "last_model_path": ""}
        scores = {"best_k_models": {target: score}, "kth_value": score}
        super().load_state_dict({**state_dict, "dirpath": self.dirpath, **files, **scores})


class LastCheckpoint(ModelCheckpoint):
    """Keep the last whole epoch's checkpoint, from which a run can be resumed.

    A run that a limit of steps or time ends in mid-epoch leaves its model beside it, as ``cut.ckpt``.
    """

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, and take away what an earlier run that was cut short left."""
        cut = Path(str(self.dirpath)) / CUT
        if in_mid_epoch(trainer) and reached_limit(trainer):
            trainer.save_checkpoint(cut)
        elif not is_trial(trainer):
            super().on_train_epoch_end(trainer, pl_module)
            rank_zero_only(cut.unlink)(missing_ok=True)


def checkpoint_callbacks(
    run_dir: Path, has_validation: bool, monitor: str = "val/balanced_accuracy"
) -> list[pl.Callback]:
    """Return the callbacks that keep checkpoints/last.ckpt and, with a validation part, checkpoints/best.ckpt.

    Args:
        monitor: of the validation, the larger the better.
    """
    folder = run_dir / "checkpoints"
    common: dict[str, Any] = {"dirpath": folder, "save_top_k": 1, "enable_version_counter": False}
    last = LastCheckpoint(filename=LAST.removesuffix(".ckpt"), monitor=None, save_on_train_epoch_end=True, **common)
    if not has_validation:
        return [last]
    best = BestCheckpoint(filename="best", monitor=monitor, mode="max", save_on_train_epoch_end=False, **common)
    return [best, last]
