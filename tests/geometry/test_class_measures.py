"""Distances, spreads, Fisher ratios and dimensions of classes against naive loops over numpy's covariances."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semscale_pl.geometry import class_measures
from semscale_pl.geometry.class_measures import class_spreads, effective_dimensions, fisher_ratios, nearest_distances
from semscale_pl.geometry.moments import ClassMoments

# One class is absent, one has a single row, one fewer rows than dimensions.
SIZES = [40, 0, 1, 3, 12, 2]


def classes() -> tuple[ClassMoments, list[np.ndarray]]:
    generator = np.random.default_rng(3)
    rows = [generator.normal(size=(size, 5)) * generator.uniform(0.2, 3.0, 5) + generator.normal(size=5) + 100.0
            for size in SIZES]  # fmt: skip
    moments = ClassMoments(len(SIZES), 5)
    labels = np.repeat(np.arange(len(SIZES)), SIZES)
    moments.add(torch.tensor(np.concatenate(rows)), torch.tensor(labels))
    return moments, rows


def by_loops(rows: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Compute all measures class by class."""
    within = sum(((part - part.mean(0)) ** 2).sum() for part in rows if len(part)) / sum(max(s - 1, 0) for s in SIZES)
    found = {name: np.full(len(rows), np.nan) for name in ("spread", "distance", "fisher", "dimension")}
    for c, part in enumerate(rows):
        if len(part):
            found["spread"][c] = np.trace(np.cov(part.T)) if len(part) > 1 else within
    for c, part in enumerate(rows):
        if not len(part):
            continue
        others = [other for other in range(len(rows)) if other != c and len(rows[other])]
        lengths = [np.linalg.norm(part.mean(0) - rows[other].mean(0)) for other in others]
        found["distance"][c] = min(lengths)
        sums = [found["spread"][c] + found["spread"][other] for other in others]
        found["fisher"][c] = min(length**2 / both for length, both in zip(lengths, sums, strict=True))
        values = np.linalg.eigvalsh(np.cov(part.T)) if len(part) > 1 else np.zeros(5)
        found["dimension"][c] = values.sum() ** 2 / (values**2).sum() if len(part) > 1 else 0.0
    return found


@pytest.mark.parametrize("at_once", [64, 4])
def test_measures_equal_naive_loops(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_measures, "_CLASSES_AT_ONCE", at_once)
    monkeypatch.setattr(class_measures, "num_lines", lambda width: at_once)
    moments, rows = classes()
    expected, spreads, centres = by_loops(rows), class_spreads(moments), moments.centres()
    np.testing.assert_allclose(spreads, expected["spread"], rtol=1e-9)
    np.testing.assert_allclose(nearest_distances(centres), expected["distance"], rtol=1e-9)
    np.testing.assert_allclose(fisher_ratios(centres, spreads), expected["fisher"], rtol=1e-9)
    np.testing.assert_allclose(effective_dimensions(moments), expected["dimension"], rtol=1e-9)


def test_dimension_of_a_line_is_one_and_cannot_exceed_the_samples() -> None:
    moments = ClassMoments(2, 6)
    generator = torch.Generator().manual_seed(0)
    line = torch.randn(30, 1, generator=generator) * torch.randn(1, 6, generator=generator)
    moments.add(torch.cat([line, torch.randn(3, 6, generator=generator)]), torch.tensor([0] * 30 + [1] * 3))
    found = effective_dimensions(moments)
    assert found[0].item() == pytest.approx(1.0, rel=1e-9)
    assert 1.0 < found[1].item() <= 2.0


def test_classes_of_one_sample_alone_show_no_spread_and_no_ratio() -> None:
    moments = ClassMoments(4, 2)
    moments.add(torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0]]), torch.tensor([0, 1, 3]))
    spreads = class_spreads(moments)
    np.testing.assert_array_equal(spreads, [0.0, 0.0, np.nan, 0.0])
    np.testing.assert_array_equal(nearest_distances(moments.centres()), [5.0, 0.0, np.nan, 0.0])
    np.testing.assert_array_equal(fisher_ratios(moments.centres(), spreads), [0.0, 0.0, np.nan, 0.0])
    np.testing.assert_array_equal(effective_dimensions(moments), [0.0, 0.0, np.nan, 0.0])
    single = ClassMoments(2, 2)
    single.add(torch.tensor([[1.0, 2.0]]), torch.tensor([0]))
    np.testing.assert_array_equal(nearest_distances(single.centres()), [0.0, np.nan])
