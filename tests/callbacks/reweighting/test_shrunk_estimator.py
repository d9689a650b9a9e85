"""`estimator=shrunk` from the config down to the weights of a step: scikit-learn's OAS, class by class."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.covariance import oas
from torch import Tensor

import semscale_pl as ss
from semscale_pl.callbacks.reweighting.semantic_scale import SemanticScaleReweighting
from semscale_pl.pool import FeaturePool

Build = Callable[..., Any]


def by_oas(features: Tensor, labels: Tensor, num_classes: int, ratio: float | None = None) -> Tensor:
    scales = torch.full((num_classes,), math.nan, dtype=torch.float64)
    for label in labels.unique().tolist():
        rows = features[labels == label].double().numpy()
        dim = rows.shape[1]
        covariance = oas(rows)[0] if len(rows) > 1 else np.zeros((dim, dim))
        scales[label] = np.linalg.slogdet(np.eye(dim) + (ratio or dim) * covariance)[1] / 2 / math.log(2)
    return scales


@pytest.mark.parametrize("mode", ["indexed", "fifo"])
@pytest.mark.parametrize("ratio", [None, 1.0])
def test_a_pool_that_slides_keeps_the_shrunk_scales(mode: str, ratio: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    pool = FeaturePool(capacity=60, num_features=8, num_classes=5, mode=mode, storage_dtype=torch.float64)
    for _ in range(15):
        # Class 3 has few rows, fewer than dimensions; class 4 none.
        indices = torch.randperm(60, generator=generator)[:16]
        labels = torch.where(indices < 3, 3, indices % 3)
        features = torch.randn(16, 8, generator=generator, dtype=torch.float64) * (1.0 + labels[:, None])
        pool.push(features, labels, indices)
    found = pool.scales(estimator="shrunk", ratio="dim" if ratio is None else ratio)
    torch.testing.assert_close(found, by_oas(*pool.contents(), 5, ratio), rtol=1e-9, atol=1e-9, equal_nan=True)
    # A change of estimator is not answered from what is cached.
    plain = pool.scales(ratio="dim" if ratio is None else ratio)
    present = pool.class_counts() > 1
    assert not torch.isclose(found[present], plain[present]).any()


@pytest.mark.parametrize("pool", ["indexed", "fifo"])
def test_the_callback_weights_by_the_shrunk_scales_of_its_pool(
    pool: str, digits: Build, classifier: Build, trainer: Build
) -> None:
    callback, data = SemanticScaleReweighting(start_epoch=0, estimator="shrunk", pool=pool), digits()
    trainer(callback, max_epochs=2).fit(classifier(), datamodule=data)
    features, labels = callback.pool.contents()
    scales = by_oas(features, labels, 10)
    torch.testing.assert_close(callback.scales, scales, rtol=1e-6, atol=1e-6, equal_nan=True)
    weights = ss.interclass_weights(ss.class_centres(features, labels, 10))
    imbalance = ss.semantic_scale_imbalance(scales, weights)
    expected = ss.scales_to_weights(imbalance, data.class_counts, "sample")
    torch.testing.assert_close(callback.weights, expected, rtol=1e-5, atol=1e-7)
    few = (data.class_counts > 1) & (data.class_counts < 16)  # fewer images than dimensions
    assert bool(few.any())
    assert bool((callback.scales[few] > callback.pool.scales()[few]).all())
