"""Features in a .pt file of torch, mapped into memory and never unpickled beyond plain tensors."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semscale_pl.features.columns import named_unlike_features, refuse, values_shown
from semscale_pl.features.source import Asked, Taken, check_matrix, choose_array, choose_key, row_dtype
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


def pt_parts(path: Path, asked: Asked | None = None) -> tuple[TensorRows, Labels | None, Taken]:
    """Open a file of ``torch.save``: a tensor, or a dict with ``features`` and perhaps ``labels``.

    Raises:
        ValueError: it holds anything else.
    """
    asked = asked or Asked()
    content = load_plain(path)
    if isinstance(content, Tensor):
        if asked.key or (asked.label and not asked.labels_elsewhere):
            setting = "feature_key" if asked.key else "label_column"
            raise ValueError(f"Expected `{setting}` only for a dict, but {path.name} is a lone tensor. Leave it out.")
        return _rows(content, "the tensor", path.name, "", ())
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ValueError(f"Expected a tensor or a dict of tensors in {path.name}, but got a {kind}. Save one of these.")
    wanted = None if asked.labels_elsewhere and asked.label not in content else asked.label
    label_key = choose_key(content, path.name, labels=True, wanted=wanted)
    shapes = {key: tuple(value.shape) if isinstance(value, Tensor) else () for key, value in content.items()}
    key = choose_array(shapes, path.name, asked.key, label_key)
    if key != asked.key:
        refuse(named_unlike_features([key]), [key], [key], path.name, "feature_key")
    features = content[key]
    if not isinstance(features, Tensor):
        kind = type(features).__name__
        raise ValueError(f"Expected `{key}` of {path.name} to be a tensor, but got a {kind}. Save torch.stack(...).")
    rows, _, taken = _rows(features, key, path.name, label_key, [name for name in content if name != key])
    return rows, _plain_labels(content[label_key], path.name) if label_key else None, taken


def _rows(features: Tensor, key: str, name: str, label: str, others: Sequence[str]) -> tuple[TensorRows, None, Taken]:
    rows = TensorRows(features.detach(), name)
    left_out = tuple(other for other in others if other != label)
    return rows, None, Taken(values_shown(key, rows.shape[1]), label_column=label, left_out=left_out)


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
