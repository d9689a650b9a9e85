"""What share of a training step the callback costs: python -m semscale_pl.benchmarks.step_overhead."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from semscale_pl.benchmarks import now, parse_options, print_figures
from semscale_pl.callbacks.reweighting.semantic_scale import SemanticScaleReweighting
from semscale_pl.callbacks.training_data import TrainingSplit
from semscale_pl.imbalance import long_tail_counts
from semscale_pl.models.classifiers import LinearClassifier
from semscale_pl.models.resnet_cifar import ResNetCifar
from semscale_pl.weighting import StepInputs, weighted_mean

NUM_CLASSES = 100


def run(
    batch_size: int = 128, steps: int = 12, depth: int = 32, factor: float = 100.0, device: str = "cpu"
) -> dict[str, Any]:
    """Time training steps of a CIFAR ResNet with the callback in the slot, and within each step the callback alone.

    Args:
        steps: timed steps, after two that warm up.
        depth: of the ResNet.
        factor: imbalance factor of the 100 classes of at most 500 images.

    Returns:
        Medians in milliseconds and the callback's share of a step.
    """
    counts = torch.tensor(long_tail_counts([500] * NUM_CLASSES, factor))
    labels = torch.repeat_interleave(torch.arange(NUM_CLASSES), counts)
    backbone, head = ResNetCifar(depth, channels_last=True).to(device), LinearClassifier(64, NUM_CLASSES).to(device)
    optimizer = torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=0.1, momentum=0.9)
    callback = _callback(counts, labels, device)
    whole, share = [], []
    for _ in range(steps + 2):
        indices = torch.randperm(len(labels))[:batch_size]
        images, targets = torch.randn(batch_size, 3, 32, 32, device=device), labels[indices].to(device)
        started = now(device)
        features = backbone(images)
        logits = head(features)
        before = now(device)
        terms = callback(StepInputs(features.detach(), logits.detach(), targets, indices.to(device)))
        share.append(now(device) - before)
        loss = weighted_mean(nn.functional.cross_entropy(logits, targets, reduction="none"), targets, terms)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        whole.append(now(device) - started)
    step, own = statistics.median(whole[2:]), statistics.median(share[2:])
    return {
        "batch_size": batch_size,
        "classes": NUM_CLASSES,
        "slots": len(labels),
        "step_ms": 1e3 * step,
        "callback_ms": 1e3 * own,
        "share": own / step,
    }


def _callback(counts: torch.Tensor, labels: torch.Tensor, device: str) -> SemanticScaleReweighting:
    """Return the callback in stage 3 with a full pool, as in the middle of a run."""
    callback = SemanticScaleReweighting(start_epoch=0)
    callback._split = TrainingSplit(NUM_CLASSES, len(labels), counts.double(), counts.double() / counts.sum())
    callback._make_pool(64)
    assert callback.pool is not None
    callback.pool.to(device)
    everything = torch.arange(len(labels), device=device)
    callback.pool.push(torch.randn(len(labels), 64, device=device), labels.to(device), everything)
    return callback


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures for two batch sizes; return 0."""
    options, as_json = parse_options(str(__doc__), arguments, {"device": "cpu", "steps": 12})
    for batch_size in (64, 128):
        found = run(batch_size, options["steps"], device=options["device"])
        text = (
            f"batch {batch_size}: callback {found['callback_ms']:.1f} ms of a step of {found['step_ms']:.0f} ms, "
            f"{100 * found['share']:.2f} %"
        )
        print_figures(found, text, as_json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
