"""What a dataset must offer: images, labels and class names of a split, and a clear answer where it is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from semscale_pl.data.errors import DataError as DataError
from semscale_pl.data.errors import DatasetNotFound as DatasetNotFound


@dataclass(frozen=True)
class ImageSet:
    """Labelled images of one split.

    Attributes:
        images: (N, channels, height, width) uint8 in 0..255 or float in [0, 1], all in memory; or a sequence that gives
            the i-th image as a PIL image or such a tensor.
        labels: (N,) class of each image, in 0..C-1.
        class_names: C names.
        passed_over: files of the folders of a class, or beside these, that are no images; by class.
    """

    images: Tensor | Sequence[Any]
    labels: Tensor
    class_names: list[str]
    passed_over: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check images, labels and names, and that they belong together."""
        self.check_samples()
        _check_names(self.class_names)
        if self.labels.ndim != 1 or self.labels.is_floating_point():
            raise DataError(
                f"Expected `labels` to be one integer per image, but got {self.labels.dtype} of shape "
                f"{tuple(self.labels.shape)}. Give class numbers."
            )
        if len(self.images) != len(self.labels):
            raise DataError(
                f"Expected `labels` to be as many as the {len(self.images)} images, but got {len(self.labels)}. "
                "Give each image one label."
            )
        if not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.class_names):
            raise DataError(
                f"Expected `labels` to be in 0..{len(self.class_names) - 1}, but got "
                f"{int(self.labels.min())}..{int(self.labels.max())}. Name every class."
            )

    def check_samples(self) -> None:
        """Raise DataError for images of a wrong shape or type, or that are not finite."""
        _check_images(self.images)

    @property
    def class_counts(self) -> Tensor:
        """Images of each class, (C,) int64."""
        return torch.bincount(self.labels, minlength=len(self.class_names))


class Source(Protocol):
    """Where a dataset comes from."""

    def prepare(self, root: Path, download: bool) -> None:
        """Fetch what is missing, or raise DatasetNotFound.

        Args:
            root: folder of all datasets.
            download: whether fetching is allowed.
        """

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        """Return the images of a split, None where the dataset has no such split.

        Args:
            split: "train", "val" or "test"; of a source with a true `has_gallery` also "gallery", what the test images
                are searched in instead of the test part itself.
            root: folder of all datasets.
            seed: for datasets without an official split.
        """


def _check_images(images: Tensor | Sequence[Any]) -> None:
    if len(images) == 0:
        raise DataError("Expected at least one image in each split, but got none. Leave the split out, or fill it.")
    if not isinstance(images, Tensor):
        return
    if images.ndim != 4:
        raise DataError(
            f"Expected `images` to be (N, channels, height, width), but got shape {tuple(images.shape)}. "
            "Add the channels, or give a sequence of images."
        )
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise DataError(f"Expected `images` to be uint8 or floating point, but got {images.dtype}. Convert them.")
    bad = (~images.isfinite()).flatten(1).any(1).nonzero().flatten() if images.is_floating_point() else torch.zeros(0)
    if len(bad):
        raise DataError(
            f"Expected `images` to be finite, but got NaN or infinite pixels in {len(bad)} images, first number "
            f"{int(bad[0])}. Repair or remove them."
        )


def _check_names(names: list[str]) -> None:
    times = Counter(names)
    twice = sorted(name for name in times if times[name] > 1)
    if twice:
        raise DataError(
            f"Expected every class to have a name of its own, but got {twice[0]!r} for {times[twice[0]]} classes. "
            "Rename one of them."
        )
