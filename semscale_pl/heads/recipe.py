"""What a second stage gets and gives, and how it chooses its settings: on a validation part, never on the test set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from semscale_pl.geometry import class_geometry, pool_features
from semscale_pl.imbalance import inverse_weights, normalize_weights, scales_to_weights
from semscale_pl.models.classifiers import Affine

# Features enter the semantic scale as they enter a feature pool: averaged down to at most this many.
NUM_POOLED = 64


class Samples(NamedTuple):
    """Inputs of the head (N, D), as floats, and labels (N,) int64."""

    features: Tensor
    labels: Tensor


class Trained(NamedTuple):
    """A trained head and what it was trained on.

    Args:
        head: a classifier of `semscale_pl.models`, with ``affine()``; left as it is.
        train: the training samples, in order.
        frequencies: (C,) probability q_c with which the first stage drew each class.
        validation: samples to choose settings on, or None.
        seed: of the second stage.
        offsets: (C,) that the loss of the first stage adds to the logits when it is evaluated, or None.
        seconds: that the features took.
    """

    head: nn.Module
    train: Samples
    frequencies: Tensor
    validation: Samples | None = None
    seed: int = 0
    offsets: Tensor | None = None
    seconds: float = 0.0

    @property
    def counts(self) -> Tensor:
        """Training samples of each class, (C,) int64."""
        return torch.bincount(self.train.labels, minlength=len(self.frequencies))


class Finished(NamedTuple):
    """A finished head, the settings that gave it, and what the validation part said of each that was tried.

    ``tried`` has one entry a setting, with its ``balanced_accuracy``; it is empty without a validation part.
    """

    affine: Affine
    chosen: dict[str, Any]
    tried: list[dict[str, Any]]


class Recipe(Protocol):
    """A second stage, under the name that the configuration has for it."""

    name: str

    def __call__(self, trained: Trained) -> Finished:
        """Return the head that it ends with."""


def choose(
    trained: Trained,
    make: Callable[..., Affine],
    grids: Mapping[str, Sequence[Any]],
    fixed: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> Finished:
    """Make the head of every combination of settings and keep the best on the validation part.

    The best has the largest class-balanced accuracy there; of equal ones the first, so that a grid in rising order
    prefers the smaller. Without a validation part the defaults stand; a fixed setting that is not None always does.

    Args:
        make: settings to the head.
        grids: values to try of each setting, the first setting varying slowest.
    """
    values = {name: [fixed[name]] if fixed.get(name) is not None else list(grid) for name, grid in grids.items()}
    validation = trained.validation
    if validation is None:
        settings = {name: values[name][0] if fixed.get(name) is not None else defaults[name] for name in grids}
        return Finished(make(**settings), settings, [])
    best: tuple[float, Affine, dict[str, Any]] | None = None
    tried = []
    for combination in product(*values.values()):
        settings = dict(zip(values, combination, strict=True))
        head = make(**settings)
        score = balanced_accuracy(head, validation)
        tried.append({**settings, "balanced_accuracy": score})
        if best is None or score > best[0]:
            best = score, head, settings
    assert best is not None
    return Finished(best[1], best[2], tried)


def balanced_accuracy(head: Affine, samples: Samples) -> float:
    """Return the mean over the present classes of the share of their samples that a head gets right."""
    num_classes = len(head.weight)
    right = logits_of(head, samples.features).argmax(dim=1) == samples.labels
    counts = torch.bincount(samples.labels, minlength=num_classes)
    hits = torch.bincount(samples.labels[right], minlength=num_classes)
    present = counts > 0
    return float((hits[present].double() / counts[present]).mean())


def logits_of(head: Affine, features: Tensor) -> Tensor:
    """Return the logits (N, C) of the head's inputs, in blocks, at unit length where the head asks for it."""
    weight = head.weight.to(features)
    bias = None if head.bias is None else head.bias.to(features)
    blocks = (nn.functional.normalize(rows, dim=1) if head.normalize else rows for rows in features.split(8192))
    return torch.cat([nn.functional.linear(rows, weight, bias) for rows in blocks])


def class_weights(scheme: str, trained: Trained) -> Tensor:
    """Return the class weights (C,) of a second stage that draws every sample alike, computed once.

    Args:
        scheme: ``inverse_frequency``, or ``semantic_scale``: 1/S of the frozen training features, floored and capped
            as :func:`semscale_pl.imbalance.scales_to_weights` does by default.
    """
    counts = trained.counts
    if scheme == "inverse_frequency":
        return normalize_weights(inverse_weights(counts), counts)
    features = pool_features(trained.train.features, NUM_POOLED)
    found = class_geometry(features, trained.train.labels, len(counts))
    return scales_to_weights(found.imbalance, counts)
