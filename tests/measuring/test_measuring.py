"""The measure of a dataset against the functions that need everything in memory, and against naive numpy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import semscale_pl as ss
from semscale_pl.features.source import ArraySource
from semscale_pl.measuring.estimators import shrunk_scales
from semscale_pl.measuring.measuring import Settings, measure, measure_source, nearest_centres

MIB = 2**20


def long_tailed(dim: int = 12, seed: int = 0, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(5), [300, 80, dim, 5, 1])
    features = rng.standard_normal((len(labels), dim)) * np.linspace(0.1, 3.0, dim) + labels[:, None] + offset
    order = rng.permutation(len(labels))
    return features[order], labels[order]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("dim", [1, 12, 90])
def test_all_columns_equal_those_of_the_tensor_functions(dtype: type, dim: int) -> None:
    features, labels = long_tailed(dim)
    features = features.astype(dtype)
    found = measure(features, labels, alpha=1.5)
    wide, numbers = torch.from_numpy(features).double(), torch.from_numpy(labels)
    scales = ss.semantic_scales(wide, numbers, 5)
    weights = ss.interclass_weights(ss.class_centres(wide, numbers, 5), 1.5)
    imbalance = ss.semantic_scale_imbalance(scales, weights)
    np.testing.assert_allclose(found.scales, scales, rtol=1e-6)
    np.testing.assert_allclose(found.weights, weights, rtol=1e-6)
    np.testing.assert_allclose(found.imbalance, imbalance, rtol=1e-6)
    suggested = ss.scales_to_weights(imbalance, torch.bincount(numbers))
    np.testing.assert_allclose(found.suggested, suggested, rtol=1e-6)
    assert found.counts.tolist() == [300, 80, dim, 5, 1]


def test_spectra_are_the_eigenvalues_of_the_covariances_of_numpy() -> None:
    features, labels = long_tailed(12)
    found = measure(features, labels)
    for label in range(4):
        expected = np.linalg.eigvalsh(np.cov(features[labels == label].T, bias=True))[::-1].clip(0)
        kept = found.spectra[label][~np.isnan(found.spectra[label])]
        np.testing.assert_allclose(kept, expected[: len(kept)], atol=1e-9)
    assert found.spectra[4][0] == 0.0


def test_a_budget_changes_the_walk_and_not_the_result() -> None:
    rng = np.random.default_rng(1)
    labels = rng.permutation(np.repeat(np.arange(4), [90_000, 30_000, 9_000, 40]))
    features = rng.standard_normal((len(labels), 64)).astype(np.float32) * (1 + labels[:, None])
    source = ArraySource(features, labels, ("a", "b", "c", "d"))
    roomy = measure_source(source, Settings(), max_memory=2**31)
    # Class a has 23 MB of rows, so that it is streamed; the others come in several groups.
    tight = measure_source(source, Settings(), max_memory=72 * MIB, threads=1)
    np.testing.assert_allclose(tight.scales, roomy.scales, rtol=1e-10)
    np.testing.assert_allclose(tight.imbalance, roomy.imbalance, rtol=1e-10)
    np.testing.assert_allclose(tight.spectra, roomy.spectra, rtol=1e-8)


def test_streamed_classes_with_a_large_offset_keep_their_digits() -> None:
    rng = np.random.default_rng(2)
    features = rng.standard_normal((130_000, 40)) * 1e-3 + 1e5
    labels = np.repeat([0, 1], [129_000, 1_000])
    source = ArraySource(features, labels, ("a", "b"))
    tight = measure_source(source, Settings(ratio=1e6), max_memory=70 * MIB, threads=1)
    expected = ss.semantic_scales(torch.from_numpy(features), torch.from_numpy(labels), 2, ratio=1e6)
    np.testing.assert_allclose(tight.scales, expected, rtol=1e-6)


def test_too_small_a_budget_is_refused_with_what_it_takes() -> None:
    features, labels = long_tailed(90)
    with pytest.raises(ValueError, match=r"Expected `max_memory` to leave \d+ MiB for 5 classes of 90 features"):
        measure(features, labels, max_memory=MIB)


def test_one_class_alone_has_a_scale_and_nothing_else() -> None:
    features = np.random.default_rng(0).standard_normal((20, 3))
    found = measure(features, ["only"] * 20)
    assert found.scales[0] > 0
    assert math.isnan(found.weights[0])
    assert math.isnan(found.imbalance[0])
    assert found.suggested.tolist() == [1.0]
    assert found.nearest.shape == (1, 0)


def test_one_sample_and_identical_samples_have_zero_bits() -> None:
    features = np.concatenate([np.full((1, 3), 7.1), np.full((9, 3), 0.1), np.eye(3)])
    found = measure(features, [0] + [1] * 9 + [2] * 3)
    assert found.scales[:2].tolist() == [0.0, 0.0]
    assert found.scales[2] > 0


def test_absent_classes_are_undefined_and_present_ones_unchanged() -> None:
    features, labels = long_tailed(6)
    found = measure(features, labels, class_names=[*"abcdefg"])
    plain = measure(features, labels)
    assert np.isnan(found.scales[5:]).all()
    assert found.nearest[5:].tolist() == [[-1] * 5] * 2
    np.testing.assert_array_equal(found.scales[:5], plain.scales)
    assert found.order()[-2:] == [5, 6]


def test_words_are_classes_in_sorted_order() -> None:
    features = np.random.default_rng(0).standard_normal((6, 2))
    found = measure(features, ["dog", "cat", "dog", "cat", "eel", "eel"])
    assert found.class_names == ("cat", "dog", "eel")
    assert found.counts.tolist() == [2, 2, 2]


def test_feature_norms_and_fewer_features() -> None:
    features, labels = long_tailed(12)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(measure(features, labels, feature_norm="l2").scales, measure(unit, labels).scales)
    rms = np.sqrt(features.var(0).mean())
    np.testing.assert_allclose(
        measure(features, labels, feature_norm="rms").scales, measure(features / rms, labels).scales, rtol=1e-9
    )
    pooled = features.reshape(len(features), 4, 3).mean(2)
    np.testing.assert_allclose(measure(features, labels, num_features=4).scales, measure(pooled, labels).scales)


def test_tensors_of_half_precision_are_measured_as_stored() -> None:
    features, labels = long_tailed(8)
    half = torch.from_numpy(features).bfloat16()
    np.testing.assert_allclose(
        measure(half, torch.from_numpy(labels)).scales, measure(half.double().numpy(), labels).scales, rtol=1e-9
    )


def test_rows_that_are_not_finite_are_counted() -> None:
    features, labels = long_tailed(8)
    features[[3, 70, 200], [0, 1, 2]] = np.nan
    features[[5, 70], 3] = np.inf
    with pytest.raises(ValueError, match=r"NaN in 3 and infinities in 2 of 394 rows, the first is row 3\b"):
        measure(features[:394], labels[:394])


def test_progress_reaches_all_classes() -> None:
    features, labels = long_tailed(8)
    seen: list[tuple[int, int]] = []
    measure(features, labels, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 5) for done in range(1, 6)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"alpha": 0.5}, "`alpha`"),
        ({"ratio": -1.0}, "`ratio`"),
        ({"unit": 0.0}, "`unit`"),
        ({"feature_norm": "l1"}, "`feature_norm`"),
        ({"num_features": 0}, "`num_features`"),
        ({"spectrum": 65}, "`spectrum`"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(np.eye(3), [0, 1, 2], **wrong)


def test_squares_beyond_float32_are_measured() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 70)).astype(np.float32)
    labels, factor = np.arange(300) % 2, np.float32(1e30)
    small, large = measure(rows, labels, spectrum=0), measure(rows * factor, labels, spectrum=0, unit=float(factor))
    np.testing.assert_allclose(large.scales, small.scales, rtol=1e-6)


ALL = ("matched", "oas", "ledoit_wolf", "extrapolated")


def three_classes(dim: int = 6) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat([0, 1, 2], [120, 60, 20])
    return np.random.default_rng(0).standard_normal((200, dim)), labels


def test_all_columns_are_there_and_lie_where_they_should() -> None:
    features, labels = three_classes()
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


@pytest.mark.parametrize("changed", [{"ratio": 1.0}, {"unit": 2.0}, {"feature_norm": "rms"}])
def test_ratio_and_unit_reach_the_controlled_scales(changed: dict[str, object]) -> None:
    features, labels = three_classes()
    found = measure(features, labels, controlled=ALL, **changed)
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
        measure(*three_classes(), controlled=("magic",))


def test_notices_say_what_is_odd() -> None:
    features, labels = three_classes()
    features[:, 3] = 2.5
    features[labels == 1] = features[labels == 1][:1]
    features = np.concatenate([features, features[:1]])
    found = measure(features, [*labels.tolist(), 7])
    codes = {notice.code: notice for notice in found.notices}
    assert codes["single_sample"].classes == (3,)
    assert codes["duplicates"].classes == (1,)
    assert "constant_features" in codes


def searched(centres: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array([[np.linalg.norm(a - b) for b in centres] for a in centres])
    np.fill_diagonal(lengths, np.inf)
    order = np.argsort(lengths, axis=1, kind="stable")[:, : min(size, len(centres) - 1)]
    return order, np.take_along_axis(lengths, order, 1)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(2, 60),
    dim=st.integers(1, 20),
    offset=st.sampled_from([0.0, 1e3, 1e6]),
    size=st.integers(1, 6),
)
def test_numbers_and_distances_are_those_of_a_search(seed: int, count: int, dim: int, offset: float, size: int) -> None:
    centres = np.random.default_rng(seed).standard_normal((count, dim)) + offset
    numbers, distances = nearest_centres(centres, size)
    expected, lengths = searched(centres, size)
    np.testing.assert_array_equal(numbers, expected)
    np.testing.assert_allclose(distances, lengths, rtol=1e-9)


def test_nearly_equal_centres_far_from_the_others_keep_their_digits() -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((40, 8)) * 1e4
    centres[7] = centres[3] + 1e-6
    centres[9] = centres[3]
    numbers, distances = nearest_centres(centres, 3)
    assert numbers[3, :2].tolist() == [9, 7]
    assert distances[3, 0] == 0.0
    assert distances[3, 1] == pytest.approx(np.linalg.norm(centres[7] - centres[3]), rel=1e-12)


def test_many_equal_centres_are_all_at_distance_zero() -> None:
    centres = np.concatenate([np.ones((30, 4)), np.zeros((1, 4))])
    numbers, distances = nearest_centres(centres, 5)
    assert (distances[:30] == 0.0).all()
    assert (numbers[:30] < 30).all()
    assert (numbers != np.arange(31)[:, None]).all()
    assert np.allclose(distances[30], 2.0)


def test_absent_classes_have_no_neighbours_and_are_none() -> None:
    centres = np.array([[0.0], [np.nan], [1.0], [5.0]])
    numbers, distances = nearest_centres(centres, 3)
    assert numbers.tolist() == [[2, 3, -1], [-1, -1, -1], [0, 3, -1], [2, 0, -1]]
    assert np.isnan(distances[1]).all()
    assert distances[0, :2].tolist() == [1.0, 5.0]


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    centres = np.random.default_rng(1).standard_normal((50, 6))
    whole = nearest_centres(centres)
    monkeypatch.setattr("semscale_pl.measuring.measuring.num_lines", lambda length: 7)
    parts = nearest_centres(centres)
    np.testing.assert_array_equal(whole[0], parts[0])
    np.testing.assert_allclose(whole[1], parts[1], rtol=1e-13)


def test_a_data_frame_with_a_column_that_is_no_feature_is_refused() -> None:
    frame = pd.DataFrame({"f0": [0.0, 2.0, 7.0], "f1": [1.0, 0.0, 3.0], "sample_id": [7, 8, 9]})
    with pytest.raises(ValueError, match=r"`sample_id` .*drop\(columns=\['sample_id'\]\)"):
        measure(frame, ["a", "a", "b"])
    found = measure(frame.drop(columns=["sample_id"]), ["a", "a", "b"])
    np.testing.assert_array_equal(found.scales, measure(frame[["f0", "f1"]].to_numpy(), ["a", "a", "b"]).scales)
