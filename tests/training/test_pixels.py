"""Images as rows of pixels: resized as for the sample volume."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from semscale_pl.geometry import sample_volumes
from semscale_pl.geometry.classes import semantic_scales
from semscale_pl.training.pixels import load_pixels, resized


def test_the_scales_of_resized_pixels_are_the_sample_volumes() -> None:
    images = torch.randint(0, 256, (30, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(30) % 3
    expected = sample_volumes(images.float() / 255.0, labels, 3, 8)
    assert semantic_scales(resized(images, 8), labels, 3).tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_floats_and_bytes_give_the_same() -> None:
    images = torch.randint(0, 256, (4, 1, 6, 6), dtype=torch.uint8)
    assert torch.allclose(resized(images, 3), resized(images.float() / 255.0, 3))


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
