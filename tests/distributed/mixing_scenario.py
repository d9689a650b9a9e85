"""Train with mixed images in a plain loop on several gloo ranks, and leave what each ends with in a folder.

Run as a script: `python mixing_scenario.py RANKS FOLDER`. A rank's share of a global batch may be empty.
"""

from __future__ import annotations

import itertools
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import semscale_pl as ss  # before Lightning: it lets torchvision load beside a CPU-only torch

# isort: split
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from semscale_pl.callbacks.reweighting.score import ScoreReweighting
from semscale_pl.callbacks.reweighting.slot import SlotReweighting
from semscale_pl.distributed import alone, from_first_rank, gather_rows, rank, world_size
from semscale_pl.losses import Seesaw
from semscale_pl.models.classifiers import LinearClassifier
from semscale_pl.modules.mixing import Mixing
from semscale_pl.weighting import StepInputs, StepTerms

NUM_IMAGES, NUM_CLASSES, SIZE = 30, 3, 6
# Rows of the global batches: 7 and 5 are uneven, 2 leave a third rank without any, 1 also the second.
BATCHES = (9, 7, 2, 1, 9, 5, 9)
MIXINGS = {
    f"{name}-{probability}": Mixing(**{f"{name}_alpha": 1.0}, probability=probability, seed=4)
    for name in ("mixup", "cutmix")
    for probability in (0.5, 1.0)
}
POOLED = ("dominant", "skip", "clean")
CASES = [
    (mixing, mixed)
    for mixing, mixed in itertools.product(MIXINGS, (*POOLED, "score"))
    if not (mixing.endswith("1.0") and mixed == "skip")  # refused: the pool would stay empty
]


class Plain(nn.Module):
    """One layer, no batch statistics."""

    num_features = 5

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(2 * SIZE * SIZE, 5), nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class Source:
    """What a callback asks of a datamodule."""

    num_classes, train_size = NUM_CLASSES, NUM_IMAGES
    class_counts = torch.tensor([15, 10, 5])
    class_frequencies = class_counts / 30


def train(case: tuple[str, str]) -> dict[str, Any]:
    """Take ten steps and return what they lead to, and which of them were mixed."""
    torch.manual_seed(0)
    images = torch.rand(NUM_IMAGES, 2, SIZE, SIZE, dtype=torch.float64)
    labels = torch.repeat_interleave(torch.arange(NUM_CLASSES), Source.class_counts)
    module = ss.ImbalancedClassifier(
        Plain(), LinearClassifier(5, NUM_CLASSES), Seesaw(), num_classes=NUM_CLASSES, class_counts=[15, 10, 5],
        mixing=MIXINGS[case[0]],
    ).double()  # fmt: skip
    callback = start(case[1], module)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.3, momentum=0.9)
    losses, shares, indices = [], [], torch.randperm(NUM_IMAGES)

    class Watching:
        def __call__(self, inputs: StepInputs) -> StepTerms:
            shares.append(-1.0 if inputs.mixed_labels is None else inputs.lam)
            return callback(inputs)

    module.weighting = Watching()  # type: ignore[assignment]
    for number, rows in enumerate(BATCHES):
        mine = indices.roll(7 * number)[:rows][share(rows)]
        output = module.training_step((images[mine], labels[mine], mine), number)
        optimizer.zero_grad()
        output["loss"].backward()
        for parameter in module.parameters():
            parameter.grad = averaged(parameter.grad)
        optimizer.step()
        module.on_train_batch_end(output, None, number)
        losses.append(averaged(output["loss"].detach()))
    state = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    pool = callback.pool if isinstance(callback, ss.SemanticScaleReweighting) else None
    stored = {} if pool is None else {"pool": pool.features, "pool_labels": pool.labels, "pushed": pool.num_pushed}
    steps = {"losses": torch.stack(losses), "shares": torch.tensor(shares)}
    return {**state, **callback.report().per_class, **stored, **steps}


def start(mixed: str, module: ss.ImbalancedClassifier) -> SlotReweighting:
    """Put a re-weighting that weighs from the first step on into the slot."""
    trainer: Any = SimpleNamespace(datamodule=Source(), current_epoch=0, max_epochs=1)
    if mixed == "score":
        callback: SlotReweighting = ScoreReweighting()
    else:
        callback = ss.SemanticScaleReweighting(start_epoch=0, mixed=mixed)
    callback._begin(trainer, module)
    callback.on_fit_start(trainer, module)
    return callback


def share(rows: int) -> slice:
    """Return this rank's rows of a global batch: as many as fit evenly, one more on the first ranks."""
    size, extra = divmod(rows, world_size())
    first = rank() * size + min(rank(), extra)
    return slice(first, first + size + (rank() < extra))


def averaged(value: Tensor | None) -> Tensor:
    """Average over the ranks, as DDP does with gradients."""
    assert value is not None
    if world_size() > 1:
        dist.all_reduce(value)
    return value / world_size()


def work(number: int, ranks: int, folder: str) -> None:
    """Train every case as one of so many ranks."""
    warnings.filterwarnings("ignore")
    if ranks > 1:
        dist.init_process_group("gloo", f"file://{folder}/store{ranks}", rank=number, world_size=ranks)
    answers = [from_first_rank(number == 0), from_first_rank(number != 0)]
    with alone():
        own = (rank(), world_size(), *gather_rows(torch.tensor([number])))
    found = {case: train(case) for case in CASES}
    torch.save({**found, "answers": answers, "own": own}, f"{folder}/ranks{ranks}_{number}.pt")


if __name__ == "__main__":
    for count in map(int, sys.argv[1].split(",")):
        mp.start_processes(work, (count, sys.argv[2]), nprocs=count, start_method="fork")
