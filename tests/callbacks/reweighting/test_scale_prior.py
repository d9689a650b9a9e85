"""log S on the logits: every step against a recomputation, the ramp, the floor, and the company it keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from watching import Build, Watching

import semscale_pl as ss
from semscale_pl.callbacks.reweighting.semantic_scale import ScalePriorReweighting
from semscale_pl.weighting import StepTerms


class Watched(Watching, ScalePriorReweighting):
    """Keeps every step."""


def centred(values: Any) -> np.ndarray:
    """Take off what a softmax does not see."""
    values = np.asarray(values, dtype=np.float64)
    return values - values.mean()


@pytest.mark.parametrize("normalization", ["sample", "class", "none"])
def test_every_step_adds_the_log_of_the_floored_scales(
    normalization: str, digits: Build, classifier: Build, trainer: Build
) -> None:
    options = {"power": 1.5, "floor": 0.2, "max_ratio": 1e6, "normalization": normalization}
    callback = Watched(start_epoch=1, ramp_epochs=1, **options)
    trainer(callback, max_epochs=3).fit(classifier(), datamodule=digits())
    newest: dict[int, tuple[Tensor, int]] = {}
    num_floored = 0
    for epoch, _, inputs, terms in callback.steps:
        for feature, label, index in zip(inputs.features, inputs.labels, inputs.indices, strict=True):
            newest[int(index)] = (feature, int(label))
        if epoch == 0:
            assert terms == StepTerms()
            continue
        features = torch.stack([feature for feature, _ in newest.values()])
        labels = torch.tensor([label for _, label in newest.values()])
        interclass = ss.interclass_weights(ss.class_centres(features, labels, 10))
        imbalance = ss.semantic_scale_imbalance(ss.semantic_scales(features, labels, 10), interclass).numpy()
        floored = np.maximum(imbalance, 0.2 * imbalance.max())
        num_floored = int((imbalance < floored).sum())
        assert terms.class_weights is None
        expected = (0.5 if epoch == 1 else 1.0) * 1.5 * np.log(floored)
        np.testing.assert_allclose(centred(terms.log_prior), centred(expected), rtol=1e-8, atol=1e-8)
    report = callback.report()
    assert num_floored == report.scalars["num_floored"]
    assert set(report.per_class) == {"scale", "interclass", "imbalance", "log_prior"}
    np.testing.assert_array_equal(report.per_class["log_prior"], callback.steps[-1].terms.log_prior)


def test_the_largest_scale_gets_the_largest_logit(digits: Build, classifier: Build, trainer: Build) -> None:
    callback = Watched(start_epoch=0)
    trainer(callback).fit(classifier(), datamodule=digits())
    report = callback.report().per_class
    assert int(report["log_prior"].argmax()) == int(report["imbalance"].argmax())
    assert int(report["log_prior"].argmin()) == int(report["imbalance"].argmin())


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_resume_equals_an_unbroken_run_bitwise(resumed_like_unbroken: Build) -> None:
    unbroken, resumed = resumed_like_unbroken(lambda: ScalePriorReweighting(start_epoch=1), dropout=0.0)
    assert torch.equal(unbroken.report().per_class["log_prior"], resumed.report().per_class["log_prior"])
