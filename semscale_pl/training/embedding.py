"""An embedding store of a dataset: which network sees which images, the key that follows, and the work itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader

from semscale_pl.config.checks import composed
from semscale_pl.config.errors import WrongCallError, did_you_mean
from semscale_pl.data.checking import say_once
from semscale_pl.data.digest import images_digest
from semscale_pl.data.indexed import IndexedDataset, collate
from semscale_pl.data.workers import start_worker
from semscale_pl.features.unfinished_store import Chunk, PartRows, UnfinishedStore
from semscale_pl.files import strict_json
from semscale_pl.models.weights import weights_digest
from semscale_pl.seeding import seeded
from semscale_pl.training.image_parts import parts_of_dataset, parts_of_folder
from semscale_pl.training.model_input import pretrained_backbone
from semscale_pl.training.provenance import versions
from semscale_pl.training.restoring import INPUT_KEYS, restore_for_images

Extract = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Network:
    """What makes features of images.

    Args:
        module: in evaluation mode; its input is (B, channels, height, width).
        extract: the same images to features (B, D).
        settings: for the manifest and the key.
        model_input: size, channels and normalization of its images, as far as it asks for them.
        exif_rotation: whether images are to be turned as in its training; None where it has none.
    """

    module: nn.Module
    extract: Extract
    settings: Mapping[str, Any]
    model_input: Mapping[str, Any]
    exif_rotation: bool | None = None


@dataclass(frozen=True)
class Embedding:
    """The store that is wanted: a network, the parts of a dataset, and how its features are kept.

    Args:
        network: makes the features.
        parts: of the dataset, all that there are.
        augmented: the training part with its augmentation; None without copies.
        views: augmented copies of each training image.
        dtype: "float32" or "float16".
        about: what the features depend on, for the manifest.
    """

    network: Network
    parts: Mapping[str, IndexedDataset]
    augmented: IndexedDataset | None
    views: int
    dtype: str
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Hash of all that the features depend on, 32 hexadecimal digits."""
        relevant = {name: self.about[name] for name in ("model", "input", "augmentation")}
        text = strict_json({**relevant, "data": self.about["data"]["digest"], "dtype": self.dtype}, ascii_only=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def class_names(self) -> list[str]:
        """C names."""
        return list(self.parts["train"].class_names)

    def begin(self, folder: Path, parts: Sequence[str]) -> UnfinishedStore:
        """Begin the store in a folder, or go on with it, see :meth:`UnfinishedStore.begin`."""
        rows = {name: _rows_of(self.parts[name], self.views if name == "train" else 0) for name in parts}
        return UnfinishedStore.begin(
            folder,
            key=self.key,
            dtype=self.dtype,
            class_names=self.class_names,
            parts=rows,
            about={**self.about, "versions": versions("timm")},
        )

    def embed(
        self,
        store: UnfinishedStore,
        chunks: Sequence[Chunk],
        *,
        device: torch.device,
        batch_size: int = 128,
        num_workers: int = 0,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Make chunks of a store, one after the other.

        Args:
            store: from :meth:`begin`.
            chunks: that are missing.
            device: of the network.
            batch_size: images at a time.
            num_workers: processes that decode images; 0 decodes in this one.
            progress: called after each batch with how many images are done, and of how many.

        Raises:
            StoreError: a feature is not finite.
            DataError: an image cannot be read.
        """
        self.network.module.to(device)
        done, total = 0, sum(chunk.stop - chunk.start for chunk in chunks)
        for (part, is_copy), group in groupby(chunks, key=lambda chunk: (chunk.part, chunk.copy > 0)):
            own = list(group)
            dataset = self.augmented if is_copy and self.augmented is not None else self.parts[part]
            batches = iter(_loader(dataset, own, batch_size, num_workers))
            for chunk in own:
                rows = []
                for images, *_ in islice(batches, len(_batches_of(chunk, batch_size))):
                    with torch.inference_mode():
                        rows.append(self.network.extract(images.to(device)).float().cpu().numpy())
                    done += len(images)
                    progress(done, total)
                store.save(chunk, np.concatenate(rows))


def embedding_of(
    overrides: Sequence[str],
    folder: Path | None,
    ckpt: Path | None,
    *,
    layer: str | None = None,
    views: int = 0,
    dtype: str = "float32",
    on_bad_image: str = "refuse",
    exif_rotation: bool | None = None,
) -> Embedding:
    """Build the network and read the dataset.

    Args:
        overrides: of `semscale train`: the dataset, and the backbone unless there is a checkpoint.
        folder: of images in class folders, instead of the dataset.
        ckpt: of a trained model; the features are those that enter its classifier.
        layer: dotted name of a module whose output is taken instead.
        views: augmented copies of each training image.
        dtype: "float32" or "float16".
        on_bad_image: "refuse" or "skip" image files that cannot be decoded.
        exif_rotation: whether image files are turned as their EXIF tag asks for; None does what the dataset or the
            model's training does.

    Raises:
        WrongCallError: the configuration is wrong, or network, weights or layer are not there.
        DataError: the images cannot be used.
    """
    cfg = composed(overrides)
    if "channels" not in cfg.dataset:
        raise WrongCallError(f"Expected a dataset of images, but {cfg.dataset.get('name')} has none. Name another one.")
    network = _published(cfg, layer) if ckpt is None else _trained(ckpt, layer)
    cfg.dataset.update({key: value for key, value in network.model_input.items() if key in cfg.dataset})
    if views and cfg.augmentation.get("transform") is None:
        raise WrongCallError("Expected an augmentation for `augment_copies`. Pass augmentation=resized_crop.")
    turned = network.exif_rotation if exif_rotation is None else exif_rotation
    images = parts_of_folder(cfg, folder, on_bad_image, turned is not False) if folder else parts_of_dataset(cfg)
    if layer is not None:  # one that cannot be taken speaks up before anything is written
        with torch.inference_mode():
            network.extract(next(iter(images.parts.values()))[0][0][None])
    if views and images.augmented is not None:
        images.augmented[0, 1]  # a crop that does not fit speaks up now, and not when all images are embedded
    made_by = OmegaConf.to_container(cfg.augmentation, resolve=True) if views else None
    about = {
        "model": network.settings,
        "input": {
            **{key: _plain(cfg.dataset[key]) for key in INPUT_KEYS if key in cfg.dataset},
            "exif_rotation": images.exif_rotation,
        },
        "data": {
            "name": cfg.dataset.name if folder is None else folder.resolve().name,
            "images": {name: len(part) for name, part in images.parts.items()},
            "digest": images_digest(images.parts),
        },
        "augmentation": None if made_by is None else {"copies": views, "seed": cfg.seed, "transform": made_by},
    }
    return Embedding(network, images.parts, images.augmented, views, dtype, about)


def _published(cfg: DictConfig, layer: str | None) -> Network:
    """Build the backbone of a configuration, whose dataset takes up the input that its weights expect."""
    cfg.dataset.channels = int(cfg.dataset.channels or 3)
    backbone = pretrained_backbone(cfg)
    if backbone is None:
        say_once("the network is not trained: its features say little about classes. pretrained=true loads weights")
        with seeded(cfg.seed):
            backbone = instantiate(cfg.backbone)
    settings: Any = OmegaConf.to_container(cfg.backbone, resolve=True)
    if settings.get("weights"):
        settings["weights"] = Path(settings["weights"]).name  # wherever the file lies, its digest stands beside
    found = {"backbone": settings, "weights": weights_digest(backbone), **_layer_settings(backbone, layer)}
    return Network(backbone.eval(), _extract(backbone, layer), found, {})


def _trained(path: Path, layer: str | None) -> Network:
    restored = restore_for_images(path)
    module: Any = restored.module.eval()
    backbone = {"backbone": OmegaConf.to_container(restored.config.backbone, resolve=True)}
    if layer is None:
        extract: Extract = lambda images: module.classifier.features(module.backbone(images))  # noqa: E731
        classifier = OmegaConf.to_container(restored.config.classifier, resolve=True)
        settings = {**backbone, "classifier": classifier, "weights": weights_digest(module)}
    else:
        extract, settings = _extract(module.backbone, layer), {**backbone, "weights": weights_digest(module.backbone)}
    settings.update(_layer_settings(module.backbone, layer))
    return Network(module, extract, settings, restored.input_settings, restored.exif_rotation)


def _extract(backbone: nn.Module, layer: str | None) -> Extract:
    """Return what gives the backbone's features, or the output of one of its modules with its places averaged."""
    if layer is None:
        return lambda images: backbone(images).flatten(1)
    modules = dict(backbone.named_modules())
    # Without the wrapper around the network the names are those of its library.
    name = layer if layer in modules else f"trunk.{layer}"
    if not layer or name not in modules:
        inner = [known.removeprefix("trunk.") for known in modules if known not in ("", "trunk")]
        raise WrongCallError(
            f"Expected `layer` to be a module of the backbone, but it has none named {layer!r}."
            f"{did_you_mean(layer, inner)} The outer ones are {', '.join(_outer(inner))}."
        )
    channels_last = getattr(getattr(backbone, "trunk", None), "output_fmt", "") == "NHWC"
    prefix, tokens = _prefix_tokens(backbone)

    def extract(images: Tensor) -> Tensor:
        seen: list[Any] = []
        handle = modules[name].register_forward_hook(lambda module, inputs, output: seen.append(output))
        try:
            backbone(images)
        finally:
            handle.remove()
        output = _one_tensor(seen[-1] if seen else None, layer, len(images))
        if output.ndim == 3 and output.shape[1] == tokens:
            output = output[:, prefix:]  # as timm's average pooling does: the others stand for no place
        return _averaged(output, channels_last)

    return extract


def _layer_settings(backbone: nn.Module, layer: str | None) -> dict[str, Any]:
    """Return what the key holds of a layer."""
    averaged = {"tokens": "patches"} if layer is not None and _prefix_tokens(backbone)[0] else {}
    return {"layer": layer, **averaged}


def _prefix_tokens(backbone: nn.Module) -> tuple[int, int]:
    """Return how many class and register tokens stand before those of a transformer's patches, and how many all are."""
    trunk: Any = getattr(backbone, "trunk", backbone)
    if hasattr(trunk, "class_embedding"):  # open_clip's
        return 1, len(trunk.positional_embedding)
    before = int(getattr(trunk, "num_prefix_tokens", 0))
    return before, before + int(getattr(getattr(trunk, "patch_embed", None), "num_patches", 0))


def _one_tensor(output: Any, layer: str, images: int) -> Tensor:
    """Return what a layer gave.

    Raises:
        WrongCallError: it was not called, or gave something else than a tensor with a row for each image.
    """
    if not isinstance(output, Tensor) or not 2 <= output.ndim <= 4:
        shape = f" of shape {tuple(output.shape)}" if isinstance(output, Tensor) else ""
        got = "none, as the network does not call it" if output is None else f"a {type(output).__name__}{shape}"
        raise WrongCallError(
            f"Expected layer={layer} to give one tensor of (B, C), (B, T, C) or (B, C, H, W), but got {got}. Name "
            "another module."
        )
    if len(output) != images:  # such as the attention of a Swin transformer, whose rows are windows
        raise WrongCallError(
            f"Expected layer={layer} to give one row for each of {images} images, but got {len(output)}: its rows are "
            "parts of images. Name the module around it."
        )
    return output


def _averaged(output: Tensor, channels_last: bool) -> Tensor:
    """Average (B, C, H, W), where the channels come last (B, H, W, C), and tokens (B, T, C) over their places."""
    if output.ndim == 4:
        return output.mean((1, 2) if channels_last else (2, 3))
    return output.mean(1) if output.ndim == 3 else output


def _outer(names: Sequence[str]) -> list[str]:
    return [name for name in names if "." not in name][:12]


def _rows_of(dataset: IndexedDataset, views: int) -> PartRows:
    paths = getattr(dataset.images, "paths", None)
    names = None if paths is None else tuple(str(paths[row]) for row in dataset.rows.tolist())
    return PartRows(dataset.labels.numpy(), dataset.rows.numpy(), names, views)


def _loader(dataset: IndexedDataset, chunks: Sequence[Chunk], batch_size: int, num_workers: int) -> DataLoader[Any]:
    keys = [keys for chunk in chunks for keys in _batches_of(chunk, batch_size)]
    options: dict[str, Any] = {"num_workers": num_workers, "worker_init_fn": start_worker}
    return DataLoader(dataset, batch_sampler=keys, collate_fn=collate, **options)  # type: ignore[arg-type]


def _batches_of(chunk: Chunk, batch_size: int) -> list[list[tuple[int, int]]]:
    """Return the keys of a chunk's batches; none reaches into the next chunk, so that all processes see the same."""
    starts = range(chunk.start, chunk.stop, batch_size)
    return [[(row, chunk.copy) for row in range(start, min(start + batch_size, chunk.stop))] for start in starts]


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
