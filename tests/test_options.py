"""The rules of the options: what they accept, and that constructors and configuration ask the same one."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

from semscale_pl.config.checks import check_values
from semscale_pl.config.composing import config_dir
from semscale_pl.config.errors import WrongCallError
from semscale_pl.data.vision import Digits
from semscale_pl.options import RULES, Rule, check, read_share, read_value, rule_of, within

# Where every value of a rule is tried; a rule refuses at least one of them.
VALUES = (-1, 0, 0.5, 1, 1.5, 2, 10**10, "nonsense", "", True, None, math.nan, math.inf)
REQUIRED: dict[str, Any] = {
    "source": Digits(),
    "num_features": 4,
    "num_classes": 3,
    "power": 0.0,
    "num_epochs": 2,
    "samples": 2,
    "batch_size": 4,
    "dirpath": Path(),
    "seed": 0,
}
GROUPS = ("classifier", "finetune", "loss", "mixing", "recipe", "reweighting", "sampler")
# Keys in which a named variant differs from the signature's default on purpose.
VARIANTS: dict[tuple[str, str], set[str]] = {
    ("loss", "label_smoothed_ce"): {"label_smoothing"},
    ("mixing", "cutmix"): {"cutmix_alpha", "probability"},
    ("mixing", "mixup"): {"mixup_alpha"},
    ("reweighting", "class_balanced"): {"scheme"},
    ("reweighting", "class_balanced_drw"): {"scheme", "start_epoch"},
    ("reweighting", "inverse_frequency_drw"): {"start_epoch"},
    ("reweighting", "sqrt_inverse_frequency"): {"scheme"},
    ("reweighting", "scale_only"): {"interclass"},
    ("dataset", "base"): {"eval_batch_size"},  # evaluation keeps no activations: larger batches fit
}


def described() -> Iterator[tuple[str, str, Any, Any]]:
    """Yield group, option, class and configuration of every object of the package that a group builds."""
    for group in GROUPS:
        for file in sorted((config_dir() / group).glob("*.yaml")):
            config = OmegaConf.load(file)
            if config.get("_target_"):
                yield group, file.stem, get_object(config["_target_"]), config
    base = OmegaConf.load(config_dir() / "dataset" / "base.yaml")
    yield "dataset", "base", get_object(base["_target_"]), base
    for option, name in (("default", "recorder"), ("drift", "drift"), ("default", "step_seed")):
        config = OmegaConf.load(config_dir() / "callbacks" / f"{option}.yaml")[name]
        yield "callbacks", name, get_object(config["_target_"]), config


DESCRIBED = list(described())


def parameters_of(kind: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class or function, with those of its base where it hands on all others to it."""
    found: dict[str, inspect.Parameter] = {}
    for owner in getattr(kind, "__mro__", (kind,)):
        own = inspect.signature(owner).parameters
        named = {name: one for name, one in own.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
        found |= {name: one for name, one in named.items() if name not in found}
        if len(named) == len(own):
            break
    return found


def ruled(kind: Any, group: str) -> Iterator[tuple[str, Rule]]:
    for name in parameters_of(kind):
        rule = rule_of(name, kind.__name__, group)
        if rule is not None:
            yield name, rule


ARGUMENTS = {
    f"{kind.__name__}.{name}": (group, kind, name, rule)
    for group, _, kind, _ in DESCRIBED
    for name, rule in ruled(kind, group)
}


def refused(rule: Rule) -> list[Any]:
    return [value for value in VALUES if not rule.accepts(value)]


@pytest.mark.parametrize("key", ARGUMENTS)
def test_constructor_and_configuration_refuse_the_same_values_in_the_same_words(key: str) -> None:
    group, kind, name, rule = ARGUMENTS[key]
    needed = {k for k, p in parameters_of(kind).items() if p.default is p.empty}
    assert refused(rule)
    for value in refused(rule):
        with pytest.raises(ValueError) as built:
            kind(**{**{k: REQUIRED[k] for k in needed}, name: value})
        assert str(built.value) == rule.refusal(name, value)
        place = f"{group}.{name}" if group != "callbacks" else f"callbacks.any.{name}"
        target = f"{kind.__module__}.{kind.__qualname__}"
        cfg = OmegaConf.create()
        OmegaConf.update(cfg, place, value, force_add=True)
        OmegaConf.update(cfg, f"{place.rpartition('.')[0]}._target_", target, force_add=True)
        with pytest.raises(WrongCallError) as composed:
            check_values(cfg)
        assert str(composed.value) == rule.refusal(place, value)


@pytest.mark.parametrize(("group", "option"), [entry[:2] for entry in DESCRIBED])
def test_a_configuration_repeats_the_defaults_of_the_signature(group: str, option: str) -> None:
    kind, config = next(entry[2:] for entry in DESCRIBED if entry[:2] == (group, option))
    values = OmegaConf.to_container(config, resolve=False)
    assert isinstance(values, dict)
    different = set()
    for name, parameter in parameters_of(kind).items():
        if name not in values or parameter.default is parameter.empty or "${" in str(values[name]):
            continue
        default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        if values[name] != default:
            different.add(name)
    assert different == VARIANTS.get((group, option), set())


def test_arguments_of_other_peoples_classes_are_their_own_affair() -> None:
    erasing = {"_target_": "torchvision.transforms.v2.RandomErasing", "scale": [0.02, 0.3], "ratio": [0.3, 3.0]}
    check_values(OmegaConf.create({"augmentation": {"transform": erasing}}))
    check_values(OmegaConf.create({"seed": 1, "again": {"seed": "${seed}"}}))
    mine = {"_target_": "mine.Focal", "gamma": -1}
    with pytest.raises(WrongCallError, match=r"`loss\.gamma`"):
        check_values(OmegaConf.create({"loss": mine}))


def test_every_rule_refuses_something_and_accepts_something() -> None:
    for key, rule in RULES.items():
        words = rule.expected.removeprefix("one of ").split(", ")
        assert any(rule.accepts(value) for value in (*VALUES, [], [1], (2, 4), *words)), key
        assert refused(rule), key
        assert rule.accepts(None) is rule.optional, key


def test_an_owner_may_have_a_rule_of_its_own() -> None:
    assert rule_of("gamma", "Focal", "loss") is RULES["gamma"]
    assert rule_of("gamma", "Equalization", "loss") is RULES["Equalization.gamma"]
    assert rule_of("gamma", "StepLR", "scheduler") is RULES["scheduler.gamma"]
    assert rule_of("nobody") is None
    with pytest.raises(KeyError, match=r"options\.py has none"):
        check(nobody=1)


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [("[0, 1]", (0, 1), (-0.1, 1.1)), ("(0, 1)", (0.5,), (0, 1)), ("[0, 1)", (0,), (1,)), ("(0, 1]", (1,), (0,))],
)
def test_the_ends_of_an_interval(interval: str, inside: tuple[float, ...], outside: tuple[float, ...]) -> None:
    rule = within(interval)
    assert all(rule.accepts(value) for value in inside)
    assert not any(rule.accepts(value) for value in (*outside, True, "0.5", math.nan))


def test_texts_become_values_or_stay_as_they_are() -> None:
    assert [read_value(text) for text in ("true", "-3", "0.5", "nan", "9" * 20)] == [
        True, -3, 0.5, "nan", 1e20,
    ]  # fmt: skip
    assert [read_share(text) for text in ("0.02", "2%", "200%", "2", "a%")] == [0.02, 0.02, 2.0, "2", "a%"]
