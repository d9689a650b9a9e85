"""Small pictures of samples as addresses that hold their own content, together within a number of bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

# Of a sample's row number: an image of Pillow, or a tensor (channels, height, width) of bytes or of floats in [0, 1].
Picture = Callable[[int], Any]

# Sides in pixels and qualities of JPEG, tried in this order until all pictures fit.
_LADDER = ((96, 80), (72, 75), (56, 70), (40, 60), (28, 45))
# Of this side and below, PNG is often the smaller of the two.
_TINY = 32


class Gallery:
    """Pictures of some samples, read once.

    Args:
        picture: gives the picture of a sample.

    Attributes:
        sizes: (width, height) of the originals.
    """

    def __init__(self, picture: Picture) -> None:
        self.sizes: set[tuple[int, int]] = set()
        self._picture, self._read = picture, dict[int, Any]()

    def fitting(self, groups: Sequence[Iterable[int]], budget: int) -> tuple[dict[int, str], int]:
        """Return addresses (``data:``) of pictures by row number, as large as fits.

        Args:
            groups: row numbers that are shown together or not at all, the most important first.
            budget: bytes for all addresses.

        Returns:
            The addresses, none of a picture that cannot be read, and how many of the groups they cover.
        """
        wanted = [list(group) for group in groups]
        images = {row: self._small(row) for row in sorted({row for group in wanted for row in group})}
        for side, quality in _LADDER:
            found = {row: _address(image, side, quality) for row, image in images.items() if image}
            if sum(map(len, found.values())) <= budget:
                return found, len(wanted)
        kept: dict[int, str] = {}
        for shown, group in enumerate(wanted):
            more = {row: found[row] for row in group if row in found}
            if sum(map(len, {**kept, **more}.values())) > budget:
                return kept, shown
            kept |= more
        return kept, len(wanted)

    def _shrunk(self, row: int) -> Any:
        try:
            image = as_image(self._picture(row))
        except Exception:  # what cannot be read any more must not cost the measurement its report
            return None
        self.sizes.add(image.size)
        most = _LADDER[0][0]
        image.thumbnail((most, most))
        return image

    def _small(self, row: int) -> Any:
        if row not in self._read:
            self._read[row] = self._shrunk(row)
        return self._read[row]


def as_image(picture: Any) -> Any:
    """Return a picture as a grey or RGB image of Pillow; the caller may change it.

    Example:
        >>> as_image(np.zeros((1, 2, 3), np.uint8)).size
        (3, 2)
    """
    from PIL import Image

    if isinstance(picture, Image.Image):
        return picture.convert("L" if picture.mode in ("L", "1") else "RGB")
    values = np.asarray(picture)
    if values.dtype != np.uint8:
        values = (255.0 * np.nan_to_num(values).clip(0.0, 1.0)).round().astype(np.uint8)
    values = values[:3] if len(values) >= 3 else values[:1]
    return Image.fromarray(values[0] if len(values) == 1 else np.ascontiguousarray(values.transpose(1, 2, 0)))


def sizes_in_words(sizes: Iterable[tuple[int, int]]) -> str:
    """Say of which sizes some images are.

    Example:
        >>> sizes_in_words({(64, 48), (32, 32)})
        'from 32 x 32 to 64 x 48 pixels (of those shown)'
    """
    known = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    least, most = (f"{width} x {height}" for width, height in (known[0], known[-1]))
    return f"{least} pixels" if least == most else f"from {least} to {most} pixels (of those shown)"


def _address(image: Any, side: int, quality: int) -> str:
    if max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side))
    kinds = [("jpeg", _encoded(image, "JPEG", quality=quality))]
    if max(image.size) <= _TINY:
        kinds.append(("png", _encoded(image, "PNG")))
    kind, content = min(kinds, key=lambda one: len(one[1]))
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _encoded(image: Any, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
