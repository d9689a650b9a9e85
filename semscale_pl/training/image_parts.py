"""All images of a dataset or a folder, part by part, as a network takes them: whole, not long-tailed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from semscale_pl.data.checking import (
    broken_images,
    check_decodable,
    check_same_classes,
    memory_of,
    passed_over_of,
    say_once,
    skipped_line,
    used_files,
)
from semscale_pl.data.files import class_folders, upright
from semscale_pl.data.indexed import IndexedDataset
from semscale_pl.data.source import ImageSet
from semscale_pl.data.transforms import Augmentation, ModelInput
from semscale_pl.options import STORE_PARTS
from semscale_pl.seeding import derive_seed
from semscale_pl.training.restoring import INPUT_KEYS

_WHOLE = {
    "imbalance": "none", "imbalance_factor": 1, "imbalance_samples": None, "imbalance_file": None,
    "validation_per_class": 0, "validation_fraction": 0.0, "validation_from": "subset",
    "validation_classes": 0,
}  # fmt: skip


@dataclass(frozen=True)
class ImageParts:
    """The images of each part without augmentation, and the training part with it where there is one."""

    parts: dict[str, IndexedDataset]
    augmented: IndexedDataset | None
    exif_rotation: bool


def parts_of_dataset(cfg: DictConfig) -> ImageParts:
    """Read a dataset; whatever long tail or validation part its configuration cuts, every image is there.

    Args:
        cfg: of a training run; its dataset is changed.

    Raises:
        DataError: they cannot be used; DatasetNotFound: they are not there.
    """
    for key, value in _WHOLE.items():
        if key in cfg.dataset:
            cfg.dataset[key] = value
    data: Any = instantiate(cfg.dataset)
    data.prepare_data()
    data.setup()
    every = {"train": data.eval_train_dataset, "val": data.val_dataset, "test": data.test_dataset}
    parts = {part: dataset for part, dataset in every.items() if dataset is not None}
    return ImageParts(parts, None if data.augmentation is None else data.train_dataset, data.exif_rotation)


def parts_of_folder(cfg: DictConfig, folder: Path, on_bad_image: str = "refuse", rotation: bool = True) -> ImageParts:
    """Read a folder of class folders as the training part, or its folders train/, val/ and test/ as these.

    Args:
        cfg: of a training run, for the model's input and the augmentation.
        folder: with the class folders or the parts.
        on_bad_image: "refuse" or "skip" images that cannot be decoded.
        rotation: whether images are turned as their EXIF tag asks for.

    Raises:
        DataError: there are no classes, parts have different ones, or images cannot be decoded.
    """
    others = [part for part in STORE_PARTS[1:] if (folder / "train").is_dir() and (folder / part).is_dir()]
    images = {"train": class_folders(folder), **{part: class_folders(folder / part) for part in others}}
    for part in others:
        check_same_classes(images["train"].class_names, images[part].class_names)
    say_once(passed_over_of(images.values()))
    if rotation:
        images = {part: replace(each, images=upright(each.images)) for part, each in images.items()}
    model_input = ModelInput(**{key: cfg.dataset[key] for key in INPUT_KEYS if key in cfg.dataset})
    parts = {part: _whole(each, model_input) for part, each in images.items()}
    transform = instantiate(cfg.augmentation.transform)
    augmented = None if transform is None else _whole(images["train"], model_input, transform, cfg.seed)
    _look_into_files(parts, augmented, folder, on_bad_image)
    return ImageParts(parts, augmented, rotation)


def _whole(
    images: ImageSet, model_input: ModelInput, augmentation: Augmentation | None = None, seed: int = 0
) -> IndexedDataset:
    rows = torch.arange(len(images.labels))
    return IndexedDataset(images, rows, model_input, augmentation, derive_seed(seed, 1))


def _look_into_files(
    parts: dict[str, IndexedDataset], augmented: IndexedDataset | None, folder: Path, on_bad_image: str
) -> None:
    """Decode every image once, and refuse the broken ones or leave them out."""
    used, memory = used_files(*parts.values()), memory_of("measure", folder)
    if on_bad_image == "refuse":
        check_decodable(used, memory, "on_bad_image=skip leaves them out.")
        return
    broken = broken_images(used, memory)
    say_once(skipped_line(broken, len(used)))
    for part, dataset in parts.items():
        dataset.leave_out(broken, "training" if part == "train" else part)
    if augmented is not None:
        augmented.leave_out(broken, "training")
