"""Every option's choices or range, written once: the configuration, the constructors and the commands all ask here."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

_INTEGER = re.compile(r"[+-]?[0-9]{1,15}")


@dataclass(frozen=True)
class Rule:
    """What a value has to be.

    Args:
        expected: in words, as it stands in the message.
        holds: tells whether a value is that.
        optional: whether None (null in YAML) is allowed as well.
        read: turns the text of a ``KEY=VALUE`` into a value, or returns the text where it cannot.
    """

    expected: str
    holds: Callable[[Any], bool]
    optional: bool = False
    read: Callable[[str], Any] = lambda text: text

    def accepts(self, value: Any) -> bool:
        """Tell whether a value is allowed."""
        return self.optional if value is None else self.holds(value)

    def refusal(self, name: str, value: Any) -> str:
        """Return the line that says what was expected of an option and what came."""
        return f"Expected `{name}` to be {self.expected}{' or null' if self.optional else ''}, but got {value!r}."

    def check(self, name: str, value: Any) -> None:
        """Raise ValueError with the line of :meth:`refusal` for a value that is not allowed."""
        if not self.accepts(value):
            raise ValueError(self.refusal(name, value))


def is_int(value: Any) -> bool:
    """Tell an integer from everything else, True and False included."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_sequence(value: Any) -> bool:
    """Tell a list of values, also one of a configuration, from a single value."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def is_number(value: Any) -> bool:
    """Tell a finite number from everything else."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def read_value(text: str) -> Any:
    """Read true, false, an integer or a finite number; any other text stays as it is.

    Example:
        >>> [read_value(text) for text in ("True", "3", "1e-3", "dim", "inf")]
        [True, 3, 0.001, 'dim', 'inf']
    """
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    return int(text) if _INTEGER.fullmatch(text) else read_number(text)


def read_number(text: str) -> Any:
    """Read a finite number as a float; any other text stays as it is."""
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def read_share(text: str) -> Any:
    """Read a share such as 0.02 or 2%; a number from 1 on that is not in % stays text: 2 is more likely to mean 2 %."""
    value = read_number(text.removesuffix("%"))
    if isinstance(value, str) or (value >= 1 and not text.endswith("%")):
        return text
    return value / 100 if text.endswith("%") else value


def integer(low: int, high: float = math.inf, *, optional: bool = False) -> Rule:
    """Return the rule for an integer of at least ``low`` and at most ``high``."""
    expected = f"an integer of at least {low}" if high == math.inf else f"an integer in {low}..{high}"
    return Rule(expected, lambda value: is_int(value) and low <= value <= high, optional, read_value)


def at_least(low: float, *, optional: bool = False) -> Rule:
    """Return the rule for a finite number of at least ``low``."""
    return Rule(f"a number of at least {low:g}", lambda value: is_number(value) and value >= low, optional, read_number)


def above(low: float, *, optional: bool = False) -> Rule:
    """Return the rule for a finite number above ``low``."""
    return Rule(f"a number above {low:g}", lambda value: is_number(value) and value > low, optional, read_number)


def within(interval: str, *, optional: bool = False) -> Rule:
    """Return the rule for a number in an interval from 0 to 1: a bracket includes its end, a parenthesis does not.

    Example:
        >>> [within("(0, 1]").accepts(value) for value in (0, 0.5, 1)]
        [False, True, True]
    """
    includes_0, includes_1 = interval.startswith("["), interval.endswith("]")

    def holds(value: Any) -> bool:
        return is_number(value) and (0 < value < 1 or (includes_0 and value == 0) or (includes_1 and value == 1))

    return Rule(f"in {interval}", holds, optional, read_number)


def one_of(*choices: str) -> Rule:
    """Return the rule for one of a few words."""
    return Rule(f"one of {', '.join(choices)}", lambda value: isinstance(value, str) and value in choices)


def grid(rule: Rule) -> Rule:
    """Return the rule for a list of values, at least one, that each keep to a rule."""

    def holds(value: Any) -> bool:
        is_list = isinstance(value, Sequence) and not isinstance(value, str)
        return is_list and len(value) > 0 and all(map(rule.holds, value))

    return Rule(f"a list whose values are each {rule.expected}", holds)


def _read_shard(text: str) -> Any:
    """Read 2/4 as (2, 4); any other text stays as it is."""
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    return (int(found[1]), int(found[2])) if found else text


def _is_shard(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(is_int, value)) and 1 <= value[0] <= value[1]


