"""Random changes of whole batches of images: crops, flips, colour jitter, Cutout; each image by draws of its own."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from semscale_pl.data.source import DataError
from semscale_pl.options import RULES
from semscale_pl.seeding import Draws, beside

_TRIES = 10
_ASPECTS = (3 / 4, 4 / 3)


class BatchAugmentation(ABC):
    """A random change of images of one size, which changes an image alike in a batch and alone.

    What is drawn lies on the CPU and goes to the images' device without waiting for it, so that the same images come
    out of either.
    """

    def __call__(self, images: Any, draws: Draws | None = None) -> Tensor:
        """Change a batch by its draws, or one image by torch's generator.

        Args:
            images: (B, channels, height, width) with draws; without, a PIL image or (channels, height, width).
            draws: of the B samples; as many numbers are taken from each, whatever the image.
        """
        if draws is not None:
            return self.change(images, draws)
        return self.change(as_pixels(images)[None], Draws.from_torch(1))[0]

    @abstractmethod
    def change(self, images: Tensor, draws: Draws) -> Tensor:
        """Return the changed images (B, channels, height, width), of the same dtype; never in place."""


class Chain(BatchAugmentation):
    """Several changes, one after the other."""

    def __init__(self, *steps: BatchAugmentation) -> None:
        self.steps = steps

    def change(self, images: Tensor, draws: Draws) -> Tensor:
        """Apply all steps."""
        for step in self.steps:
            images = step.change(images, draws)
        return images


class Flip(BatchAugmentation):
    """Mirror every second image, left to right."""

    def change(self, images: Tensor, draws: Draws) -> Tensor:
        """Flip with probability 1/2."""
        return flipped(images, draws.uniform(1)[:, 0] < 0.5)


class PaddedCrop(BatchAugmentation):
    """Random crop after zero padding: every window that fits, with the same probability.

    Args:
        image_size: height and width of the result in pixels.
        padding: pixels added on each side.

    Raises:
        ValueError: the size is not a number of pixels.
    """

    def __init__(self, image_size: int, padding: int) -> None:
        check_image_size(image_size)
        self.image_size, self.padding = image_size, padding

    def change(self, images: Tensor, draws: Draws) -> Tensor:
        """Crop to (B, channels, image_size, image_size).

        Raises:
            DataError: the images are smaller than `image_size - 2 padding`.
        """
        margins = [side + 2 * self.padding - self.image_size for side in images.shape[-2:]]
        if min(margins) < 0:
            raise DataError(
                f"Expected an image of at least {self.image_size - 2 * self.padding} pixels a side, but got "
                f"{tuple(images.shape[-2:])}. Lower dataset.image_size, or choose another augmentation."
            )
        corners = whole_numbers(draws.uniform(2), torch.tensor(margins) + 1)
        return windows(pad(images, [self.padding] * 4), corners, self.image_size)


class ResizedCrop(BatchAugmentation):
    """Random share of the area with a random aspect ratio, resized: torchvision's RandomResizedCrop.

    Args:
        image_size: height and width of the result in pixels.
        min_scale: smallest share of the area.

    Reference: Szegedy et al. (CVPR 2015), section 6.
    """

    def __init__(self, image_size: int, min_scale: float = 0.08) -> None:
        check_image_size(image_size)
        self.image_size, self.min_scale = image_size, min_scale

    def change(self, images: Tensor, draws: Draws) -> Tensor:
        """Crop and resize each image; an image has a box of its own size, and torch resizes one size a call."""
        from torchvision.transforms.v2 import functional as F

        height, width = images.shape[-2:]
        boxes, side = self.boxes(height, width, draws).tolist(), [self.image_size] * 2
        parts = [F.resized_crop(image, *box, side, antialias=True) for image, box in zip(images, boxes, strict=True)]
        return torch.stack(parts)

    def boxes(self, height: int, width: int, draws: Draws) -> Tensor:
        """Draw top, left, height and width of each image's box, (B, 4): the first of ten tries that fits.

        Where none does, the largest central box with an allowed aspect ratio.
        """
        uniform = draws.uniform(2 * _TRIES + 2)
        area = height * width * (self.min_scale + (1 - self.min_scale) * uniform[:, :_TRIES])
        low, high = (math.log(aspect) for aspect in _ASPECTS)
        aspects = (low + (high - low) * uniform[:, _TRIES : 2 * _TRIES]).exp()
        heights, widths = (area / aspects).sqrt().round(), (area * aspects).sqrt().round()
        fits = (heights > 0) & (widths > 0) & (heights <= height) & (widths <= width)
        tried = torch.stack([heights, widths], -1).long()
        sides = tried[torch.arange(len(draws)), fits.int().argmax(1)]
        corners = whole_numbers(uniform[:, -2:], torch.tensor([height, width]) - sides + 1)
        central = torch.tensor(_central_box(height, width)).expand(len(draws), 4)
        return torch.where(fits.any(1, keepdim=True), torch.cat([corners, sides], 1), central)


class Jitter(BatchAugmentation):
    """Brightness, contrast and saturation, each by a factor of its own, in random order: torchvision's ColorJitter.

    Args:
        strength: the factors are uniform in [1 - strength, 1 + strength], of at least 0.

    Raises:
        ValueError: the strength is negative.
    """

    def __init__(self, strength: float) -> None:
        if strength < 0:
            raise ValueError(f"Expected `jitter` to be at least 0, but got {strength}. Lower strengths change less.")
        self.strength = strength

    def change(self, images: Tensor, draws: Draws) -> Tensor:
        """Change the colours of (B, 1 or 3, height, width)."""
        order = draws.uniform(3).argsort(1)
        low, high = max(0.0, 1 - self.strength), 1 + self.strength
        factors = low + (high - low) * draws.uniform(3)

        def shade(images: Tensor, kind: int, rows: Tensor) -> Tensor:
            return (brightened, contrasted, saturated)[kind](images, factors[rows, kind])

        for kinds in order.unbind(1):
            images = by_groups(images, kinds, shade)
        return images


class Cutout(BatchAugmentation):
    """Set one square of each image to 0, at a place where it fits.

    Args:
        share: of the area of a square image.

    Reference: DeVries and Taylor (2017); the square lies inside the image, as with torchvision's RandomErasing.
    """

    def __init__(self, share: float = 0.25) -> None:
        self.share = share

    def change(self, images: Tensor, draws: Draws) -> Tensor:
        """Erase the square of each image."""
        sizes = torch.tensor(images.shape[-2:])
        side = round(math.sqrt(self.share * float(sizes.prod())))
        corners = beside(whole_numbers(draws.uniform(2), (sizes - side + 1).clamp(min=1)), images)
        (rows, columns) = (
            (places >= corners[:, axis, None]) & (places < corners[:, axis, None] + side)
            for axis, places in enumerate(torch.arange(int(size), device=images.device) for size in sizes)
        )
        return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0)


def check_image_size(image_size: Any) -> None:
    """Raise ValueError for a size that no image has; null, which a dataset may have, gives a crop nothing to aim at."""
    rule = RULES["image_size"]
    if not rule.accepts(image_size):
        raise ValueError(f"{rule.refusal('image_size', image_size)} Set dataset.image_size.")


def as_pixels(image: Any) -> Tensor:
    """Return a PIL image as uint8 (channels, height, width); a tensor as a plain one."""
    from torchvision.transforms.v2.functional import pil_to_tensor

    return image.as_subclass(Tensor) if isinstance(image, Tensor) else pil_to_tensor(image)


def whole_numbers(uniform: Tensor, counts: Tensor) -> Tensor:
    """Turn numbers in [0, 1) into whole ones in 0..counts-1, each as likely."""
    return (uniform * counts).long()


def windows(images: Tensor, corners: Tensor, size: int) -> Tensor:
    """Cut a square out of each image.

    Args:
        images: (B, channels, height, width).
        corners: (B, 2) top and left, on the CPU.
        size: of the squares in pixels.

    Returns:
        (B, channels, size, size).
    """
    batch, channels, height, width = images.shape
    # Every row of every window begins somewhere in the flat pixels, and is copied as a whole.
    first = (corners[:, :1] + torch.arange(size)) * width + corners[:, 1:]
    planes = torch.arange(batch * channels).reshape(batch, channels, 1) * (height * width)
    flat = images.reshape(-1).unfold(0, size, 1)
    return flat.index_select(0, beside((planes + first[:, None]).flatten(), images)).reshape(
        batch, channels, size, size
    )


def flipped(images: Tensor, which: Tensor) -> Tensor:
    """Mirror some images (B, channels, height, width), left to right; `which` is (B,) bool on the CPU."""
    batch = len(images)
    rows = torch.arange(batch) + batch * which
    return torch.cat([images, images.flip(-1)]).index_select(0, beside(rows, images))


def by_groups(images: Tensor, kinds: Tensor, change: Callable[[Tensor, int, Tensor], Tensor]) -> Tensor:
    """Change images of each kind in one go; a kind below 0 stays as it is.

    Args:
        images: (B, channels, height, width).
        kinds: (B,) integers on the CPU.
        change: takes the images of a kind, the kind and their rows on the CPU.
    """
    parts, order = [], []
    for kind in kinds.unique().tolist():
        rows = (kinds == kind).nonzero().flatten()
        part = images.index_select(0, beside(rows, images))
        parts.append(change(part, kind, rows) if kind >= 0 else part)
        order.append(rows)
    # Copying whole images back in one go is faster than writing to scattered rows.
    return torch.cat(parts).index_select(0, beside(torch.cat(order).argsort(), images))


def brightened(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply each image by its factor (B,), like torchvision's adjust_brightness."""
    return _clipped(images * _of_images(factors, images), images)


