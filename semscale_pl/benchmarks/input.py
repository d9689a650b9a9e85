"""How many augmented images a second one thread makes: python -m semscale_pl.benchmarks.input."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from semscale_pl.benchmarks import now, origin, parse_options, print_figures
from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.in_memory import keep_in_memory
from semscale_pl.data.source import ImageSet
from semscale_pl.data.transforms import ModelInput, auto_augment_cutout, crop_flip, rand_augment, resized_crop_flip
from semscale_pl.seeding import derive_seed, seeded

SIDE, CLASSES = 32, 10
MEAN, STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
AUGMENTATIONS: dict[str, Callable[[int], Any]] = {
    "crop_flip": crop_flip,
    "resized_crop_jitter": lambda side: resized_crop_flip(side, jitter=0.4),
    "rand_augment": rand_augment,
    "auto_augment_cutout": auto_augment_cutout,
}


class Noise:
    """A source of random images in CIFAR-100's shape.

    Args:
        size: images of the training split.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def prepare(self, root: Any, download: bool) -> None:
        """Do nothing: the images are made."""

    def load(self, split: str, root: Any, seed: int) -> ImageSet | None:
        """Return noise for training and test."""
        if split == "val":
            return None
        count = self.size if split == "train" else CLASSES
        images = torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8)
        return ImageSet(images, torch.arange(count) % CLASSES, [str(number) for number in range(CLASSES)])


def run(
    size: int = 12800, batch_size: int = 128, repeats: int = 5, augmentation: str = "crop_flip", device: str = "cpu"
) -> dict[str, Any]:
    """Time an epoch of each way to feed a training, in turn.

    Args:
        size: images of an epoch.
        batch_size: images of a batch.
        repeats: epochs of each way, after one that warms up.
        augmentation: one of :data:`AUGMENTATIONS`.
        device: of the images in memory; the others are made on the CPU.

    Returns:
        Images a second by way, the median of its epochs, and how many times faster memory is than each, the median of
        ratios within an epoch. On the CPU a second is of processor time, which other work on the machine hardly
        touches.
    """
    provenance = origin()
    ways = _ways(size, batch_size, augmentation, device)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats + 1):
        for name, loader in ways.items():
            started = now(device, time.process_time)
            seen = sum(len(batch[1]) for batch in loader)
            rates[name].append(seen / (now(device, time.process_time) - started))
    medians = {name: statistics.median(found[1:]) for name, found in rates.items()}
    ratios = {
        name: statistics.median(a / b for a, b in zip(rates["in memory"][1:], found[1:], strict=True))
        for name, found in rates.items()
    }
    return {
        "augmentation": augmentation,
        "batch_size": batch_size,
        "device": device,
        "images_per_second": medians,
        "memory_is_faster_by": {name: ratio for name, ratio in ratios.items() if name != "in memory"},
        "provenance": provenance,
    }


class SampleBySample(Dataset[Any]):
    """Images changed one at a time with a seeded generator each, then stacked: how batches were made before.

    Args:
        images: (N, 3, height, width) uint8.
        labels: (N,).
        change: of one image.
    """

    def __init__(self, images: Tensor, labels: Tensor, change: Callable[[Tensor], Tensor]) -> None:
        self.images, self.labels, self.change = images, labels, change
        self.finish = ModelInput(SIDE, 3, MEAN, STD)

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, keys: Sequence[int]) -> Any:
        """Return a batch."""
        indices = torch.tensor(keys)
        images = self.finish(torch.stack([self._changed(index) for index in keys]))
        return images, self.labels[indices], indices

    def _changed(self, index: int) -> Tensor:
        with seeded(derive_seed(0, 1, index)):
            return self.change(self.images[index])


class Plain(Dataset[Any]):
    """Images through torchvision's transforms, one at a time."""

    def __init__(self, images: Tensor, labels: Tensor, change: Callable[[Tensor], Tensor]) -> None:
        self.images, self.labels, self.change = images, labels, change

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.change(self.images[index]), self.labels[index]


