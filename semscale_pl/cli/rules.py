"""What each key of the configuration may be, in plain Python: a wrong value is answered before torch is imported."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
