"""What a run says before its first minute: data, model, method, device and folder in a few lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from semscale_pl.training.provenance import device_name


def opening_lines(
    cfg: DictConfig, datamodule: Any, module: Any, trainer: Any, run_dir: Path, choices: Mapping[str, Any]
) -> list[str]:
    """Describe a run that is about to train.

    Args:
        choices: name of the option that was chosen for each group, such as ``{"loss": "ce"}``; classes stand in where
            it is silent.
    """
    length = f"{cfg.trainer.max_epochs} epochs of batches of {cfg.dataset.batch_size}"
    if getattr(getattr(module, "classifier", None), "trains_nothing", False):
        length = "nothing to train, one pass over the training data"
    device = device_name(trainer.strategy.root_device)
    ranks = f", {trainer.world_size} processes" if trainer.world_size > 1 else ""
    weights = _reweighting(cfg, choices) + _once(cfg, datamodule, module)
    return [
        f"{datamodule.name}: {_counts(datamodule)}",
        f"{_samples(datamodule)}, {_chosen(cfg, 'backbone', choices)} with {_size(module.backbone)}, "
        f"{_chosen(cfg, 'classifier', choices)} classifier",
        f"loss {_chosen(cfg, 'loss', choices)}, re-weighting {weights}",
        f"{length}, {_arithmetic(cfg)}, on {device}{ranks}",
        f"run folder {run_dir}",
    ]


def opening_line(cfg: DictConfig, choices: Mapping[str, Any], run_dir: Path) -> str:
    """Describe a job of a sweep in one line."""
    data, loss = str(cfg.dataset.get("name")), _chosen(cfg, "loss", choices)
    return f"{data}, loss {loss}, re-weighting {_reweighting(cfg, choices)}, seed {cfg.seed}: {run_dir}"


def _samples(datamodule: Any) -> str:
    shape = datamodule.eval_train_dataset[0][0].shape
    return f"{shape[0]:,} features" if len(shape) == 1 else f"{' x '.join(map(str, shape))} images"


def _counts(datamodule: Any) -> str:
    counts: Sequence[int] = [int(count) for count in datamodule.class_counts]
    largest, smallest = max(range(len(counts)), key=counts.__getitem__), min(range(len(counts)), key=counts.__getitem__)
    names = datamodule.class_names
    held_out = f", {len(datamodule.val_dataset):,} held out" if datamodule.has_validation else ""
    what = "features" if hasattr(datamodule, "num_features") else "images"
    return (
        f"{len(counts)} classes, {sum(counts):,} training {what} (largest class {names[largest]!r} "
        f"{counts[largest]:,}, smallest {names[smallest]!r} {counts[smallest]:,}){held_out}, "
        f"{len(datamodule.test_dataset):,} for the test"
    )


def _arithmetic(cfg: DictConfig) -> str:
    further = {"tf32": ", TF32", "compile": ", compiled"}
    return f"precision {cfg.trainer.precision}" + "".join(words for key, words in further.items() if cfg.get(key))


def _size(backbone: Any) -> str:
    parameters = list(backbone.parameters())
    total, trained = (sum(one.numel() for one in parameters if one.requires_grad or which) for which in (True, False))
    return f"{total:,} parameters" + ("" if trained == total else f" ({trained:,} of them trained)")


def _reweighting(cfg: DictConfig, choices: Mapping[str, Any]) -> str:
    name, start = _chosen(cfg, "reweighting", choices), cfg.reweighting.get("start_epoch")
    return name if start is None else f"{name} from epoch {start} on (counted from 0)"


def _once(cfg: DictConfig, datamodule: Any, module: Any) -> str:
    """Say that the scales are those of features that never change, where it is so."""
    pooled = cfg.reweighting.get("pool") == "indexed" and module.mixing is None
    constant = getattr(module, "has_fixed_features", False) and not getattr(datamodule, "varies", True)
    return ", computed once, as the features never change" if pooled and constant else ""


def _chosen(cfg: DictConfig, group: str, choices: Mapping[str, Any]) -> str:
    return str(choices.get(group) or str(cfg[group].get("_target_")).rpartition(".")[2])
