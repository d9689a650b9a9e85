"""What every backbone asks of its images and of its arguments, checked in one place."""

from __future__ import annotations

from torch import Tensor

STEMS = ("standard", "small")


def check_images(images: Tensor, in_channels: int, min_size: int = 1) -> None:
    """Refuse images that a backbone cannot take, before a convolution does it in its own words.

    Args:
        images: (B, in_channels, H, W).
        in_channels: channels that the first convolution was built for.
        min_size: smallest H and W that leave something to pool.

    Raises:
        ValueError: wrong number of dimensions or channels, or too small.

    Example:
        >>> import torch
        >>> check_images(torch.zeros(2, 3, 8, 8), in_channels=3)
    """
    shape = tuple(images.shape)
    if images.ndim != 4 or shape[1] != in_channels:
        raise ValueError(
            f"Expected `images` to be (B, {in_channels}, H, W), but got {shape}. Set `in_channels` of the backbone."
        )
    if min(shape[2:]) < min_size:
        raise ValueError(
            f"Expected `images` to be at least {min_size} x {min_size}, but got {shape[2]} x {shape[3]}. Resize them."
        )


def check_stem(input_stem: str) -> None:
    """Refuse a name that is not an input stem.

    Args:
        input_stem: "standard" or "small".

    Raises:
        ValueError: any other name.
    """
    if input_stem not in STEMS:
        raise ValueError(
            f"Expected `input_stem` to be 'standard' or 'small', but got {input_stem!r}. Use 'small' for 32 x 32."
        )


def check_positive(name: str, value: int | None) -> None:
    """Refuse a count below one.

    Args:
        name: argument's name, for the message.
        value: the count; None, from a dataset that does not say how many channels it has, is refused as well.

    Raises:
        ValueError: below one.
    """
    if value is None or value < 1:
        remedy = "Set dataset.channels to 1 or 3." if value is None and name == "in_channels" else "Use 1 or more."
        raise ValueError(f"Expected `{name}` to be a positive integer, but got {value}. {remedy}")
