"""Populations whose semantic scale at infinitely many samples is known in closed form, to test estimators on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """A distribution with its covariance.

    Args:
        eigenvalues: (d,) of the covariance.
        draw: from a shape (..., d) and a generator to samples of it.
    """

    eigenvalues: Array
    draw: Callable[[tuple[int, ...], np.random.Generator], Array]

    @property
    def dim(self) -> int:
        """Return d."""
        return len(self.eigenvalues)

    @property
    def bits(self) -> float:
        """Return S' at infinitely many samples, 1/2 log2 det(I + d Cov)."""
        return float(np.log2(1.0 + self.dim * self.eigenvalues).sum()) / 2.0

    def sample(self, num_samples: int, seed: int, repeats: int = 1) -> Tensor:
        """Draw ``repeats`` independent samples of m = ``num_samples`` rows: (repeats * m, d) float64, in turn."""
        shape = (repeats, num_samples, self.dim)
        return torch.from_numpy(self.draw(shape, np.random.default_rng(seed)).reshape(-1, self.dim))


def populations(dim: int = 64) -> dict[str, Population]:
    """Return named populations of a dimension of at least 8.

    Example:
        >>> {name: round(population.bits, 1) for name, population in populations(64).items()}["sphere"]
        32.0
    """
    positions = np.arange(dim, dtype=np.float64)
    return {
        "sphere": Population(np.full(dim, 1.0 / dim), _on_sphere),
        "isotropic": _gaussian(np.full(dim, 1.0)),
        "rank d/8": _gaussian(np.where(positions < dim // 8, 8.0 / dim, 0.0)),
        "power law": _gaussian((positions + 1.0) ** -1.5),
        "geometric": _gaussian(10.0 * np.exp(-10.0 * positions / dim)),
        "rectified": Population(np.full(dim, 0.5 - 0.5 / math.pi), _rectified),
        "heavy tails": Population(np.full(dim, 1.0 / dim), _heavy_tailed),
        "two clusters": Population(np.r_[np.full(dim - 1, 0.25 / dim), 0.25 / dim + 0.09 * dim], _clustered),
    }


def chosen_names(names: Sequence[str] | None) -> list[str]:
    """Return names of populations, all where none are given.

    Raises:
        ValueError: a name is no population's.
    """
    known = list(populations())
    if unknown := sorted(set(names or ()) - set(known)):
        raise ValueError(f"Expected `populations` to be among {sorted(known)}, but got {unknown}.")
    return list(names or known)


def _gaussian(eigenvalues: Array) -> Population:
    return Population(eigenvalues, lambda shape, generator: generator.standard_normal(shape) * np.sqrt(eigenvalues))


def _on_sphere(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    normal = generator.standard_normal(shape)
    return normal / np.linalg.norm(normal, axis=-1, keepdims=True)


def _rectified(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    return np.maximum(generator.standard_normal(shape), 0.0)


def _heavy_tailed(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Draw from Student's t with 5 degrees of freedom, one divisor a row, of covariance I/d."""
    normal = generator.standard_normal(shape)
    divisor = np.sqrt(generator.chisquare(5, size=(*shape[:-1], 1)) / 3.0)
    return normal / divisor / math.sqrt(shape[-1])


def _clustered(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Draw one row in ten from a second cluster, sqrt(d) away."""
    away = generator.random((*shape[:-1], 1)) < 0.1
    return 0.5 / math.sqrt(shape[-1]) * generator.standard_normal(shape) + away
