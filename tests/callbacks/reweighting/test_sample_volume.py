"""Weights from image volumes: their values from the raw images, normalization undone, settings, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader
from watching import Build, Watching

import semscale_pl as ss
from semscale_pl.callbacks.reweighting.sample_volume import SampleVolumeReweighting
from semscale_pl.weighting import StepTerms


class Watched(Watching, SampleVolumeReweighting):
    """Keeps every step."""


def raw_images(data: Any) -> torch.Tensor:
    """The pixels in [0, 1], before the model's input is made of them."""
    return data.train_dataset.images[data.train_dataset.rows]


def volumes_by_singular_values(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    flat, values = images.reshape(len(images), -1).astype(np.float64), []
    for label in range(10):
        rows = flat[labels == label]
        singular = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
        values.append(0.5 * np.log2(1 + flat.shape[1] / len(rows) * singular**2).sum())
    return np.array(values)


@pytest.mark.parametrize("normalized", [{}, {"mean": [0.3], "std": [0.25]}], ids=["raw", "normalised"])
def test_values_from_the_pixels(normalized: dict[str, Any], digits: Build, classifier: Build, trainer: Build) -> None:
    callback, data = Watched(image_size=8, power=2.0, floor=0.01, max_ratio=1e6), digits(**normalized)
    trainer(callback, max_epochs=2).fit(classifier(), datamodule=data)
    volumes = volumes_by_singular_values(raw_images(data).numpy(), data.train_dataset.labels.numpy())
    np.testing.assert_allclose(callback.report().per_class["volume"], volumes, rtol=1e-5)
    raw, counts = np.maximum(volumes, 0.01 * volumes.max()) ** -2, data.class_counts.double().numpy()
    expected = raw * counts.sum() / (counts * raw).sum()
    for terms in callback.seen[0] + callback.seen[1]:
        np.testing.assert_allclose(terms.class_weights, expected, rtol=1e-4)


@pytest.mark.parametrize("image_size", [4, 16])
def test_the_volumes_are_those_of_the_measure(
    image_size: int, digits: Build, classifier: Build, trainer: Build
) -> None:
    callback, data = SampleVolumeReweighting(image_size=image_size), digits(mean=[0.5], std=[0.2])
    trainer(callback, max_epochs=1).fit(classifier(), datamodule=data)
    assert callback.volumes is not None
    expected = ss.sample_volumes(raw_images(data), data.train_dataset.labels, 10, image_size)
    torch.testing.assert_close(callback.volumes, expected, rtol=1e-5, atol=1e-5)


def test_low_precision_does_not_touch_the_images(digits: Build, classifier: Build, trainer: Build) -> None:
    callback, data = SampleVolumeReweighting(image_size=8), digits(mean=[0.5], std=[0.2])
    trainer(callback, max_epochs=1, precision="bf16-true").fit(classifier(), datamodule=data)
    expected = ss.sample_volumes(raw_images(data), data.train_dataset.labels, 10, 8)
    torch.testing.assert_close(callback.volumes, expected, rtol=1e-5, atol=1e-5)


def test_deferred(digits: Build, classifier: Build, trainer: Build) -> None:
    callback = Watched(start_epoch=1)
    trainer(callback, max_epochs=2).fit(classifier(), datamodule=digits())
    assert set(callback.seen[0]) == {StepTerms()}
    torch.testing.assert_close(callback.seen[1][0].class_weights, callback.weights)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_resume_computes_the_same_weights(resumed_like_unbroken: Build) -> None:
    unbroken, resumed = resumed_like_unbroken(SampleVolumeReweighting)
    assert torch.equal(unbroken.weights, resumed.weights)


class Slotted(BoringModel):
    """Has the slot, but comes without a datamodule."""

    weighting = None


def test_refused_without_training_images(trainer: Build) -> None:
    loader = DataLoader(torch.ones(4, 32))  # type: ignore[arg-type]
    with pytest.raises(MisconfigurationException, match=r"Expected a datamodule with `eval_train_dataloader\(\)`"):
        trainer(SampleVolumeReweighting()).fit(Slotted(), loader)


def test_refused_where_the_normalization_is_unknown(digits: Build, classifier: Build, trainer: Build) -> None:
    data = digits(mean=[0.5], std=[0.2])
    data.setup()
    data.model_input = None
    with pytest.raises(ValueError, match=r"Expected the pixels of `images` in \[0, 1\]"):
        trainer(SampleVolumeReweighting()).fit(classifier(), datamodule=data)


@pytest.mark.parametrize("options", [{"image_size": 0}, {"power": -1.0}, {"floor": 0.0}, {"max_ratio": 0.5}], ids=str)
def test_arguments_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}`"):
        SampleVolumeReweighting(**options)
