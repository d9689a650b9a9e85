"""A run that is to be online says before training, in one line, why it cannot be, and leaves nothing behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from semscale_pl.cli.main import main

CALL = ["train", "dataset=digits_lt", "backbone=small_cnn", "trainer.max_epochs=1", "logger=wandb"]


@pytest.fixture(autouse=True)
def no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    for name in ("HOME", "WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_MODE", "online")
    yield
    monkeypatch.undo()
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()  # it remembers the mode that it was first called in


def refused(capsys: pytest.CaptureFixture[str], *settings: str) -> str:
    assert main([*CALL, "hydra.run.dir=run", *settings]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("wandb:")]
    assert not (Path("run") / "checkpoints").exists()
    return line


def test_without_a_key_the_line_names_the_cures(capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys)
    assert "No API key configured" in line
    assert "`wandb login`" in line
    assert "leave out WANDB_MODE" in line
    assert not Path("run").exists()


def test_a_key_that_cannot_be_one_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    assert "API key must have 40+ characters" in refused(capsys)


def test_a_mode_that_there_is_not_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "onlin")
    assert "one of online, offline, disabled" in refused(capsys)


@pytest.mark.parametrize(("place", "reason"), [("login", "connection refused"), ("init", "entity nobody not found")])
def test_no_network_and_a_wrong_entity_are_one_line(
    place: str, reason: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def fail(*_: Any, **__: Any) -> None:
        raise wandb.errors.CommError(f"{reason}\nConsider something else")

    monkeypatch.setattr(wandb, "login", lambda: True)
    monkeypatch.setattr(wandb, place, fail)
    line = refused(capsys)
    assert f"{reason} Consider something else" in line
    assert "`wandb sync` uploads it later" in line
