"""The 20 superclasses of CIFAR-100's 100 classes, as its own files state them."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semscale_pl.data.source import DataError, DatasetNotFound

# All that the official files hold beside lists, strings and numbers.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


def cifar100_superclasses(root: Path) -> tuple[Tensor, list[str]]:
    """Read which superclass each class belongs to.

    Args:
        root: folder of all datasets, with ``cifar-100-python/``.

    Returns:
        (100,) superclass of each class, and the 20 names.

    Raises:
        DatasetNotFound: the files are not there.
        DataError: they are damaged, or the classes do not make a hierarchy.
    """
    folder = root / "cifar-100-python"
    names = _read(folder / "meta").get("coarse_label_names")
    labels = _read(folder / "test")
    fine, coarse = labels.get("fine_labels"), labels.get("coarse_labels")
    if not names or not fine or not coarse or len(fine) != len(coarse):
        raise DataError(f"Expected fine and coarse labels in {folder}, but found none. Fetch CIFAR-100 again.")
    pairs = sorted(set(zip(fine, coarse, strict=True)))
    if [one for one, _ in pairs] != list(range(len(pairs))):
        raise DataError(f"Expected one superclass for each class in {folder}, but it is not so. Fetch CIFAR-100 again.")
    return torch.tensor([parent for _, parent in pairs]), [str(name) for name in names]


class _LabelReader(pickle.Unpickler):
    """Read plain data and arrays only; nothing else that a pickle may name is imported or called."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a file of labels")
        return super().find_class(module, name)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = _LabelReader(io.BytesIO(file.read_bytes()), encoding="latin1").load()
    except OSError:
        raise DatasetNotFound(
            f"CIFAR-100 was not found: expected {file.resolve()}. Fetch it with `semscale train dataset=cifar100 "
            "dataset.download=true`, or set SEMSCALE_DATA."
        ) from None
    except Exception as error:  # whatever unpacking damaged bytes leads to
        raise DataError(f"Expected {file} to be a file of CIFAR-100, but cannot read it: {error}.") from error
    if not isinstance(content, dict):
        raise DataError(f"Expected {file} to hold a dictionary, but got {type(content).__name__}.")
    return content
