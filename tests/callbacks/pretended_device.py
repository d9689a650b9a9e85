"""Take training steps on a device that only pretends to be one, and print each that mixes it with the CPU or waits.

Tensors without values (torch's fake tensors) lie on it: an operator with tensors of two devices is refused as on a
card, and so is whatever would ask for a value. To be run in a process of its own, for which torch has one such device.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils import backend_registration

from semscale_pl.callbacks.recording.recorder import RunRecorder
from semscale_pl.callbacks.reweighting.frequency import FrequencyReweighting
from semscale_pl.callbacks.reweighting.score import ScoreReweighting
from semscale_pl.callbacks.reweighting.semantic_scale import ScalePriorReweighting, SemanticScaleReweighting
from semscale_pl.callbacks.reweighting.slot import SlotReweighting
from semscale_pl.callbacks.training_data import TrainingSplit
from semscale_pl.losses import LDAM, BalancedSoftmax, CrossEntropy, Equalization, Focal, PerSampleLoss, Seesaw
from semscale_pl.models.classifiers import CosineClassifier, LinearClassifier
from semscale_pl.models.resnet_cifar import ResNetCifar
from semscale_pl.modules import mixing as mixing_module
from semscale_pl.modules.classifier import ImbalancedClassifier
from semscale_pl.modules.mixing import Mixing
from semscale_pl.pool import FeaturePool

NAME = "pretended"
CLASSES, SLOTS, ROWS, WIDTH = 10, 50, 8, 64
LOSSES: list[Callable[[], PerSampleLoss]] = [CrossEntropy, Focal, LDAM, BalancedSoftmax, Equalization, Seesaw]
REWEIGHTINGS: list[Callable[[], SlotReweighting]] = [
    lambda: FrequencyReweighting("inverse"),
    lambda: SemanticScaleReweighting(start_epoch=0),
    lambda: SemanticScaleReweighting(start_epoch=0, pool="fifo", feature_norm="rms", estimator="shrunk"),
    lambda: SemanticScaleReweighting(start_epoch=0, mixed="clean", feature_norm="l2", storage_dtype="bfloat16"),
    lambda: ScalePriorReweighting(start_epoch=0),
    ScoreReweighting,
]
MIXINGS = [Mixing(cutmix_alpha=1.0), Mixing(mixup_alpha=0.3)]
TRAINER: Any = SimpleNamespace(current_epoch=1)


class Backend(backend_registration._DummyBackendModule):
    """What torch asks of a device."""

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]


def device() -> torch.device:
    """Return the device, whose name torch knows once `main` has registered it."""
    return torch.device(NAME, 0)


def moved(module: nn.Module, mode: FakeTensorMode) -> None:
    """Put the parameters and buffers of a module on the pretended device."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, value in tensors.items():
                if value is not None:
                    fake = placed(value, mode)
                    tensors[name] = nn.Parameter(fake) if isinstance(value, nn.Parameter) else fake  # type: ignore[assignment]


def placed(values: Tensor, mode: FakeTensorMode) -> Tensor:
    return FakeTensor(mode, values.detach().to("meta"), device())


def filled(make: Callable[[], SlotReweighting], module: ImbalancedClassifier, mode: FakeTensorMode) -> SlotReweighting:
    """Return a re-weighting in the middle of a run."""
    reweighting = make()
    reweighting._module, reweighting._epoch = module, 1
    even = torch.full((CLASSES,), 0.1, dtype=torch.float64)
    if isinstance(reweighting, ScoreReweighting):
        reweighting.scores = placed(even, mode)
    elif isinstance(reweighting, SemanticScaleReweighting):
        reweighting._split = TrainingSplit(CLASSES, SLOTS, placed(even, mode), placed(even, mode))
        dtype = getattr(torch, reweighting.storage_dtype)
        indexed = reweighting.mode == "indexed"
        reweighting.pool = FeaturePool(SLOTS, WIDTH, CLASSES, reweighting.mode, dtype, fixed_labels=indexed)
        moved(reweighting.pool, mode)
        reweighting.pool._rows_pushed = ROWS
    else:
        reweighting.weights = placed(even, mode)
    return reweighting


def step(loss: PerSampleLoss, make: Callable[[], SlotReweighting], mixing: Mixing | None) -> None:
    """Take one training step, with its backward pass and what is noted of it."""
    mode = FakeTensorMode(allow_non_fake_inputs=False)
    classifier = (CosineClassifier if isinstance(loss, LDAM) else LinearClassifier)(WIDTH, CLASSES)
    loss.setup(torch.full((CLASSES,), 0.1, dtype=torch.float64))
    backbone = ResNetCifar(8, channels_last=True)
    module = ImbalancedClassifier(backbone, classifier, loss, num_classes=CLASSES, mixing=mixing)
    for part in (module.backbone, module.classifier, module.loss):
        moved(part, mode)
    module.log = lambda *_, **__: None  # type: ignore[method-assign,assignment]
    module._trainer = TRAINER
    module.weighting = filled(make, module, mode)
    recorder = RunRecorder(".")
    with mode:
        labels = torch.zeros(ROWS, dtype=torch.int64, device=device())
        batch = (torch.zeros(ROWS, 3, 16, 16, device=device()), labels, labels)
        outputs = module.training_step(batch, 0)
        outputs["loss"].backward()
        module.on_train_batch_end(outputs, batch, 0)
        recorder.on_train_batch_end(TRAINER, module, outputs, batch, 0)
        assert outputs["loss"].device == device()


@contextmanager
def drawn_on_the_cpu(seed: int) -> Iterator[None]:
    """Let mixing draw its shares, which it does on the CPU and from its seed, as numbers."""
    with unset_fake_temporarily(), SEEDED(seed):
        yield


class Misplaced(CrossEntropy):
    """Has left something on the CPU."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().forward(logits, labels) * torch.ones(len(labels))


class Asking(CrossEntropy):
    """Asks for a value."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return super().forward(logits, labels) * float(logits.max())


def main() -> None:
    """Print what went wrong, one line a step, and then how many steps there were."""
    for broken in (Misplaced, Asking):
        try:
            step(broken(), REWEIGHTINGS[0], None)
        except Exception as error:
            print(f"noticed: {type(error).__name__}")
    numbers = range(len(REWEIGHTINGS))
    steps = [*itertools.product(LOSSES, numbers, [None]), *itertools.product([CrossEntropy], numbers, MIXINGS)]
    for loss, number, mixing in steps:
        try:
            step(loss(), REWEIGHTINGS[number], mixing)
        except Exception as error:
            name = getattr(loss, "__name__", loss)
            print(f"{name}, re-weighting {number}, {mixing}: {type(error).__name__} {' '.join(str(error).split())}")
    print(f"{len(steps)} steps")


if __name__ == "__main__":
    SEEDED, mixing_module.seeded = mixing_module.seeded, drawn_on_the_cpu
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Backend())
    main()
    sys.stdout.flush()
    # Autograd's thread for the made-up device may still run when the interpreter takes itself apart, which aborts.
    os._exit(0)
