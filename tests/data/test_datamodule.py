"""The datamodule's splits, attributes, loaders and refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.longtail import index_hash
from semscale_pl.data.samplers import PowerSampling
from semscale_pl.data.transforms import crop
from semscale_pl.data.vision import Digits


def ready(**options: Any) -> ImbalancedDataModule:
    datamodule = ImbalancedDataModule(Digits(), **options)
    datamodule.prepare_data()
    datamodule.setup("fit")
    return datamodule


def test_attributes_of_long_tailed_digits() -> None:
    data = ready(imbalance="exponential", imbalance_factor=100)
    assert data.class_counts.tolist() == [107, 65, 38, 23, 14, 8, 5, 2, 1, 1]
    assert data.class_counts.dtype == torch.int64
    assert (data.num_classes, data.train_size, len(data.train_dataset)) == (10, 264, 264)
    assert data.class_names == [str(digit) for digit in range(10)]
    assert data.index_hash == index_hash(data.train_dataset.rows)
    torch.testing.assert_close(data.class_frequencies, data.class_counts.double() / 264)
    assert not data.has_validation
    assert data.val_dataloader() == []
    balanced = ready(imbalance="exponential", imbalance_factor=100, sampler=PowerSampling(0.0))
    torch.testing.assert_close(balanced.class_frequencies, torch.full((10,), 0.1, dtype=torch.float64))


def test_subset_seed_chooses_images_and_seed_their_order() -> None:
    options: dict[str, Any] = {"imbalance": "exponential", "imbalance_factor": 10, "batch_size": 400}
    base, order, subset = (ready(seed=s, subset_seed=k, **options) for s, k in [(0, 7), (1, 7), (0, 8)])
    assert base.index_hash == order.index_hash != subset.index_hash
    assert ready(seed=7, **options).index_hash == base.index_hash
    indices = [next(iter(data.train_dataloader()))[2].tolist() for data in (base, order)]
    assert indices[0] != indices[1]


def test_carved_validation_comes_out_of_the_long_tail() -> None:
    whole = ready(imbalance="exponential", imbalance_factor=100)
    carved = ready(imbalance="exponential", imbalance_factor=100, validation_per_class=3)
    assert carved.class_counts.tolist() == [104, 62, 35, 20, 11, 5, 2, 1, 1, 1]
    assert carved.has_validation
    assert carved.val_dataset is not None
    rows = torch.cat([carved.train_dataset.rows, carved.val_dataset.rows]).sort().values
    assert torch.equal(rows, whole.train_dataset.rows)
    seen = torch.cat([batch[2] for batch in carved.val_dataloader()])
    assert seen.tolist() == list(range(len(carved.val_dataset)))


def test_a_validation_part_of_the_whole_set_has_every_class_and_none_of_the_subset() -> None:
    options = {"imbalance": "exponential", "imbalance_factor": 100, "validation_per_class": 20}
    data = ready(**options, validation_from="whole")
    balanced = ready(validation_per_class=20, validation_from="whole")
    assert data.val_dataset is not None
    assert balanced.val_dataset is not None
    assert torch.bincount(data.val_dataset.labels).tolist() == [20] * 10
    assert torch.equal(data.val_dataset.rows, balanced.val_dataset.rows)
    assert set(data.train_dataset.rows.tolist()) <= set(balanced.train_dataset.rows.tolist())
    assert not set(data.train_dataset.rows.tolist()) & set(data.val_dataset.rows.tolist())
    left = balanced.class_counts.tolist()
    assert data.class_counts.tolist() == [max(1, int(n * 100 ** (-i / 9) + 1e-9)) for i, n in enumerate(left)]


def test_a_listed_subset_refuses_a_validation_part_of_the_whole_set() -> None:
    with pytest.raises(ValueError, match="Expected validation_from=subset with imbalance=listed"):
        ready(imbalance="listed", imbalance_file="list.json", validation_per_class=2, validation_from="whole")


def test_loaders_cover_their_sets_and_the_training_loader_augments_alone() -> None:
    data = ready(batch_size=100, eval_batch_size=300, augmentation=crop(8), mean=[0.3], std=[0.4])
    batches = list(data.train_dataloader())
    assert [len(batch[1]) for batch in batches] == [100] * 10 + [78]
    assert sorted(torch.cat([batch[2] for batch in batches]).tolist()) == list(range(1078))
    images, labels, indices = (torch.cat(column) for column in zip(*data.eval_train_dataloader(), strict=True))
    assert indices.tolist() == list(range(1078))
    assert torch.equal(labels, data.train_dataset.labels)
    source = Digits().load("train", data.root, 0)
    assert source is not None
    torch.testing.assert_close(images, (source.images - 0.3) / 0.4)  # type: ignore[operator]
    shown = torch.cat([batch[0] for batch in batches])[torch.cat([batch[2] for batch in batches]).argsort()]
    assert not torch.equal(shown, images)
    assert sum(len(batch[1]) for batch in data.test_dataloader()) == 719


def test_state_names_epoch_and_subset() -> None:
    data = ready()
    assert data.state_dict() == {"epoch": 0, "index_hash": data.index_hash, "class_names": [*"0123456789"]}
    data.load_state_dict({"epoch": 5, "index_hash": data.index_hash})
    assert data.state_dict()["epoch"] == 5
    with pytest.raises(ValueError, match="training subset"):
        data.load_state_dict({"epoch": 5, "index_hash": "0" * 16})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"imbalance_factor": 10}, "imbalance=none"),
        ({"imbalance": "exponential", "imbalance_factor": 0.5}, "at least 1"),
        ({"validation_per_class": -1}, "validation_per_class"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"validation_fraction": 0.1, "validation_per_class": 1}, "one of"),
        ({"batch_size": 0}, "batch_size"),
        ({"eval_batch_size": 0}, "eval_batch_size"),
    ],
)
def test_refusals_at_construction(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        ImbalancedDataModule(Digits(), **options)


def test_wrong_number_of_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="num_classes"):
        ready(num_classes=11)
