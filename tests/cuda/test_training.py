"""Training on a card: as on the CPU, killed and resumed, in every precision, without waiting, in bounded memory."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from waiting import moved_by_the_epoch, on_device

from semscale_pl.callbacks.recording import recorder
from semscale_pl.callbacks.recording.finiteness import FinitenessWatch
from semscale_pl.training import record as recording
from semscale_pl.training.device import allow_tf32
from semscale_pl.training.evaluation import evaluate
from semscale_pl.training.provenance import device_name

pytestmark = pytest.mark.cuda
Trained = Callable[..., dict[str, Any]]
States = Callable[[str], dict[str, torch.Tensor]]
DSB = ["reweighting=semantic_scale", "reweighting.start_epoch=1"]


@pytest.mark.parametrize(("precision", "tolerance"), [("64-true", 1e-7), ("32-true", 5e-3)])
def test_a_run_with_dsb_is_the_cpus(precision: str, tolerance: float, trained: Trained, parameters: States) -> None:
    own = [*DSB, f"trainer.precision={precision}"]
    ours, theirs = trained("card", *own), trained("cpu", *own, "trainer.accelerator=cpu")
    expected = parameters("cpu")
    # Rounding in float32 grows with every step; in float64 nothing of it is to be seen.
    for name, value in parameters("card").items():
        torch.testing.assert_close(value, expected[name], rtol=tolerance, atol=tolerance)
    assert ours["scales"]["S'"] == pytest.approx(theirs["scales"]["S'"], rel=10 * tolerance)


def test_the_record_is_that_of_the_device(
    trained: Trained, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[torch.device] = []
    measure = recording.diagnose

    def noting(module: nn.Module, *others: Any) -> Any:
        places.extend(parameter.device for parameter in module.parameters())
        return measure(module, *others)

    monkeypatch.setattr(recording, "diagnose", noting)
    record = trained("run", *DSB)
    assert {place.type for place in places} == {device.type}
    assert record["provenance"]["device"] == device_name(device)
    assert (record["cost"]["peak_memory"]["gpu_bytes"] is not None) is (device.type == "cuda")
    assert (record["config"]["tf32"], record["config"]["trainer"]["precision"]) == (False, "32-true")


@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_a_killed_run_goes_on_as_an_unbroken_one(
    precision: str, trained: Trained, parameters: States, settings: list[str], device: torch.device, tmp_path: Path
) -> None:
    if device.type == "cpu" and precision == "16-mixed":
        pytest.skip("a CPU has no 16-mixed")
    own = [*DSB, f"trainer.precision={precision}", "scheduler=none", "mixing=cutmix"]
    last = tmp_path / "killed/checkpoints/last.ckpt"
    line = [sys.executable, "-m", "semscale_pl", "train", *settings, *own, "trainer.max_epochs=100000"]
    with (tmp_path / "log.txt").open("w") as log:
        run = subprocess.Popen([*line, f"hydra.run.dir={tmp_path}/killed"], stdout=log, stderr=log)
        try:
            end = time.monotonic() + 120
            while not last.is_file() and run.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
        finally:
            run.send_signal(signal.SIGKILL)
            run.wait()
    assert last.is_file(), (tmp_path / "log.txt").read_text()
    done = int(torch.load(last, map_location="cpu", weights_only=True)["epoch"]) + 1
    rest = [*own, f"trainer.max_epochs={done + 2}"]
    trained("resumed", *rest, f"ckpt_path={last}")
    trained("unbroken", *rest)
    expected = parameters("unbroken")
    assert all(torch.equal(value, expected[name]) for name, value in parameters("resumed").items())


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "bf16-true", "64-true"])
def test_a_precision_is_tested_recorded_and_evaluated(
    precision: str, trained: Trained, device: torch.device, tmp_path: Path
) -> None:
    if device.type == "cpu" and precision == "16-mixed":
        pytest.skip("a CPU has no 16-mixed")
    record = trained("run", *DSB, f"trainer.precision={precision}", "mixing=mixup")
    assert record["skipped_steps"] == 0
    assert all(value > 0 for value in record["scales"]["S'"])
    again = evaluate(tmp_path / "run/checkpoints/last.ckpt", "gpu" if device.type == "cuda" else "cpu")
    # The evaluation is in float32, so that an image between two classes may change sides.
    assert again["top1"] == pytest.approx(record["results"]["last"]["top1"], abs=0.02)


def test_tf32_is_used_where_it_is_asked_for_alone(device: torch.device) -> None:
    rng = torch.Generator().manual_seed(0)
    images, matrix = torch.randn(2, 64, 32, 32, generator=rng), torch.randn(512, 512, generator=rng)
    conv = nn.Conv2d(64, 64, 3, padding=1)
    expected = {"conv": conv.double()(images.double()).detach(), "product": matrix.double() @ matrix.double()}
    conv = conv.float().to(device)
    deviations = {}
    for allowed in (False, True):
        allow_tf32(allowed)
        found = {"conv": conv(images.to(device)), "product": matrix.to(device) @ matrix.to(device)}
        deviations[allowed] = {
            name: float((value.detach().double().cpu() - expected[name]).abs().max() / expected[name].abs().max())
            for name, value in found.items()
        }
    assert all(deviation < 1e-5 for deviation in deviations[False].values()), deviations
    assert all(deviation < 1e-2 for deviation in deviations[True].values()), deviations
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8:
        assert deviations[True]["product"] > 10 * deviations[False]["product"], deviations


def test_memory_formats_differ_by_rounding_alone(trained: Trained, parameters: States) -> None:
    for last in ("true", "false"):
        trained(last, *DSB, f"backbone.channels_last={last}", "trainer.precision=64-true")
    expected = parameters("false")
    for name, value in parameters("true").items():
        torch.testing.assert_close(value, expected[name], rtol=1e-7, atol=1e-7)


def test_a_compiled_run_and_its_checkpoints(
    trained: Trained, parameters: States, device: torch.device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device.type == "cpu":  # the compiler's front alone: its code for a CPU takes a minute to build
        compiler = torch.compile
        monkeypatch.setattr(torch, "compile", lambda function, **_: compiler(function, backend="eager"))
    trained("compiled", *DSB, "compile=true")
    trained("plain", *DSB)
    assert list(parameters("compiled")) == list(parameters("plain"))
    for name, value in parameters("plain").items():
        torch.testing.assert_close(parameters("compiled")[name], value, rtol=0.02, atol=5e-3)
    for first, compiled in (("compiled", "false"), ("plain", "true")):
        ckpt = tmp_path / first / "checkpoints/last.ckpt"
        rest = trained(f"{first}_rest", *DSB, f"compile={compiled}", f"ckpt_path={ckpt}", "trainer.max_epochs=3")
        assert rest["completed_epochs"] == 3


class NoWaits(pl.Callback):
    """Let no step of training wait for the card, after the first ones; in a rehearsal the CPU stands in for it."""

    def __init__(self, device: torch.device) -> None:
        self.on_card, self.num_steps, self._stack = device.type == "cuda", 0, ExitStack()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        pool = getattr(pl_module.weighting, "pool", None)
        if not self.on_card and pool is not None:
            pool.moments._fixed_shapes = True
        if batch_idx == 0:
            return
        self.num_steps += 1
        if self.on_card:
            torch.cuda.set_sync_debug_mode("error")
        else:
            buffers = [] if pool is None else list(pool.buffers())
            buffers += moved_by_the_epoch(pl_module.weighting)
            self._stack.enter_context(on_device(*batch, *pl_module.parameters(), *pl_module.buffers(), *buffers))

    def on_train_batch_end(self, *_: Any) -> None:
        self._free()

    def on_exception(self, *_: Any) -> None:
        self._free()

    def _free(self) -> None:
        if self.on_card:
            torch.cuda.set_sync_debug_mode("default")
        self._stack.close()


@pytest.mark.parametrize("mixing", ["none", "cutmix"])
@pytest.mark.parametrize(
    "reweighting",
    [["none"], ["semantic_scale"], ["semantic_scale", "reweighting.pool=fifo"], ["semantic_scale_prior"],
     ["mean_score"], ["inverse_frequency"]],
    ids=" ".join,
)  # fmt: skip
def test_no_step_waits(
    reweighting: list[str], mixing: str, trained: Trained, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device.type == "cpu":  # on a CPU every loss is looked at at once, and answers are counted by numpy
        monkeypatch.setattr(FinitenessWatch, "on_before_backward", lambda *_: None)
        monkeypatch.setattr(recorder, "_readable", lambda values: False)
    waits = NoWaits(device)
    start = ["reweighting.start_epoch=1"] if reweighting[0].startswith("semantic") else []
    own = [f"reweighting={reweighting[0]}", *reweighting[1:], *start, f"mixing={mixing}", "trainer.deterministic=false"]
    trained("run", *own, callbacks=(waits,))
    assert waits.num_steps > 4


class Memory(pl.Callback):
    """Notes what tensors take at the end of each epoch."""

    def __init__(self, device: torch.device) -> None:
        self.on_card, self.taken = device.type == "cuda", list[int]()

    def on_train_epoch_end(self, *_: Any) -> None:
        gc.collect()
        self.taken.append(torch.cuda.memory_allocated() if self.on_card else _bytes_of_tensors())


def _bytes_of_tensors() -> int:
    storages = {}
    for thing in gc.get_objects():
        if type(thing) in (torch.Tensor, nn.Parameter):
            storage = thing.untyped_storage()
            storages[storage._cdata] = storage.nbytes()
    return sum(storages.values())


def test_memory_stays_what_it_was_after_an_epoch(trained: Trained, device: torch.device) -> None:
    memory = Memory(device)
    trained("run", *DSB, "trainer.max_epochs=5", "mixing=mixup", callbacks=(memory,))
    assert len(memory.taken) == 5
    assert max(memory.taken[3:]) <= memory.taken[2] + 2**16
