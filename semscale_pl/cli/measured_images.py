"""Images as rows of numbers to be measured: their pixels, or what a trained network makes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from semscale_pl.config.errors import WrongCallError
from semscale_pl.features.arrays import MappedRows
from semscale_pl.features.source import row_dtype

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from semscale_pl.data.indexed import IndexedDataset


Extract = Callable[[Tensor], Tensor]
BATCH = 128
# Of ImageNet, on which published weights were trained; of its grey values for one channel.
IMAGENET = {3: ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), 1: ([0.449], [0.226])}
IMAGENET_SIZE, IMAGENET_CROP = 224, 0.875


@dataclass(frozen=True)
class MeasuredImages:
    """Images and what turns them into rows.

    Args:
        dataset: of the images, without augmentation.
        class_names: C names.
        extract: images (B, channels, height, width) to features (B, d).
        what: words for the record.
    """

    dataset: IndexedDataset
    class_names: tuple[str, ...]
    extract: Extract
    what: str


class StoredRows:
    """Features of images in a file of our own, a :class:`semscale_pl.features.source.FeatureSource`.

    Args:
        path: of float32 numbers, row after row.
        num_features: d.
        labels: (N,) int64 in [0, C).
        class_names: C names.
        name: for messages.
    """

    def __init__(
        self, path: Path, num_features: int, labels: np.ndarray, class_names: tuple[str, ...], name: str
    ) -> None:
        self.name, self.labels, self.class_names = name, labels, class_names
        self.num_rows, self.num_features = len(labels), num_features
        self.itemsize = row_dtype(np.dtype(np.float32)).itemsize
        self._rows = MappedRows(path, (self.num_rows, num_features), np.dtype(np.float32), 0, name=name)

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows in pieces of at most ``size``."""
        return self._rows.rows(wanted, size)


def stored(images: MeasuredImages, path: Path, name: str, progress: Callable[[int, int], None]) -> StoredRows:
    """Write the features of all images to a file, a batch in memory at a time.

    Args:
        images: to go through.
        path: of the new file.
        name: for messages.
        progress: told how many images are done, of how many.

    Returns:
        The features.
    """
    from semscale_pl.data.indexed import collate

    total, done, dim = len(images.dataset), 0, 0
    loader: Any = torch.utils.data.DataLoader(images.dataset, batch_size=BATCH, collate_fn=collate)
    with path.open("wb") as file, torch.inference_mode():
        for batch, *_ in loader:
            features = images.extract(batch).float().flatten(1)
            file.write(features.contiguous().numpy().tobytes())
            done, dim = done + len(features), features.shape[1]
            progress(done, total)
    return StoredRows(path, dim, images.dataset.labels.numpy(), images.class_names, name)


def measured_images(call: Any) -> MeasuredImages:
    """Find the images of a call, and what is measured of them.

    Args:
        call: with a dataset or a folder.

    Raises:
        WrongCallError: the checkpoint or the weights cannot be used; one line says why.
        ValueError: the images cannot be used.
    """
    if call.ckpt is not None:
        return _of_checkpoint(call)
    if call.backbone is not None:
        return _of_published(call)
    dataset, names = _images(call, None)
    return MeasuredImages(dataset, names, _pixels(dataset, call.image_size), f"pixels at {call.image_size}")


def _pixels(dataset: IndexedDataset, side: int) -> Extract:
    """Undo the normalization and resize, as the sample volume does (Ma et al., ICLR 2023, appendix E)."""
    mean, std = dataset.model_input.mean, dataset.model_input.std

    def extract(images: Tensor) -> Tensor:
        shown = (images * std + mean).clamp(0.0, 1.0)
        return torch.nn.functional.interpolate(shown, size=(side, side), mode="bilinear", antialias=True)

    return extract


def _of_checkpoint(call: Any) -> MeasuredImages:
    from semscale_pl.training.restoring import restore

    restored = restore(str(call.ckpt))
    dataset, names = _images(call, restored.input_settings)
    module = restored.module

    def extract(images: Tensor) -> Tensor:
        return module.classifier.features(module.backbone(images))  # type: ignore[operator, no-any-return]

    return MeasuredImages(dataset, names, extract, f"features of {Path(str(call.ckpt)).name}")


def _of_published(call: Any) -> MeasuredImages:
    from semscale_pl.config.checks import composed

    cfg = composed(call.training_overrides)
    if "pretrained" not in cfg.backbone:
        raise WrongCallError(f"Expected a backbone with published weights, but {call.backbone} has none. Try resnet50.")
    channels = int(cfg.dataset.channels or 3)
    mean, std = IMAGENET[3 if channels == 3 else 1]
    sized = any(text.startswith("dataset.image_size=") for text in call.overrides)
    size = int(cfg.dataset.image_size) if sized else IMAGENET_SIZE
    settings = {"image_size": size, "channels": channels, "mean": mean, "std": std, "crop_share": IMAGENET_CROP}
    dataset, names = _images(call, settings)
    cfg.backbone.pretrained, cfg.dataset.channels = True, channels
    backbone = _with_weights(cfg.backbone, str(call.backbone)).eval()
    return MeasuredImages(dataset, names, backbone, f"features of {call.backbone}, published weights")


def _with_weights(settings: DictConfig, name: str) -> torch.nn.Module:
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        return instantiate(settings)  # type: ignore[no-any-return]
    except InstantiationException as error:
        if not isinstance(error.__cause__, OSError):
            raise
        reason = " ".join(str(error.__cause__).split())
        raise WrongCallError(
            f"Expected the published weights of {name}, but they cannot be fetched ({reason}). Fetch them where there "
            "is a network, and copy them to the same folder below TORCH_HOME here."
        ) from error


def _images(call: Any, model_input: dict[str, Any] | None) -> tuple[IndexedDataset, tuple[str, ...]]:
    if call.images is not None:
        return _of_folder(call.images, model_input or _whole_images(call.image_size))
    from hydra.utils import instantiate

    from semscale_pl.config.checks import composed

    cfg = composed(call.training_overrides)
    _set_input(cfg, model_input)
    data = instantiate(cfg.dataset)
    data.prepare_data()
    data.setup()
    return data.eval_train_dataset, tuple(data.class_names)


def _set_input(cfg: DictConfig, model_input: dict[str, Any] | None) -> None:
    """Let the images come as a model needs them, or whole where their pixels are measured."""
    settings = {"crop_share": 1.0} if model_input is None else model_input
    for key, value in settings.items():
        cfg.dataset[key] = value


def _whole_images(side: int) -> dict[str, Any]:
    return {"image_size": side, "channels": 3, "mean": [0.0] * 3, "std": [1.0] * 3}


def _of_folder(folder: Path, settings: dict[str, Any]) -> tuple[IndexedDataset, tuple[str, ...]]:
    from semscale_pl.data.checking import check_decodable, memory_of, used_files
    from semscale_pl.data.files import class_folders
    from semscale_pl.data.indexed import IndexedDataset
    from semscale_pl.data.transforms import ModelInput

    images = class_folders(folder)
    dataset = IndexedDataset(images, torch.arange(len(images.labels)), ModelInput(**settings))
    check_decodable(used_files(dataset), memory_of("measure", folder))
    return dataset, tuple(images.class_names)
