"""The console script: usage, help, exit codes, completion."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import semscale_pl
from semscale_pl.cli import main as console


def test_without_a_command_prints_usage_and_returns_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.main([]) == 2
    assert capsys.readouterr().err.startswith("usage: semscale COMMAND")


@pytest.mark.parametrize("word", ["help", "--help", "-h"])
def test_help_names_every_command(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert console.main([word]) == 0
    text = capsys.readouterr().out
    assert all(f"  {command}" in text for command in console.COMMANDS)


@pytest.mark.parametrize("word", ["--version", "-V"])
def test_says_its_version_without_torch(word: str) -> None:
    code = "import sys; from semscale_pl.cli.main import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, word], capture_output=True, text=True, check=True)
    assert done.stdout == f"semscale {semscale_pl.__version__}\n"


@pytest.mark.parametrize(
    ("ending", "code"),
    [(KeyboardInterrupt(), 130), (SystemExit(2), 2), (SystemExit(None), 0), (SystemExit("text"), 1)],
)
def test_exit_code_of_every_ending(ending: BaseException, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*_: object) -> int:
        raise ending

    monkeypatch.setattr(console, "_run", end)
    arguments = list(sys.argv)
    assert console.main(["train"]) == code
    assert sys.argv == arguments


def test_an_error_while_running_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*_: object) -> int:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(console, "_run", end)
    with pytest.raises(RuntimeError, match="out of memory"):
        console.main(["train"])


def test_every_command_has_a_config_and_a_task() -> None:
    from importlib import import_module

    from semscale_pl.config.composing import config_dir

    for module_name, _ in console.COMMANDS.values():
        module = import_module(module_name)
        assert (config_dir() / f"{module.CONFIG}.yaml").is_file()
        assert callable(module.run)


@pytest.mark.parametrize(
    ("line", "expected"),
    [("semscale train opt", "semscale opt"), ("semscale opt", "semscale opt"), ("semscale train ", "semscale ")],
)
def test_completion_takes_the_command_out(line: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "os", SimpleNamespace(environ={"COMP_LINE": line, "COMP_POINT": str(len(line))}))
    console._take_command_out_of_completion()
    assert console.os.environ["COMP_LINE"] == expected
    assert int(console.os.environ["COMP_POINT"]) == len(expected)
    assert "COMP_LINE" not in os.environ
