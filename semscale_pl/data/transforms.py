"""From a decoded image to the model's input, and the random augmentations of the training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from semscale_pl.data.augmentations import (
    BatchAugmentation,
    Chain,
    Cutout,
    Flip,
    Jitter,
    PaddedCrop,
    ResizedCrop,
    as_pixels,
)
from semscale_pl.data.policies import AutoAugment, RandAugment
from semscale_pl.options import check

Augmentation = Callable[[Any], Any]


class ModelInput:
    """Turn images into normalised float tensors of one size; works on one image and on a batch of equal sizes.

    Args:
        image_size: height and width in pixels; None keeps the image's own.
        channels: 1 or 3; None keeps the image's own.
        mean: per channel, of values in [0, 1].
        std: per channel, of values in [0, 1].
        crop_share: the shorter side is resized to `image_size / crop_share` before the central crop (ImageNet: 0.875).
        interpolation: of that resizing, "bilinear" or "bicubic"; both are antialiased.

    Raises:
        ValueError: an argument is out of range, or there are more means than channels.
    """

    def __init__(
        self,
        image_size: int | None = None,
        channels: int | None = None,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        crop_share: float = 1.0,
        interpolation: str = "bilinear",
    ) -> None:
        check("dataset", image_size=image_size, channels=channels, crop_share=crop_share, interpolation=interpolation)
        _check_statistics(channels, list(mean), list(std))
        self.image_size, self.channels, self.interpolation = image_size, channels, interpolation
        self.mean, self.std = (torch.tensor(list(values)).reshape(-1, 1, 1) for values in (mean, std))
        self._on_devices: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self.resized = None if image_size is None else round(image_size / crop_share)

    def at(self, image_size: int) -> ModelInput:
        """Return the same input at another size, of images as a whole."""
        mean, std = (values.flatten().tolist() for values in (self.mean, self.std))
        return ModelInput(image_size, self.channels, mean, std, interpolation=self.interpolation)

    def __call__(self, images: Any) -> Tensor:
        """Convert, resize and normalise.

        Args:
            images: a PIL image, or (..., channels, height, width) uint8 in 0..255 or float in [0, 1].

        Returns:
            (..., channels, image_size, image_size) float32.
        """
        return self.normalised(self.sized(as_pixels(images)))

    def sized(self, images: Tensor) -> Tensor:
        """Resize and crop (..., channels, height, width) to the size; nothing where they have it."""
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.v2 import functional as F

        if self.image_size is None or tuple(images.shape[-2:]) == (self.image_size, self.image_size):
            return images
        images = F.resize(images, [self.resized], InterpolationMode(self.interpolation), antialias=True)
        return F.center_crop(images, [self.image_size, self.image_size])

    def normalised(self, images: Tensor) -> Tensor:
        """Convert to float32, to the channels, and to mean and deviation."""
        from torchvision.transforms.v2 import functional as F

        ours = not images.is_floating_point()  # a tensor of our own, which can be worked on in place
        images = images.float().div_(255) if ours else images.float()
        if self.channels is not None and images.shape[-3] != self.channels:
            # Two and four channels are grey and RGB with an opacity, which is dropped.
            images = images[..., : 3 if images.shape[-3] > 2 else 1, :, :]
            if images.shape[-3] != self.channels:
                images = F.rgb_to_grayscale(images, num_output_channels=self.channels)
        mean, std = self._statistics(images.device)
        ours &= len(mean) in (1, images.shape[-3])
        # A new tensor of a batch's size costs more than the subtraction: its memory is mapped anew each time.
        return (images.sub_(mean) if ours else images - mean).div_(std)

    def _statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return mean and deviation on a device, copied there once."""
        if device not in self._on_devices:
            self._on_devices[device] = (self.mean.to(device), self.std.to(device))
        return self._on_devices[device]


def _check_statistics(channels: int | None, mean: list[float], std: list[float]) -> None:
    allowed = {1, channels or len(mean)}
    for what, values in (("mean", mean), ("std", std)):
        if len(values) not in allowed:
            raise ValueError(
                f"Expected `{what}` to have one value for each of {max(allowed)} channels, or one for all, but got "
                f"{values}. Set dataset.{what}."
            )
    if not all(value > 0 for value in std):
        raise ValueError(f"Expected `std` to be above 0, but got {std}. Set dataset.std.")


def compose(transforms: Sequence[Augmentation]) -> Augmentation:
    """Chain augmentations of one image each, which take and return a PIL image or an image tensor.

    Those of this package alone make an augmentation of batches; others see one image at a time, and draw from torch's
    generator.
    """
    from torchvision.transforms import v2

    batchwise = [each for each in transforms if isinstance(each, BatchAugmentation)]
    return Chain(*batchwise) if len(batchwise) == len(transforms) else v2.Compose(list(transforms))


def crop_flip(image_size: int, padding: int = 4) -> BatchAugmentation:
    """Random crop after zero padding, then a random horizontal flip: the usual recipe for 32 x 32 images.

    Args:
        image_size: height and width of the result in pixels.
        padding: pixels added on each side.
    """
    return Chain(PaddedCrop(image_size, padding), Flip())


def crop(image_size: int, padding: int = 1) -> BatchAugmentation:
    """Random crop after zero padding, for images that must not be mirrored, such as digits.

    Args:
        image_size: height and width of the result in pixels.
        padding: pixels added on each side.
    """
    return PaddedCrop(image_size, padding)


def resized_crop_flip(image_size: int, jitter: float = 0.0, min_scale: float = 0.08) -> BatchAugmentation:
    """Random resized crop, random flip and colour jitter: the recipe of ImageNet-LT (jitter 0.4) and iNaturalist (0).

    Args:
        image_size: height and width of the result in pixels.
        jitter: strength for brightness, contrast and saturation.
        min_scale: smallest share of the area that a crop covers.
    """
    steps = (ResizedCrop(image_size, min_scale), Flip())
    return Chain(*steps, Jitter(jitter)) if jitter else Chain(*steps)


def auto_augment_cutout(image_size: int, padding: int = 4) -> BatchAugmentation:
    """Crop, flip, the CIFAR-10 policy of AutoAugment, and one erased square of a quarter of the area (Cutout).

    Args:
        image_size: height and width of the result in pixels.
        padding: pixels added on each side before the crop.
    """
    return Chain(PaddedCrop(image_size, padding), Flip(), AutoAugment(), Cutout(0.25))


def rand_augment(image_size: int, padding: int = 4, num_ops: int = 2, magnitude: int = 9) -> BatchAugmentation:
    """Crop, flip and RandAugment.

    Args:
        image_size: height and width of the result in pixels.
        padding: pixels added on each side before the crop.
        num_ops: operations per image.
        magnitude: strength in 0..30.
    """
    return Chain(PaddedCrop(image_size, padding), Flip(), RandAugment(num_ops, magnitude))
