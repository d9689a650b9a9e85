"""Signals: every command ends with 128 and the signal's number and says in one line how to go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from semscale_pl.cli.main import COMMANDS, DIRECT_COMMANDS, main
from semscale_pl.config import stopping
from semscale_pl.config.stopping import Ended, as_ended, ending_by_signals, is_first_process

SIGNALS = {signal.SIGINT: "Interrupted", signal.SIGTERM: "Ended by SIGTERM", signal.SIGHUP: "Ended by SIGHUP"}
# What a command of the first kind imports only when it has checked its call.
TARGETS = {
    "train": ("semscale_pl.training.building.build_datamodule", ()),
    "evaluate": ("semscale_pl.training.evaluation.read_checkpoint", ("ckpt=x.ckpt",)),
    "predict": ("semscale_pl.training.prediction.restore", ("ckpt=x.ckpt", "images=images")),
    "head": ("semscale_pl.training.new_head.read_checkpoint", ("ckpt=x.ckpt",)),
    "export": ("semscale_pl.training.export.restore", ("ckpt=x.ckpt", "format=torchscript")),
}


def end_by(number: signal.Signals) -> Any:
    def end(*_: object, **__: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(10)

    return end


@pytest.fixture
def _call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    (tmp_path / "x.ckpt").touch()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "x.png").touch()


@pytest.mark.usefixtures("_call")
@pytest.mark.parametrize("command", [*COMMANDS, *DIRECT_COMMANDS])
@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_every_command_ends_by_every_signal(
    command: str, number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if command in TARGETS:
        target, arguments = TARGETS[command]
        monkeypatch.setattr(target, end_by(number))
    else:
        arguments = ("verify", "dataset=digits") if command == "data" else ("features=x.ckpt",)
        module = import_module(DIRECT_COMMANDS[command][0])
        monkeypatch.setattr(type(module.COMMAND), "parse", end_by(number))
        monkeypatch.setattr(module, "execute", end_by(number), raising=False)
    handlers = [signal.getsignal(one) for one in SIGNALS]
    assert main([command, *arguments]) == 128 + number
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"{SIGNALS[number]}. ")
    assert f" -m semscale_pl {command} " in lines[0]
    assert [signal.getsignal(one) for one in SIGNALS] == handlers


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_is_told_from_what_it_makes_fail(number: signal.Signals) -> None:
    assert as_ended(ValueError("ours")) is None
    with ending_by_signals():
        with pytest.raises(Ended) as ended:
            end_by(number)()
        assert ended.value.exit_code == 128 + number
        # A worker that was ended before its parent noticed.
        found = as_ended(RuntimeError("DataLoader worker is killed"))
        assert found is not None
        assert found.number == number
        os.kill(os.getpid(), number)  # a second one does not break off what lets go
    assert as_ended(ValueError("ours")) is None


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_library_that_takes_the_signal_gives_it_back() -> None:
    with ending_by_signals():
        signal.signal(signal.SIGTERM, lambda *_: None)
        stopping.hold_on()
        with pytest.raises(Ended):
            end_by(signal.SIGTERM)()
    before = signal.getsignal(signal.SIGTERM)
    stopping.hold_on()
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_end_that_a_library_loses_comes_again(capfd: pytest.CaptureFixture[str]) -> None:
    class Careless:
        def __del__(self) -> None:
            end_by(signal.SIGTERM)()

    with ending_by_signals():
        careless = Careless()
        del careless  # what is raised here is ignored
        with pytest.raises(Ended):
            time.sleep(10)
    with ending_by_signals():
        with suppress(BaseException):
            end_by(signal.SIGTERM)()
        with pytest.raises(Ended):
            time.sleep(10)
    assert capfd.readouterr().err == ""


def test_a_process_that_does_not_let_go_is_ended_all_the_same() -> None:
    script = (
        "import os, signal, threading; from semscale_pl.config import stopping\n"
        "stopping.GRACE_SECONDS = 0.2\n"
        "with stopping.ending_by_signals():\n"
        "    try: os.kill(os.getpid(), signal.SIGTERM); threading.Event().wait()\n"
        "    except BaseException: threading.Event().wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 143
    assert done.stderr == "Ended by SIGTERM, and did not let go within 0 s. \n"


def test_an_end_that_is_lost_for_good_ends_the_process_with_its_line() -> None:
    script = (
        "import signal, os, time; from semscale_pl.config import stopping\n"
        "stopping.LOST_SECONDS, stopping._LOOK_SECONDS = 0.1, 0.05\n"
        "with stopping.ending_by_signals(), stopping.telling(lambda: 'Go on so.'):\n"
        "    while True:\n"
        "        try: time.sleep(0.05); os.kill(os.getpid(), signal.SIGHUP)\n"
        "        except BaseException: pass\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (129, "Ended by SIGHUP. Go on so.\n")


def test_a_forked_child_does_not_unwind_its_parent() -> None:
    with ending_by_signals():
        child = os.fork()
        if child == 0:
            try:
                end_by(signal.SIGTERM)()
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143
        assert as_ended(None) is None


@pytest.mark.parametrize(
    ("variables", "first"),
    [({}, True), ({"LOCAL_RANK": "0"}, True), ({"LOCAL_RANK": "1"}, False), ({"RANK": "2", "LOCAL_RANK": "0"}, False)],
)
def test_the_first_rank(variables: dict[str, str], first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() is first


@pytest.mark.parametrize(("rank", "parents", "speaks"), [("0", [7], False), ("1", [7, 7, 1], True), ("1", [7], False)])
def test_of_ranks_that_end_alike_the_first_one_speaks(
    rank: str, parents: list[int], speaks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(stopping, "_PARENT", 7)
    monkeypatch.setattr(stopping, "_TOGETHER_SECONDS", 0.2)
    monkeypatch.setattr(stopping.os, "getppid", lambda: parents.pop(0) if len(parents) > 1 else parents[0])
    assert stopping.first_process_speaks() == speaks
