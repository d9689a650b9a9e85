"""From a decoded image to the model's input, and the random augmentations of the training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from semscale_pl.data.source import DataError
from semscale_pl.options import RULES, check

Augmentation = Callable[[Any], Any]


class ModelInput:
    """Turn images into normalised float tensors of one size; works on one image and on a batch of equal sizes.

    Args:
        image_size: height and width in pixels; None keeps the image's own.
        channels: 1 or 3; None keeps the image's own.
        mean: per channel, of values in [0, 1].
        std: per channel, of values in [0, 1].
        crop_share: the shorter side is resized to `image_size / crop_share` before the central crop (ImageNet: 0.875).

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
    ) -> None:
        check("dataset", image_size=image_size, channels=channels, crop_share=crop_share)
        _check_statistics(channels, list(mean), list(std))
        self.image_size, self.channels = image_size, channels
        self.mean, self.std = (torch.tensor(list(values)).reshape(-1, 1, 1) for values in (mean, std))
        self.resized = None if image_size is None else round(image_size / crop_share)

    def __call__(self, images: Any) -> Tensor:
        """Convert, resize and normalise.

        Args:
            images: a PIL image, or (..., channels, height, width) uint8 in 0..255 or float in [0, 1].

        Returns:
            (..., channels, image_size, image_size) float32.
        """
        from torchvision.transforms.v2 import functional as F

        images = images if isinstance(images, Tensor) else F.pil_to_tensor(images)
        if self.image_size is not None and tuple(images.shape[-2:]) != (self.image_size, self.image_size):
            images = F.center_crop(F.resize(images, [self.resized], antialias=True), [self.image_size, self.image_size])
        images = images.float() if images.is_floating_point() else images.float().div_(255)
        if self.channels is not None and images.shape[-3] != self.channels:
            # Two and four channels are grey and RGB with an opacity, which is dropped.
            images = images[..., : 3 if images.shape[-3] > 2 else 1, :, :]
            if images.shape[-3] != self.channels:
                images = F.rgb_to_grayscale(images, num_output_channels=self.channels)
        return (images - self.mean) / self.std


def check_image_size(image_size: Any) -> None:
    """Raise ValueError for a size that no image has; null, which a dataset may have, gives a crop nothing to aim at."""
    rule = RULES["image_size"]
    if not rule.accepts(image_size):
        raise ValueError(f"{rule.refusal('image_size', image_size)} Set dataset.image_size.")


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
    """Chain augmentations; each takes and returns a PIL image or an image tensor and draws from torch's generator."""
    from torchvision.transforms import v2

    return v2.Compose(list(transforms))


class PaddedCrop:
    """Random crop after zero padding, then perhaps a random flip; ten times faster on tensors than torchvision's.

    Args:
        image_size: height and width of the result in pixels.
        padding: pixels added on each side.
        flip: mirror every second image.

    Raises:
        ValueError: the size is not a number of pixels.
    """

    def __init__(self, image_size: int, padding: int, flip: bool) -> None:
        check_image_size(image_size)
        self.image_size, self.padding, self.flip = image_size, padding, flip

    def __call__(self, image: Any) -> Tensor:
        """Crop a PIL image, as uint8, or a tensor (channels, height, width) to (channels, image_size, image_size).

        Raises:
            DataError: the image is smaller than `image_size - 2 padding`.
        """
        if not isinstance(image, Tensor):
            from torchvision.transforms.v2.functional import pil_to_tensor

            image = pil_to_tensor(image)
        padded = torch.nn.functional.pad(image, [self.padding] * 4)
        margins = [side - self.image_size for side in padded.shape[-2:]]
        if min(margins) < 0:
            raise DataError(
                f"Expected an image of at least {self.image_size - 2 * self.padding} pixels a side, but got "
                f"{tuple(image.shape[-2:])}. Lower dataset.image_size, or choose another augmentation."
            )
        draws = torch.rand(3).tolist()
        top, left = (int(draw * (margin + 1)) for draw, margin in zip(draws, margins, strict=False))
        cropped = padded[:, top : top + self.image_size, left : left + self.image_size]
        return cropped.flip(-1) if self.flip and draws[2] < 0.5 else cropped


def crop_flip(image_size: int, padding: int = 4) -> Augmentation:
    """Random crop after zero padding, then a random horizontal flip: the usual recipe for 32 x 32 images.

    Args:
        image_size: height and width of the result in pixels.
        padding: pixels added on each side.
    """
    return PaddedCrop(image_size, padding, flip=True)


def crop(image_size: int, padding: int = 1) -> Augmentation:
    """Random crop after zero padding, for images that must not be mirrored, such as digits.

    Args:
        image_size: height and width of the result in pixels.
        padding: pixels added on each side.
    """
    return PaddedCrop(image_size, padding, flip=False)


def resized_crop_flip(image_size: int, jitter: float = 0.0, min_scale: float = 0.08) -> Augmentation:
    """Random resized crop, random flip and colour jitter: the recipe of ImageNet-LT (jitter 0.4) and iNaturalist (0).

    Args:
        image_size: height and width of the result in pixels.
        jitter: strength for brightness, contrast and saturation.
        min_scale: smallest share of the area that a crop covers.
    """
    from torchvision.transforms import v2

    check_image_size(image_size)
    steps: list[Augmentation] = [
        v2.RandomResizedCrop(image_size, scale=(min_scale, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
    ]
    if jitter:
        steps.append(v2.ColorJitter(jitter, jitter, jitter))
    return v2.Compose(steps)


def auto_augment_cutout(image_size: int, padding: int = 4) -> Augmentation:
    """Crop, flip, the CIFAR-10 policy of AutoAugment, and one erased square of a quarter of the area (Cutout).

    Args:
        image_size: height and width of the result in pixels.
        padding: pixels added on each side before the crop.
    """
    from torchvision.transforms import v2

    policy = v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)
    cutout = v2.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0))
    return v2.Compose([v2.ToImage(), crop_flip(image_size, padding), policy, cutout, v2.ToPureTensor()])


def rand_augment(image_size: int, padding: int = 4, num_ops: int = 2, magnitude: int = 9) -> Augmentation:
    """Crop, flip and RandAugment.

    Args:
        image_size: height and width of the result in pixels.
        padding: pixels added on each side before the crop.
        num_ops: operations per image.
        magnitude: strength in 0..30.
    """
    from torchvision.transforms import v2

    return v2.Compose([crop_flip(image_size, padding), v2.RandAugment(num_ops, magnitude)])
