"""The front door: names that are what they say, in any order of imports, and functions that take what users have."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from references import gaussian

import semscale_pl as ss
from semscale_pl.labels import sorted_names

SETTINGS = settings(max_examples=25, deadline=None)
# In a fresh process, as this one has imported much already.
FRESH = """
import importlib, pkgutil, types
import semscale_pl as ss
assert dir(ss) == sorted(ss.__all__), dir(ss)
for module in pkgutil.walk_packages(ss.__path__, "semscale_pl."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
assert dir(ss) == sorted(ss.__all__), dir(ss)
for name in set(ss.__all__) - {"__version__"}:
    value = getattr(ss, name)
    assert isinstance(value, types.FunctionType | type), (name, value)
    assert value.__name__ == name, (name, value)
print("fine")
"""


def test_public_names_are_functions_and_classes_whatever_was_imported_before() -> None:
    found = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, timeout=120)
    assert found.stdout == "fine\n", found.stderr


def test_an_unknown_name_is_refused_as_of_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'semscale_pl' has no attribute 'semantic_size'"):
        ss.semantic_size  # noqa: B018


FEATURES = gaussian(30, 4)
LABELS = torch.arange(30) % 3
IMAGES = torch.rand(30, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CENTRES = ss.class_centres(FEATURES, LABELS, 4)
SCALES = ss.semantic_scales(FEATURES, LABELS, 4)
WEIGHTS = ss.interclass_weights(CENTRES)

# Function and the numbers that it takes.
OF_NUMBERS: list[tuple[Callable[..., torch.Tensor], list[torch.Tensor]]] = [
    (ss.volume, [FEATURES]),
    (ss.semantic_scale, [FEATURES]),
    (ss.parallelotope_volume, [FEATURES[:, :2]]),
    (ss.pool_features, [gaussian(3, 100)]),
    (ss.interclass_weights, [CENTRES]),
    (ss.semantic_scale_imbalance, [SCALES, WEIGHTS]),
    (ss.scales_to_weights, [SCALES, torch.tensor([10, 10, 10, 0])]),
    (ss.normalize_weights, [torch.tensor([1.0, 3.0]), torch.tensor([3, 1])]),
    (lambda counts: ss.effective_numbers(counts, 0.9), [torch.tensor([1, 10, 100])]),
]
OF_LABELS: list[tuple[Callable[..., torch.Tensor], torch.Tensor]] = [
    (ss.semantic_scales, FEATURES),
    (ss.class_centres, FEATURES),
    (ss.sample_volumes, IMAGES),
    (lambda *given: ss.class_geometry(*given).imbalance, FEATURES),
    (lambda *given: torch.from_numpy(ss.measure(*given[:2]).scales), FEATURES),
]
CONTAINERS: dict[str, Callable[[torch.Tensor], Any]] = {
    "array": lambda values: values.numpy(),
    "read-only array": lambda values: np.frombuffer(values.numpy().tobytes(), values.numpy().dtype).reshape(
        values.shape
    ),
    "backward array": lambda values: values.numpy()[::-1].copy()[::-1],
    "big-endian array": lambda values: values.numpy().astype(values.numpy().dtype.newbyteorder(">")),
    "list": lambda values: values.tolist(),
    "tuple": lambda values: tuple(values.tolist()),
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("function, arguments", OF_NUMBERS)
def test_numbers_in_any_container(
    function: Callable[..., torch.Tensor], arguments: list[torch.Tensor], container: str
) -> None:
    found = function(*(CONTAINERS[container](argument) for argument in arguments))
    torch.testing.assert_close(found, function(*arguments), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("kind", [torch.int64, torch.int8, torch.uint8, torch.bool])
def test_whole_numbers_are_features_in_tensors_as_in_arrays(kind: torch.dtype) -> None:
    whole = torch.tensor([[0, 1], [1, 1], [1, 0], [0, 0]], dtype=kind)
    for values in (whole, whole.numpy(), whole.tolist()):
        assert ss.volume(values) == ss.volume(whole.double())
        torch.testing.assert_close(
            ss.semantic_scales(values, [0, 0, 1, 1]), ss.semantic_scales(whole.double(), [0, 0, 1, 1])
        )
        assert (
            ss.measure(values, [0, 0, 1, 1]).scales.tolist() == ss.measure(whole.double(), [0, 0, 1, 1]).scales.tolist()
        )


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("function, features", OF_LABELS)
def test_features_and_labels_in_any_container(
    function: Callable[..., torch.Tensor], features: torch.Tensor, container: str
) -> None:
    expected = function(features, LABELS, 3)
    for num_classes in ([3], []):
        found = function(CONTAINERS[container](features), CONTAINERS[container](LABELS), *num_classes)
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


NAMES = np.array(["ant", "bee", "cat"])


@pytest.mark.parametrize("words", [list, tuple, np.array, lambda words: np.array(words, object), np.bytes_])
@pytest.mark.parametrize("function, features", OF_LABELS)
def test_words_are_classes_in_the_order_of_their_names(
    function: Callable[..., torch.Tensor], features: torch.Tensor, words: Callable[[Any], Any]
) -> None:
    # The class of number 0 comes last in the alphabet.
    labels = NAMES[2 - LABELS.numpy()]
    expected = function(features, LABELS, 3).flip(0)
    found = function(features, labels.astype("S") if words is np.bytes_ else words(labels.tolist()))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@SETTINGS
@given(st.lists(st.sampled_from(["a", "b", "B", "ab", "ä", "10", "9"]), min_size=1, max_size=40), st.integers(0, 99))
def test_words_and_their_ranks_give_the_same(labels: list[str], seed: int) -> None:
    features = gaussian(len(labels), 3, seed=seed)
    names = sorted_names(set(labels))
    numbers = torch.tensor([names.index(label) for label in labels])
    one, other = ss.class_geometry(features, labels), ss.class_geometry(features, numbers, len(names))
    for name in vars(one):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=0, atol=0)
    assert ss.measure(features, labels).class_names == tuple(names)


def test_the_number_of_classes_is_the_largest_label_plus_1() -> None:
    labels = torch.tensor([4, 0, 4])
    assert ss.semantic_scales(gaussian(3, 2), labels).isnan().tolist() == [False, True, True, True, False]
    assert len(ss.semantic_scales(gaussian(3, 2), labels, 7)) == 7


def test_integers_are_features_in_lists_and_arrays() -> None:
    rows = [[0, 1], [2, 5], [4, 4]]
    expected = ss.semantic_scale(torch.tensor(rows).double())
    assert ss.semantic_scale(rows) == ss.semantic_scale(np.array(rows, np.uint8)) == expected


def test_right_tensors_pass_untouched() -> None:
    features = gaussian(3, 2)
    assert ss.pool_features(features) is features
    before = features.numpy().copy()
    ss.class_geometry(features.numpy(), [0, 1, 0])
    np.testing.assert_array_equal(features.numpy(), before)


X = [[0.0], [1.0]]


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda: ss.volume([[1.0], [1.0, 2.0]]), ValueError, "nested lists of equal length, but got a list"),
        (lambda: ss.volume([["a"]]), TypeError, "`features` to be real numbers, but got words"),
        (lambda: ss.volume([[None]]), TypeError, "`features` to be real numbers, but got Python objects"),
        (lambda: ss.volume(np.ones((2, 2), complex)), TypeError, "real numbers, but got complex128"),
        (lambda: ss.volume(torch.ones(2, 2).to(torch.complex64)), TypeError, "floating point, but got torch.complex64"),
        (lambda: ss.measure(torch.eye(2).to_sparse(), [0, 1]), ValueError, "`features` to be dense"),
        (lambda: ss.class_geometry(torch.eye(2).to_sparse(), [0, 1]), ValueError, "`features` to be dense"),
        (lambda: ss.measure(np.ma.masked_less(np.eye(2), 1), [0, 1]), ValueError, "of `features`, but 2 are masked"),
        (lambda: ss.class_geometry(np.ma.masked_less(np.eye(2), 1), [0, 1]), ValueError, "but 2 are masked"),
        (lambda: ss.volume([1.0, 2.0]), ValueError, "shape (samples, features), but got shape (2,)"),
        (lambda: ss.volume([[math.nan]]), ValueError, "1 NaN and 0 infinite entries"),
        (lambda: ss.sample_volumes(np.zeros((1, 1, 2, 2), np.uint8), [0]), TypeError, "floating point, but got uint8"),
        (lambda: ss.semantic_scales(X, [0]), ValueError, "`labels` of shape (2,), one a row, but got shape (1,)"),
        (lambda: ss.semantic_scales(X, [0, 0.5]), ValueError, "whole numbers or words, but got 0.5"),
        (lambda: ss.semantic_scales(X, [0, -1]), ValueError, "of at least 0, but got -1"),
        (lambda: ss.semantic_scales(X, [0, 5], 3), ValueError, "`labels` in [0, 3), but got values from 0 to 5"),
        (lambda: ss.semantic_scales(X, [0, 2**70]), ValueError, "`labels` below 2^63"),
        (lambda: ss.semantic_scales(X, [0, 10**9]), ValueError, "class numbers from 0, but got 1000000000 among 2"),
        (lambda: ss.semantic_scales(X, ["a", math.nan]), ValueError, "Python objects, among them nan"),
        (lambda: ss.semantic_scales(X, ["a", 1]), ValueError, "Python objects, among them 1"),
        (lambda: ss.semantic_scales(X, ["a", " "]), ValueError, "to name a class, but got 1 empty"),
        (lambda: ss.semantic_scales(X, ["a", "b"], 3), ValueError, "`num_classes` to be 2, the number of different"),
        (lambda: ss.semantic_scales(X, None), ValueError, "`labels` of shape (samples,), but got shape ()"),
        (
            lambda: ss.semantic_scales(X, torch.tensor([0.0, 1.0])),
            TypeError,
            "an integer tensor, but got torch.float32",
        ),
        (lambda: ss.semantic_scales(torch.ones(0, 2), []), ValueError, "at least one label to find the classes in"),
        (lambda: ss.measure(X, ["a", None]), ValueError, "Python objects, among them None"),
        (lambda: ss.scales_to_weights(["a"], [1]), TypeError, "`scales` to be real numbers, but got words"),
        (lambda: ss.interclass_weights([1.0]), ValueError, "`centres` of shape (classes, features)"),
        (
            lambda: ss.class_geometry(X, [0, 1], alpha=0.5),
            ValueError,
            "`alpha` to be a number of at least 1, but got 0.5",
        ),
    ],
)
def test_bad_input_is_refused_in_one_line(call: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)) as raised:
        call()
    assert "\n" not in str(raised.value)
