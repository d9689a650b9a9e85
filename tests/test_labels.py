"""Labels become class numbers in the order of numpy's unique, small numbers and large ones alike."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from semscale_pl.labels import encode_labels


@given(
    st.one_of(
        st.lists(st.integers(0, 30), min_size=1, max_size=60),
        st.lists(st.integers(0, 70_000), min_size=1, max_size=60),
        st.lists(st.integers(0, 2**53 - 1), min_size=1, max_size=60),
    ),
    st.sampled_from([np.int64, np.uint64, np.float64]),
)
def test_numbers_are_ranks(values: list[int], dtype: type) -> None:
    labels = np.array(values, dtype)
    numbers, names = encode_labels(labels)
    expected, ranks = np.unique(values, return_inverse=True)
    assert names == tuple(map(str, expected.tolist()))
    assert numbers.dtype == np.int64
    np.testing.assert_array_equal(numbers, ranks)


def test_both_sides_of_where_counting_ends() -> None:
    for largest in (2**16 + 1, 2**16 + 2, 2**16 + 3):
        numbers, names = encode_labels(np.array([largest, 0, 5]))
        assert names == ("0", "5", str(largest))
        assert numbers.tolist() == [2, 0, 1]
