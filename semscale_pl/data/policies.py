"""AutoAugment and RandAugment of whole batches: the images that drew the same operation are changed together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from semscale_pl.data.augmentations import BatchAugmentation, by_groups, whole_numbers
from semscale_pl.seeding import Draws

# Operation and its strength; that of a shift is a share of the image's side.
Step = tuple[str, float]
# The largest strengths of both papers, as torchvision has them; whether the sign is drawn.
_LARGEST = {
    "Identity": (0.0, False), "ShearX": (0.3, True), "ShearY": (0.3, True), "TranslateX": (150 / 331, True),
    "TranslateY": (150 / 331, True), "Rotate": (30.0, True), "Brightness": (0.9, True), "Color": (0.9, True),
    "Contrast": (0.9, True), "Sharpness": (0.9, True), "Posterize": (4.0, False), "Solarize": (1.0, False),
    "AutoContrast": (0.0, False), "Equalize": (0.0, False), "Invert": (0.0, False),
}  # fmt: skip
_RANDOM = tuple(name for name in _LARGEST if name != "Invert")


class AutoAugment(BatchAugmentation):
    """The policy found for CIFAR-10: one of 25 pairs of operations, each with a probability of its own.

    For uint8 images of one or three channels.

    Reference: Cubuk et al. (CVPR 2019), appendix, table 7.
    """

    def __init__(self) -> None:
        from torchvision.transforms import AutoAugment as Published
        from torchvision.transforms import AutoAugmentPolicy

        self.policies = Published(AutoAugmentPolicy.CIFAR10).policies
        options = [[(name, place or 0) for name, _, place in pair] for pair in self.policies]
        self.steps, self.table = _numbered(options, places=10)
        self.probabilities = torch.tensor([[step[1] for step in pair] for pair in self.policies], dtype=torch.float64)

    def change(self, images: Tensor, draws: Draws) -> Tensor:
        """Apply the pair that each image draws."""
        pairs = whole_numbers(draws.uniform(1)[:, 0], torch.tensor(len(self.policies)))
        for stage in range(2):
            chance, sign = draws.uniform(2).unbind(1)
            kinds = self.table[pairs, stage, (sign < 0.5).long()]
            images = _apply(images, kinds.where(chance < self.probabilities[pairs, stage], -1), self.steps)
        return images


class RandAugment(BatchAugmentation):
    """Some operations after another, each drawn from the same 14 and of the same strength.

    For uint8 images of one or three channels.

    Args:
        num_ops: operations an image.
        magnitude: strength in 0..30.

    Raises:
        ValueError: an argument is out of range.

    Reference: Cubuk et al. (NeurIPS 2020).
    """

    def __init__(self, num_ops: int = 2, magnitude: int = 9) -> None:
        if num_ops < 0 or not 0 <= magnitude <= 30:
            raise ValueError(
                "Expected `num_ops` of at least 0 and `magnitude` in 0..30, but got "
                f"{num_ops} and {magnitude}. Set augmentation.transform.num_ops and .magnitude."
            )
        self.num_ops = num_ops
        self.steps, self.table = _numbered([[(name, magnitude) for name in _RANDOM]], places=31)

    def change(self, images: Tensor, draws: Draws) -> Tensor:
        """Apply the operations that each image draws."""
        for _ in range(self.num_ops):
            name, sign = draws.uniform(2).unbind(1)
            kinds = self.table[0, whole_numbers(name, torch.tensor(len(_RANDOM))), (sign < 0.5).long()]
            images = _apply(images, kinds, self.steps)
        return images


def strength(name: str, place: int, places: int, sign: int = 1) -> float:
    """Return the strength of an operation at a place of 0..places-1, from none to the strongest.

    Posterizing counts the bits that stay, solarizing the share of white from which on pixels are inverted.
    """
    largest, signed = _LARGEST[name]
    amount = float(torch.linspace(0.0, largest, places)[place])  # in float32, as torchvision has it
    if name == "Posterize":
        return float(8 - round(amount))
    if name == "Solarize":
        return float(torch.linspace(1.0, 0.0, places)[place])
    return amount * (sign if signed else 1)


def operate(images: Tensor, name: str, amount: float) -> Tensor:
    """Apply one operation with one strength to uint8 images (B, 1 or 3, height, width)."""
    return _operations()[name](images, amount)


@cache
def _operations() -> dict[str, Callable[[Tensor, float], Tensor]]:
    from torchvision.transforms.v2 import functional as F

    def sheared(images: Tensor, x: float, y: float) -> Tensor:
        angles = [math.degrees(math.atan(amount)) for amount in (x, y)]
        return F.affine(images, angle=0.0, translate=[0, 0], scale=1.0, shear=angles, center=[0, 0])

    def moved(images: Tensor, x: float, y: float) -> Tensor:
        pixels = [int(x * images.shape[-1]), int(y * images.shape[-2])]
        return F.affine(images, angle=0.0, translate=pixels, scale=1.0, shear=[0.0, 0.0])

    def solarized(images: Tensor, share: float) -> Tensor:
        return F.solarize(images, threshold=share * (1.0 if images.is_floating_point() else 255.0))

    return {
        "Identity": lambda images, _: images,
        "ShearX": lambda images, amount: sheared(images, amount, 0.0),
        "ShearY": lambda images, amount: sheared(images, 0.0, amount),
        "TranslateX": lambda images, amount: moved(images, amount, 0.0),
        "TranslateY": lambda images, amount: moved(images, 0.0, amount),
        "Rotate": lambda images, amount: F.rotate(images, angle=amount),
        "Brightness": lambda images, amount: F.adjust_brightness(images, 1.0 + amount),
        "Color": lambda images, amount: F.adjust_saturation(images, 1.0 + amount),
        "Contrast": lambda images, amount: F.adjust_contrast(images, 1.0 + amount),
        "Sharpness": lambda images, amount: F.adjust_sharpness(images, 1.0 + amount),
        "Posterize": lambda images, amount: F.posterize(images, bits=int(amount)),
        "Solarize": solarized,
        "AutoContrast": lambda images, _: F.autocontrast(images),
        "Equalize": lambda images, _: F.equalize(images),
        "Invert": lambda images, _: F.invert(images),
    }


def _apply(images: Tensor, kinds: Tensor, steps: list[Step]) -> Tensor:
    return by_groups(images, kinds, lambda part, kind, _: operate(part, *steps[kind]))


def _numbered(options: Sequence[Sequence[tuple[str, int]]], places: int) -> tuple[list[Step], Tensor]:
    """Number the different steps of rows of (operation, place), with either sign.

    Returns:
        The steps, and the table of their numbers (rows, columns, 2), -1 for the operation without effect.
    """
    steps: dict[Step, int] = {}

    def number(name: str, place: int, sign: int) -> int:
        return -1 if name == "Identity" else steps.setdefault((name, strength(name, place, places, sign)), len(steps))

    table = [[[number(*entry, sign) for sign in (1, -1)] for entry in row] for row in options]
    return list(steps), torch.tensor(table)
