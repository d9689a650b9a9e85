"""A command's declaration: read, checked, explained, and every ending an exit code."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from semscale_pl.advice.advice import advise as advise_function
from semscale_pl.cli import advise, bench, data, demo, embed, figure, measure, study, table
from semscale_pl.cli.command import Command, Setting, existing_file, existing_folder, new_folder, read_list
from semscale_pl.config import command_line
from semscale_pl.measuring.measuring import Settings
from semscale_pl.options import RULES, rule_of

COMMAND = Command(
    name="try",
    usage=["FILE [KEY=VALUE ...]", "other=WAY"],
    settings={
        "what": [("FILE", "to be tried"), Setting("alpha", "first line\nsecond line", 1.0)],
        "how": [
            Setting("intervals", "on or off", False),
            Setting("controlled", "names", (), "A,B", read_list(RULES["controlled"])),
        ],
    },
    notes="That is all.",
    argument="FILE",
    takes_overrides=True,
)
ALL = [module.COMMAND for module in (advise, bench, data, demo, embed, figure, measure, study, table)]


def test_the_help_is_made_from_the_declaration() -> None:
    assert COMMAND.help() == (
        "usage: semscale try FILE [KEY=VALUE ...]\n"
        "       semscale try other=WAY\n"
        "\n"
        "what\n"
        "  FILE                    to be tried\n"
        "  alpha=1                 first line\n"
        "                          second line\n"
        "\n"
        "how\n"
        "  intervals=false         on or off\n"
        "  controlled=A,B          names\n"
        "\n"
        "That is all.\n"
    )


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.name)
def test_every_setting_can_be_read_and_none_is_empty_unless_it_says_so(command: Command) -> None:
    for key, setting in command.keys.items():
        assert setting.read is not None or rule_of(key, command.name) is not None, f"options.py has no rule for {key}"
        if not setting.may_be_empty:
            with pytest.raises(ValueError, match=f"Expected a value after `{key}=`, but got none"):
                command.parse([f"{key}="])


def test_a_call_has_a_value_for_every_setting() -> None:
    call = COMMAND.parse(["here.yaml", "alpha=2", "controlled=[oas, matched]", "loss=focal"])
    assert (call.name, call.alpha, call.intervals, call.controlled) == ("here.yaml", 2.0, False, ("oas", "matched"))
    assert (call.given, call.overrides) == ({"alpha", "controlled"}, ("loss=focal",))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "alpha=0.5"], "Expected `alpha` to be a number of at least 1, but got 0.5."),
        (["a", "alpha=much"], "Expected `alpha` to be a number of at least 1, but got 'much'."),
        (["a", "b"], "Expected one name and KEY=VALUE, but got 'b'. See `semscale try --help`."),
        (["a", "alpha=1", "alpha=2"], "Expected `alpha` once, but got it twice."),
        (["a", "controlled=oas,ols"], "but got 'ols'."),
    ],
)
def test_a_wrong_setting_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError) as error:
        COMMAND.parse(arguments)
    assert str(error.value).endswith(message)


@pytest.mark.parametrize(
    ("ending", "code", "printed"),
    [
        (KeyboardInterrupt(), 130, "Interrupted. To start again, type: semscale try a\n"),
        (SystemExit(3), 3, ""),
        (ValueError("wrong\nhere"), 2, "semscale: wrong here\n"),
        (FileNotFoundError("gone"), 2, "semscale: gone\n"),
    ],
)
def test_every_ending_has_an_exit_code(
    ending: BaseException,
    code: int,
    printed: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def execute(call: Any) -> int:
        raise ending

    monkeypatch.setattr(command_line, "program", lambda: ["semscale"])
    assert COMMAND.run(["a"], execute) == code
    assert capsys.readouterr().err == printed


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    def execute(call: Any) -> int:
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        COMMAND.run(["a"], execute)
    assert COMMAND.run(["a"], lambda call: 1) == 1
    assert COMMAND.run(["alpha=1"], lambda call: 0) == 2


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.name)
@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_every_command_explains_itself(command: Command, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run([word], lambda call: 99) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: semscale {command.name} ")
    assert all(f"\n  {key}=" in text for key in command.keys)
    assert max(map(len, text.splitlines())) <= 150
    bare = command.run([], lambda call: 99)
    assert bare == (99 if command.may_be_bare else 2)


@pytest.mark.parametrize("command", ALL, ids=lambda command: command.name)
def test_every_setting_has_a_rule_or_a_reader_of_its_own(command: Command) -> None:
    for key, setting in command.keys.items():
        rule = rule_of(key, command.name)
        assert setting.read is not None or rule is not None, key
        if rule is not None and setting.read is None and setting.default is not None:
            assert rule.accepts(setting.default), key


def test_defaults_are_those_of_the_functions_below() -> None:
    for setting in measure.HOW:
        assert setting.default == getattr(Settings(), setting.key), setting.key
    for name, parameter in inspect.signature(advise_function).parameters.items():
        if name in advise.COMMAND.keys and parameter.default is not parameter.empty and parameter.default is not None:
            assert advise.COMMAND.keys[name].default == parameter.default, name


def test_paths(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.touch()
    assert existing_file("features", str(file)) == file
    assert existing_folder("images", str(tmp_path)) == tmp_path
    assert new_folder("out", str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    for read, text in ((existing_file, tmp_path), (existing_folder, file), (new_folder, file / "below")):
        with pytest.raises(ValueError, match="Expected `key`"):
            read("key", str(text))
