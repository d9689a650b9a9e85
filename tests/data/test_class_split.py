"""Training and test classes that are disjoint: of any source, with long tails, refused where nothing can be found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image

from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.features import FeatureDataModule
from semscale_pl.data.source import DataError, ImageSet
from semscale_pl.data.verification import verify

CONF = Path(__file__).parents[2] / "conf"


class Noise:
    """Four classes of unequal sizes in memory, the same in every split."""

    def __init__(self, counts: tuple[int, ...] = (20, 40, 8, 6, 5)) -> None:
        self.counts = counts

    def prepare(self, root: Path, download: bool) -> None:
        """Nothing to fetch."""

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        if split == "val":
            return None
        labels = torch.repeat_interleave(torch.arange(len(self.counts)), torch.tensor(self.counts))
        images = torch.rand(len(labels), 1, 4, 4, generator=torch.Generator().manual_seed(len(split)))
        return ImageSet(images, labels, [f"c{label}" for label in range(len(self.counts))])


def made(source: Any = None, **settings: Any) -> ImbalancedDataModule:
    data = ImbalancedDataModule(source or Noise(), split="classes", **settings)
    data.setup()
    return data


def test_half_of_the_classes_train_and_the_others_are_tested() -> None:
    data = made()
    assert (data.num_classes, data.class_names) == (2, ["c0", "c1"])
    assert data.class_counts.tolist() == [20, 40]
    assert data.test_class_names == ["c0", "c1", "c2", "c3", "c4"]
    labels = torch.cat([batch[1] for batch in data.test_dataloader()])
    assert torch.bincount(labels).tolist() == [0, 0, 8, 6, 5]
    seen = torch.cat([batch[1] for batch in data.train_dataloader()])
    assert sorted(seen.unique().tolist()) == [0, 1]
    indices = torch.cat([batch[2] for batch in data.train_dataloader()])
    assert indices.sort().values.tolist() == list(range(60))


def test_a_long_tail_is_cut_from_the_own_size_of_each_training_class() -> None:
    data = made(train_classes=3, imbalance="exponential", imbalance_factor=4)
    # n_i = size_i * 4^(-i/2)
    assert data.class_counts.tolist() == [20, 20, 2]
    assert torch.bincount(data.test_dataset.labels).tolist() == [0, 0, 0, 6, 5]
    held = made(train_classes=3, validation_per_class=2)
    assert held.val_dataset is not None
    assert torch.bincount(held.val_dataset.labels).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("counts", "settings", "message"),
    [
        ((5,), {}, "0 of 1 would be trained on. Add classes."),
        ((5, 5, 5), {"train_classes": 3}, r"3 of 3 would be trained on. Set dataset.train_classes to 2..2\."),
        ((5, 5, 1, 5), {}, r"but 1 have fewer, for example 'c2'\."),
        ((5, 5, 5), {}, "1 of 3 would be trained on"),
    ],
)
def test_refusals_of_data(counts: tuple[int, ...], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        made(Noise(counts), **settings)


def test_refusals_of_settings() -> None:
    with pytest.raises(ValueError, match=r"Expected dataset.split=classes with dataset.train_classes=2"):
        ImbalancedDataModule(Noise(), train_classes=2)
    with pytest.raises(ValueError, match="Expected `split` to be one of samples, classes, but got 'half'"):
        ImbalancedDataModule(Noise(), split="half")


def test_features_are_split_by_class(tmp_path: Path) -> None:
    rows, labels = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32), np.arange(60) % 6
    np.savez(tmp_path / "a.npz", features=rows, labels=labels)
    file = str(tmp_path / "a.npz")
    data = FeatureDataModule(train=file, test=file, split="classes")
    data.setup()
    assert (data.num_classes, data.class_counts.tolist()) == (3, [10, 10, 10])
    found = next(iter(data.test_dataloader()))
    assert torch.equal(found[0], torch.from_numpy(rows[labels >= 3]))
    assert found[1].tolist() == labels[labels >= 3].tolist()


def birds(root: Path, classes: int = 4) -> None:
    for label in range(classes):
        for number in range(4 + label):
            path = root / f"CUB_200_2011/images/{label + 1:03}.Bird_{label}/Bird_{label}_{number:04}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(10 * label + number).integers(0, 255, (9, 7, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(("name", "counts"), [("cub2011", [4, 5]), ("cub2011_lt", [4, 2])])
def test_a_twin_of_cub(name: str, counts: list[int], tmp_path: Path) -> None:
    birds(tmp_path)
    small = ["dataset.num_classes=4", "dataset.train_classes=2", "dataset.image_size=8"]
    factor = ["imbalance_factor=2"] if name.endswith("_lt") else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides=[f"dataset={name}", f"dataset.root={tmp_path}", *small, *factor])
    data = instantiate(config.dataset)
    data.setup()
    assert data.class_counts.tolist() == counts
    assert data.class_names == ["001.Bird_0", "002.Bird_1"]
    assert torch.bincount(data.test_dataset.labels).tolist() == [0, 0, 6, 7]
    # Too few images are all that is wrong with it.
    assert [finding.ok for finding in verify(data).findings].count(False) <= 2
    assert verify(data).problems == []


def test_a_folder_of_any_source_is_pooled_by_naming_it_twice(tmp_path: Path) -> None:
    birds(tmp_path, 3)
    overrides = [
        "dataset=image_folder", f"dataset.root={tmp_path}/CUB_200_2011/images", "dataset.source.train=.",
        "dataset.source.test=.", "dataset.source.val=null", "dataset.split=classes", "dataset.train_classes=2",
    ]  # fmt: skip
    with initialize_config_dir(str(CONF), version_base="1.3"):
        data = instantiate(compose("train", overrides=overrides).dataset)
    data.setup()
    assert data.class_counts.tolist() == [4, 5]
    assert len(data.test_dataset) == 6


def test_a_seed_draws_which_classes_train() -> None:
    drawn = {tuple(made(split_order="permuted", subset_seed=seed).class_names) for seed in range(6)}
    assert len(drawn) > 2
    data = made(split_order="permuted", subset_seed=0)
    sizes = dict(zip(["c0", "c1", "c2", "c3", "c4"], Noise().counts, strict=True))
    assert sorted(data.test_class_names) == sorted(sizes)
    assert data.class_counts.tolist() == [sizes[name] for name in data.class_names]
    tested = torch.bincount(data.test_dataset.labels).tolist()[2:]
    assert tested == [sizes[name] for name in data.test_class_names[2:]]
    whole = Noise().load("train", Path(), 0)
    assert whole is not None
    for label, name in enumerate(data.class_names):
        own = data.train_dataset.rows[data.train_dataset.labels == label]
        assert torch.equal(own, (whole.labels == whole.class_names.index(name)).nonzero()[:, 0])


def test_a_drawn_order_without_a_split_by_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected dataset.split=classes with dataset.split_order=permuted"):
        ImbalancedDataModule(Noise(), split_order="permuted")
