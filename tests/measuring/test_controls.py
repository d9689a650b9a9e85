"""Controlled scales and intervals beside S': the same as the functions that need all classes in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import semscale_pl as ss
from semscale_pl.features.source import ArraySource
from semscale_pl.measuring.estimators import shrunk_scales
from semscale_pl.measuring.measuring import Settings, measure, measure_source

ALL = ("matched", "oas", "ledoit_wolf", "extrapolated")


def data(dim: int = 6) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([0, 1, 2], [120, 60, 20])
    return np.random.default_rng(0).standard_normal((200, dim)), labels


def test_all_columns_are_there_and_lie_where_they_should() -> None:
    features, labels = data()
    found = measure(features, labels, controlled=ALL, intervals=True)
    assert tuple(found.controlled) == ALL
    wide, numbers = torch.from_numpy(features), torch.from_numpy(labels)
    for method in ("oas", "ledoit_wolf"):
        np.testing.assert_allclose(found.controlled[method], shrunk_scales(wide, numbers, 3, method), rtol=1e-9)
    # The smallest class has the matched size itself, so that its only subset is the class.
    assert found.controlled["matched"][2] == pytest.approx(found.scales[2])
    assert found.controlled["matched"][0] < found.scales[0]
    assert found.intervals is not None
    assert (found.intervals[:, 0] < found.scales).all()
    assert (found.intervals[:, 1] > found.scales).all()


@pytest.mark.parametrize("settings", [{"ratio": 1.0}, {"unit": 2.0}, {"feature_norm": "rms"}])
def test_ratio_and_unit_reach_the_controlled_scales(settings: dict[str, object]) -> None:
    features, labels = data()
    found = measure(features, labels, controlled=ALL, **settings)
    assert found.controlled["matched"][2] == pytest.approx(found.scales[2])
    unit = float(found.source["settings"]["unit"])
    ratio = found.source["settings"]["ratio"]
    expected = ss.semantic_scales(
        torch.from_numpy(features), torch.from_numpy(labels), 3, unit=unit, ratio=ratio, estimator="shrunk"
    )
    np.testing.assert_allclose(found.controlled["oas"], expected, rtol=1e-9)


def test_a_class_too_large_for_memory_is_sampled_and_says_so() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [140_000, 300])
    features = rng.standard_normal((len(labels), 32)).astype(np.float32)
    source = ArraySource(features, labels, ("large", "small"))
    found = measure_source(source, Settings(controlled=("ledoit_wolf",)), max_memory=64 * 2**20, threads=1)
    assert [notice.classes for notice in found.notices if notice.code == "sampled"] == [(0,)]
    assert found.controlled["ledoit_wolf"][0] == pytest.approx(found.scales[0], rel=0.02)


def test_an_unknown_estimator_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected `controlled` to be one of"):
        measure(*data(), controlled=("magic",))


def test_notices_say_what_is_odd() -> None:
    features, labels = data()
    features[:, 3] = 2.5
    features[labels == 1] = features[labels == 1][:1]
    features = np.concatenate([features, features[:1]])
    found = measure(features, [*labels.tolist(), 7])
    codes = {notice.code: notice for notice in found.notices}
    assert codes["single_sample"].classes == (3,)
    assert codes["duplicates"].classes == (1,)
    assert "constant_features" in codes
