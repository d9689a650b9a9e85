"""The progress display: few lines in a log, one line on a terminal, nothing of Lightning's own bar."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar

from semscale_pl.callbacks.recording.progress import ProgressLine

MODULE: Any = None


def _trainer(epochs: int | None) -> Any:
    metrics = {"train/loss": 0.51234, "other": 1.0}
    return SimpleNamespace(max_epochs=epochs, current_epoch=0, num_training_batches=5, callback_metrics=metrics)


def _run(line: ProgressLine, epochs: int, seconds: float, monkeypatch: pytest.MonkeyPatch, first: int = 0) -> None:
    trainer, clock = _trainer(epochs), [100.0]
    monkeypatch.setattr("semscale_pl.progress.time.monotonic", lambda: clock[0])
    trainer.current_epoch = first
    line.on_train_start(trainer, MODULE)
    for epoch in range(first, epochs):
        trainer.current_epoch = epoch
        for batch in range(5):
            line.on_train_batch_end(trainer, MODULE, None, None, batch)
        clock[0] += seconds
        line.on_train_epoch_end(trainer, MODULE)
    line.on_train_end(trainer, MODULE)


def test_a_log_gets_few_lines_with_an_estimate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(ProgressLine(live=False), 1000, 2.0, monkeypatch)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "epoch 1/1000  loss 0.512  2 s, 33 min 18 s left"
    assert lines[-1].startswith("epoch 1000/1000")
    assert lines[-1].endswith("33 min 20 s, 0 s left")
    assert 10 < len(lines) < 30


def test_the_loss_of_a_diverging_training_is_no_row_of_digits(capsys: pytest.CaptureFixture[str]) -> None:
    line, trainer = ProgressLine(live=False), _trainer(1)
    trainer.callback_metrics["train/loss"] = 2.5445e28
    line.on_train_start(trainer, MODULE)
    line.on_train_epoch_end(trainer, MODULE)
    assert "epoch 1/1  loss 2.54e+28  " in capsys.readouterr().err


def test_an_epoch_gets_at_most_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _run(ProgressLine(live=False), 4, 10_000.0, monkeypatch)
    epochs = [line.split()[1] for line in capsys.readouterr().err.splitlines()]
    assert epochs == ["1/4", "2/4", "3/4", "4/4"]


def test_a_long_epoch_gets_lines_within_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    trainer, clock, line = _trainer(2), [100.0], ProgressLine(live=False)
    monkeypatch.setattr("semscale_pl.progress.time.monotonic", lambda: clock[0])
    line.on_train_start(trainer, MODULE)
    line.on_train_epoch_start(trainer, MODULE)
    for batch in range(5):
        clock[0] += 60.0
        line.on_train_batch_end(trainer, MODULE, None, None, batch)
    line.on_train_epoch_end(trainer, MODULE)
    assert capsys.readouterr().err.splitlines() == [
        "epoch 1/2  batch 1/5  1 min 0 s, 9 min 0 s left",
        "epoch 1/2  batch 2/5  2 min 0 s, 8 min 0 s left",
        "epoch 1/2  batch 3/5  3 min 0 s, 7 min 0 s left",
        "epoch 1/2  loss 0.512  5 min 0 s, 5 min 0 s left",
    ]


def test_a_resumed_run_estimates_from_its_own_epochs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(ProgressLine(live=False), 100, 60.0, monkeypatch, first=90)
    assert capsys.readouterr().err.splitlines()[0] == "epoch 91/100  loss 0.512  1 min 0 s, 9 min 0 s left"


def test_a_terminal_gets_one_line_that_moves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    line = ProgressLine(live=True)
    _run(line, 3, 1.0, monkeypatch)
    text = capsys.readouterr().err
    assert "epoch 3/3" in text
    assert "left" in text
    assert line._display is None


def test_other_ranks_stay_silent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for live in (True, False):
        line = ProgressLine(live=live)
        line.disable()
        _run(line, 3, 1.0, monkeypatch)
    assert capsys.readouterr().err == ""


def test_an_open_end_is_shown_without_an_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    line, trainer = ProgressLine(live=False), _trainer(-1)
    line.on_train_start(trainer, MODULE)
    line.on_train_epoch_end(trainer, MODULE)
    assert capsys.readouterr().err == "epoch 1  loss 0.512  0 s\n"


def test_an_exception_closes_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    line, trainer = ProgressLine(live=True), _trainer(3)
    line.on_train_start(trainer, MODULE)
    assert line._display is not None
    line.on_exception(trainer, MODULE, KeyboardInterrupt())
    assert line._display is None


def test_lightning_adds_no_bar_of_its_own() -> None:
    trainer = pl.Trainer(callbacks=[ProgressLine()], logger=False, enable_checkpointing=False, accelerator="cpu")
    bars = [callback for callback in trainer.callbacks if isinstance(callback, ProgressBar)]
    assert [type(bar) for bar in bars] == [ProgressLine]
