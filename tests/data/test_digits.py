"""The digits that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_digits

from semscale_pl.data.vision import Digits


def test_split_by_class() -> None:
    train, test = (Digits().load(split, Path(), 4) for split in ("train", "test"))
    assert train is not None
    assert test is not None
    sizes = torch.bincount(torch.from_numpy(load_digits().target))
    assert train.class_counts.tolist() == [round(0.6 * size) for size in sizes.tolist()]
    assert torch.equal(train.class_counts + test.class_counts, sizes)
    rows = {tuple(image.flatten().tolist()) for image in torch.cat([train.images, test.images])}  # type: ignore[list-item]
    assert rows == {tuple((image / 16).flatten().tolist()) for image in load_digits().images}
    assert train.images.shape[1:] == (1, 8, 8)  # type: ignore[union-attr]
    assert (float(train.images.min()), float(train.images.max())) == (0, 1)  # type: ignore[union-attr]


def test_seed_and_missing_split() -> None:
    first, second = (Digits().load("train", Path(), seed) for seed in (0, 1))
    assert first is not None
    assert second is not None
    assert not torch.equal(first.images, second.images)  # type: ignore[arg-type]
    assert Digits().load("val", Path(), 0) is None
    with pytest.raises(ValueError, match="train_fraction"):
        Digits(1.0)
