"""Stop rules on a class whose volume is known to saturate, and on one that never does."""

from __future__ import annotations

import pytest
import torch

from semscale_pl.geometry.volumes import semantic_scale
from semscale_pl.studies.advisor.simulation import RULES, stops


def test_lower_thresholds_stop_later_and_leave_less() -> None:
    samples = torch.randn(600, 8, generator=torch.Generator().manual_seed(0))
    found = {(entry["rule"], entry["threshold"]): entry for entry in stops(samples, 20, [0.1, 0.01], 0)}
    assert set(found) == {(rule, threshold) for rule in RULES for threshold in (0.1, 0.01)}
    for rule in RULES:
        assert found[rule, 0.1]["count"] <= found[rule, 0.01]["count"] < 600
        assert found[rule, 0.1]["left"] >= found[rule, 0.01]["left"] - 0.02


def test_the_first_rule_is_the_papers() -> None:
    samples = torch.randn(300, 4, generator=torch.Generator().manual_seed(1))
    scales = {count: float(semantic_scale(samples[:count])) for count in range(10, 301, 10)}
    stop = next(n for n in range(20, 301, 10) if (scales[n] - scales[n - 10]) / scales[n - 10] < 0.05)
    found = stops(samples, 10, [0.05], 0)[0]
    assert found["rule"] == "as they come"
    assert found["count"] == stop
    assert found["left"] == pytest.approx(1.0 - scales[stop] / scales[300])


def test_a_class_that_keeps_growing_is_collected_to_its_end() -> None:
    samples = torch.eye(60)
    assert all(entry == {**entry, "count": 60, "left": 0.0} for entry in stops(samples, 20, [1e-6], 0))
