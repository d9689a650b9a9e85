"""How many operations a step of DSB asks a card for: there each costs its launch, whatever it computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from semscale_pl.callbacks.recording.recorder import _count
from semscale_pl.callbacks.reweighting.semantic_scale import ScalePriorReweighting, SemanticScaleReweighting
from semscale_pl.callbacks.training_data import TrainingSplit
from semscale_pl.weighting import StepInputs

CLASSES, SLOTS, ROWS, WIDTH = 20, 300, 32, 8


class Operations(TorchDispatchMode):
    """Counts what is dispatched, views included."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += 1
        return func(*args, **(kwargs or {}))


def inputs(seed: int) -> StepInputs:
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randperm(SLOTS, generator=generator)[:ROWS]
    features = torch.randn(ROWS, WIDTH, generator=generator)
    return StepInputs(features, torch.randn(ROWS, CLASSES), indices % CLASSES, indices)


def in_stage_3(callback: SemanticScaleReweighting) -> SemanticScaleReweighting:
    """Return the callback with a pool that goes a card's way, after its first steps."""
    even = torch.full((CLASSES,), 1 / CLASSES, dtype=torch.float64)
    callback._split = TrainingSplit(CLASSES, SLOTS, even * SLOTS, even)
    callback._make_pool(WIDTH)
    assert callback.pool is not None
    callback.pool.moments._fixed_shapes = True
    for seed in range(3):
        callback(inputs(seed))
    return callback


# Before checks were put off, classes taken together and both Cholesky factors made by one call: 466.
@pytest.mark.parametrize(
    ("make", "most"),
    [
        (lambda: SemanticScaleReweighting(start_epoch=0), 155),
        (lambda: SemanticScaleReweighting(start_epoch=0, pool="fifo"), 155),
        (lambda: SemanticScaleReweighting(start_epoch=5), 75),
        (lambda: ScalePriorReweighting(start_epoch=0), 155),
    ],
    ids=["stage 3", "queue", "stage 2", "prior"],
)
def test_a_step_takes_few_operations(make: Any, most: int) -> None:
    callback, step = in_stage_3(make()), inputs(9)
    with Operations() as operations:
        callback(step)
    assert 20 < operations.number <= most


def test_put_off_checks_are_few_operations_too() -> None:
    callback = in_stage_3(SemanticScaleReweighting(start_epoch=0))
    steps = [inputs(seed) for seed in range(64)]
    with Operations() as operations:
        for step in steps:
            callback(step)
    assert operations.number <= 64 * 155 + 40


def test_counting_the_right_answers_takes_few_operations() -> None:
    hits, step = torch.zeros(2, CLASSES, dtype=torch.int64), inputs(1)
    with Operations() as operations:
        _count(hits, step.logits, step.labels)
    assert operations.number <= 9
