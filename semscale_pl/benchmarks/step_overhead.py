"""What share of a training step the callback costs: python -m semscale_pl.benchmarks.step_overhead."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from semscale_pl.benchmarks import now, parse_options, print_figures
from semscale_pl.callbacks.reweighting.semantic_scale import SemanticScaleReweighting
from semscale_pl.callbacks.training_data import TrainingSplit
from semscale_pl.imbalance import long_tail_counts
from semscale_pl.models.classifiers import LinearClassifier
from semscale_pl.models.resnet_cifar import ResNetCifar
from semscale_pl.models.torchvision_backbones import torchvision_backbone
from semscale_pl.weighting import StepInputs, weighted_mean

NUM_CLASSES = 100
# Network to the width of its images and the batch sizes that are timed.
NETWORKS = {"resnet32": (32, (64, 128)), "resnet50": (224, (64,))}


def run(
    batch_size: int = 128,
    steps: int = 12,
    depth: int = 32,
    factor: float = 100.0,
    device: str = "cpu",
    network: str = "resnet32",
) -> dict[str, Any]:
    """Time training steps without and with the callback in turn, and within the latter the callback alone.

    On a GPU a step is waited for at its end, and nowhere within it.

    Args:
        steps: timed steps of each kind, after two that warm up.
        depth: of ``resnet32``, a CIFAR ResNet; ``resnet50`` is torchvision's, for images of 224 x 224.
        factor: imbalance factor of the 100 classes of at most 500 images.

    Returns:
        Medians in milliseconds, the callback's share of a step, and how much longer the step is with it.
    """
    counts = torch.tensor(long_tail_counts([500] * NUM_CLASSES, factor))
    labels = torch.repeat_interleave(torch.arange(NUM_CLASSES), counts)
    width, _ = NETWORKS[network]
    model = _model(network, depth).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    callback = _callback(counts, labels, device)
    plain, whole, share = [], [], []
    for _ in range(steps + 2):
        indices = torch.randperm(len(labels))[:batch_size]
        images, targets = torch.randn(batch_size, 3, width, width, device=device), labels[indices].to(device)
        plain.append(_step(model, optimizer, images, targets, device)[0])
        seconds, own_seconds = _step(model, optimizer, images, targets, device, callback, indices.to(device))
        whole.append(seconds)
        share.append(own_seconds)
    without, step, own = (statistics.median(times[2:]) for times in (plain, whole, share))
    return {
        "network": network,
        "device": torch.cuda.get_device_name(device) if device != "cpu" else device,
        "torch": torch.__version__,
        "batch_size": batch_size,
        "classes": NUM_CLASSES,
        "slots": len(labels),
        "without_ms": 1e3 * without,
        "step_ms": 1e3 * step,
        "callback_ms": 1e3 * own,
        "share": own / step,
        "with_to_without": step / without,
    }


def _model(network: str, depth: int) -> nn.Sequential:
    if network == "resnet32":
        return nn.Sequential(ResNetCifar(depth, channels_last=True), LinearClassifier(64, NUM_CLASSES))
    backbone = torchvision_backbone("resnet50", channels_last=True)
    return nn.Sequential(backbone, LinearClassifier(backbone.num_features, NUM_CLASSES))


def _step(
    model: nn.Sequential,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    targets: Tensor,
    device: str,
    callback: Callable[[StepInputs], Any] | None = None,
    indices: Tensor | None = None,
) -> tuple[float, float]:
    """Train one step and return the seconds of the whole and of the callback."""
    started = now(device)
    features = model[0](images)
    logits = model[1](features)
    before = _mark(device)
    terms = callback(StepInputs(features.detach(), logits.detach(), targets, indices)) if callback else None
    after = _mark(device)
    loss = weighted_mean(nn.functional.cross_entropy(logits, targets, reduction="none"), targets, terms)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    whole = now(device) - started
    return whole, after - before if device == "cpu" else 1e-3 * before.elapsed_time(after)


def _mark(device: str) -> Any:
    """Return the time, or an event that the device will pass: looking at its clock would wait for it."""
    if device == "cpu":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


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
    """Print the figures of a network, each batch size halved until it fits the device; return 0."""
    defaults: dict[str, int | str] = {"device": "cpu", "steps": 12, "network": "resnet32"}
    choices = {"device": ("cpu", "cuda"), "network": tuple(NETWORKS)}
    options, as_json = parse_options(str(__doc__), arguments, defaults, choices)
    network, device = options["network"], options["device"]
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("Expected a CUDA device for --device cuda, but torch sees none. Leave it out for the CPU.")
    for batch_size in NETWORKS[network][1]:
        found = _run_fitting(batch_size, steps=options["steps"], device=device, network=network)
        text = (
            f"{network}, batch {found['batch_size']}: callback {found['callback_ms']:.1f} ms of a step of "
            f"{found['step_ms']:.0f} ms, {100 * found['share']:.2f} %, {found['with_to_without']:.3f} times as long"
        )
        print_figures(found, text, as_json)
    return 0


def _run_fitting(batch_size: int, **options: Any) -> dict[str, Any]:
    try:
        return run(batch_size, **options)
    except torch.cuda.OutOfMemoryError:
        if batch_size == 1:
            raise
    torch.cuda.empty_cache()
    return _run_fitting(batch_size // 2, **options)


if __name__ == "__main__":
    raise SystemExit(main())
