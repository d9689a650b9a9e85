"""Images in tar shards as webdataset writes them, read at random by an index of where each file lies in its shard."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semscale_pl.data.finding import image_suffixes, is_hidden
from semscale_pl.data.packed import PackedFile, state_of_files
from semscale_pl.data.packed_source import PackedSource, Part, Patterns, found_files
from semscale_pl.data.source import DataError
from semscale_pl.data.tar_index import Member, members_of
from semscale_pl.labels import are_numbers
from semscale_pl.terminal import printable

# Where the label of a sample is looked for, in this order.
LABEL_KEYS = ("cls", "json", "txt")
_SHOWN_KEYS = 6


class TarShards(PackedSource):
    """Tar files whose members of one name, up to its first dot, are one sample: `000123.jpg` and `000123.cls`.

    The shards are not streamed, as samplers, long tails and pools of features ask for images by number: their headers
    are read once, and an image is a piece of its shard from then on. The package webdataset is not needed.

    Args:
        splits: `train`, `test` and `val`, see :class:`~semscale_pl.data.packed_source.PackedSource`.
        image_key: what follows the name's first dot of the image, such as "jpg"; None takes the one image of a sample.
        label_key: likewise of the label: a text file with a word or number, or JSON ("json", "meta.json"); None takes
            "cls", "json" or "txt", of which the first sample has the first.
        label_field: of a JSON label.
        settings: the other arguments of :class:`~semscale_pl.data.packed_source.PackedSource`.
    """

    def __init__(
        self,
        *splits: Patterns,
        image_key: str | None = None,
        label_key: str | None = None,
        label_field: str = "label",
        **settings: Any,
    ) -> None:
        super().__init__(*splits, **settings)
        self.image_key, self.label_key, self.label_field = image_key, label_key, str(label_field)

    def open(self, split: str, root: Path) -> Part:
        """Read the headers of all shards, and the labels."""
        shards = found_files(self.splits[split], root, ".tar", split)
        names: list[str] = []
        labels: list[str] = []
        pieces: list[tuple[int, int, int]] = []
        passed_over: dict[str, list[Path]] = {}
        for number, shard in enumerate(shards):
            groups = _groups(shard)
            samples = [(group, self._image(shard, group)) for group in groups.values()]
            images = [(group, image) for group, image in samples if image is not None]
            labels += self._labels(shard, images)
            names += [f"{shard}/{image.name}" for _, image in images]
            pieces += [(number, image.start, image.size) for _, image in images]
            left = [Path(one.name) for group, image in samples if image is None for one in group.values()]
            passed_over |= {str(shard): left} if left else {}
        what = f"labels of {printable(str(shards[0]))}"
        what += f" and {len(shards) - 1:,} more" if len(shards) > 1 else ""
        if not names:
            there = _keys(_groups(shards[0]).values()) or "nothing"
            raise DataError(
                f"Expected samples with an image{f' `{self.image_key}`' if self.image_key else ''} in "
                f"{printable(str(shards[0]))}, but got {there}. Name what ends the image's name in "
                "dataset.source.image_key."
            )
        pack = TarImages([str(shard) for shard in shards], pieces)
        paths = [PackedFile(name, pack, number) for number, name in enumerate(names)]
        return Part(paths, np.array(labels), what, None, passed_over)

    def _image(self, shard: Path, group: _Group) -> Member | None:
        """Return the image of a sample; None where there is none."""
        if self.image_key is not None:
            return group.get(self.image_key)
        images = [key for key in group if f".{key}".endswith(image_suffixes())]
        if len(images) > 1:
            raise DataError(
                f"Expected one image in each sample of {printable(str(shard))}, but got "
                f"{' and '.join(printable(group[key].name) for key in images)}. Choose one: "
                f"dataset.source.image_key={images[0]}"
            )
        return group[images[0]] if images else None

    def _labels(self, shard: Path, images: Sequence[tuple[_Group, Member]]) -> list[str]:
        """Read the labels of a shard's images."""
        wanted = (self.label_key,) if self.label_key else LABEL_KEYS
        key = next((key for key in wanted if images and key in images[0][0]), wanted[0])
        without = [image.name for group, image in images if key not in group]
        if without:
            raise DataError(
                f"Expected a label for every image, but {len(without):,} of {len(images):,} in {printable(str(shard))} "
                f"have no `{key}`, the first is {printable(without[0])} (there are "
                f"{_keys(group for group, _ in images)}). Add them, or name what ends the label's name in "
                "dataset.source.label_key."
            )
        labels = []
        with open(shard, "rb", buffering=0) as stream:
            for group, _ in images:
                stream.seek(group[key].start)
                content = stream.read(group[key].size)
                labels.append(self._label(f"{shard}/{group[key].name}", content, key.rpartition(".")[2] == "json"))
        return labels

    def _label(self, name: str, content: bytes, is_json: bool) -> str:
        try:
            text = content.decode("utf-8-sig")
            value = json.loads(text) if is_json else text
        except ValueError as error:
            raise DataError(
                f"Expected the label {printable(name)} to be {'JSON' if is_json else 'text'}, but it cannot be read: "
                f"{' '.join(str(error).split())}. Write it anew."
            ) from error
        if isinstance(value, dict):
            if self.label_field not in value:
                raise DataError(
                    f"Expected a field `{self.label_field}` in {printable(name)}, but got "
                    f"{', '.join(map(str, value)) or 'none'}. Name it in dataset.source.label_field."
                )
            value = value[self.label_field]
        word = str(int(value) if isinstance(value, int) else value).strip()
        if not isinstance(value, str | int) or not word or (are_numbers([word]) and int(word) < 0):
            raise DataError(
                f"Expected the label {printable(name)} to be a word or an integer of at least 0, but got {value!r}. "
                "Correct it, or leave the sample out."
            )
        return word


class TarImages:
    """Pieces of tar files, each an image; see :class:`~semscale_pl.data.packed.Pack`.

    Args:
        files: the shards.
        pieces: of each image the shard's number, the first byte and how many there are.
    """

    def __init__(self, files: Sequence[str], pieces: Sequence[tuple[int, int, int]]) -> None:
        self.files, self.pieces = list(files), np.array(pieces, dtype=np.int64)
        self.state = state_of_files(files)

    def read(self, number: int) -> bytes:
        """Return the bytes of an image; OSError where its shard cannot be read."""
        shard, start, size = self.pieces[number].tolist()
        with open(self.files[shard], "rb") as stream:
            stream.seek(start)
            return stream.read(size)


# Members of one sample, by what follows the first dot of their name, in lower case.
_Group = dict[str, Member]


def _groups(shard: Path) -> dict[str, _Group]:
    """Return the members of a shard by sample; DataError where two have one name."""
    groups: dict[str, _Group] = {}
    for member in members_of(shard):
        folder, _, base = member.name.rpartition("/")
        name, _, key = base.partition(".")
        if is_hidden(base) or base.startswith("__"):
            continue
        group = groups.setdefault(f"{folder}/{name}" if folder else name, {})
        if key.lower() in group:
            raise DataError(
                f"Expected every member of {printable(str(shard))} to have a name of its own, but "
                f"{printable(member.name)} is there twice. Write the shard anew."
            )
        group[key.lower()] = member
    return groups


def _keys(groups: Iterable[_Group]) -> str:
    """Return what the names of the members end in, the first few."""
    keys = list(dict.fromkeys(key for group in groups for key in group))
    return ", ".join([*map(printable, keys[:_SHOWN_KEYS]), *(["..."] if len(keys) > _SHOWN_KEYS else [])])
