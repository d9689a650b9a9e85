"""Features in a .safetensors file: named tensors, mapped into memory by what its header says of their places."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from semscale_pl.features.arrays import MappedRows
from semscale_pl.features.named_arrays import CLASS_NAME_KEYS, array_parts
from semscale_pl.features.source import Asked, Found, Rows

# Of those that numpy has; bfloat16 goes through torch.
_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8",
    "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_LONGEST_HEADER = 100_000_000  # what the format allows


class SafetensorsArrays:
    """The tensors of a file as :class:`~semscale_pl.features.named_arrays.NamedArrays`.

    The format: 8 bytes with the length of the header, the header in JSON (of each tensor its type, shape, and first and
    last byte), then the numbers. Names of classes stand as a JSON list in its metadata, under ``class_names``.

    Raises:
        ValueError: it is no such file, or cut off.
    """

    def __init__(self, path: Path) -> None:
        self.name, self._path = path.name, path
        self._start, header = _header(path)
        metadata = header.pop("__metadata__", None) or {}
        self._tensors = header
        self.shapes: Mapping[str, tuple[int, ...]] = {key: tuple(entry["shape"]) for key, entry in header.items()}
        self.class_names = _names_in(metadata, path.name)

    def matrix(self, key: str) -> Rows:
        """Map a tensor of features."""
        entry = self._tensors[key]
        if entry["dtype"] == "BF16":
            from semscale_pl.features.pt import TensorRows  # imports torch, which takes seconds

            return TensorRows(self._read_by_torch(key), self.name)
        dtype = self._dtype(key)
        return MappedRows(self._path, self.shapes[key], dtype, self._start + entry["data_offsets"][0])

    def column(self, key: str) -> np.ndarray:
        """Map a tensor of one number a sample."""
        return self.labels(key)

    def labels(self, key: str) -> np.ndarray:
        """Map a tensor of labels; there are no words in this format."""
        entry = self._tensors[key]
        if entry["dtype"] == "BF16":
            return self._read_by_torch(key).float().numpy()
        offset = self._start + entry["data_offsets"][0]
        if not math.prod(self.shapes[key]):
            return np.zeros(self.shapes[key], self._dtype(key))
        return np.memmap(self._path, self._dtype(key), "r", offset, self.shapes[key])

    def _dtype(self, key: str) -> np.dtype:
        kind = self._tensors[key]["dtype"]
        if kind not in _TYPES:
            raise ValueError(
                f"Expected `{key}` of {self.name} to be whole numbers or floats of 16 bits or more, but got {kind}. "
                "Convert it to F16."
            )
        return np.dtype(_TYPES[kind])

    def _read_by_torch(self, key: str) -> Any:
        from safetensors import safe_open

        with safe_open(str(self._path), framework="pt") as file:
            return file.get_tensor(key)


def safetensors_parts(path: Path, asked: Asked | None = None) -> Found:
    """Open a .safetensors file: its features, and its labels if there are any.

    Raises:
        ValueError: it is no such file, or lacks the features.
    """
    return array_parts(SafetensorsArrays(path), asked or Asked())


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Return where the numbers begin, and the header; every tensor was seen to lie within the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if 0 < length <= min(_LONGEST_HEADER, size) else b""
    try:
        header = json.loads(text)
        lengths = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        whole = all(_fits(entry) for key, entry in header.items() if key != "__metadata__")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        whole, lengths, header = False, [], {}
    if not whole:
        raise ValueError(
            f"Expected {path.name} to be a file of safetensors, but its header cannot be read. Save it again."
        )
    if size - 8 - length < max(lengths, default=0):
        raise ValueError(
            f"Expected {path.name} to hold {max(lengths):,} bytes of numbers, but got {size - 8 - length:,}. The file "
            "is cut off: copy or save it again."
        )
    return 8 + length, header


def _fits(entry: Mapping[str, Any]) -> bool:
    """Tell whether the bytes of a tensor are as many as its type and shape take."""
    (first, last), shape = entry["data_offsets"], entry["shape"]
    known = np.dtype(_TYPES[entry["dtype"]]).itemsize if entry["dtype"] in _TYPES else None
    numbers = all(isinstance(number, int) and number >= 0 for number in (first, last, *shape))
    return numbers and first <= last and (known is None or last - first == known * math.prod(shape))


def _names_in(metadata: Mapping[str, str], name: str) -> tuple[str, ...] | None:
    key = next((key for key in CLASS_NAME_KEYS if key in metadata), None)
    if key is None:
        return None
    try:
        names = json.loads(metadata[key])
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(word, str) for word in names):
        raise ValueError(f"Expected `{key}` in the metadata of {name} to be a JSON list of words. Save it so.")
    return tuple(names)
