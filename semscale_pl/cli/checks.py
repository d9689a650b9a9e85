"""Check a composed configuration: each value against its rule, then the few rules that join several values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from semscale_pl.cli.combinations import check_combinations
from semscale_pl.cli.errors import WrongCallError
from semscale_pl.cli.paths import config_dir
from semscale_pl.cli.rules import RULES
from semscale_pl.cli.suggestions import did_you_mean

_ABSENT = object()
# Keys of a training run that are not groups.
_PLAIN_KEYS = ("seed", "subset_seed", "imbalance_factor", "lr_reference_batch", "compile", "ckpt_path")


def check_values(cfg: DictConfig) -> None:
    """Hold every known key against its rule.

    Raises:
        WrongCallError: naming the first key whose value is not allowed.
    """
    for key, rule in RULES.items():
        value = OmegaConf.select(cfg, key, default=_ABSENT)
        if value is not _ABSENT and not rule.accepts(value):
            remedy = " or null" if rule.optional else ""
            raise WrongCallError(f"Expected `{key}` to be {rule.expected}{remedy}, but got {value!r}.")


def check_train(cfg: DictConfig) -> None:
    """Check what a training run is made from.

    Raises:
        WrongCallError: naming what cannot work.
    """
    _check_top_level(cfg)
    OmegaConf.resolve(cfg.copy())  # a broken interpolation or a missing value speaks up here
    check_values(cfg)
    _check_schedule(cfg)
    _check_imbalance(cfg)
    _check_mixing(cfg)
    check_combinations(cfg)
    _check_deterministic_precision(cfg)
    check_file("ckpt_path", OmegaConf.select(cfg, "ckpt_path"))


def check_evaluate(cfg: DictConfig) -> None:
    """Check what an evaluation is made from.

    Raises:
        WrongCallError: naming what cannot work.
    """
    if OmegaConf.is_missing(cfg, "ckpt"):
        raise WrongCallError("Expected a checkpoint to evaluate. Pass ckpt=RUN/checkpoints/last.ckpt")
    check_values(cfg)
    check_file("ckpt", cfg.ckpt, needed=True)


def check_file(key: str, path: Any, needed: bool = False) -> None:
    """Check that a key names a file that is there.

    Raises:
        WrongCallError: there is no such file.
    """
    if path is None and not needed:
        return
    if path is None or not Path(str(path)).is_file():
        raise WrongCallError(f"Expected `{key}` to be a checkpoint file, but there is none at {path!r}.")


def _check_top_level(cfg: DictConfig) -> None:
    """Refuse a key that `+key=value` added and nothing reads."""
    known = {*_PLAIN_KEYS, *(path.name for path in config_dir().iterdir() if path.is_dir())}
    for key in map(str, cfg):
        if key not in known:
            raise WrongCallError(f"Unknown key `{key}`.{did_you_mean(key, known)} Nothing reads it.")


def _check_schedule(cfg: DictConfig) -> None:
    start, epochs = OmegaConf.select(cfg, "reweighting.start_epoch"), cfg.trainer.max_epochs
    if start is not None and start >= epochs:
        raise WrongCallError(
            f"Expected `reweighting.start_epoch` to be below `trainer.max_epochs`, but got {start} with {epochs} "
            "epochs: the weights would never be used. Lower it or train longer."
        )


def _check_imbalance(cfg: DictConfig) -> None:
    factor = OmegaConf.select(cfg, "imbalance_factor")
    profile = OmegaConf.select(cfg, "imbalance.profile", default=_ABSENT)
    if profile in (None, "none", "per_class", "listed") and factor not in (None, 1):
        raise WrongCallError(
            f"Expected `imbalance_factor` to be 1 with imbalance={profile or 'none'}, but got {factor}. "
            "Choose imbalance=exponential or imbalance=step."
        )
    if profile == "listed" and not Path(str(OmegaConf.select(cfg, "imbalance.file"))).is_file():
        raise WrongCallError("Expected imbalance.file=FILE to be a JSON list of training images, but there is none.")


def _check_mixing(cfg: DictConfig) -> None:
    alphas = [OmegaConf.select(cfg, f"mixing.{name}_alpha") for name in ("mixup", "cutmix")]
    if None in alphas:
        return
    if max(alphas) == 0:
        raise WrongCallError(
            "Expected `mixing.mixup_alpha` or `mixing.cutmix_alpha` above 0. Use mixing=none for none."
        )
    if OmegaConf.select(cfg, "reweighting.mixed") == "skip" and cfg.mixing.probability >= 1:
        raise WrongCallError(
            "Expected `mixing.probability` below 1 with reweighting.mixed=skip, but every batch is mixed: the pool "
            "would stay empty. Use reweighting.mixed=dominant or clean."
        )


def _check_deterministic_precision(cfg: DictConfig) -> None:
    if cfg.trainer.accelerator == "cpu" and str(cfg.trainer.precision) in ("16-mixed", "transformer-engine"):
        raise WrongCallError(
            f"Expected `trainer.precision` to be one that a CPU has, but got {cfg.trainer.precision}. Use bf16-mixed."
        )
