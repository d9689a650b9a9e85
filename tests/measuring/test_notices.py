from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from semscale_pl.measuring import notices
from semscale_pl.measuring.notices import notices_of

NAMES = ["cat", "dog", "owl"]
EVEN = [100, 100, 100]


def codes(*arguments: Any, **options: Any) -> list[str]:
    return [notice.code for notice in notices_of(*arguments, **options)]


def test_an_even_dataset_calls_for_no_notice() -> None:
    options = {
        "ranks": [64, 64, 50], "distinct": [100, 99, 100], "norms": [1.0, 1.2, 3.0], "deviations": [1.0, 2.0, 0.9],
        "feature_deviations": np.linspace(0.1, 1.0, 64), "constant_features": [],
    }  # fmt: skip
    assert notices_of(EVEN, 64, NAMES, **options) == ()


@pytest.mark.parametrize(
    ("counts", "options", "code", "classes", "words"),
    [
        ([0, 50, 0], {}, "single_class", (1,), "dog is the only class with samples"),
        ([50, 50, 0], {}, "absent", (2,), "owl has no samples"),
        ([50, 1, 1], {}, "single_sample", (1, 2), "dog, owl have a single sample: their scale is 0 bits"),
        ([50, 1, 50], {}, "single_sample", (1,), "dog has a single sample: its scale is 0 bits"),
        ([20, 7, 3], {}, "few_samples", (1, 2), "dog, owl have fewer samples than the 8 feature dimensions"),
        (EVEN, {"distinct": [100, 60, 89]}, "duplicates", (1, 2), "of the 100 of dog only 60 differ"),
        (EVEN, {"ranks": [8, 3, -1]}, "low_rank", (1,), "(dog: 3 of 8)"),
        ([9, 10, 20], {"ranks": [8, 3, 8]}, "low_rank", (1,), "(dog: 3 of 8)"),
        (EVEN, {"constant_features": [0, 5]}, "constant_features", (), "2 of 8 feature dimensions"),
        ([200, 40, 40], {}, "dominant_class", (0,), "cat holds 71 % of all 280 samples"),
        ([190, 10, 0], {}, "dominant_class", (0,), "cat holds 95 %"),
        (EVEN, {"norms": [1.0, 60.0, 2.0]}, "uneven_norms", (0, 1), "of dog are 60 times those of cat in length"),
        (EVEN, {"deviations": [9.0, 1.0, np.nan]}, "uneven_spread", (1, 0), "9 times those of dog in distance"),
        (EVEN, {"feature_deviations": [1, 1, 1, 500]}, "uneven_features", (), "varies 500 times as much"),
    ],
)
def test_every_oddity_has_its_notice(
    counts: list[int], options: dict[str, Any], code: str, classes: tuple[int, ...], words: str
) -> None:
    found = [notice for notice in notices_of(counts, 8, NAMES, **options) if notice.code == code]
    assert len(found) == 1
    assert found[0].classes == classes
    assert words in found[0].text
    assert "\n" not in found[0].text
    assert found[0].text.endswith(".")


@pytest.mark.parametrize(
    ("counts", "dim", "options"),
    [
        ([8, 8, 8], 8, {}),  # as many samples as dimensions
        ([60, 31, 29], 8, {}),  # half of them, but not more
        ([80, 20, 0], 8, {}),  # of two classes one is nearly always larger
        (EVEN, 8, {"distinct": [90, -1, 100]}),
        ([100, 3, 100], 2, {"ranks": [2, 0, 1]}),  # a rank of three samples says nothing
        (EVEN, 8, {"norms": [1.0, 5.0, 0.0]}),
        (EVEN, 8, {"feature_deviations": [0.0, 0.0, 1.0, 90.0]}),
    ],
)
def test_the_thresholds_are_where_they_are_said_to_be(counts: list[int], dim: int, options: dict[str, Any]) -> None:
    assert set(codes(counts, dim, NAMES, **options)) <= {"absent"}


def test_long_lists_of_classes_are_cut_in_words_but_not_in_numbers() -> None:
    counts = [3] * 40
    (few,) = notices_of(counts, 16)
    assert few.classes == tuple(range(40))
    assert few.text.startswith("40 classes (0, 1, 2, 3, 4, ...) have fewer samples than the 16 feature dimensions")


def test_notices_come_in_a_fixed_order() -> None:
    found = codes(
        [400, 1, 0, 6], 8, norms=[9.0, 1.0, np.nan, 1.0], distinct=[10, 1, 0, 6], constant_features=np.array([1])
    )
    assert found == [
        "absent", "single_sample", "few_samples", "duplicates", "constant_features", "dominant_class", "uneven_norms",
    ]  # fmt: skip


def test_an_array_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `ranks` of shape \(3,\), one a class, but got \(2,\)"):
        notices_of(EVEN, 8, NAMES, ranks=[1, 2])


def test_thresholds_are_named() -> None:
    for name in ("DISTINCT_SHARE", "RANK_SHARE", "DOMINANT_SHARE", "NORM_FACTOR", "FEATURE_FACTOR"):
        assert getattr(notices, name) > 0


def test_constant_dimensions_say_nothing_of_a_single_sample() -> None:
    assert "constant_features" not in {notice.code for notice in notices_of([1], 3, constant_features=[0, 1, 2])}


def test_equal_samples_are_called_so() -> None:
    found = next(one for one in notices_of([4, 4], 2, constant_features=[0, 1]) if one.code == "constant_features")
    assert found.text == "All samples are the same: every scale is 0 bits. Check their source."
