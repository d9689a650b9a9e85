"""Samples, keys and the fast path for tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from semscale_pl.data.indexed import IndexedDataset, collate
from semscale_pl.data.source import ImageSet
from semscale_pl.data.transforms import ModelInput, crop_flip, resized_crop_flip


def image_set(dtype: torch.dtype, size: int = 12) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (size, 3, 8, 8), generator=generator, dtype=torch.uint8)
    images = images if dtype == torch.uint8 else images.to(dtype) / 255
    return ImageSet(images, torch.arange(size) % 3, ["a", "b", "c"])


def dataset(dtype: torch.dtype = torch.uint8, augmentation: Any = None, seed: int = 0) -> IndexedDataset:
    model_input = ModelInput(None, 3, [0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
    return IndexedDataset(image_set(dtype), torch.tensor([9, 3, 4, 0]), model_input, augmentation, seed)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_index_is_the_position_in_the_split(dtype: torch.dtype) -> None:
    rows = dataset(dtype)
    source = image_set(torch.float32)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    for index, row in enumerate([9, 3, 4, 0]):
        image, label, position = rows[index]
        torch.testing.assert_close(image, (source.images[row] - mean[:, None, None]) / std[:, None, None])
        assert (int(label), int(position)) == (row % 3, index)
    with pytest.raises(IndexError):
        rows[4]
    assert len(list(rows)) == 4


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("with_epoch", [True, False])
def test_a_gathered_batch_equals_stacked_samples(dtype: torch.dtype, with_epoch: bool) -> None:
    rows = dataset(dtype)
    order = [2, 0, 3]
    batch = collate(rows.__getitems__([(index, 1) for index in order] if with_epoch else order))
    for column, expected in zip(batch, zip(*[rows[index] for index in order], strict=True), strict=True):
        torch.testing.assert_close(column, torch.stack(list(expected)), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_an_augmented_batch_equals_augmented_samples(dtype: torch.dtype) -> None:
    augmented = dataset(dtype, crop_flip(8))
    keys = [(2, 5), (0, 5), (3, 5)]
    batch = collate(augmented.__getitems__(keys))
    for column, expected in zip(batch, zip(*[augmented[key] for key in keys], strict=True), strict=True):
        torch.testing.assert_close(column, torch.stack(list(expected)), rtol=0, atol=0)


def test_augmentation_is_a_function_of_seed_epoch_and_index() -> None:
    augmented = dataset(augmentation=crop_flip(8))
    before = torch.get_rng_state()
    first = [augmented[(index, 3)][0] for index in range(4)]
    again = [augmented[(index, 3)][0] for index in reversed(range(4))][::-1]
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not torch.equal(a, augmented[(index, 4)][0]) for index, a in enumerate(first))
    other = dataset(augmentation=crop_flip(8), seed=1)
    assert any(not torch.equal(a, other[(index, 3)][0]) for index, a in enumerate(first))


def test_without_augmentation_the_generator_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semscale_pl.data.indexed.seeded", None)
    assert len(list(DataLoader(dataset(), batch_size=2, collate_fn=collate, generator=torch.Generator()))) == 2


def test_augmented_sizes() -> None:
    assert dataset(augmentation=resized_crop_flip(6, jitter=0.4))[0][0].shape == (3, 6, 6)
