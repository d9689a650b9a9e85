"""Measurements to write reports of: of random features, and of real digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from semscale_pl.geometry import class_centres, interclass_weights, semantic_scale_imbalance, semantic_scales
from semscale_pl.imbalance import scales_to_weights
from semscale_pl.measuring.measurement import Measurement, Notice


def measurement_of(
    features: torch.Tensor,
    labels: torch.Tensor,
    class_names: Sequence[str],
    *,
    intervals: bool = False,
    matched: bool = False,
    notices: Sequence[Notice] = (),
    dataset: str = "a test",
) -> Measurement:
    """Measure features by the package's functions, as plainly as possible."""
    num_classes = len(class_names)
    counts = torch.bincount(labels, minlength=num_classes)
    scales = semantic_scales(features, labels, num_classes)
    centres = class_centres(features, labels, num_classes)
    weights = interclass_weights(centres)
    distances = torch.cdist(centres.nan_to_num(), centres.nan_to_num())
    absent = counts == 0
    distances[absent] = distances[:, absent] = distances[range(num_classes), range(num_classes)] = float("inf")
    lengths, others = distances.topk(min(5, num_classes - 1), largest=False)
    spread = 0.03 * scales + 0.4
    return Measurement(
        class_names=tuple(class_names),
        counts=counts.numpy(),
        effective_numbers=((1 - 0.999**counts) / 0.001).double().numpy(),
        scales=scales.numpy(),
        weights=weights.numpy(),
        imbalance=semantic_scale_imbalance(scales, weights).numpy(),
        suggested=scales_to_weights(scales, counts.double()).numpy(),
        controlled={"matched": (0.5 * scales).numpy(), "oas": (0.8 * scales).numpy()} if matched else {},
        intervals=torch.stack([scales - spread, scales + spread], 1).numpy() if intervals else None,
        spectra=_spectra(features, labels, num_classes),
        nearest=torch.where(lengths.isfinite(), others, -1).numpy(),
        distances=lengths.masked_fill(lengths.isinf(), float("nan")).numpy(),
        notices=tuple(notices),
        source={"dataset": dataset, "dimensions": features.shape[1], "versions": {"torch": torch.__version__}},
    )


def _spectra(features: torch.Tensor, labels: torch.Tensor, num_classes: int, most: int = 64) -> np.ndarray:
    spectra = np.full((num_classes, min(most, features.shape[1])), np.nan)
    for label in range(num_classes):
        rows = features[labels == label].double()
        if len(rows):
            values = torch.linalg.svdvals(rows - rows.mean(0)).square().numpy()[: spectra.shape[1]] / len(rows)
            spectra[label, : len(values)] = values
    return spectra


def random_measurement(num_classes: int, dim: int = 64, most: int = 60, **settings: object) -> Measurement:
    """Measure long-tailed Gaussian classes of different widths."""
    generator = torch.Generator().manual_seed(0)
    counts = (most * torch.logspace(0, -1.5, num_classes)).round().clamp(min=1).long()
    labels = torch.arange(num_classes).repeat_interleave(counts)
    width = 0.1 + torch.rand(num_classes, 1, generator=generator) * torch.logspace(0, -1.5, dim)
    centres = 0.5 * torch.randn(num_classes, dim, generator=generator)
    features = centres[labels] + width[labels] * torch.randn(len(labels), dim, generator=generator)
    return measurement_of(features, labels, [f"class {n}" for n in range(num_classes)], **settings)  # type: ignore[arg-type]


@pytest.fixture
def measured() -> Callable[..., Measurement]:
    """:func:`random_measurement`."""
    return random_measurement


@pytest.fixture
def measure() -> Callable[..., Measurement]:
    """:func:`measurement_of`."""
    return measurement_of
