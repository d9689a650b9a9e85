"""Views of a test image, whose logits are averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from semscale_pl.options import check

# LIFT resizes test images of a 224-pixel network to 248 pixels.
_LARGER = 24 / 224


class Views:
    """The image and its mirror image, or five crops of a larger image: the four corners and the centre.

    Logits are averaged, not probabilities, as Shi et al. do.

    Args:
        kind: "flips" or "crops" (or "none": the image alone).
        image_size: height and width of the model's images; crops need it.

    Raises:
        ValueError: no such kind, or crops without a size.

    Example:
        >>> [tuple(view.shape) for view in Views("crops", 8)(torch.zeros(2, 3, 9, 9))] == 5 * [(2, 3, 8, 8)]
        True

    Reference: Shi et al., Long-Tail Learning with Foundation Model (ICML 2024): test-time ensembling
    """

    def __init__(self, kind: str, image_size: int | None = None) -> None:
        check(tta=kind)
        if kind == "crops" and image_size is None:
            raise ValueError("Expected `image_size` for crops, but got None. Pass it, or use flips.")
        self.kind, self.image_size = kind, image_size

    @property
    def size_before_cropping(self) -> int | None:
        """Height and width that images should have for the crops; None where nothing is cut."""
        if self.kind != "crops" or self.image_size is None:
            return None
        return self.image_size + max(1, round(_LARGER * self.image_size))

    def __call__(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the views (B, channels, H, W) of a batch; images of ``image_size`` are enlarged before they are cut.

        Raises:
            ValueError: the images are no batch of images, or too small for the crops.
        """
        if images.ndim != 4 or min(images.shape[2:]) < (self.image_size or 0):
            raise ValueError(
                f"Expected `images` to be (B, channels, H, W) of at least {self.image_size or 1} pixels for views of "
                f"them, but got {tuple(images.shape)}. Use tta=none."
            )
        if self.kind == "crops":
            yield from self._crops(images)
            return
        yield images
        if self.kind == "flips":
            yield images.flip(3)

    def average(self, logits_of: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Return the mean of the views' logits (B, C)."""
        return torch.stack([logits_of(view) for view in self(images)]).mean(dim=0)

    def _crops(self, images: Tensor) -> Iterator[Tensor]:
        size = int(self.image_size or 0)
        if tuple(images.shape[2:]) == (size, size):
            larger = (self.size_before_cropping,) * 2
            images = interpolate(images, larger, mode="bilinear", antialias=True)  # type: ignore[arg-type]
        down, right = images.shape[2] - size, images.shape[3] - size
        for top, left in ((0, 0), (0, right), (down, 0), (down, right), (round(down / 2), round(right / 2))):
            yield images[:, :, top : top + size, left : left + size]
