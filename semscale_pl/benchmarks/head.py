"""How long a run on features takes against a bare loop of its arithmetic: python -m semscale_pl.benchmarks.head."""

from __future__ import annotations

import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from semscale_pl.benchmarks import origin, parse_options, print_figures
from semscale_pl.config.composing import composed_from
from semscale_pl.imbalance import long_tail_counts
from semscale_pl.seeding import derive_seed
from semscale_pl.training import building
from semscale_pl.training.short_steps import with_short_steps

BATCH, RATE = 128, 0.05
# What is timed besides the bare loop, and the overrides that make it.
WAYS: dict[str, list[str]] = {
    "CE": [],
    "CE by Lightning's own steps": [],
    "DSB": ["reweighting=semantic_scale", "reweighting.start_epoch=1"],
}


def run(classes: int = 100, features: int = 1280, epochs: int = 5, repeats: int = 3) -> dict[str, Any]:
    """Time trainings of a linear head on features in the shape of CIFAR-100-LT, in turn with a bare loop.

    Args:
        classes: of at most 500 samples each, at an imbalance factor of 100.
        features: width D.
        epochs: of each training.
        repeats: trainings of each kind, after one that warms up.

    Returns:
        Milliseconds of processor time a step, the median of the trainings, and its ratio to the bare loop and of DSB to
        CE, the median of ratios within a turn. A training is everything between the first and the last hook of
        `Trainer.fit`: loaders, checkpoints and records of every epoch as well.
    """
    provenance = origin()
    counts = long_tail_counts([500] * classes, 100.0)
    labels = torch.repeat_interleave(torch.arange(classes), torch.tensor(counts))
    vectors = torch.randn(len(labels), features, generator=torch.Generator().manual_seed(0))
    steps = epochs * -(-len(labels) // BATCH)
    times: dict[str, list[float]] = {"bare loop": [], **{name: [] for name in WAYS}}
    with tempfile.TemporaryDirectory(prefix="semscale-") as folder, _quiet():
        file = Path(folder) / "features.npz"
        np.savez(file, features=vectors.numpy(), labels=labels.numpy())
        for turn in range(repeats + 1):
            times["bare loop"].append(_seconds(lambda: bare_loop(vectors, labels, classes, epochs)))
            for name, overrides in WAYS.items():
                place = Path(folder) / f"{name}-{turn}"
                times[name].append(_fit(file, place, epochs, overrides, short="Lightning" not in name))
    medians = {name: 1e3 * statistics.median(found[1:]) / steps for name, found in times.items()}
    against = {name: _ratio(found, times["bare loop"]) for name, found in times.items() if name != "bare loop"}
    return {
        "samples": len(labels),
        "features": features,
        "classes": classes,
        "epochs": epochs,
        "batch_size": BATCH,
        "milliseconds_a_step": medians,
        "times_the_bare_loop": against,
        "dsb_to_ce": _ratio(times["DSB"], times["CE"]),
        "provenance": provenance,
    }


def bare_loop(vectors: Tensor, labels: Tensor, num_classes: int, epochs: int) -> nn.Linear:
    """Train a linear head on the batches of a run with seed 0, and do nothing else."""
    head = nn.Linear(vectors.shape[1], num_classes)
    optimizer = torch.optim.SGD(head.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(derive_seed(derive_seed(0, 0), epoch))
        for rows in torch.randperm(len(labels), generator=generator).split(BATCH):
            logits = head(vectors.index_select(0, rows))
            loss = nn.functional.cross_entropy(logits, labels.index_select(0, rows))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return head


def _fit(file: Path, folder: Path, epochs: int, overrides: Sequence[str], short: bool) -> float:
    """Return the seconds of `Trainer.fit` of a run as `semscale train` makes it."""
    files = [f"dataset.train={file}", f"dataset.test={file}"]
    fixed = [f"dataset.batch_size={BATCH}", f"optimizer.lr={RATE}", f"trainer.max_epochs={epochs}", "scheduler=none"]
    cfg = composed_from("train", ["dataset=features", *files, *fixed, "callbacks.progress=null", *overrides])
    pl.seed_everything(0, verbose=False)
    data = building.build_datamodule(cfg)
    module = building.build_module(cfg, data.num_classes, data.class_names, data.class_counts.tolist())
    callbacks, loggers = building.build_callbacks(cfg, folder, False), building.build_loggers(cfg, folder)
    trainer = building.build_trainer(cfg, callbacks, loggers, folder, False)
    if short:
        with_short_steps(trainer)
    return _seconds(lambda: trainer.fit(module, datamodule=data))


def _seconds(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours[1:], theirs[1:], strict=True))


class _quiet(warnings.catch_warnings):  # noqa: N801
    """Keep Lightning's remarks on the run away from the figures."""

    def __enter__(self) -> Any:
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        entered = super().__enter__()
        warnings.simplefilter("ignore")
        return entered


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; return 0."""
    defaults: dict[str, int | str] = {"classes": 100, "features": 1280, "epochs": 5, "repeats": 3}
    options, as_json = parse_options(str(__doc__), arguments, defaults)
    del options["threads"]
    found = run(**options)
    print_figures(found, render(found), as_json)
    return 0


def render(result: dict[str, Any]) -> str:
    """Return the result as lines of text."""
    times, against = result["milliseconds_a_step"], result["times_the_bare_loop"]
    lines = [f"{result['samples']:,} x {result['features']:,} features, {result['classes']} classes, batch {BATCH}"]
    for name, found in times.items():
        ratio = f"  {against[name]:.2f} times the bare loop" if name in against else ""
        lines.append(f"{name:<28} {found:7.3f} ms a step{ratio}")
    return "\n".join([*lines, f"DSB takes {result['dsb_to_ce']:.2f} times as long as CE"])


if __name__ == "__main__":
    raise SystemExit(main())
