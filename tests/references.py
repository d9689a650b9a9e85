"""Independent references of the measure: the formulas of the paper written down in numpy, and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.covariance import oas
from torch import Tensor


def gaussian(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return standard normal numbers of their own generator."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def by_slogdet(features: Tensor, ratio: float | None = None, unit: float = 1.0, center: bool = True) -> float:
    """1/2 log2 det of the d x d form, written down as in the paper."""
    z = features.double().numpy().T
    dim, m = z.shape
    z = z - z.mean(axis=1, keepdims=True) if center else z
    gram = np.eye(dim) + (dim if ratio is None else ratio) / (m * unit**2) * z @ z.T
    return float(np.linalg.slogdet(gram)[1] / 2 / math.log(2))


def by_singular_values(features: Tensor) -> float:
    """1/2 sum log2(1 + s^2), which holds at scales where the determinant's 1 is lost."""
    z = features.double().numpy()
    z = z - z[0]
    values = np.linalg.svd(z - z.mean(axis=0), compute_uv=False) * math.sqrt(z.shape[1] / len(z))
    values[len(z) - 1 :] = 0.0  # the rank of m centred samples; at 1e150 the rounding errors would look like volume
    small = np.log1p(np.minimum(values, 1.0) ** 2) / 2
    return float(np.where(values < 1.0, small, np.log(np.hypot(1.0, values))).sum() / math.log(2))


def by_oas(features: Tensor) -> float:
    """1/2 log2 det of scikit-learn's OAS-shrunk covariance."""
    covariance, _ = oas(features.double().numpy())
    dim = covariance.shape[0]
    return float(np.linalg.slogdet(np.eye(dim) + dim * covariance)[1] / 2 / math.log(2))
