"""Labels become class numbers in the order of numpy's unique, small numbers and large ones alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import semscale_pl as ss
from semscale_pl.labels import are_numbers, encode_labels, sorted_names


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


WORDS = ["010", "b", "010", "1_0"]
OF_WORDS: dict[str, Callable[[], Any]] = {
    "list": lambda: WORDS,
    "objects": lambda: np.array(WORDS, dtype=object),
    "numpy's strings": lambda: np.array(WORDS, dtype=np.dtypes.StringDType()),
    "series": lambda: pd.Series(WORDS, index=[7, 7, 1, 0]),
    "series of objects": lambda: pd.Series(WORDS, dtype=object),
    "string dtype": lambda: pd.Series(WORDS, dtype="string"),
    "categorical": lambda: pd.Categorical(WORDS),
    "series of a categorical": lambda: pd.Series(WORDS, dtype="category"),
    "index": lambda: pd.Index(WORDS),
    "pyarrow": lambda: pa.array(WORDS),
    "pyarrow in pieces": lambda: pa.chunked_array([WORDS[:1], WORDS[1:]]),
    "dictionary of pyarrow": lambda: pa.array(WORDS).dictionary_encode(),
    "dictionary in pieces": lambda: pa.chunked_array([pa.array(WORDS).dictionary_encode()]),
}


@pytest.mark.parametrize("kind", OF_WORDS)
def test_words_of_every_library_are_kept(kind: str) -> None:
    features = np.array([[0.0], [3.0], [1.0], [5.0]])
    found = ss.measure(features, OF_WORDS[kind]())
    assert found.class_names == ("010", "1_0", "b")
    assert found.counts.tolist() == [2, 1, 1]
    geometry = ss.class_geometry(features, OF_WORDS[kind]())
    assert geometry.counts.tolist() == [2, 1, 1]
    np.testing.assert_allclose(geometry.scales.numpy(), found.scales)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (pd.Series(["a", pd.NA, "b"], dtype="string"), "<NA>. 1 samples have no class"),
        (pd.Series(["a", None, None]), "2 samples have no class"),
        (pd.Categorical(["a", None, "b"]), "nan. 1 samples have no class"),
        (pd.Series([1, None, 2], dtype="Int64"), "1 of `labels` are NaN"),
        (pa.array(["a", None, "b"]), "None. 1 samples have no class"),
        (pd.to_datetime(["2020-01-01", None, "2020-01-02"]), "whole numbers or words, but got datetime64"),
        (np.ma.masked_array([0, 1, 2], mask=[0, 1, 0]), "1 of `labels` are masked"),
        (pa.array([2.0**24, 0, 1], pa.float32()), "apart in float32"),
        (torch.tensor([256.0, 0, 1]).bfloat16(), "apart in bfloat16"),
        (np.array([2**11, 0, 1], np.float16), "apart in float16"),
        (np.array([2**63, 0, 1], np.uint64), "below 2^63"),
        (np.array([2.0**53, 0, 1]), "below 2^53"),
    ],
)
def test_a_label_that_is_missing_or_merged_is_refused(labels: Any, text: str) -> None:
    with pytest.raises(ValueError, match="Expected") as raised:
        ss.measure(np.eye(3), labels)
    assert text in str(raised.value)
    assert "\n" not in str(raised.value)


def test_whole_floats_are_numbers_as_long_as_they_are_exact() -> None:
    for dtype, largest in ((np.float16, 2**11 - 1), (np.float32, 2**24 - 1), (np.float64, 2**53 - 1)):
        assert encode_labels(np.array([largest, 1], dtype))[1] == ("1", str(largest))
    assert encode_labels(np.array([2.0, 1.0], dtype=object))[1] == ("1", "2")
    assert encode_labels(np.ma.masked_array([2, 1], mask=False))[1] == ("1", "2")


@given(st.lists(st.one_of(st.text("0123456789_e.+- ", max_size=5), st.integers().map(str)), max_size=4))
def test_numbers_are_what_python_writes(words: list[str]) -> None:
    def written(word: str) -> bool:
        try:
            return str(int(word)) == word and abs(int(word)) < 10**15
        except ValueError:
            return False

    assert are_numbers(words) == all(map(written, words))
    names = set(words)
    assert sorted_names(names) == sorted(names, key=int if are_numbers(names) else None)


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8])
def test_integers_of_every_type_are_class_numbers(kind: torch.dtype) -> None:
    labels = torch.tensor([1, 0, 1]).to(kind)
    for values in (labels, labels.numpy()):
        assert ss.class_geometry(np.eye(3), values).counts.tolist() == [1, 2]
        assert ss.measure(np.eye(3), values).counts.tolist() == [1, 2]


def test_words_that_are_numbers_are_ranked_as_numbers() -> None:
    numbers, names = encode_labels(["10", "9", "10"])
    assert (numbers.tolist(), names) == ([1, 0, 1], ("9", "10"))
    # Words are no class numbers: two classes, not eleven.
    assert ss.class_geometry(np.eye(3), ["10", "9", "10"]).counts.tolist() == [1, 2]


def test_both_sides_of_where_counting_ends() -> None:
    for largest in (2**16 + 1, 2**16 + 2, 2**16 + 3):
        numbers, names = encode_labels(np.array([largest, 0, 5]))
        assert names == ("0", "5", str(largest))
        assert numbers.tolist() == [2, 0, 1]


def test_long_identifiers_in_integers_are_told_apart() -> None:
    for values in ([2**62, 2**62 + 1], [2**63 - 3, 2**63 - 2]):
        for labels in (
            values,
            np.array(values),
            np.array(values, np.uint64),
            np.array(values, object),
            pa.array(values),
        ):
            assert encode_labels(labels)[1] == tuple(map(str, values))


def test_a_name_whose_accents_are_written_in_two_ways_is_one_class() -> None:
    words = ["cafe\u0301", "bee", "caf\u00e9"]
    for labels in (words, np.array(words), pd.Categorical(words), pa.array(words)):
        assert ss.measure(np.eye(3), labels).class_names == ("bee", "caf\u00e9")
        assert ss.class_geometry(np.eye(3), labels).counts.tolist() == [1, 2]
    assert ss.measure(np.eye(3), words, class_names=["cafe\u0301", "bee"]).counts.tolist() == [2, 1]
