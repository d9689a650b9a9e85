"""Images as rows of pixels: resized as for the sample volume, in memory and in a file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from semscale_pl.data.indexed import IndexedDataset
from semscale_pl.data.source import ImageSet
from semscale_pl.data.transforms import ModelInput
from semscale_pl.geometry import sample_volumes, semantic_scales
from semscale_pl.training.image_features import ImageFeatures, _pixels_of, load_pixels


def pixels_of(images: torch.Tensor, side: int, **model_input: object) -> ImageFeatures:
    source = ImageSet(images, torch.arange(len(images)) % 3, ["a", "b", "c"])
    dataset = IndexedDataset(source, torch.arange(len(images)), ModelInput(**model_input))  # type: ignore[arg-type]
    return ImageFeatures(dataset, ("a", "b", "c"), _pixels_of(dataset, side), "pixels")


def bytes_of(number: int, channels: int, side: int) -> torch.Tensor:
    shape = (number, channels, side, side)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_scales_of_resized_pixels_are_the_sample_volumes() -> None:
    images = bytes_of(300, 3, 20)
    expected = sample_volumes(images.float() / 255.0, torch.arange(300) % 3, 3, 8)
    found = pixels_of(images, 8, mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.3]).load()
    assert semantic_scales(found.features, found.labels, 3).tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_floats_and_bytes_give_the_same() -> None:
    images = bytes_of(4, 1, 6)
    assert torch.allclose(pixels_of(images, 3).load().features, pixels_of(images.float() / 255.0, 3).load().features)


def test_a_file_holds_what_memory_holds(tmp_path: Path) -> None:
    images, seen = pixels_of(bytes_of(300, 1, 6), 4), []
    loaded = images.load()
    stored = images.store(tmp_path / "rows", "made", lambda done, total: seen.append((done, total)))
    assert seen == [(128, 300), (256, 300), (300, 300)]
    assert (stored.num_rows, stored.num_features, stored.class_names) == (300, 16, ("a", "b", "c"))
    np.testing.assert_array_equal(stored.labels, loaded.labels)
    rows = np.concatenate([piece.copy() for piece in stored.rows(np.arange(300), 70)])
    np.testing.assert_array_equal(rows, loaded.features)


def test_a_dataset_that_is_not_there_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMSCALE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="MNIST was not found"):
        load_pixels("mnist")


def test_mnist_is_read() -> None:
    root = os.environ.get("SEMSCALE_DATA")
    if root is None or not Path(root, "MNIST").exists():
        pytest.skip("SEMSCALE_DATA does not lead to MNIST")
    data = load_pixels("mnist", "test", 4)
    assert data.features.shape == (10_000, 16)
    assert 0.0 <= float(data.features.min()) <= float(data.features.max()) <= 1.0
    assert torch.bincount(data.labels).tolist()[:3] == [980, 1135, 1032]
