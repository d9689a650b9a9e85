"""Advice names options that the command in which it is given has."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException

import semscale_pl
from semscale_pl.cli.main import main
from semscale_pl.config.composing import config_groups
from semscale_pl.config.errors import closest_key, did_you_mean, message_of
from semscale_pl.config.wording import in_words_of, options_named, training_options

ROOT = Path(semscale_pl.__file__).parent


@functools.cache
def messages() -> tuple[tuple[str, str], ...]:
    return tuple(_messages())


def _messages() -> Iterator[tuple[str, str]]:
    """Yield place and text of every string of the package but the docstrings, `{}` for what is put in."""
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if id(node) in inner | docs:
                continue
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
                yield f"{path.relative_to(ROOT)}:{node.lineno}", "".join(map(str, parts))


def test_every_option_that_a_message_names_is_one_of_a_training() -> None:
    pattern, known = options_named(config_groups()), training_options()
    assert {"dataset.root", "dataset.source.train_fraction", "loss.gamma"} <= known
    spoken = [(place, text) for place, text in messages() if " " in text]
    named = [(place, text, found.rstrip(".")) for place, text in spoken for found in pattern.findall(text)]
    assert len(named) > 30
    # What a library's class takes and the configuration lacks is added with a +, and the message says so.
    assert [(place, name) for place, text, name in named if name not in known and f"+{name}=" not in text] == []


def test_every_choice_that_a_message_names_is_there() -> None:
    groups = "|".join(sorted(config_groups()))
    pattern = re.compile(rf"(?<![\w./])({groups})=([a-z][a-z0-9_]*)")
    named = [(place, *found) for place, text in messages() if " " in text for found in pattern.findall(text)]
    assert len(named) > 10
    wrong = [entry for entry in named if not (ROOT.parent / "conf" / entry[1] / f"{entry[2]}.yaml").is_file()]
    assert wrong == []


def test_an_option_is_called_what_the_command_calls_it() -> None:
    assert in_words_of("Lower dataset.batch_size, or `x`.", {"batch_size"}) == "Lower batch_size, or `x`."
    assert in_words_of("Set dataset.root or dataset.download=true.", {"root"}) == (
        "Set root or dataset.download=true. (An option of `semscale train`: dataset.download.)"
    )
    assert in_words_of("in semscale_pl/data/dataset.py", set()) == "in semscale_pl/data/dataset.py"


@pytest.mark.parametrize("name", ["loss", "root", "trainer.devices"])
def test_the_same_word_is_never_suggested(name: str) -> None:
    assert f"`{name}`" not in did_you_mean(name, [name, "other"])
    assert f"`{name}`" not in closest_key(name, [name, "other"])


@pytest.mark.parametrize(
    ("call", "expected", "absent"),
    [
        (["evaluate", "ckpt=x", "loss=ce"], "Unknown key `loss`", "Did you mean `loss`"),
        (["evaluate", "ckpt=x", "dataset.root=y"], "Did you mean `root`?", "these have"),
        (["predict", "ckpt=x", "images=y", "dataset=z"], "See `semscale predict --help`", "Did you mean `dataset`"),
        (["export", "ckpt=x", "trainer.devices=2"], "Unknown key `trainer.devices`", "Did you mean `trainer"),
        (["train", "+loss=ce"], "`loss` is chosen already. Set it without the `+`.", "defaults list"),
        (["train", "reweighting=none", "reweighting.start_epoch=5"], "these have: cdb", "+reweighting"),
        (["table", "demo", "reweighting.start_epoch=4"], "With ++ before the key", "To append"),
    ],
)
def test_what_a_command_says_of_another_s_option(
    call: list[str],
    expected: str,
    absent: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(call) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert absent not in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "package"),
    [
        ("hydra/sweeper/optuna", "hydra-optuna-sweeper"),
        ("hydra/launcher/joblib", "hydra-joblib-launcher"),
        ("hydra/launcher/submitit_slurm", "hydra-submitit-launcher"),
    ],
)
def test_an_option_of_a_package_that_is_not_installed_names_the_package(option: str, package: str) -> None:
    message = message_of(MissingConfigException("", option, ["basic"])) or ""
    assert f"needs {package}: pip install {package}. Without it there are: basic." in message
    assert "Unknown option" in (message_of(MissingConfigException("", f"{option}s", ["basic"])) or "")
