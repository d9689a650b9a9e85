"""What a pre-trained network expects of its images: their size, how they are brought to it, and their normalization."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class InputSpec:
    """The input that a network was trained for.

    Args:
        image_size: height and width in pixels; None where it takes images of any size.
        mean: of each channel, of values in [0, 1].
        std: of each channel, of values in [0, 1].
        crop_share: central share of an image whose shorter side is resized to `image_size / crop_share`.
        interpolation: "bilinear" or "bicubic".
    """

    image_size: int | None
    mean: Sequence[float]
    std: Sequence[float]
    crop_share: float = 0.875
    interpolation: str = "bilinear"

    def at(self, image_size: int) -> InputSpec:
        """Return the same input at another size."""
        return replace(self, image_size=image_size)

    def for_channels(self, channels: int) -> InputSpec:
        """Return the input of the same network when it is given images of 1 or 3 channels.

        Of a grey image, which stands for three equal channels, the normalization is that of the average channel.

        Example:
            >>> InputSpec(8, (0.25, 0.5, 0.75), (0.25, 0.25, 0.25)).for_channels(1).mean
            (0.5,)
        """
        if len(self.mean) in (1, channels):
            return self
        return replace(self, mean=_average(self.mean), std=_average(self.std))


def _average(values: Sequence[float]) -> tuple[float]:
    return (sum(values) / len(values),)
