"""Time a step of the feature pool against recomputing all scales from its contents."""

from __future__ import annotations

import inspect
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor

from semscale_pl.benchmarks import parse_options, print_figures
from semscale_pl.geometry import class_centres, interclass_weights, semantic_scale, semantic_scales
from semscale_pl.geometry.moments import ClassMoments
from semscale_pl.options import POOL_MODES
from semscale_pl.pool import FeaturePool

_STEPS_A_ROUND = 5


def run(
    num_samples: int = 115_846,
    num_classes: int = 1000,
    largest: int = 1280,
    smallest: int = 5,
    batch_size: int = 512,
    num_features: int = 64,
    mode: str = "indexed",
    rounds: int = 7,
    seed: int = 0,
) -> dict[str, Any]:
    """Time the step and its rivals in turn, several rounds of each, on one pool of long-tailed random features.

    A step takes a batch in and answers with all semantic scales and inter-class weights. The rivals answer with the
    same from the pool's contents: ``full`` for all classes at once in float64, ``rebuild`` the same by way of freshly
    summed moments, ``numpy`` in float32 over features that already lie sorted by class (the sorting is not timed),
    ``loop`` class by class in float64.

    Args:
        num_samples: capacity of the pool.
        largest: images of the largest class.
        smallest: images of the smallest class.
        mode: of the pool, ``indexed`` or ``fifo``.
        rounds: repetitions; medians are reported.

    Returns:
        The setting, ``milliseconds`` of each contender, ``times_faster`` of the step than each rival,
        ``deviation_bits`` of the step's scales from the full recomputation, and the machine.
    """
    generator = torch.Generator().manual_seed(seed)
    in_order = long_tail_labels(num_samples, num_classes, largest, smallest)
    labels = in_order[torch.randperm(num_samples, generator=generator)]
    pool = filled_pool(labels, num_classes, num_features, mode, generator)
    features, spare = pool.contents()[0], ClassMoments(num_classes, num_features)
    by_class = [features[labels == label].numpy() for label in range(num_classes)]
    rivals: dict[str, Callable[[], Any]] = {
        "full": lambda: full_recomputation(*pool.contents(), num_classes),
        "rebuild": lambda: rebuilt(spare, *pool.contents()),
        "numpy": lambda: numpy_recomputation(by_class),
        "loop": lambda: loop_recomputation(*pool.contents(), num_classes),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ("step", *rivals)}
    for _ in range(rounds):
        seconds["step"] += time_steps(pool, labels, batch_size, generator)
        for name, rival in rivals.items():
            seconds[name].append(_timed(rival))
    median = {name: float(np.median(times)) * 1e3 for name, times in seconds.items()}
    deviation = (pool.scales() - semantic_scales(*pool.contents(), num_classes)).abs().nan_to_num(0.0).max()
    counts = labels.bincount(minlength=num_classes)
    return {
        "setting": {
            "num_samples": num_samples,
            "num_classes": num_classes,
            "largest_class": int(counts.max()),
            "smallest_class": int(counts.min()),
            "batch_size": batch_size,
            "num_features": num_features,
            "mode": mode,
            "rounds": rounds,
            "seed": seed,
        },
        "milliseconds": median,
        "times_faster": {name: median[name] / median["step"] for name in rivals},
        "deviation_bits": float(deviation),
        "machine": {
            "torch": torch.__version__,
            "numpy": np.__version__,
            "threads": torch.get_num_threads(),
            "processor": platform.processor() or platform.machine(),
        },
    }


def long_tail_labels(num_samples: int, num_classes: int, largest: int, smallest: int) -> Tensor:
    """Return sorted labels of a long tail from ``largest`` to ``smallest``, as steep as ``num_samples`` asks for.

    Class i has ``smallest (largest / smallest)^(t^p)`` samples, t decreasing from 1 to 0. With p = 1, the exponential
    profile, 1,000 classes from 1,280 to 5 would number 229,976, twice as many as ImageNet-LT has; p is chosen to fit.
    """
    positions = np.linspace(1.0, 0.0, num_classes)
    low, high = 0.0, 64.0
    for _ in range(60):
        power = 0.5 * (low + high)
        sizes = smallest * (largest / smallest) ** positions**power
        low, high = (power, high) if sizes.sum() > num_samples else (low, power)
    edges = np.rint(np.cumsum(sizes) * (num_samples / sizes.sum())).astype(np.int64)
    return torch.from_numpy(np.searchsorted(edges, np.arange(num_samples), side="right"))