def sliced_crop_flip(image: Tensor, padding: int = 4) -> Tensor:
    """Crop one image after zero padding and perhaps flip it, by slices."""
    padded = torch.nn.functional.pad(image, [padding] * 4)
    draws = torch.rand(3).tolist()
    top, left = (int(draw * (2 * padding + 1)) for draw in draws[:2])
    cropped = padded[:, top : top + SIDE, left : left + SIDE]
    return cropped.flip(-1) if draws[2] < 0.5 else cropped


def _ways(size: int, batch_size: int, augmentation: str, device: str = "cpu") -> dict[str, Any]:
    data = ImbalancedDataModule(
        Noise(size), channels=3, image_size=SIDE, mean=MEAN, std=STD, batch_size=batch_size,
        augmentation=AUGMENTATIONS[augmentation](SIDE),
    )  # fmt: skip
    data.setup()
    images, labels = data.train_dataset.images, data.train_dataset.labels
    assert isinstance(images, Tensor)
    published = _torchvision(augmentation)
    one = sliced_crop_flip if augmentation == "crop_flip" else published
    order = RandomSampler(range(size))
    options: dict[str, Any] = {"batch_size": batch_size, "sampler": order}
    in_memory = data.train_dataloader()
    keep_in_memory(data.train_dataset, "auto", torch.device(device))
    return {
        "in memory": in_memory,
        "sample by sample": DataLoader(SampleBySample(images, labels, one), collate_fn=lambda batch: batch, **options),
        "torchvision": DataLoader(Plain(images, labels, _normalised(published)), **options),
    }


def _torchvision(augmentation: str) -> Callable[[Any], Any]:
    from torchvision.transforms import v2

    crop: list[Any] = [v2.RandomCrop(SIDE, padding=4), v2.RandomHorizontalFlip()]
    steps: dict[str, list[Any]] = {
        "crop_flip": crop,
        "resized_crop_jitter": [
            v2.RandomResizedCrop(SIDE, antialias=True), v2.RandomHorizontalFlip(), v2.ColorJitter(0.4, 0.4, 0.4),
        ],
        "rand_augment": [*crop, v2.RandAugment()],
        "auto_augment_cutout": [
            *crop, v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
            v2.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0)),
        ],
    }  # fmt: skip
    return v2.Compose(steps[augmentation])


def _normalised(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    from torchvision.transforms import v2

    return v2.Compose([change, v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures of an augmentation, or of all; return 0."""
    defaults: dict[str, int | str] = {
        "size": 12800,
        "batch_size": 128,
        "repeats": 5,
        "augmentation": "crop_flip",
        "device": "cpu",
    }
    choices = {"augmentation": [*AUGMENTATIONS, "all"], "device": ["cpu", "cuda"]}
    options, as_json = parse_options(str(__doc__), arguments, defaults, choices)
    if options["device"] == "cuda" and not torch.cuda.is_available():
        raise ValueError("Expected a CUDA device for --device cuda, but torch sees none. Leave it out for the CPU.")
    del options["threads"]
    asked = options.pop("augmentation")
    for augmentation in AUGMENTATIONS if asked == "all" else [asked]:
        found = run(**options, augmentation=augmentation)
        print_figures(found, render(found), as_json)
    return 0


def render(result: dict[str, Any]) -> str:
    """Return the result as lines of text."""
    rates, ratios = result["images_per_second"], result["memory_is_faster_by"]
    setting = f"batch {result['batch_size']}, {result['device']}, images a second"
    lines = [f"{result['augmentation']}, {SIDE} x {SIDE} colour, {setting}"]
    lines += [
        f"{name:<17} {rate:9,.0f}" + (f"  memory is {ratios[name]:.1f} times as fast" if name in ratios else "")
        for name, rate in rates.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
