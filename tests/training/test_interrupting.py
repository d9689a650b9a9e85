"""A first rank that ends early passes the signal on, waits for the other ranks, and leaves none behind."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from semscale_pl.config import stopping
from semscale_pl.config.errors import answers_in_one_line
from semscale_pl.config.stopping import Ended, with_last_act
from semscale_pl.training import interrupting
from semscale_pl.training.interrupting import EndsBySignal, unwinding

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
WILLING = STUBBORN.replace("signal.SIG_IGN", "lambda *_: sys.exit(143)").replace("import", "import sys,")


def rank(code: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # its handler stands
    process.stdout.close()
    return process


def trainer_with(*ranks: subprocess.Popen[bytes]) -> tuple[Any, EndsBySignal]:
    callback = EndsBySignal()
    launcher = SimpleNamespace(procs=list(ranks))
    return SimpleNamespace(callbacks=[callback], strategy=SimpleNamespace(launcher=launcher)), callback


def fail_in(trainer: Any, callback: EndsBySignal, error: BaseException) -> None:
    started = trainer.strategy.launcher.procs
    with unwinding(trainer):
        callback.on_exception(trainer, None, error)  # type: ignore[arg-type]
        assert started == []  # Lightning's watch would kill this process for the first one that ends
        raise error


def test_the_other_ranks_end_with_the_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupting, "LEAVE_SECONDS", 1.0)
    willing, stubborn = rank(WILLING), rank(STUBBORN)
    with pytest.raises(Ended):
        fail_in(*trainer_with(willing, stubborn), Ended())
    assert (willing.wait(5), stubborn.wait(5)) == (143, -9)


def test_an_error_that_all_ranks_have_ends_them_by_no_signal() -> None:
    other = rank("import sys; print(1, flush=True); sys.exit(3)")
    with pytest.raises(ValueError, match="ours"):
        fail_in(*trainer_with(other), ValueError("ours"))
    assert other.returncode == 3


def test_the_last_act_of_a_process_ends_what_it_started(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, acts = list[int](), list[str]()
    monkeypatch.setattr(stopping.os, "_exit", codes.append)
    with with_last_act(lambda: acts.append("ended")):
        stopping._end_now(15, is_lost=False)
    stopping._end_now(15, is_lost=False)
    assert (codes, acts) == ([143, 143], ["ended"])


def test_what_a_signal_made_fail_is_an_end_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    @answers_in_one_line
    def task(_: Any) -> None:
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Terminated.")

    monkeypatch.setattr(stopping._state, "number", 15)
    with pytest.raises(Ended):  # which Hydra does not announce as a job's error
        task(None)