def filled_pool(
    labels: Tensor, num_classes: int, num_features: int, mode: str, generator: torch.Generator
) -> FeaturePool:
    """Return a full pool of Gaussian classes around random centres; row i lies in slot i."""
    pool = FeaturePool(len(labels), num_features, num_classes, mode=mode)
    centres = torch.randn(num_classes, num_features, generator=generator)
    for slots in torch.arange(len(labels)).split(8192):
        noise = torch.randn(len(slots), num_features, generator=generator)
        pool.push(centres[labels[slots]] + noise, labels[slots], slots)
    pool.scales()
    return pool


def time_steps(pool: FeaturePool, labels: Tensor, batch_size: int, generator: torch.Generator) -> list[float]:
    """Return the seconds of a few steps, each on a batch of randomly drawn samples with new features."""
    times = []
    for _ in range(_STEPS_A_ROUND):
        indices = torch.randint(len(labels), (batch_size,), generator=generator)
        features = torch.randn(batch_size, pool.moments.num_features, generator=generator)
        times.append(_timed(partial(step, pool, features, labels[indices], indices)))
    return times


def step(pool: FeaturePool, features: Tensor, labels: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Push a batch and return (C,) scales and (C,) inter-class weights."""
    pool.push(features, labels, indices)
    return pool.scales(), interclass_weights(pool.centres())


def full_recomputation(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return scales and inter-class weights of all classes at once, in float64."""
    scales = semantic_scales(features, labels, num_classes)
    return scales, interclass_weights(class_centres(features, labels, num_classes))


def rebuilt(moments: ClassMoments, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return scales and inter-class weights of all classes from moments summed anew, in float64."""
    moments.refill(features, labels)
    return moments.scales(), interclass_weights(moments.centres())


def loop_recomputation(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return scales and inter-class weights, class by class in float64."""
    order = torch.argsort(labels)
    parts = features[order].double().split(torch.bincount(labels, minlength=num_classes).tolist())
    scales = torch.stack([semantic_scale(part) for part in parts])
    return scales, interclass_weights(torch.stack([part.mean(0) for part in parts]))


def numpy_recomputation(by_class: list[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return scales and inter-class weights in float32 from the features of each class."""
    dim = by_class[0].shape[1]
    centres = np.stack([part.mean(0) for part in by_class])
    covariances = np.empty((len(by_class), dim, dim), dtype=np.float32)
    for label, part in enumerate(by_class):
        centred = part - centres[label]
        covariances[label] = centred.T @ centred * (dim / len(part))
    scales = np.linalg.slogdet(np.eye(dim, dtype=np.float32) + covariances)[1] / np.float32(2.0 * np.log(2.0))
    norms = (centres**2).sum(1)
    squares = norms[:, None] + norms - 2.0 * centres @ centres.T
    distances = np.sqrt(np.maximum(squares, 0.0)).sum(1)
    return scales, np.log2(1.0 + distances / distances.max())


def _timed(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures of one pool; return 0."""
    defaults = {name: value.default for name, value in inspect.signature(run).parameters.items()}
    options, as_json = parse_options(str(__doc__), arguments, defaults, {"mode": POOL_MODES})
    with threadpool_limits(options.pop("threads")):
        found = run(**options)
    print_figures(found, render(found), as_json)
    return 0


def render(result: dict[str, Any]) -> str:
    """Return the result as lines of text."""
    setting, times, ratios = result["setting"], result["milliseconds"], result["times_faster"]
    lines = [
        "{num_samples} slots, {num_classes} classes, batch {batch_size}, d = {num_features}, {mode}".format(**setting),
        f"step            {times['step']:9.2f} ms",
    ]
    lines += [f"{name:<15} {times[name]:9.2f} ms  {ratio:6.1f} x the step" for name, ratio in ratios.items()]
    return "\n".join([*lines, f"largest deviation {result['deviation_bits']:.1e} bits"])


if __name__ == "__main__":
    raise SystemExit(main())