SWITCH = Rule("true or false", lambda value: isinstance(value, bool), read=read_value)
# Profiles of class sizes that an imbalance factor makes, and those that leave it at 1.
PROFILES = ("none", "exponential", "step")
_PROFILE = one_of(*PROFILES, "per_class", "listed")
# Of a dataset, what a pre-trained backbone's own input replaces.
INPUT_SETTINGS = ("image_size", "mean", "std", "crop_share", "interpolation")
# Of nearest class means.
METRICS = ("euclidean", "cosine")
# Whose means a class of few samples borrows from, and what counts the same in a shared covariance.
BORROWING = ("similar", "grand")
VOICES = ("equal", "pooled")
POOL_MODES = ("indexed", "fifo")
ACTIVATIONS = ("relu", "gelu", "silu", "tanh")
NORMS = ("none", "batch", "layer")
CONTROLLED = ("matched", "oas", "ledoit_wolf", "extrapolated")
# Views of a test image whose logits are averaged.
TEST_VIEWS = ("none", "flips", "crops")
# Heads of the trained features that a run is judged with besides its own.
ALSO = ("gaussian", "fused", "crt", "crt_bs", "lws", "tau_norm", "ncm")
PROFILERS = ("simple", "advanced", "pytorch")
# Parts of an embedding store, and how its features are stored.
STORE_PARTS = ("train", "val", "test")
STORE_DTYPES = ("float32", "float16")
# Eigenvalues of a class that a measurement keeps at most.
MOST_EIGENVALUES = 64
_PRECISIONS = (
    "32-true", "32", "64-true", "64", "16-mixed", "bf16-mixed", "16-true", "bf16-true",
)  # fmt: skip

_BATCHES = Rule(
    "a number of batches of at least 1, or a share in (0, 1]",
    lambda value: (is_int(value) and value >= 1) or (is_number(value) and 0 < value <= 1),
)
# Of the classes a Gaussian classifier tells apart.
_CLASS_PRIOR = Rule(
    "uniform, frequency or a list of a number above 0 for each class",
    lambda value: (
        value in ("uniform", "frequency")
        if not is_sequence(value)
        else len(value) > 0 and all(is_number(share) and share > 0 for share in value)
    ),
)
# Days, hours, minutes and seconds.
_TIME = re.compile(r"[0-9]+:[0-9]{2}:[0-9]{2}:[0-9]{2}")

