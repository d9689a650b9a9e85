"""Options that only work together: LDAM and its cosine head, held-out images and what is measured on them."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from semscale_pl.cli.errors import WrongCallError

_HOLD_OUT = "Hold one out with dataset.validation_per_class=N or dataset.validation_fraction=F."


def check_combinations(cfg: DictConfig) -> None:
    """Refuse options that cannot work with each other.

    Args:
        cfg: of a training run.

    Raises:
        WrongCallError: naming the options and what goes with them.
    """
    _check_ldam(cfg)
    if may_have_validation(cfg):
        return
    if _class_name(cfg, "reweighting") == "DifficultyReweighting":
        raise WrongCallError(
            "Expected a validation part for reweighting=cdb, which measures the classes' difficulty on it, but got "
            f"none. {_HOLD_OUT}"
        )
    for name in map(str, cfg.get("callbacks") or {}):
        monitor = OmegaConf.select(cfg, f"callbacks.{name}.monitor")
        if str(monitor).startswith("val/"):
            raise WrongCallError(
                f"Expected a validation part for `callbacks.{name}`, which watches {monitor}, but got none. {_HOLD_OUT}"
            )


def may_have_validation(cfg: DictConfig) -> bool:
    """Tell whether a run may have a validation part, as far as its configuration shows.

    Args:
        cfg: of a training run.

    Returns:
        False where there is certainly none; for a source that is not the package's own, the run itself will see.
    """
    held_out = [OmegaConf.select(cfg, f"dataset.{key}") for key in ("validation_per_class", "validation_fraction")]
    return any(held_out) or _source_may(OmegaConf.select(cfg, "dataset.source"))


def _source_may(source: Any) -> bool:
    name = str(OmegaConf.select(source, "_target_")) if isinstance(source, DictConfig) else ""
    if not name.startswith("semscale_pl."):
        return True
    kind = name.rpartition(".")[2]
    if kind == "Balanced":
        return _source_may(OmegaConf.select(source, "source"))
    if kind == "Folder":
        return source.get("train_fraction") is None and source.get("val", "val") is not None
    official = {"Lists": "lists.val", "TorchDatasets": "val"}.get(kind)
    return official is not None and OmegaConf.select(source, official) is not None


def _check_ldam(cfg: DictConfig) -> None:
    head = _class_name(cfg, "classifier")
    if _class_name(cfg, "loss") == "LDAM" and "cosine" not in head.lower():
        raise WrongCallError(
            f"Expected classifier=cosine with loss=ldam, whose margins are meant for cosines, but got {head}. "
            "Add classifier=cosine."
        )
    scale = OmegaConf.select(cfg, "classifier.scale")
    if _class_name(cfg, "loss") == "LDAM" and scale not in (None, 1):
        raise WrongCallError(
            f"Expected `classifier.scale` to be 1 with loss=ldam, which takes its margins off the cosines and scales "
            f"them itself, but got {scale}. Set loss.scale instead."
        )


def _class_name(cfg: DictConfig, group: str) -> str:
    """Return the last part of a group's `_target_`."""
    return str(OmegaConf.select(cfg, f"{group}._target_")).rpartition(".")[2]
