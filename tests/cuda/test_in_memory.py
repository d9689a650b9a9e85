"""Batches made on a card are those of the CPU, and nothing waits for the card to make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.in_memory import keep_in_memory
from semscale_pl.data.indexed import IndexedDataset
from semscale_pl.data.source import ImageSet
from semscale_pl.data.transforms import auto_augment_cutout, crop_flip, rand_augment, resized_crop_flip
from semscale_pl.seeding import Draws

pytestmark = pytest.mark.cuda
KEYS = [(index, 3) for index in (4, 0, 59, 7, 4, 33)]
CHANGES: dict[str, Any] = {
    "none": None,
    "crop_flip": crop_flip(16),
    "jitter": resized_crop_flip(16, jitter=0.4),
    "auto_augment_cutout": auto_augment_cutout(16),
    "rand_augment": rand_augment(16),
}
# Only what copies pixels is exact: means, affine maps and resizing add up in another order on a card.
EXACT = ("none", "crop_flip")


class Pixels:
    """A source of images, uint8 or float."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def prepare(self, root: Path, download: bool) -> None:
        """Do nothing."""

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        if split == "val":
            return None
        generator = torch.Generator().manual_seed(len(split))
        images = torch.randint(0, 256, (60, 3, 16, 16), generator=generator, dtype=torch.uint8)
        images = images if self.dtype == torch.uint8 else images.to(self.dtype) / 255
        return ImageSet(images, torch.arange(60) % 3, ["a", "b", "c"])


def dataset(device: torch.device, change: str, dtype: torch.dtype = torch.uint8) -> IndexedDataset:
    data = ImbalancedDataModule(
        Pixels(dtype), channels=3, image_size=16, mean=[0.5], std=[0.25], augmentation=CHANGES[change]
    )
    data.setup()
    assert keep_in_memory(data.train_dataset, "auto", device)
    return data.train_dataset


def batch(data: IndexedDataset) -> tuple[torch.Tensor, ...]:
    found = data.__getitems__(KEYS)
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize(
    ("change", "dtype"),
    [
        *((change, torch.uint8) for change in CHANGES),
        *((change, torch.float32) for change in ("none", "crop_flip", "jitter")),
    ],
)
def test_a_batch_on_the_device_is_the_cpus(change: str, dtype: torch.dtype, device: torch.device) -> None:
    ours, theirs = batch(dataset(device, change, dtype)), batch(dataset(torch.device("cpu"), change, dtype))
    assert all(part.device.type == device.type for part in ours)
    images, labels, indices = (part.cpu() for part in ours)
    assert torch.equal(labels, theirs[1])
    assert torch.equal(indices, theirs[2])
    if change in EXACT:
        torch.testing.assert_close(images, theirs[0], rtol=1e-6, atol=1e-6)
    else:
        # One step of 255, divided by the deviation, in nearly all pixels; an affine map may pick a neighbour in a few.
        far = (images - theirs[0]).abs() > 1.5 / 255 / 0.25
        assert float(far.float().mean()) < 0.01


def test_a_batch_on_the_device_waits_for_nothing(device: torch.device) -> None:
    data = dataset(device, "crop_flip")
    batch(data)  # mean and deviation are copied with the first
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        images, _, _ = batch(data)
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert images.shape == (6, 3, 16, 16)


def test_draws_are_the_same_on_the_device(device: torch.device) -> None:
    epochs, indices = torch.full((1000,), 5), torch.arange(1000)
    there = Draws.of(3, epochs.to(device), indices.to(device)).uniform(7)
    assert torch.equal(there.cpu(), Draws.of(3, epochs, indices).uniform(7))


def test_a_run_with_augmentation_is_the_same_whether_its_images_lie_on_the_device(fitted: Any, settings: Any) -> None:
    options = [*settings, "augmentation=crop", "trainer.max_epochs=1"]
    kept, read = (fitted(*options, f"dataset.in_memory={wish}") for wish in ("auto", "false"))
    assert len(kept) > 1
    torch.testing.assert_close(torch.tensor(kept), torch.tensor(read), rtol=1e-4, atol=1e-4)
