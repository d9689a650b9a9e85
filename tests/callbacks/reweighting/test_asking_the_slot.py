"""What a module of somebody's own may do with its slot, and what is refused before it trains in vain."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.utils.data import DataLoader
from watching import Build

import semscale_pl as ss
from semscale_pl.callbacks.reweighting.slot import SlotReweighting
from semscale_pl.modules.mixing import Mixing
from semscale_pl.pool import FeaturePool

REWEIGHTINGS = {
    "semantic_scale": lambda: ss.SemanticScaleReweighting(start_epoch=1),
    "inverse_frequency": lambda: ss.FrequencyReweighting(),
    "mean_score": lambda: ss.ScoreReweighting(),
    "effective_area": lambda: ss.EffectiveAreaReweighting(start_epoch=1),
    "sample_volume": lambda: ss.SampleVolumeReweighting(),
    "semantic_scale_prior": lambda: ss.ScalePriorReweighting(start_epoch=1),
}


class Own(pl.LightningModule):
    """A module that hands over what it is told to, or never asks."""

    def __init__(self, asks: bool = True, indices: str = "positions", skips: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh())
        self.classifier = nn.Linear(8, 10)
        self.weighting: Any = None
        self.asks, self.indices, self.skips = asks, indices, skips

    def features(self, images: Tensor) -> Tensor:
        return self.backbone(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        images, labels, positions = batch
        if self.global_step < self.skips > batch_idx:
            return None
        features = self.features(images)
        logits = self.classifier(features)
        losses = nn.functional.cross_entropy(logits, labels, reduction="none")
        if not self.asks:
            return losses.mean()
        given = {"none": (), "positions": (positions,), "batch": (torch.arange(len(labels)),)}[self.indices]
        terms = ss.terms_of(self.weighting, ss.StepInputs(features.detach(), logits.detach(), labels, *given))
        return ss.weighted_mean(losses, labels, terms)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Nothing: the datamodule has no validation part."""

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("name", REWEIGHTINGS)
def test_a_module_that_never_asks_its_slot_is_refused_after_one_step(name: str, digits: Build, trainer: Build) -> None:
    module, loop = Own(asks=False), trainer(REWEIGHTINGS[name]())
    with pytest.raises(MisconfigurationException, match=r"Expected Own.training_step to ask the slot") as caught:
        loop.fit(module, datamodule=digits())
    assert "\n" not in str(caught.value)
    assert loop.global_step == 1
    assert module.weighting is None


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_a_first_step_that_is_skipped_is_no_reason_to_refuse(digits: Build, trainer: Build) -> None:
    callback = ss.SemanticScaleReweighting(start_epoch=1)
    trainer(callback).fit(Own(skips=2), datamodule=digits())
    assert callback.weights is not None


def test_a_queue_needs_no_indices(digits: Build, trainer: Build) -> None:
    found: list[SlotReweighting] = []
    for indices in ("none", "positions"):
        callback = ss.SemanticScaleReweighting(start_epoch=1, pool="fifo")
        trainer(callback).fit(Own(indices=indices), datamodule=digits())
        found.append(callback)
    first, second = (callback.weights for callback in found)
    assert first is not None
    assert second is not None
    assert torch.equal(first, second)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`", "ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*lower value for log_every_n_steps")
@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_the_projects_module_takes_batches_without_indices(
    probability: float, digits: Build, classifier: Build, trainer: Build
) -> None:
    data = digits()
    data.setup()
    rows = [data.train_dataset[(place, 0)] for place in range(data.train_size)]
    pairs = [(image, label) for image, label, *_ in rows]
    module = classifier(mixing=Mixing(1.0, probability=probability) if probability else None)
    options = {"num_classes": 10, "capacity": 40}
    queue = ss.SemanticScaleReweighting(start_epoch=1, pool="fifo", **options)
    trainer(queue).fit(module, DataLoader(pairs, batch_size=32))
    assert queue.weights is not None
    with pytest.raises(MisconfigurationException, match="Expected `indices`"):
        trainer(ss.SemanticScaleReweighting(start_epoch=1, **options)).fit(module, DataLoader(pairs, batch_size=32))


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        ("none", MisconfigurationException, "Expected `indices` in `StepInputs`"),
        ("batch", ValueError, "Expected one label for each index, but index "),
    ],
)
def test_an_indexed_pool_refuses_positions_that_are_missing_or_of_the_batch(
    indices: str, error: type[Exception], message: str, digits: Build, trainer: Build
) -> None:
    with pytest.raises(error, match=message) as caught:
        trainer(ss.SemanticScaleReweighting(start_epoch=1)).fit(Own(indices=indices), datamodule=digits())
    assert "\n" not in str(caught.value)
    assert "fifo" in str(caught.value)


def test_a_mixed_row_of_a_queue_counts_for_the_dominant_label() -> None:
    callback = ss.SemanticScaleReweighting(pool="fifo")
    labels, mixed = torch.tensor([0, 1]), torch.tensor([1, 0])
    inputs = ss.StepInputs(torch.randn(2, 3), torch.randn(2, 2), labels, mixed_labels=mixed, lam=0.2)
    _, entered, indices = callback._rows(inputs)
    assert entered.tolist() == [1, 0]
    assert indices is None


@pytest.mark.parametrize(
    ("labels", "indices", "message"),
    [
        ([1, 2, 1], [4, 0, 4], None),  # drawn twice by a sampler
        ([1, 2, 3], [4, 0, 4], "index 4 came with labels 1 and 3"),
        ([1, 2, 2], [4, 0, 7], "index 7 came with labels 0 and 2"),
        ([0, 0, 2], [7, 7, 3], None),
        ([0, 2, 3], [7, 3, 12], r"`indices` to be in \[0, 12\), but got values from 3 to 12"),
    ],
)
def test_one_index_has_one_label_where_labels_are_fixed(
    labels: list[int], indices: list[int], message: str | None
) -> None:
    pool = FeaturePool(12, 2, 4, fixed_labels=True)
    pool.push(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([7]))
    rows = (torch.ones(3, 2), torch.tensor(labels), torch.tensor(indices))
    if message is None:
        pool.push(*rows)
        assert int(pool.num_pushed) == 4
        return
    with pytest.raises(ValueError, match=message):
        pool.push(*rows)
    assert int(pool.num_pushed) == 1
    assert pool.labels.tolist() == [-1] * 7 + [0] + [-1] * 4
