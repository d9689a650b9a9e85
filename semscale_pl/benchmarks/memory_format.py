"""How much faster channels-last weights train: python -m semscale_pl.benchmarks.memory_format."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from semscale_pl.benchmarks import now, parse_options, print_figures
from semscale_pl.models.classifiers import LinearClassifier
from semscale_pl.models.resnet_cifar import ResNetCifar
from semscale_pl.models.small_cnn import SmallCNN

# Name, network by its memory format, and the shape of an image.
NETWORKS: dict[str, tuple[Callable[[bool], Any], tuple[int, int, int]]] = {
    "small CNN, 28 x 28 grey": (lambda last: SmallCNN(1, channels_last=last), (1, 28, 28)),
    "small CNN, 32 x 32 colour": (lambda last: SmallCNN(3, channels_last=last), (3, 32, 32)),
    "ResNet-8, 32 x 32 colour": (lambda last: ResNetCifar(8, channels_last=last), (3, 32, 32)),
    "ResNet-32, 32 x 32 colour": (lambda last: ResNetCifar(32, channels_last=last), (3, 32, 32)),
}


def compare(name: str, batch_size: int = 128, steps: int = 8, device: str = "cpu") -> dict[str, Any]:
    """Time forward and backward passes of one of :data:`NETWORKS` in both memory formats, in turn.

    Args:
        steps: timed steps of each, after one that warms up.

    Returns:
        Medians in milliseconds and their ratio; processor time on the CPU, which other work on the machine hardly
        touches.
    """
    make, shape = NETWORKS[name]
    networks = {last: make(last).to(device) for last in (False, True)}
    head = LinearClassifier(networks[True].num_features, 10).to(device)
    images, targets = torch.randn(batch_size, *shape, device=device), torch.arange(batch_size, device=device) % 10
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(steps + 1):
        for last, network in networks.items():
            given = images.to(memory_format=torch.channels_last) if last else images
            started = now(device, time.process_time)
            nn.functional.cross_entropy(head(network(given)), targets).backward()
            times[last].append(now(device, time.process_time) - started)
    plain, channels_last = (1e3 * statistics.median(times[last][1:]) for last in (False, True))
    return {
        "network": name,
        "contiguous_ms": plain,
        "channels_last_ms": channels_last,
        "faster_by": plain / channels_last,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures of every network; return 0."""
    options, as_json = parse_options(str(__doc__), arguments, {"device": "cpu", "steps": 8})
    for name in NETWORKS:
        found = compare(name, steps=options["steps"], device=options["device"])
        text = (
            f"{name}: {found['contiguous_ms']:.0f} ms contiguous, {found['channels_last_ms']:.0f} ms channels-last, "
            f"{found['faster_by']:.2f} times as fast"
        )
        print_figures(found, text, as_json)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
