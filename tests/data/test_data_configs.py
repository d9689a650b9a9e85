"""Every dataset, imbalance, sampler and augmentation config composes and builds what it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.source import DatasetNotFound

CONF = Path(__file__).parents[2] / "conf"


# Of your own images, wherever these are.
OWN = ("csv", "image_folder", "parquet_images", "webdataset", "hf")
# Options that name no data of their own.
NEEDS_MORE = ("torch_datasets", "features", "features_lt")


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml") if path.stem != "base")


def composed(*overrides: str) -> Any:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def built(*overrides: str) -> ImbalancedDataModule:
    data = instantiate(composed(*overrides).dataset)
    assert isinstance(data, ImbalancedDataModule)
    return data


@pytest.mark.parametrize("name", [name for name in names("dataset") if name not in NEEDS_MORE])
def test_dataset(name: str, tmp_path: Path) -> None:
    config = composed(f"dataset={name}", f"dataset.root={tmp_path}")
    assert config.dataset.name == name
    if name.startswith("hf"):
        pytest.importorskip("datasets", reason="the extra hf is not installed")
    data = instantiate(config.dataset)
    long_tailed = name.endswith(("_lt", "_lt1", "_lt2")) and name not in ("imagenet_lt", "places_lt")
    assert (data.imbalance, data.imbalance_factor) == (("exponential", 100) if long_tailed else ("none", 1))
    assert "None" not in OmegaConf.to_container(config.dataset, resolve=True).values()
    if name.startswith("digits"):
        data.setup()
        assert data.num_classes == config.dataset.num_classes
    else:
        remedy = r"\(?dataset\.root" if name.startswith(OWN) else "http"
        with pytest.raises(DatasetNotFound, match=remedy):
            data.prepare_data()


@pytest.mark.parametrize(
    ("overrides", "counts"),
    [
        (["dataset=digits_lt", "imbalance_factor=10"], [107, 84, 63, 51, 39, 30, 23, 17, 13, 10]),
        (["dataset=digits_lt", "imbalance=step", "imbalance_factor=10"], [107, 109, 106, 110, 109, 10, 10, 10, 10, 10]),
        (["dataset=digits", "imbalance=exponential"], [107, 65, 38, 23, 14, 8, 5, 2, 1, 1]),
        (["dataset=digits"], [107, 109, 106, 110, 109, 109, 109, 107, 104, 108]),
    ],
)
def test_imbalance(overrides: list[str], counts: list[int]) -> None:
    data = built(*overrides)
    data.setup()
    assert data.class_counts.tolist() == counts


def test_a_factor_without_imbalance_is_refused() -> None:
    with pytest.raises(Exception, match="imbalance=none"):
        built("dataset=digits", "imbalance_factor=10")


@pytest.mark.parametrize("name", names("sampler"))
def test_sampler(name: str) -> None:
    data = built("dataset=digits_lt", f"sampler={name}", "trainer.max_epochs=3")
    data.setup()
    assert float(data.class_frequencies.sum()) == pytest.approx(1)
    assert sum(len(batch[1]) for batch in data.train_dataloader()) == 264


@pytest.mark.parametrize("name", names("augmentation"))
def test_augmentation(name: str) -> None:
    image_size = 8
    data = built("dataset=digits_lt", f"augmentation={name}", "dataset.channels=1")
    data.setup()
    if name in ("auto_augment_cutout", "rand_augment", "resized_crop_jitter"):
        # Policies and jitter of colours are for uint8 RGB images; tests/data/test_transforms.py runs them.
        assert callable(data.augmentation)
    else:
        assert data.train_dataset[(0, 1)][0].shape == (1, image_size, image_size)


def test_seeds_reach_the_datamodule() -> None:
    assert (built("seed=3").seed, built("seed=3").subset_seed) == (3, 3)
    assert (built("seed=3", "subset_seed=4").subset_seed) == 4