# An option means the same wherever its name stands, in the configuration, as an argument or after a command; where one
# group or class means something else by it, that has an entry of its own: "group.name" or "Class.name".
RULES: dict[str, Rule] = {
    "seed": integer(0, 2**32 - 1),
    "subset_seed": integer(0, 2**32 - 1, optional=True),
    **dict.fromkeys(("compile", "tf32", "overwrite", "train.test"), SWITCH),
    "also": Rule(
        f"a list of some of {', '.join(ALSO)}",
        lambda value: is_sequence(value) and all(name in ALSO for name in value),
    ),
    "tune.trials": integer(1),
    "tune.per": one_of("table", "column"),
    "lr_reference_batch": integer(1, optional=True),
    "tta": one_of(*TEST_VIEWS),
    "evaluate.tta": replace(one_of(*TEST_VIEWS), optional=True),
    "predict.part": replace(one_of(*STORE_PARTS), optional=True),
    "predict.tta": replace(one_of(*TEST_VIEWS), optional=True),
    # The images of a run
    "imbalance_factor": at_least(1),
    "imbalance_samples": integer(1, optional=True),
    "imbalance": _PROFILE,
    "imbalance.profile": _PROFILE,
    "imbalance.samples": integer(1),
    "batch_size": integer(1),
    "evaluate.batch_size": integer(1, optional=True),
    "evaluate.split": one_of("test", "val", "train"),
    "head.batch_size": integer(1, optional=True),
    "head.seed": integer(0, 2**32 - 1, optional=True),
    **dict.fromkeys(("head.accelerator", "evaluate.accelerator", "predict.accelerator"), one_of("auto", "cpu", "gpu")),
    "eval_batch_size": integer(1, optional=True),
    **dict.fromkeys(("validation_per_class", "validation_classes", "kmeans_restarts"), integer(0)),
    "validation_from": one_of("subset", "whole"),
    "validation_fraction": within("[0, 1)"),
    "train_fraction": within("(0, 1)"),
    **{
        f"{kind}.train_fraction": within("(0, 1)", optional=True)
        for kind in ("Folder", "ImageParquet", "SavedDatasets", "TarShards", "FeatureDataModule")
    },
    "FeatureDataModule.num_features": integer(1, optional=True),
    "views": SWITCH,
    "num_workers": integer(0),
    "prefetch_factor": integer(1, optional=True),
    **dict.fromkeys(
        ("in_memory", "retrieval"),
        Rule('"auto", true or false', lambda value: value == "auto" or isinstance(value, bool), read=read_value),
    ),
    "download": SWITCH,
    "check_images": one_of("decode", "exist", "none"),
    "on_bad_image": one_of("refuse", "skip"),
    "exif_rotation": SWITCH,
    "predict.exif_rotation": replace(SWITCH, optional=True),
    "measure.exif_rotation": replace(SWITCH, optional=True),
    "class_order": one_of("label", "reversed", "permuted"),
    "subset_rule": one_of("seeded", "first", "cao_seed0"),
    "channels": Rule("1 (grey) or 3 (colour)", lambda value: is_int(value) and value in (1, 3), optional=True),
    "image_size": integer(1),
    "dataset.image_size": integer(1, optional=True),
    "backbone.image_size": integer(1, optional=True),
    "export.image_size": integer(1, optional=True),
    "crop_share": within("(0, 1]"),
    "interpolation": one_of("bilinear", "bicubic"),
    "keep_input": Rule(
        f"a list of some of {', '.join(INPUT_SETTINGS)}",
        lambda value: isinstance(value, Sequence) and all(setting in INPUT_SETTINGS for setting in value),
    ),
    "num_classes": integer(1),
    "dataset.num_classes": integer(2, optional=True),
    "sampler.samples": integer(1),
    "dataset.split": one_of("samples", "classes"),
    "dataset.train_classes": integer(1, optional=True),
    "dataset.split_order": one_of("label", "permuted"),
    "sampler.power": Rule("a finite number", is_number),
    "num_epochs": integer(1),
    "mixup_alpha": at_least(0),
    "cutmix_alpha": at_least(0),
    "probability": within("(0, 1]"),
    # Backbones of vectors
    "in_features": integer(1),
    "backbone.in_features": integer(1, optional=True),
    "MLP.hidden": Rule(
        "an integer of at least 1, or several such as [512,256]",
        lambda value: (
            all(is_int(width) and width >= 1 for width in (value if is_sequence(value) else [value])) and value != []
        ),
    ),
    "MLP.dropout": within("[0, 1)"),
    "MLP.activation": one_of(*ACTIVATIONS),
    "MLP.norm": one_of(*NORMS),
    # Losses and classifiers
    "gamma": at_least(0),
    "Equalization.gamma": within("[0, 1]"),
    "loss.threshold": at_least(0, optional=True),
    "loss.tau": at_least(0),
    "p": at_least(0),
    "q": at_least(0),
    "posthoc": SWITCH,
    "label_smoothing": within("[0, 1)"),
    "max_margin": at_least(0),
    "scale": above(0),
    "margin": at_least(0),
    "ArcFace.margin": Rule("an angle in [0, pi / 2)", lambda value: is_number(value) and 0 <= value < math.pi / 2),
    "NormSoftmax.temperature": above(0),
    "own_in_denominator": SWITCH,
    "centres": integer(1),
    "CentreClassifier.gamma": above(0),
    "CentreClassifier.tau": at_least(0),
    "bias": SWITCH,
    "learn_scale": SWITCH,
    "classifier.normalize": SWITCH,
    "classifier.init": one_of("random", "class_means", "text"),
    "template": Rule(
        "a text with {} for the class name", lambda value: isinstance(value, str) and value.count("{}") == 1
    ),
    "metric": one_of(*METRICS),
    # Gaussian heads
    "voices": one_of(*VOICES),
    "discriminant.shrinkage": within("[0, 1]"),
    "shrinkage": Rule(
        "in [0, 1], oas or ledoit_wolf",
        lambda value: value in ("oas", "ledoit_wolf") or (is_number(value) and 0 <= value <= 1),
        optional=True,
    ),
    "k": at_least(0, optional=True),
    "temperature": above(0, optional=True),
    "borrowing": one_of(*BORROWING),
    "class_covariances": integer(0),
    "covariance_k": at_least(0),
    "choose": one_of("leave_one_out", "fixed"),
    **dict.fromkeys(("classifier.prior", "Gaussian.prior", "Fused.prior"), _CLASS_PRIOR),
    "fused_scores.weight": at_least(0),
    "discriminant.estimator": one_of("oas", "ledoit_wolf"),
    "discriminant.k": at_least(0),
    "discriminant.bandwidth": above(0, optional=True),
    "discriminant.prior": one_of("uniform", "frequency"),
    "discriminant.temperature": above(0),
    "discriminant.criterion": one_of("error", "log_loss"),
    # Second stages
    "recipe.lr": above(0, optional=True),
    "recipe.epochs": integer(1, optional=True),
    "recipe.tau": at_least(0, optional=True),
    "recipe.weight": at_least(0, optional=True),
    "weight_grid": grid(at_least(0)),
    "recipe.metric": replace(one_of(*METRICS), optional=True),
    "lr_grid": grid(above(0)),
    "epochs_grid": grid(integer(1)),
    "tau_grid": grid(at_least(0)),
    "recipe.weights": one_of("none", "inverse_frequency", "semantic_scale", "balanced_softmax"),
    "recipe.prior": one_of("frequency", "semantic_scale"),
    # Re-weightings and the measure itself
    "start_epoch": Rule(
        "an integer of at least 0, or a share of the epochs in (0, 1)",
        lambda value: (is_int(value) and value >= 0) or (is_number(value) and 0 < value < 1),
    ),
    "ramp_epochs": integer(0),
    "normalization": one_of("sample", "class", "none"),
    "alpha": at_least(1),
    "power": at_least(0),
    "ClassGeometryReweighting.power": Rule("a finite number", is_number),
    "reweighting.of": one_of("semantic_scale", "interclass", "distance", "separation", "spread", "dimension"),
    "reweighting.part": one_of("whole", "residual", "count", "shuffled", "shuffled_residual"),
    "reweighting.form": one_of("weights", "margins", "prior"),
    "interclass": SWITCH,
    "pool": one_of(*POOL_MODES),
    "num_features": integer(1),
    "floor": within("(0, 1]"),
    "max_ratio": at_least(1),
    "estimator": one_of("plain", "shrunk"),
    "ratio": Rule(
        '"dim" or a number above 0', lambda value: value == "dim" or (is_number(value) and value > 0), read=read_number
    ),
    "unit": above(0),
    "feature_norm": one_of("none", "l2", "rms"),
    "mixed": one_of("dominant", "skip", "clean"),
    "storage_dtype": one_of("float32", "float16", "bfloat16"),
    "update_every_n_steps": integer(1),
    "reweighting.num_classes": integer(1, optional=True),
    "capacity": integer(1),
    "reweighting.capacity": integer(1, optional=True),
    "resample": one_of("trainings", "both"),
    "match": one_of("none", "semantic_scale"),
    "scale_epoch": integer(0, optional=True),
    "scheme": one_of("inverse", "sqrt_inverse", "class_balanced"),
    "beta": within("[0, 1)"),
    "reweighting.tau": Rule(
        '"dynamic" or a number of at least 0', lambda value: value == "dynamic" or (is_number(value) and value >= 0)
    ),
    "momentum": within("[0, 1)"),
    "initial_score": within("(0, 1]"),
    "bounded": SWITCH,
    "ks": grid(integer(1)),
    # A measurement and the advice on a collection
    "measure.num_features": integer(1, optional=True),
    "controlled": one_of(*CONTROLLED),
    "intervals": SWITCH,
    "level": within("(0, 1)"),
    "spectrum": integer(0, MOST_EIGENVALUES, optional=True),
    **dict.fromkeys(("restarts", "top", "top_k"), integer(1)),
    "threshold": Rule(
        "a share above 0 such as 0.02 or 2%", lambda value: is_number(value) and value > 0, read=read_share
    ),
    "batch": integer(1),
    "budget": integer(0),
    "orders": integer(2),
    # Embedding stores
    "embed.parts": one_of(*STORE_PARTS),
    "part": one_of(*STORE_PARTS),
    "embed.dtype": one_of(*STORE_DTYPES),
    "embed.device": one_of("auto", "cpu", "cuda"),
    "embed.exif_rotation": replace(SWITCH, optional=True),
    "augment_copies": integer(0, 1000),
    "shard": Rule("i/n, shard i of n counted from 1, such as 2/4", _is_shard, read=_read_shard),
    # Training
    "lr": above(0),
    "weight_decay": at_least(0),
    "scheduler.gamma": within("(0, 1]"),
    # What of a backbone is trained
    "train_last": integer(0, optional=True),
    "backbone_lr": above(0, optional=True),
    "layer_decay": within("(0, 1]"),
    "update_statistics": SWITCH,
    "centre_lr": above(0, optional=True),
    "frozen_norms": SWITCH,
    **dict.fromkeys(("AdaptFormer.train_last", "LoRA.train_last"), integer(1, optional=True)),
    "dim": integer(1),
    "AdaptFormer.scale": Rule(
        '"learned" or a number above 0', lambda value: value == "learned" or (is_number(value) and value > 0)
    ),
    "own_norm": SWITCH,
    "rank": integer(1),
    "LoRA.alpha": above(0),
    "dropout": within("[0, 1)"),
    "step_size": integer(1),
    "warmup_epochs": integer(0),
    "pictures_every_n_epochs": integer(0),
    "patience": integer(1),
    "min_delta": at_least(0),
    "max_epochs": integer(1),
    "devices": Rule(
        'an integer of at least 1 or "auto"', lambda value: value == "auto" or (is_int(value) and value >= 1)
    ),
    "num_nodes": integer(1),
    "trainer.accelerator": one_of("auto", "cpu", "gpu", "cuda", "mps"),
    "deterministic": Rule('true, false or "warn"', lambda value: value == "warn" or isinstance(value, bool)),
    "benchmark": SWITCH,
    "precision": Rule(f"one of {', '.join(_PRECISIONS)}", lambda value: str(value) in _PRECISIONS),
    "accumulate_grad_batches": integer(1),
    "gradient_clip_val": above(0, optional=True),
    "gradient_clip_algorithm": one_of("norm", "value"),
    "min_epochs": integer(1, optional=True),
    "max_steps": Rule(
        "an integer of at least 1, or -1 for no limit", lambda value: is_int(value) and (value >= 1 or value == -1)
    ),
    "max_time": Rule(
        "days:hours:minutes:seconds such as 00:12:00:00",
        lambda value: isinstance(value, str) and _TIME.fullmatch(value) is not None,
        optional=True,
    ),
    "fast_dev_run": Rule(
        "true, false or a number of batches of at least 1",
        lambda value: isinstance(value, bool) or (is_int(value) and value >= 1),
    ),
    **dict.fromkeys(("limit_train_batches", "limit_val_batches", "limit_test_batches"), _BATCHES),
    "overfit_batches": Rule(
        "a number of batches, or a share in [0, 1]",
        lambda value: (is_int(value) and value >= 0) or (is_number(value) and 0 <= value <= 1),
    ),
    "val_check_interval": Rule(
        "a number of training batches of at least 1, or a share of the epoch in (0, 1]", _BATCHES.holds
    ),
    "profiler": Rule(f"one of {', '.join(PROFILERS)}", lambda value: value in PROFILERS, optional=True),
    "on_nonfinite": one_of("raise", "skip"),
    "check_val_every_n_epoch": integer(1),
    "log_every_n_steps": integer(1),
    # Commands
    "jobs": integer(1, 1024),
    "minutes": above(0),
    "publish": Rule(
        "true, false or finished", lambda value: isinstance(value, bool) or value == "finished", read=read_value
    ),
    **dict.fromkeys(("decode", "pretrained", "report", "figures"), SWITCH),
}


def rule_of(name: str, *owners: str) -> Rule | None:
    """Return the rule of an option, that of the first owner (class or configuration group) which has one of its own."""
    keys = (*(f"{owner}.{name}" for owner in owners), name)
    return next((RULES[key] for key in keys if key in RULES), None)


def check(*owners: str, **values: Any) -> None:
    """Hold arguments against their rules, or those that an owner (class or configuration group) has of its own.

    Raises:
        ValueError: a value is not allowed; the line says which.

    Example:
        >>> check(alpha=0.5)
        Traceback (most recent call last):
        ValueError: Expected `alpha` to be a number of at least 1, but got 0.5.
    """
    for name, value in values.items():
        rule = rule_of(name, *owners)
        if rule is None:
            raise KeyError(f"Expected a rule for `{name}`, but semscale_pl/options.py has none.")
        rule.check(name, value)


def check_choice(value: str, choices: Sequence[str], name: str) -> None:
    """Raise ValueError for a name that is none of the choices of a function that has a table of what it can do."""
    one_of(*choices).check(name, value)
