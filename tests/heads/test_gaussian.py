"""The Gaussian head: scikit-learn's own checks of an estimator, and samples that come and go against a new fit."""

from __future__ import annotations

import copy
import re

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.metrics import balanced_accuracy_score
from sklearn.utils.estimator_checks import check_estimator

import semscale_pl as ss
from semscale_pl.geometry import (
    ClassMoments,
    DiscriminantMoments,
    choose_settings,
    class_covariances,
    gaussian_discriminant,
    leading_directions,
)

COUNTS = (40, 12, 5, 2, 1)


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))
    return generator.normal(size=(len(labels), 6)) + 1.5 * np.eye(6)[labels], np.array(list("abcde"))[labels]


def close(head: ss.GaussianHead, other: ss.GaussianHead) -> None:
    np.testing.assert_allclose(head.coef_, other.coef_, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(head.intercept_, other.intercept_, rtol=1e-9, atol=1e-9)


def test_scikit_learns_checks_of_an_estimator() -> None:
    check_estimator(ss.GaussianHead(0.5), on_skip=None)


def test_the_scores_are_those_of_the_moments_at_the_chosen_settings() -> None:
    rows, labels = drawn()
    head = ss.GaussianHead().fit(torch.from_numpy(rows), labels)
    numbers = torch.from_numpy(np.unique(labels, return_inverse=True)[1])
    moments = DiscriminantMoments.of(torch.from_numpy(rows), numbers)
    chosen = choose_settings(moments, torch.from_numpy(rows), numbers)
    assert vars(head.settings_) == vars(chosen.settings)
    assert head.tried_ == chosen.tried
    expected = gaussian_discriminant(moments, chosen.settings).scores(torch.from_numpy(rows))
    np.testing.assert_allclose(head.decision_function(rows), expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(head.predict_proba(rows), expected.softmax(1), rtol=1e-10, atol=1e-10)
    assert head.predict(rows).tolist() == [list("abcde")[row] for row in expected.argmax(1)]


@pytest.mark.parametrize("voices", ["equal", "pooled"])
def test_batches_and_samples_that_come_and_go_equal_one_fit(voices: str) -> None:
    rows, labels = drawn()
    fixed = ss.GaussianHead(0.4, 3.0, 2.0, voices=voices)
    whole = clone(fixed).fit(rows, labels)
    parts = clone(fixed)
    for part in np.array_split(np.arange(len(labels)), 5):
        parts.partial_fit(rows[part], labels[part], classes=list("abcde"))
    close(parts, whole)
    others, other_labels = drawn(1)
    close(parts.update(others, other_labels).remove(others[::-1], other_labels[::-1]), whole)
    close(whole.update(others, other_labels).remove(others, other_labels), parts)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_class_comes_and_goes(streamed: bool) -> None:
    rows, labels = drawn()
    old = labels != "b"
    fixed = ss.GaussianHead(0.4, 3.0, 2.0)
    head = clone(fixed)
    head = head.partial_fit(rows[old], labels[old], list("acde")) if streamed else head.fit(rows[old], labels[old])
    coefficients = head.coef_.copy()
    head.update(rows[~old], labels[~old])
    assert head.classes_.tolist() == list("acdeb")
    whole = clone(fixed).fit(rows, labels)
    np.testing.assert_allclose(head.predict_proba(rows), whole.predict_proba(rows)[:, [0, 2, 3, 4, 1]], rtol=1e-8)
    head.remove(rows[~old], labels[~old])
    np.testing.assert_allclose(head.coef_[:4], coefficients, rtol=1e-8, atol=1e-10)
    assert head.intercept_[4] == -np.inf
    assert "b" not in head.predict(rows)


def test_it_is_better_than_the_fallback_of_no_shrinkage_on_rare_digits() -> None:
    rows, labels = load_digits(return_X_y=True)
    kept = np.concatenate([np.flatnonzero(labels == label)[: max(2, 100 >> label)] for label in range(10)])
    test = np.setdiff1d(np.arange(len(labels)), kept)
    scores = [
        balanced_accuracy_score(labels[test], head.fit(rows[kept], labels[kept]).predict(rows[test]))
        for head in (ss.GaussianHead(), ss.GaussianHead(0.0, 0.0, 1.0))
    ]
    assert scores[0] > scores[1] + 0.02


def test_estimated_shrinkage_and_a_given_prior() -> None:
    rows, labels = drawn()
    for estimator in ("oas", "ledoit_wolf"):
        head = ss.GaussianHead(estimator, 3.0, 1.0).fit(rows, labels)
        assert 0.0 < head.settings_.shrinkage < 1.0
    prior = [0.6, 0.1, 0.1, 0.1, 0.1]
    plain, moved = (ss.GaussianHead(0.4, 3.0, 1.0, prior=chosen).fit(rows, labels) for chosen in ("uniform", prior))
    np.testing.assert_allclose(moved.intercept_ - plain.intercept_, np.log(prior))
    assert moved.moments_.counts.tolist() == list(COUNTS)
    streamed = ss.GaussianHead("oas").partial_fit(rows, labels, list("abcde"))
    fitted = ss.GaussianHead("oas", 3.0, 1.0).fit(rows, labels)
    assert streamed.settings_.shrinkage == pytest.approx(fitted.settings_.shrinkage, rel=1e-10)
    assert (streamed.settings_.k, streamed.settings_.temperature) == (10.0, 1.0)


@given(st.integers(0, 99), st.sampled_from(["equal", "pooled"]), st.sampled_from([0, 3]), st.booleans())
@hypothesis.settings(max_examples=12, deadline=None)
def test_updates_commute_and_a_removal_undoes_one(seed: int, voices: str, own: int, streamed: bool) -> None:
    rows, labels = drawn(seed)
    new, new_labels = drawn(seed + 1)
    new_labels[new_labels == "a"] = "f"  # a class that comes
    fixed = ss.GaussianHead(0.4, 3.0, 2.0, voices=voices, class_covariances=0 if streamed else own)
    head = fixed.partial_fit(rows, labels, list("abcde")) if streamed else fixed.fit(rows, labels)
    before = head.predict_proba(rows)
    cut = len(new) // 3
    parts = [(new[:cut], new_labels[:cut]), (new[cut:], new_labels[cut:])]
    # Voices stay those of the first rows of a class where its own scatter is not kept: it comes whole.
    comes = (new[new_labels == "f"], new_labels[new_labels == "f"])
    rest = [(part[own_labels != "f"], own_labels[own_labels != "f"]) for part, own_labels in parts]
    one, other = copy.deepcopy(head), copy.deepcopy(head)
    for part in (comes, *rest):
        one.update(*part)
    for part in (*rest[::-1], comes):
        other.update(*part)
    np.testing.assert_allclose(one.predict_proba(new), other.predict_proba(new), rtol=1e-7, atol=1e-10)
    assert "f" in one.predict(new)
    one.remove(new, new_labels)
    np.testing.assert_allclose(one.predict_proba(rows)[:, :5], before, rtol=1e-7, atol=1e-10)
    assert np.all(one.predict_proba(rows)[:, 5] == 0.0)


def test_covariances_of_classes_change_the_scores_by_what_geometry_says() -> None:
    rows, labels = drawn()
    plain = ss.GaussianHead(0.4, 3.0, 2.0).fit(rows, labels)
    head = ss.GaussianHead(0.4, 3.0, 2.0, class_covariances=2, covariance_k=5.0).fit(rows, labels)
    numbers = torch.from_numpy(np.unique(labels, return_inverse=True)[1])
    directions = leading_directions(plain.moments_, 2)
    projected = ClassMoments(5, 2)
    projected.add(torch.from_numpy(rows) @ directions, numbers)
    own = class_covariances(plain.moments_, projected, directions, plain.settings_, 5.0)
    added = head.decision_function(rows) - plain.decision_function(rows)
    np.testing.assert_allclose(added, own.scores(torch.from_numpy(rows)), rtol=1e-8, atol=1e-8)
    assert np.abs(added).max() > 0.01
    with pytest.raises(ValueError, match="Expected `class_covariances` to be 0 for partial_fit, but got 2"):
        ss.GaussianHead(class_covariances=2).partial_fit(rows, labels, list("abcde"))
    with pytest.raises(ValueError, match="Expected `class_covariances` to be an integer of at least 0"):
        ss.GaussianHead(class_covariances=-1).fit(rows, labels)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_tensors_in_half_precision(dtype: torch.dtype) -> None:
    rows, labels = drawn()
    half = torch.from_numpy(rows).to(dtype)
    fixed = ss.GaussianHead(0.4, 3.0, 1.0)
    close(clone(fixed).fit(half, labels), clone(fixed).fit(half.double().numpy(), labels))


def test_wrong_calls_are_refused_in_one_line_and_change_nothing() -> None:
    rows, labels = drawn()
    head = ss.GaussianHead(0.4, 3.0, 1.0).fit(rows, labels)
    before = head.coef_.copy()
    with pytest.raises(ValueError, match=re.escape("at most the 1 samples of class e, but got 2. Remove each once.")):
        head.remove(rows[:2], ["e", "e"])
    with pytest.raises(ValueError, match="Expected a sample to be left, but all were to be removed"):
        head.remove(rows, labels)
    with pytest.raises(ValueError, match=r"among the 5 classes of the head, but got 'z'\. New classes come by update"):
        head.remove(rows[:1], ["z"])
    with pytest.raises(ValueError, match="these 5 spread more than all that were"):
        head.remove(rows[labels == "c"] + 30.0, labels[labels == "a"][:5])
    with pytest.raises(ValueError, match="labels that are text, as those of the head, but got numbers, such as 3"):
        head.update(rows[:1], [3])
    given = ss.GaussianHead(0.4, 3.0, 1.0, prior=[0.2] * 5).fit(rows, labels)
    with pytest.raises(ValueError, match="a number for each of the 6 classes, new ones last, but got shape"):
        given.update(rows[:2], ["f", "f"])
    assert given.moments_.counts.tolist() == list(COUNTS)
    assert given.set_params(prior=[0.1] * 6).update(rows[:2], ["f", "f"]).coef_.shape == (6, 6)
    assert np.array_equal(head.coef_, before)
    streamed = ss.GaussianHead(0.4, 3.0, 1.0)
    with pytest.raises(ValueError, match="among the 4 classes of the head, but got 'e'"):
        streamed.partial_fit(rows, labels, list("abcd"))
    close(streamed.partial_fit(rows, labels, list("abcde")), head)
    with pytest.raises(ValueError, match="Expected `classes` in the first call of partial_fit"):
        ss.GaussianHead().partial_fit(rows, labels)
    with pytest.raises(ValueError, match="Expected `shrinkage` to be a number, oas or None for partial_fit"):
        ss.GaussianHead("ledoit_wolf").partial_fit(rows, labels, list("abcde"))
    with pytest.raises(ValueError, match=re.escape("Expected `shrinkage` to be in [0, 1], oas or ledoit_wolf or null")):
        ss.GaussianHead(2.0).fit(rows, labels)
    with pytest.raises(ValueError, match="Expected a `shrinkage` above 0 where k or temperature is chosen"):
        ss.GaussianHead(0.0).fit(rows, labels)
