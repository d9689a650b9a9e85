"""Scikit-learn's handwritten digits: 1,797 real images of 8 x 8 pixels that need no download."""

from __future__ import annotations

from pathlib import Path

import torch

from semscale_pl.data.longtail import stratified_split
from semscale_pl.data.source import ImageSet


class Digits:
    """Ten digits, split by class into a training and a test part.

    Args:
        train_fraction: share of each class that goes to training, rounded to the nearest image.
    """

    def __init__(self, train_fraction: float = 0.6) -> None:
        if not 0 < train_fraction < 1:
            raise ValueError(f"Expected `train_fraction` to be in (0, 1), but got {train_fraction}. Try 0.6.")
        self.train_fraction = train_fraction

    def prepare(self, root: Path, download: bool) -> None:
        """Do nothing: the images come with scikit-learn."""

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        """Return the "train" or "test" part, cut by `seed`."""
        if split not in ("train", "test"):
            return None
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = torch.from_numpy(digits.images).float().div(16).unsqueeze(1)
        labels = torch.from_numpy(digits.target).long()
        train, test = stratified_split(labels, self.train_fraction, seed)
        rows = train if split == "train" else test
        return ImageSet(images[rows], labels[rows], [str(digit) for digit in range(10)])
