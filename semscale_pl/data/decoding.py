"""Image files without torch: decoded to RGB, what decoding shows, and a reason in words where it fails."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semscale_pl.data.packed import opened
from semscale_pl.terminal import printable

# A tag that cannot be read says nothing; the image is whole.
warnings.filterwarnings("ignore", r"(Possibly c|C)orrupt EXIF data", UserWarning)
# Colour modes that Pillow turns into RGB whatever the pixels are; the others are tried.
_CONVERTIBLE = ("RGB", "L", "RGBA", "LA", "P", "1", "CMYK")
_DARK = "no number above 4,095, as those of 12 bits do: read nearly black. Multiply the pixels by 16 for the full range"
# The EXIF tag that says how a camera was held, and what Pillow calls the way back.
_ORIENTATION = 0x0112
_TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
    8: "ROTATE_90",
}  # fmt: skip
# The way from there to the picture as it is stored.
_TURNS_BACK = {**_TURNS, 6: _TURNS[8], 8: _TURNS[6]}


class Look(NamedTuple):
    """What decoding a file shows.

    Attributes:
        path: of the file.
        mode: Pillow's name of the colour mode, empty where it cannot be decoded.
        problem: why it cannot be decoded, in a few words; empty where it can.
        turned: whether an EXIF tag asks for a rotation or a reflection.
        animated: whether there are further pictures in the file.
        dark: whether its pixels of 16 bits use 12 at most, so that their upper byte is nearly black.
    """

    path: str
    mode: str
    problem: str = ""
    turned: bool = False
    animated: bool = False
    dark: bool = False


def read_rgb(path: str | Path, upright: bool = False) -> Any:
    """Decode an image file to RGB: its first picture; opacity is dropped, 16-bit grey keeps its upper byte.

    Args:
        upright: turn it as its EXIF tag asks for, as cameras write that were held upright.

    Raises:
        ValueError: the pixels are 32-bit numbers, which say nothing of where black and white lie.
    """
    return _read(path, upright)[0]


def decoded(paths: Sequence[str]) -> Iterator[Look]:
    """Decode image files in threads, a few at a time, and yield what each shows, in order."""
    waiting = iter(paths)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(waiting, 1024)):
            yield from pool.map(_decode, chunk)


def dark_line(paths: Sequence[str]) -> str:
    """Return the line that says of 16-bit images that they are nearly black; empty where there are none."""
    if not paths:
        return ""
    what = "image of 16 bits holds" if len(paths) == 1 else "images of 16 bits hold"
    return f"{len(paths):,} {what} {_DARK}; the first is {printable(paths[0])}"


def _read(path: str | Path, upright: bool) -> tuple[Any, bool]:
    """Return a file's picture, and whether it is nearly black as one of 12 bits in 16 is."""
    from PIL import Image

    with Image.open(opened(path)) as image:
        by_reading = _turned_by_reading(image)
        rgb, dark = _rgb(image), _is_dark(image)
        left = _orientation(image)
        if left in _TURNS:  # nothing has been turned yet
            turn = _TURNS[left] if upright else None
        else:
            turn = None if upright else _TURNS_BACK.get(by_reading)
        return (rgb if turn is None else rgb.transpose(Image.Transpose[turn])), dark


def _rgb(image: Any) -> Any:
    from PIL import Image

    # Pillow would clip at 255 instead of scaling.
    if _is_of_16_bits(image):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels (mode {image.mode}) have no fixed range: save it with 8 or 16 bits")
    if image.mode == "P" and "transparency" in image.info:  # Pillow warns of a direct way
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _is_of_16_bits(image: Any) -> bool:
    # Portable greymaps, and PNG files in version 10 of Pillow, come in the mode of 32 bits.
    return bool(image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")))


def _is_dark(image: Any) -> bool:
    return _is_of_16_bits(image) and 0 < int(np.asarray(image).max()) < 2**12


def _decode(path: str) -> Look:
    from PIL import Image

    try:
        with Image.open(opened(path)) as image:
            if image.format == "JPEG":  # all bytes are read, but the pixels are worked out at an eighth of the size
                image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))
            by_reading = _turned_by_reading(image)
            animated = image.format != "MPO" and bool(getattr(image, "is_animated", False))
            image.load()
            mode, turned = image.mode, by_reading in _TURNS or _orientation(image) in _TURNS
            dark = _is_dark(image)
        if mode not in _CONVERTIBLE:
            read_rgb(path)
        return Look(path, mode, "", turned, animated, dark)
    except Exception as error:  # Pillow raises whatever the bytes of a broken file lead to
        return Look(path, "", reason(error))


def _turned_by_reading(image: Any) -> int:
    """Return the tag by which Pillow turns the picture of a TIFF file when it reads the pixels, before it does."""
    return _orientation(image) if image.format == "TIFF" else 1


def _orientation(image: Any) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a damaged tag says nothing of how to turn the image, which is whole
        return 1


def reason(error: BaseException) -> str:
    """Put an error of Pillow's into a few words, without the path.

    Example:
        >>> reason(OSError("image file is truncated"))
        'image file is truncated'
    """
    if type(error).__name__ == "UnidentifiedImageError":
        return "no known image format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


class Decoded(NamedTuple):
    """One file of a list: the model's input, or None and why it cannot be read; whether it is dark, see `Look`."""

    position: int
    image: Any
    problem: str = ""
    dark: bool = False


class DecodedImages:
    """The files of a list as model inputs, for a torch DataLoader with or without workers."""

    def __init__(self, paths: Sequence[Path], model_input: Callable[[Any], Any], upright: bool = False) -> None:
        self.paths, self.model_input, self.upright = [os.fspath(path) for path in paths], model_input, upright

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> Decoded:
        try:
            image, dark = _read(self.paths[position], self.upright)
        except Exception as error:  # Pillow raises whatever the bytes of a broken file lead to
            return Decoded(position, None, reason(error))
        return Decoded(position, self.model_input(image), dark=dark)
