"""Effective areas against the correlation matrix written out, the extra passes, resume, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning.callbacks import StochasticWeightAveraging
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch.utils.data import DataLoader
from watching import Build, Watching

from semscale_pl.callbacks.reweighting.effective_area import EffectiveAreaReweighting, effective_areas
from semscale_pl.seeding import derive_seed
from semscale_pl.weighting import StepTerms


def written_out(
    features: np.ndarray, labels: np.ndarray, num_classes: int, batch_size: int, seed: int, bounded: bool
) -> np.ndarray:
    """The area of every class in every batch from its matrix of cosines."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).numpy()
    total = np.full(num_classes, np.nan)
    for label in np.unique(labels):
        total[label] = 0.0
        centre = features[labels == label].mean(axis=0)
        for start in range(0, len(order), batch_size):
            rows = [row for row in order[start : start + batch_size] if labels[row] == label]
            n = len(rows)
            if n < 2:
                total[label] += n
                continue
            z = features[rows] - centre
            lengths = np.linalg.norm(z, axis=1)
            matrix = (z @ z.T) / np.outer(lengths, lengths)
            a = np.full(n, 1 / n)
            with np.errstate(divide="ignore"):  # a class of two images in one batch: its cosines cancel out
                area = 1 / np.abs(a @ matrix @ a)
            total[label] += min(area, n) if bounded else area
    return total


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.booleans())
def test_areas_against_the_matrix_of_cosines(seed: int, batch_size: int, bounded: bool) -> None:
    generator = np.random.default_rng(seed)
    features, labels = generator.normal(size=(37, 5)), generator.integers(0, 4, size=37)
    tensors = torch.from_numpy(features), torch.from_numpy(labels)
    areas = effective_areas(*tensors, 5, batch_size, seed=seed, bounded=bounded).numpy()
    expected = written_out(features, labels, 5, batch_size, seed, bounded)
    # Where the cosines cancel out, 1/0 is infinite or whatever rounding leaves of it.
    huge = expected > 1e6
    np.testing.assert_allclose(areas[~huge], expected[~huge], rtol=1e-6)
    assert (areas[huge] > 1e6).all()


def test_degenerate_features() -> None:
    alike = effective_areas(torch.ones(4, 3), torch.tensor([0, 0, 0, 1]), 2, batch_size=4)
    assert alike.tolist() == [3.0, 1.0]  # no direction at all: no correlation
    opposite = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    labels = torch.tensor([0, 0])
    assert effective_areas(opposite, labels, 1, batch_size=2).tolist() == [2.0]
    assert effective_areas(opposite, labels, 1, batch_size=2, bounded=False).tolist() == [float("inf")]


class Watched(Watching, EffectiveAreaReweighting):
    """Keeps each epoch's terms and the features from which its weights had to come."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.features: dict[int, np.ndarray] = {}
        self.modes: list[bool] = []

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self.modes.append(pl_module.training and pl_module.backbone.training)
        data = trainer.datamodule.eval_train_dataset
        images = torch.stack([data[row][0] for row in range(len(data))])
        pl_module.eval()
        with torch.no_grad():
            self.features[trainer.current_epoch] = pl_module.features(images).double().numpy()
        pl_module.train()


@pytest.mark.parametrize("normalization", ["sample", "class"])
def test_weights_of_each_epoch(normalization: str, digits: Build, classifier: Build, trainer: Build) -> None:
    callback, data = Watched(start_epoch=1, batch_size=50, normalization=normalization, seed=7), digits()
    trainer(callback, max_epochs=3).fit(classifier(dropout=0.5), datamodule=data)
    labels, counts = data.train_dataset.labels.numpy(), data.class_counts.double().numpy()
    assert set(callback.seen[0]) == {StepTerms()}
    for epoch in (1, 2):
        areas = written_out(callback.features[epoch], labels, 10, 50, derive_seed(7, epoch), True)
        raw = 1 / areas
        scale = raw.mean() if normalization == "class" else (counts * raw).sum() / counts.sum()
        for terms in callback.seen[epoch]:
            np.testing.assert_allclose(terms.class_weights, raw / scale, rtol=1e-5)
    report = callback.report()
    assert report.scalars["extra_passes"] == callback.extra_passes == 2.0
    np.testing.assert_allclose(report.per_class["area"], areas, rtol=1e-5)
    assert all(callback.modes)


@pytest.mark.filterwarnings("ignore:Found 1 module")
def test_parts_in_evaluation_mode_stay_in_it(digits: Build, classifier: Build, trainer: Build) -> None:
    module = classifier()
    module.backbone.layer.append(torch.nn.BatchNorm1d(16))
    frozen = module.backbone.layer[-1].eval()
    trainer(EffectiveAreaReweighting(start_epoch=0), max_epochs=1).fit(module, datamodule=digits())
    assert not frozen.training
    assert int(frozen.num_batches_tracked) == 0


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_other_precisions(precision: str, digits: Build, classifier: Build, trainer: Build) -> None:
    callback = EffectiveAreaReweighting(start_epoch=0)
    trainer(callback, max_epochs=1, precision=precision).fit(classifier(width=96), datamodule=digits())
    assert callback.weights is not None
    assert callback.weights.dtype == torch.float64
    assert (callback.weights > 0).all()


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_resume_equals_an_unbroken_run_bitwise(resumed_like_unbroken: Build) -> None:
    unbroken, resumed = resumed_like_unbroken(lambda: EffectiveAreaReweighting(start_epoch=1))
    assert torch.equal(unbroken.weights, resumed.weights)
    assert unbroken.num_passes == resumed.num_passes == 3


def test_the_epoch_that_weight_averaging_adds_costs_no_pass(digits: Build, classifier: Build, trainer: Build) -> None:
    callback, data = EffectiveAreaReweighting(start_epoch=1), digits()
    data.setup()
    module = classifier(class_counts=data.class_counts.tolist())
    module.backbone.layer.append(torch.nn.BatchNorm1d(16))  # makes SWA run its extra epoch
    averaging = StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1)
    trainer(averaging, callback, max_epochs=3).fit(module, datamodule=data)
    assert callback.num_passes == 2


class Slotted(BoringModel):
    """Has the slot, but no features of its own to show."""

    weighting = None
    num_classes = 2


def test_refused_without_training_images_or_features(digits: Build, classifier: Build, trainer: Build) -> None:
    loader = DataLoader(torch.ones(4, 32))  # type: ignore[arg-type]
    with pytest.raises(MisconfigurationException, match=r"Expected a datamodule with `eval_train_dataloader\(\)`"):
        trainer(EffectiveAreaReweighting(start_epoch=0)).fit(Slotted(), loader)
    with pytest.raises(MisconfigurationException, match=r"to have `features\(images\)`, but Slotted"):
        trainer(EffectiveAreaReweighting(start_epoch=0)).fit(Slotted(), datamodule=digits())


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"num_features": 0}, {"batch_size": 2.5}], ids=str)
def test_arguments_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}`"):
        EffectiveAreaReweighting(**options)
