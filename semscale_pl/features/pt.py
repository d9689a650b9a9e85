"""Features in a .pt file of torch, mapped into memory and never unpickled beyond plain tensors."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semscale_pl.features.columns import values_shown
from semscale_pl.features.named_arrays import array_parts
from semscale_pl.features.source import Asked, Found, Taken, check_matrix, choose_key, row_dtype
from semscale_pl.labels import Labels


class TensorRows:
    """The rows of a tensor (N, d).

    Raises:
        ValueError: it is no matrix of real numbers.
    """

    def __init__(self, tensor: Tensor, name: str) -> None:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            kind = "quantized" if tensor.is_quantized else "meta" if tensor.is_meta else "sparse"
            raise ValueError(f"Expected the features of {name} to be a dense tensor, but got a {kind} one. Convert it.")
        try:
            # numpy has no bfloat16; float32 holds it exactly.
            stored = torch.empty(0, dtype=torch.float32 if tensor.dtype == torch.bfloat16 else tensor.dtype)
            dtype = stored.numpy().dtype
        except TypeError as error:
            raise ValueError(
                f"Expected the features of {name} to be numbers, but got {tensor.dtype}. Convert them."
            ) from error
        check_matrix(tuple(tensor.shape), dtype, name)
        self.shape, self.dtype, self._tensor = tuple(tensor.shape), row_dtype(dtype), tensor

    def rows(self, wanted: np.ndarray, size: int) -> Iterator[np.ndarray]:
        """Yield wanted rows in pieces of at most ``size``."""
        wide = torch.float32 if self.dtype == np.float32 else torch.float64
        for start in range(0, len(wanted), size):
            yield self._tensor[torch.from_numpy(wanted[start : start + size])].to(wide).numpy()

    def whole(self) -> np.ndarray:
        """Return all of it as it is stored, without a copy where numpy has its type."""
        return (self._tensor.float() if self._tensor.dtype == torch.bfloat16 else self._tensor).numpy()


class TensorArrays:
    """Named tensors, of a dict or of a file, as :class:`~semscale_pl.features.named_arrays.NamedArrays`.

    Args:
        content: tensors, and perhaps lists of labels, by name.
        name: of the file, for messages.
        class_names: what the file calls its classes elsewhere.
    """

    def __init__(self, content: Mapping[str, Any], name: str, class_names: tuple[str, ...] | None = None) -> None:
        self.name, self._content, self.class_names = name, content, class_names
        self.shapes: Mapping[str, tuple[int, ...]] = {
            key: tuple(value.shape) if isinstance(value, Tensor) else () for key, value in content.items()
        }

    def matrix(self, key: str) -> TensorRows:
        """Open a tensor of features."""
        features = self._content[key]
        if not isinstance(features, Tensor):
            kind = type(features).__name__
            raise ValueError(
                f"Expected `{key}` of {self.name} to be a tensor, but got a {kind}. Save torch.stack(...)."
            )
        return TensorRows(features.detach(), self.name)

    def column(self, key: str) -> np.ndarray:
        """Return a tensor of one number a sample."""
        return TensorRows(self._content[key].detach()[:, None], self.name).whole()[:, 0]

    def labels(self, key: str) -> Labels:
        """Return labels as torch stores them."""
        return _plain_labels(self._content[key], self.name)


def pt_parts(path: Path, asked: Asked | None = None) -> Found:
    """Open a file of ``torch.save``: a tensor, or a dict with ``features`` and perhaps ``labels``.

    Raises:
        ValueError: it holds anything else.
    """
    asked = asked or Asked()
    content = load_plain(path)
    if isinstance(content, Tensor):
        keys = {"feature_key": asked.key, "split_key": asked.split, "feature_columns": asked.features}
        keys["label_column"] = None if asked.labels_elsewhere else asked.label
        for setting, value in keys.items():
            if value:
                raise ValueError(
                    f"Expected `{setting}` only for a dict, but {path.name} is a lone tensor. Leave it out."
                )
        rows = TensorRows(content.detach(), path.name)
        return Found(rows, None, Taken(values_shown("the tensor", rows.shape[1])))
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ValueError(f"Expected a tensor or a dict of tensors in {path.name}, but got a {kind}. Save one of these.")
    return array_parts(TensorArrays(content, path.name), asked)


def pt_labels(path: Path, label_key: str | None = None) -> Labels:
    """Read the labels of a file of ``torch.save``: a tensor, a list, or a dict with ``labels``.

    Raises:
        ValueError: it holds anything else.
    """
    content = load_plain(path)
    if isinstance(content, dict):
        key = choose_key(content, path.name, labels=True, wanted=label_key)
        if not key:
            raise ValueError(f"Expected `labels` in {path.name}, but found {', '.join(content) or 'nothing'}.")
        content = content[key]
    return _plain_labels(content, path.name)


def load_plain(path: Path) -> Any:
    """Load a file of ``torch.save`` that holds nothing but tensors and plain values; the keys of a dict become text.

    Raises:
        ValueError: it holds other objects, or cannot be read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of kinds of tensors that are refused below
            content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"Expected {path.name} to hold plain tensors, but it holds pickled objects, which could run code, or is "
            "damaged. Save a dict of tensors with torch.save."
        ) from error
    except Exception as error:  # torch raises whatever the bytes of a foreign file lead to
        raise ValueError(
            f"Expected {path.name} to be a file of torch.save, but it is damaged, or older than torch 1.6. "
            "Save it again."
        ) from error
    return {str(key): value for key, value in content.items()} if isinstance(content, dict) else content


def _plain_labels(values: Any, name: str) -> Labels:
    """Return labels as torch stores them: a tensor, or a list of words or of numbers."""
    if isinstance(values, Tensor) or (isinstance(values, list | tuple) and not _is_nested(values)):
        return values
    raise ValueError(
        f"Expected the labels of {name} to be a tensor of numbers, or a list of numbers or of words, but got a "
        f"{type(values).__name__} that is neither. Give one class a sample."
    )


def _is_nested(values: Sequence[Any]) -> bool:
    return any(isinstance(value, list | tuple | dict | Tensor) for value in values)
