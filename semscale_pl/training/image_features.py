"""Images by name, folder or split, and what is measured of them: their pixels, or the features of a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from torch import Tensor
from torch.utils.data import DataLoader

from semscale_pl.config.checks import composed
from semscale_pl.config.errors import WrongCallError
from semscale_pl.data.checking import (
    broken_images,
    check_decodable,
    memory_of,
    passed_over_of,
    say_once,
    skipped_line,
    used_files,
)
from semscale_pl.data.files import class_folders, upright
from semscale_pl.data.indexed import IndexedDataset, collate
from semscale_pl.data.transforms import ModelInput
from semscale_pl.features.extraction import Extract, load_extracted, store_extracted
from semscale_pl.features.prepared import LoadedFeatures
from semscale_pl.features.source import FeatureSource
from semscale_pl.geometry.samples import resized
from semscale_pl.training.model_input import has_weights, pretrained_backbone
from semscale_pl.training.restoring import INPUT_KEYS, restore_for_images


@dataclass(frozen=True)
class ImageFeatures:
    """Images and what turns them into features.

    Args:
        extract: images (B, channels, height, width) to features (B, ...).
        what: words for the record.
        num_workers: processes that decode images.
        exif_rotation: whether image files were turned as their EXIF tag asks for.
        skipped: how many images could not be decoded and were left out.
    """

    dataset: IndexedDataset
    class_names: tuple[str, ...]
    extract: Extract
    what: str
    num_workers: int = 0
    exif_rotation: bool = False
    skipped: int = 0

    def load(self, progress: Callable[[int, int], None] | None = None) -> LoadedFeatures:
        """Return the features of all images in memory; progress is called with the images done, and of how many."""
        return load_extracted(self._batches(), self.extract, self.class_names, len(self.dataset), progress)

    def store(self, path: Path, name: str, progress: Callable[[int, int], None] | None = None) -> FeatureSource:
        """Write the features of all images to a new file, see :func:`store_extracted`."""
        return store_extracted(self._batches(), self.extract, self.class_names, len(self.dataset), path, name, progress)

    @property
    def origin(self) -> dict[str, Any]:
        """What a record says of the images: the size that they are brought to, if to one."""
        side, channels = self.dataset.model_input.image_size, self.dataset.model_input.channels
        parts = [
            f"{side} x {side} pixels" if side else "",
            f"{channels} channel{'s' * (channels > 1)}" if channels else "",
        ]
        return {"image_size": ", ".join(filter(None, parts)) or "as stored"}

    def picture(self, row: int) -> Any:
        """Return an image as the dataset holds it: a picture of Pillow, or a tensor (channels, height, width)."""
        return self.dataset.images[int(self.dataset.rows[row])]

    def names_of_rows(self, rows: Sequence[int]) -> dict[int, str]:
        """Return the files of some images by their row numbers; none where the images are no files."""
        paths = getattr(self.dataset.images, "paths", None)
        return {} if paths is None else {row: str(paths[int(self.dataset.rows[row])]) for row in rows}

    def _batches(self) -> Any:
        return DataLoader(self.dataset, batch_size=128, collate_fn=collate, num_workers=self.num_workers)


@dataclass(frozen=True)
class Images:
    """Which images are meant: the training images of a configuration, or a folder of class folders.

    Args:
        overrides: of `semscale train`, ``dataset=NAME`` among them unless there is a folder.
        folder: with one sub-folder a class; None for the dataset.
        on_bad_image: of the folder, "refuse" or "skip" images that cannot be decoded.
        exif_rotation: whether images of the folder are turned as their EXIF tag asks for; None turns them, but for a
            trained model does what was done in its training.
    """

    overrides: Sequence[str]
    folder: Path | None = None
    on_bad_image: str = "refuse"
    exif_rotation: bool | None = None

    def pixels(self, side: int) -> ImageFeatures:
        """Return the images with their pixels, resized as for the sample volume.

        Args:
            side: of the resized images in pixels; d = side^2 * channels.

        Raises:
            ValueError: the configuration is wrong, or the images cannot be used.
            FileNotFoundError: the dataset is not there; the message says where it was looked for.

        Reference: Ma et al. (ICLR 2023), appendix E, Algorithm 1.
        """
        whole = {"crop_share": 1.0} if self.folder is None else {"image_size": side, "channels": 3}
        return self._with(whole, lambda dataset: _pixels_of(dataset, side), f"pixels at {side}")

    def of_checkpoint(self, path: Path) -> ImageFeatures:
        """Return the images with the features that enter the classifier of a trained model.

        Raises:
            ValueError: the checkpoint or the images cannot be used; one line says why.
        """
        restored = restore_for_images(str(path))
        backbone: Any = restored.module.backbone
        features: Any = restored.module.classifier.features
        extract: Extract = lambda images: features(backbone(images))  # noqa: E731
        return self._with(
            restored.input_settings, lambda _: extract, f"features of {path.name}", restored.exif_rotation
        )

    def of_published(self, backbone: str) -> ImageFeatures:
        """Return the images with the features of a network with published weights, or with weights of a file.

        Raises:
            WrongCallError: it has no published weights.
            ValueError: they cannot be fetched or read, or the images cannot be used.
        """
        cfg = composed(self.overrides)
        if "pretrained" in cfg.backbone:
            cfg.backbone.pretrained = True
        elif not has_weights(cfg.backbone):
            raise WrongCallError(f"Expected a backbone with published weights, but {backbone} has none. Try resnet50.")
        cfg.dataset.channels = int(cfg.dataset.channels or 3)
        network = pretrained_backbone(cfg)
        assert network is not None
        settings = {key: cfg.dataset[key] for key in INPUT_KEYS}
        return self._with(settings, lambda _: network.eval(), f"features of {backbone}, published weights")

    def _with(
        self,
        model_input: dict[str, Any],
        extract_of: Callable[[IndexedDataset], Extract],
        what: str,
        turned: bool = True,
    ) -> ImageFeatures:
        """Read the images as a model needs them, those of a folder turned or not, and then build what extracts."""
        if self.folder is not None:
            rotation = turned if self.exif_rotation is None else self.exif_rotation
            dataset, skipped = self._of_folder(self.folder, ModelInput(**model_input), rotation)
            names = tuple(dataset.class_names)
            return ImageFeatures(dataset, names, extract_of(dataset), what, 0, rotation, skipped)
        cfg = composed(self.overrides)
        for key, value in model_input.items():
            cfg.dataset[key] = value
        data = instantiate(cfg.dataset)
        data.prepare_data()
        data.setup()
        dataset = data.eval_train_dataset
        return ImageFeatures(
            dataset,
            tuple(data.class_names),
            extract_of(dataset),
            what,
            cfg.dataset.num_workers,
            data.exif_rotation,
            data.skipped_images.get("training", 0),
        )

    def _of_folder(self, folder: Path, model_input: ModelInput, rotation: bool) -> tuple[IndexedDataset, int]:
        """Return the readable images of the folder, and how many are left out."""
        images = class_folders(folder)
        if rotation:
            images = replace(images, images=upright(images.images))
        say_once(passed_over_of([images]))
        dataset = IndexedDataset(images, torch.arange(len(images.labels)), model_input)
        used, memory = used_files(dataset), memory_of("measure", folder)
        if self.on_bad_image == "refuse":
            check_decodable(used, memory, "on_bad_image=skip leaves them out.")
            return dataset, 0
        broken = broken_images(used, memory)
        say_once(skipped_line(broken, len(used)))
        return dataset, dataset.leave_out(broken, "training")


def load_pixels(dataset: str, split: str = "train", side: int = 16) -> LoadedFeatures:
    """Read all images of a split, not long-tailed, and resize them as for the sample volume.

    Args:
        dataset: a name of conf/dataset whose images are held in memory.
        split: ``train`` or ``test``.
        side: of the resized images, in pixels.

    Raises:
        FileNotFoundError: the dataset is not there; the message says where it was looked for.
        ValueError: the dataset keeps its images on disk, or a setting is wrong.

    Reference: Ma et al. (ICLR 2023), appendix E, Algorithm 1, for the resizing.
    """
    cfg = composed([f"dataset={dataset}"])
    root = Path(cfg.dataset.root)
    source = instantiate(cfg.dataset.source)
    source.prepare(root, False)
    images = source.load(split, root, 0)
    if not isinstance(images.images, Tensor):
        raise ValueError(f"Expected `dataset` to be one that is held in memory, but got {dataset!r}. Try mnist.")
    whole = IndexedDataset(images, torch.arange(len(images.labels)), ModelInput())
    return ImageFeatures(whole, tuple(images.class_names), _pixels_of(whole, side), "pixels").load()


def _pixels_of(dataset: IndexedDataset, side: int) -> Extract:
    """Undo the normalization and resize."""
    mean, std = dataset.model_input.mean, dataset.model_input.std
    return lambda images: resized((images * std + mean).clamp(0.0, 1.0), side)
