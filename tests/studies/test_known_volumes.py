"""Samples of each population have the covariance that is stated for it, and follow their seed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from semscale_pl.studies.known_volumes import populations


@pytest.mark.parametrize("name", populations(8))
def test_the_stated_eigenvalues_are_those_of_many_samples(name: str) -> None:
    population = populations(8)[name]
    z = population.sample(400_000, seed=0).numpy()
    z = z - z.mean(axis=0)
    covariance = z.T @ z / len(z)
    bits = np.linalg.slogdet(np.eye(8) + 8 * covariance)[1] / 2 / math.log(2)
    assert bits == pytest.approx(population.bits, abs=0.03)
    found = np.linalg.eigvalsh(covariance)
    np.testing.assert_allclose(found, np.sort(population.eigenvalues), rtol=0.05, atol=1e-9)


def test_samples_follow_their_seed() -> None:
    sphere = populations(8)["sphere"]
    assert sphere.sample(3, seed=1, repeats=2).equal(sphere.sample(3, seed=1, repeats=2))
    assert not sphere.sample(3, seed=1).equal(sphere.sample(3, seed=2))
    assert sphere.sample(3, seed=1, repeats=2).shape == (6, 8)
