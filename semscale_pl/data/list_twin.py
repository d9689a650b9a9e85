"""Small stand-ins for datasets given as lists, made on the spot, so that their tables run without a download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semscale_pl.data.lists import Lists
from semscale_pl.files import write_bytes, write_text

_SALT = {"train": 0, "val": 1, "test": 2}


class ListTwin(Lists):
    """A dataset of list files in miniature: generated pictures and text lists in the layout of the real one.

    Files that are missing are made by :meth:`prepare`; the same arguments give the same files. A class has a colour
    gradient of its own below heavy noise, so there is something to learn, but nothing to conclude.

    Args:
        folder: of the images, below the root.
        lists: split ("train", "val", "test") to its text list.
        classes: number of classes.
        sizes: split to the images of its first and last class, with an exponential profile between.
        side: height and width of the pictures in pixels.
        options: as of :class:`~semscale_pl.data.lists.Lists`.

    Raises:
        ValueError: ``sizes`` does not fit ``lists``.

    Example:
        >>> lists = {"train": "train.txt", "test": "test.txt"}
        >>> ListTwin("images", lists, classes=3, sizes={"train": [9, 1], "test": [2, 2]}).counts("train")
        [9, 3, 1]
    """

    def __init__(
        self,
        folder: str,
        lists: Mapping[str, str | None],
        *,
        classes: int,
        sizes: Mapping[str, Sequence[int]],
        side: int = 32,
        **options: Any,
    ) -> None:
        super().__init__(folder, lists, **options)
        if set(sizes) != set(self.lists) or not set(sizes) <= set(_SALT):
            raise ValueError(
                f"Expected `sizes` to name the splits {sorted(self.lists)}, but got {sorted(sizes)}. "
                "Give each the images of its first and last class."
            )
        self.classes, self.side = classes, side
        self.sizes = {split: (int(first), int(last)) for split, (first, last) in sizes.items()}

    def counts(self, split: str) -> list[int]:
        """Return the number of images of each class of a split."""
        first, last = self.sizes[split]
        steps = max(self.classes - 1, 1)
        return [max(round(first * (last / first) ** (label / steps)), 1) for label in range(self.classes)]

    def prepare(self, root: Path, download: bool) -> None:
        """Make what is missing; the lists come last, so that a broken-off call is taken up again."""
        for split, (name,) in self.lists.items():
            if not (root / name).is_file():
                self._make(split, root, root / name)
        if self.class_names_file and not (root / self.class_names_file).is_file():
            names = "".join(f"n{label:08} class {label}\n" for label in range(self.classes))
            write_text(root / self.class_names_file, names)
        super().prepare(root, download)

    def _make(self, split: str, root: Path, path: Path) -> None:
        lines = []
        for label, count in enumerate(self.counts(split)):
            for number in range(count):
                name = f"{split}/n{label:08}/{split}_{number:05}.png"
                if not (root / self.folder / name).is_file():
                    write_bytes(root / self.folder / name, self._picture(split, label, number), durable=False)
                lines.append(f"{name} {label}\n")
        write_text(path, "".join(lines))

    def _picture(self, split: str, label: int, number: int) -> bytes:
        """Return a PNG: the gradient of the class, shaded between two of its colours, and noise of the image."""
        import io

        from PIL import Image

        own = np.random.default_rng(label).uniform(60, 196, (2, 3))
        slope = np.linspace(0, 1, self.side)[:, None, None]
        clean = np.broadcast_to((1 - slope) * own[0] + slope * own[1], (self.side, self.side, 3))
        noise = np.random.default_rng([label, number, _SALT[split]]).normal(0, 50, clean.shape)
        file = io.BytesIO()
        Image.fromarray(np.clip(clean + noise, 0, 255).astype(np.uint8)).save(file, "PNG")
        return file.getvalue()
