"""What a dataset must offer: images, labels and class names of a split, and a clear answer where it is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor


class DatasetNotFound(FileNotFoundError):  # noqa: N818
    """A dataset is not where it was looked for; the message says what to download and where to put it."""


@dataclass(frozen=True)
class ImageSet:
    """Labelled images of one split.

    Attributes:
        images: (N, channels, height, width) uint8 in 0..255 or float in [0, 1], all in memory; or a sequence that gives
            the i-th image as a PIL image or such a tensor.
        labels: (N,) class of each image, in 0..C-1.
        class_names: C names.
    """

    images: Tensor | Sequence[Any]
    labels: Tensor
    class_names: list[str]

    def __post_init__(self) -> None:
        """Check that labels and images belong together."""
        if len(self.images) != len(self.labels):
            raise ValueError(
                f"Expected `labels` to be as many as the {len(self.images)} images, but got {len(self.labels)}. "
                "Give each image one label."
            )
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.class_names):
            raise ValueError(
                f"Expected `labels` to be in 0..{len(self.class_names) - 1}, but got "
                f"{int(self.labels.min())}..{int(self.labels.max())}. Name every class."
            )

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
            split: "train", "val" or "test".
            root: folder of all datasets.
            seed: for datasets without an official split.
        """
