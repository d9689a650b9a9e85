"""Check a composed configuration before torch is imported: each value by its rule, then what goes together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.composing import config_dir
from semscale_pl.config.errors import WrongCallError, did_you_mean
from semscale_pl.config.moved import with_current_names

PRECISIONS = (
    "32-true", "32", "64-true", "64", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "transformer-engine",
)  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """What a value has to be.

    Args:
        expected: in words, as it stands in the message.
        holds: tells whether a value is that.
        optional: whether null is allowed as well.
    """

    expected: str
    holds: Callable[[Any], bool]
    optional: bool = False

    def accepts(self, value: Any) -> bool:
        """Tell whether a value is allowed."""
        return self.optional if value is None else self.holds(value)


def is_int(value: Any) -> bool:
    """Tell an integer from everything else, True and False included."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Tell a finite number from everything else."""
    return (is_int(value) or isinstance(value, float)) and math.isfinite(value)


def integer(low: int, optional: bool = False) -> Rule:
    """Return the rule for an integer of at least ``low``."""
    return Rule(f"an integer of at least {low}", lambda value: is_int(value) and value >= low, optional)


def at_least(low: float, optional: bool = False) -> Rule:
    """Return the rule for a number of at least ``low``."""
    return Rule(f"a number of at least {low:g}", lambda value: is_number(value) and value >= low, optional)


def above(low: float, optional: bool = False) -> Rule:
    """Return the rule for a number above ``low``."""
    return Rule(f"a number above {low:g}", lambda value: is_number(value) and value > low, optional)


def one_of(*choices: str) -> Rule:
    """Return the rule for one of a few words."""
    return Rule(f"one of {', '.join(choices)}", lambda value: value in choices)


def switch() -> Rule:
    """Return the rule for true or false."""
    return Rule("true or false", lambda value: isinstance(value, bool))


def _from_zero_below_one() -> Rule:
    return Rule("a number in [0, 1)", lambda value: is_number(value) and 0 <= value < 1)


def _share() -> Rule:
    return Rule("a number in (0, 1]", lambda value: is_number(value) and 0 < value <= 1)


def _share_or_count() -> Rule:
    return Rule(
        "a number of batches of at least 1, or a share in (0, 1]",
        lambda value: (is_int(value) and value >= 1) or (is_number(value) and 0 < value <= 1),
    )


def _start_epoch() -> Rule:
    return Rule(
        "an integer of at least 0, or a share of the epochs in (0, 1)",
        lambda value: (is_int(value) and value >= 0) or (is_number(value) and 0 < value < 1),
    )


SEED = Rule("an integer in 0..4294967295", lambda value: is_int(value) and 0 <= value < 2**32)
TAU = Rule('"dynamic" or a number of at least 0', lambda value: value == "dynamic" or (is_number(value) and value >= 0))
DEVICES = Rule('an integer of at least 1 or "auto"', lambda value: value == "auto" or (is_int(value) and value >= 1))
PRECISION = Rule(f"one of {', '.join(PRECISIONS)}", lambda value: str(value) in PRECISIONS)
RATIO = Rule('"dim" or a number above 0', lambda value: value == "dim" or (is_number(value) and value > 0))
VAL_FRACTION = _from_zero_below_one()

# Dotted key to rule; a key that the chosen options do not have is passed over.
RULES: dict[str, Rule] = {
    "seed": SEED,
    "subset_seed": SEED,
    "imbalance_factor": at_least(1),
    "imbalance.samples": integer(1),
    "lr_reference_batch": integer(1, optional=True),
    "compile": switch(),
    "dataset.batch_size": integer(1),
    "dataset.validation_per_class": integer(0),
    "dataset.validation_fraction": VAL_FRACTION,
    "dataset.num_workers": integer(0),
    "dataset.download": switch(),
    "dataset.check_images": one_of("decode", "exist", "none"),
    "dataset.class_order": one_of("label", "reversed", "permuted"),
    "dataset.subset_rule": one_of("seeded", "first", "cao_seed0"),
    "dataset.channels": Rule("1 (grey) or 3 (colour)", lambda value: is_int(value) and value in (1, 3), optional=True),
    "dataset.image_size": integer(1, optional=True),
    "dataset.crop_share": _share(),
    "dataset.eval_batch_size": integer(1, optional=True),
    "dataset.prefetch_factor": integer(1, optional=True),
    "dataset.num_classes": integer(2, optional=True),
    "loss.gamma": at_least(0),
    "loss.tau": at_least(0),
    "loss.label_smoothing": _from_zero_below_one(),
    "loss.max_margin": above(0),
    "loss.scale": above(0),
    "reweighting.start_epoch": _start_epoch(),
    "reweighting.ramp_epochs": integer(0),
    "reweighting.alpha": at_least(1),
    "reweighting.power": at_least(0),
    "reweighting.interclass": switch(),
    "reweighting.pool": one_of("indexed", "fifo"),
    "reweighting.num_features": integer(1),
    "reweighting.normalization": one_of("sample", "class", "none"),
    "reweighting.floor": _share(),
    "reweighting.max_ratio": at_least(1),
    "reweighting.estimator": one_of("plain", "shrunk"),
    "reweighting.ratio": RATIO,
    "reweighting.feature_norm": one_of("none", "l2", "rms"),
    "reweighting.mixed": one_of("dominant", "skip", "clean"),
    "reweighting.storage_dtype": one_of("float32", "float16", "bfloat16"),
    "reweighting.update_every_n_steps": integer(1),
    "reweighting.num_classes": integer(1, optional=True),
    "reweighting.capacity": integer(1, optional=True),
    "reweighting.scheme": one_of("inverse", "sqrt_inverse", "class_balanced"),
    "reweighting.beta": _from_zero_below_one(),
    "reweighting.tau": TAU,
    "reweighting.momentum": _from_zero_below_one(),
    "reweighting.initial_score": _share(),
    "reweighting.batch_size": integer(1),
    "reweighting.image_size": integer(1),
    "reweighting.bounded": switch(),
    "reweighting.seed": SEED,
    "sampler.power": Rule("a finite number", is_number),
    "mixing.mixup_alpha": at_least(0),
    "mixing.cutmix_alpha": at_least(0),
    "mixing.probability": _share(),
    "optimizer.lr": above(0),
    "optimizer.momentum": _from_zero_below_one(),
    "optimizer.weight_decay": at_least(0),
    "scheduler.gamma": _share(),
    "scheduler.step_size": integer(1),
    "scheduler.warmup_epochs": integer(0),
    "callbacks.early_stopping.patience": integer(1),
    "callbacks.early_stopping.min_delta": at_least(0),
    "trainer.max_epochs": integer(1),
    "trainer.devices": DEVICES,
    "trainer.num_nodes": integer(1),
    "trainer.precision": PRECISION,
    "trainer.accumulate_grad_batches": integer(1),
    "trainer.gradient_clip_val": above(0, optional=True),
    "trainer.limit_train_batches": _share_or_count(),
    "trainer.check_val_every_n_epoch": integer(1),
    "trainer.log_every_n_steps": integer(1),
    "batch_size": integer(1, optional=True),
    "num_workers": integer(0),
}


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


def composed(overrides: Sequence[str]) -> Any:
    """Compose the configuration of a training run with a dataset, and check it.

    Args:
        overrides: of `semscale train`.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = with_current_names(compose("train", overrides=list(overrides)))
    check_values(cfg)
    return cfg
