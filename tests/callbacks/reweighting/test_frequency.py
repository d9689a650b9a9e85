"""Count-based weights in the slot: their values, their schedule, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from watching import Build, Watching

from semscale_pl.callbacks.reweighting.frequency import FrequencyReweighting
from semscale_pl.data.samplers import ProgressiveSampling
from semscale_pl.weighting import StepTerms


class Watched(Watching, FrequencyReweighting):
    """Keeps every step."""


@pytest.mark.parametrize("normalization", ["sample", "class", "none"])
@pytest.mark.parametrize("scheme", ["inverse", "sqrt_inverse", "class_balanced"])
def test_values(scheme: Any, normalization: str, digits: Build, classifier: Build, trainer: Build) -> None:
    callback, data = Watched(scheme=scheme, beta=0.99, normalization=normalization), digits()
    trainer(callback).fit(classifier(), datamodule=data)
    counts = data.class_counts.numpy().astype(np.float64)
    raw = {"inverse": 1 / counts, "sqrt_inverse": counts**-0.5, "class_balanced": 0.01 / (1 - 0.99**counts)}[scheme]
    scale = {"sample": (counts / counts.sum() * raw).sum(), "class": raw.mean(), "none": 1.0}[normalization]
    weights = callback.seen[0][-1].class_weights
    assert weights is not None
    np.testing.assert_allclose(weights.numpy(), raw / scale, rtol=1e-10)


def test_a_deferred_ramp(digits: Build, classifier: Build, trainer: Build) -> None:
    callback = Watched(start_epoch=1, ramp_epochs=2)
    trainer(callback, max_epochs=4).fit(classifier(), datamodule=digits())
    assert callback.seen[0][-1] == StepTerms()
    assert callback.weights is not None
    for epoch, strength in ((1, 1 / 3), (2, 2 / 3), (3, 1.0)):
        torch.testing.assert_close(callback.seen[epoch][-1].class_weights, 1 + strength * (callback.weights - 1))


@pytest.mark.parametrize(("share", "epochs", "first"), [(0.8, 5, 4), (0.5, 4, 2), (0.8, 1, 0)])
def test_a_start_at_a_share_of_the_epochs(
    share: float, epochs: int, first: int, digits: Build, classifier: Build, trainer: Build
) -> None:
    callback = Watched(start_epoch=share)
    trainer(callback, max_epochs=epochs, limit_train_batches=1).fit(classifier(), datamodule=digits())
    assert callback.start_epoch == first
    assert next(step.epoch for step in callback.steps if step.terms.class_weights is not None) == first


def test_a_share_of_a_training_without_end(digits: Build, classifier: Build, trainer: Build) -> None:
    with pytest.raises(MisconfigurationException, match="`max_epochs` with a `start_epoch` that is a share"):
        trainer(Watched(start_epoch=0.8), max_epochs=-1, max_steps=2).fit(classifier(), datamodule=digits())


@pytest.mark.parametrize(
    "options", [{"scheme": "cube"}, {"beta": 1.0}, {"beta": -0.1}, {"start_epoch": 1.5}, {"start_epoch": -1}], ids=str
)
def test_arguments_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Expected `"):
        FrequencyReweighting(**options)


def test_the_expected_weight_stays_one_under_a_sampler_that_changes(
    digits: Build, classifier: Build, trainer: Build
) -> None:
    callback, data = Watched(), digits(sampler=ProgressiveSampling(4))
    trainer(callback, max_epochs=4).fit(classifier(), datamodule=data)
    for epoch, (*_, terms) in callback.seen.items():
        frequencies = data.sampling.class_frequencies(data.class_counts, epoch)
        assert terms.class_weights is not None
        assert float((frequencies * terms.class_weights).sum()) == pytest.approx(1.0)
