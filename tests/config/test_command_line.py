"""Command lines to type: a shell and Hydra read back what was meant."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from semscale_pl.config.command_line import in_shell, program, setting, shown

PATHS = [
    "runs/a", "my run/x", "it's/x", "a=1,b/x", 'q"uote/$HOME', "back\\slash/x", "x\\'y", "123", "null", "a!b/c", "ü/y",
    "a\\", "a\n/b",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_setting_survives_shell_and_hydra(path: str) -> None:
    typed = in_shell(setting("k", path))
    (word,) = shlex.split(typed)
    assert subprocess.run(["sh", "-c", f"printf %s {typed}"], capture_output=True, text=True).stdout == word
    (override,) = OverridesParser.create().parse_overrides([word])
    value = override.value()
    assert getattr(value, "text", value) == path


def test_paths_are_shown_as_they_are_typed_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "runs" / "one") == "runs/one"
    assert shown(Path("/elsewhere")) == "/elsewhere"
    assert shown(tmp_path) == str(tmp_path)


def test_the_program_is_named_as_it_was_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "semscale"
    script.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert program() == [str(script)]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == ["semscale"]
    monkeypatch.setattr(sys, "argv", ["/somewhere/semscale_pl/__main__.py"])
    assert program()[1:] == ["-m", "semscale_pl"]