def contrasted(images: Tensor, factors: Tensor) -> Tensor:
    """Blend each image with its mean grey by its factor (B,), like torchvision's adjust_contrast."""
    return _blended(images, _grey(images).mean((-3, -2, -1), keepdim=True), factors)


def saturated(images: Tensor, factors: Tensor) -> Tensor:
    """Blend each image with its grey by its factor (B,), like torchvision's adjust_saturation."""
    return images if images.shape[1] == 1 else _blended(images, _grey(images), factors)


def _grey(images: Tensor) -> Tensor:
    """Return the luma (B, 1, height, width) in float32, in whole steps for whole numbers."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images.split(1, dim=1)
    grey = red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114)
    return grey if images.is_floating_point() else grey.floor_()


def _blended(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    own, rest = _of_images(factors, images), _of_images(1 - factors, images)
    # The sum in double precision is what a fused multiply-add gives, which torch has for equal factors only.
    return _clipped((images * own).double().addcmul(others.double(), rest.double()).float(), images)


def _of_images(factors: Tensor, images: Tensor) -> Tensor:
    return beside(factors.float(), images)[:, None, None, None]


def _clipped(values: Tensor, images: Tensor) -> Tensor:
    return values.clamp_(0, 1 if images.is_floating_point() else 255).to(images.dtype)


def _central_box(height: int, width: int) -> list[int]:
    ratio = width / height
    box_height = round(width / _ASPECTS[0]) if ratio < _ASPECTS[0] else height
    box_width = round(height * _ASPECTS[1]) if ratio > _ASPECTS[1] else width
    return [(height - box_height) // 2, (width - box_width) // 2, box_height, box_width]
