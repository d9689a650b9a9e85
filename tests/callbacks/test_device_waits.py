"""A training step with everything on asks an accelerator for nothing: neither a value nor a shape."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from waiting import WaitedError, moved_by_the_epoch, on_device
from watching import Build

from semscale_pl.callbacks.recording import recorder
from semscale_pl.callbacks.recording.recorder import RunRecorder
from semscale_pl.callbacks.reweighting.frequency import FrequencyReweighting
from semscale_pl.callbacks.reweighting.sample_volume import SampleVolumeReweighting
from semscale_pl.callbacks.reweighting.semantic_scale import ScalePriorReweighting, SemanticScaleReweighting
from semscale_pl.data.vectors import BatchKeys, VectorDataset, VectorSet
from semscale_pl.losses import LDAM, BalancedSoftmax, Equalization, Focal, Seesaw
from semscale_pl.modules.mixing import Mixing
from semscale_pl.seeding import beside


class Steps(pl.Callback):
    """Treats the batch, the module and the pool as if they were on a device, from its second step of an epoch on."""

    def __init__(self, skipped: int = 1) -> None:
        self.skipped, self.num_steps, self._stack = skipped, 0, ExitStack()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        pool = getattr(pl_module.weighting, "pool", None)
        if pool is not None:
            pool.moments._fixed_shapes = True
        if batch_idx < self.skipped:
            return
        tensors: list[Tensor] = [*batch, *pl_module.parameters(), *pl_module.buffers()]
        if pool is not None:
            tensors += list(pool.buffers())
        tensors += moved_by_the_epoch(pl_module.weighting)
        self._stack.enter_context(on_device(*tensors))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._stack.close()
        self.num_steps += batch_idx >= self.skipped

    def on_exception(self, *args: Any) -> None:
        self._stack.close()


REWEIGHTINGS = {
    "none": list,
    "inverse": lambda: [FrequencyReweighting("inverse")],
    "sample volume": lambda: [SampleVolumeReweighting()],
    "dsb": lambda: [SemanticScaleReweighting(start_epoch=1)],
    "dsb fifo": lambda: [SemanticScaleReweighting(start_epoch=0, pool="fifo", capacity=90)],
    "dsb rms": lambda: [SemanticScaleReweighting(start_epoch=0, feature_norm="rms", estimator="shrunk")],
    "dsb l2": lambda: [SemanticScaleReweighting(start_epoch=0, feature_norm="l2", storage_dtype="bfloat16")],
    "dsb prior": lambda: [ScalePriorReweighting(start_epoch=0, ramp_epochs=2)],
    "dsb clean": lambda: [SemanticScaleReweighting(start_epoch=0, mixed="clean")],
}


@pytest.mark.parametrize("name", REWEIGHTINGS)
@pytest.mark.parametrize("mixing", [None, Mixing(cutmix_alpha=1.0, mixup_alpha=0.2, probability=0.5)], ids=["", "mix"])
def test_no_step_waits(
    name: str,
    mixing: Mixing | None,
    digits: Build,
    classifier: Build,
    trainer: Build,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Tensors of the CPU stand in for those of a device here, where the recorder would not read them.
    monkeypatch.setattr(recorder, "_readable", lambda values: False)
    steps = Steps()
    callbacks = [*REWEIGHTINGS[name](), RunRecorder(tmp_path), steps]
    trainer(*callbacks, max_epochs=2).fit(classifier(mixing=mixing), datamodule=digits())
    assert steps.num_steps > 4


@pytest.mark.parametrize("loss", [Focal, LDAM, BalancedSoftmax, Equalization, Seesaw])
def test_no_loss_waits(loss: type, digits: Build, classifier: Build, trainer: Build) -> None:
    steps = Steps()
    callbacks = [SemanticScaleReweighting(start_epoch=0), steps]
    trainer(*callbacks, max_epochs=1).fit(classifier(loss=loss()), datamodule=digits())
    assert steps.num_steps > 2


class Waiting(pl.Callback):
    """Looks at the loss of every step, as a progress line that is too curious would."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        float(outputs["loss"])


def test_a_step_that_waits_is_noticed(digits: Build, classifier: Build, trainer: Build) -> None:
    with pytest.raises(WaitedError):
        trainer(Waiting(), Steps(), max_epochs=1).fit(classifier(), datamodule=digits())


COPIES: dict[str, Callable[[Tensor], Any]] = {
    "to a device": lambda there: torch.arange(3).to(there.device),
    "to another tensor's": lambda there: torch.arange(3).to(there),
    "of a list": lambda there: torch.tensor([1, 2], device=there.device),
    "into a tensor": lambda there: there.copy_(torch.arange(3.0)),
    "into some of it": lambda there: there[:2].copy_(torch.arange(2.0)),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_out_of_the_hosts_memory_is_noticed(name: str) -> None:
    there = torch.zeros(3)
    with pytest.raises(WaitedError, match="host's memory"), on_device(there):
        COPIES[name](there)


def test_what_is_made_on_the_device_is_no_copy() -> None:
    there = torch.zeros(3)
    with on_device(there):
        there.copy_(torch.arange(3.0, device=there.device))
        there.copy_(torch.full_like(there, 2.0).to(there.dtype))
        beside(torch.arange(3), there)
    assert there.tolist() == [2.0, 2.0, 2.0]


def test_drawing_among_views_on_the_device_waits_for_nothing() -> None:
    labels, rows = torch.arange(6) % 2, torch.arange(6)
    first, second = torch.zeros(6, 4), torch.ones(6, 4)
    source = VectorSet(first, labels, ["a", "b"], views=(second,))
    dataset = VectorDataset(source, rows, draws_views=True, seed=3)
    keys = BatchKeys(torch.tensor([4, 1, 0, 5]), 2)
    expected = dataset.__getitems__(keys)
    dataset._kept_versions = (first, second)
    with on_device(first, second, labels, dataset._labels_there):
        found = dataset.__getitems__(keys)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert 0 < expected[0].mean() < 1, "both versions are drawn"
