"""The training subset of a run: a long tail, the same number of images of every class, or a list of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semscale_pl.data.longtail import PROFILES, check_imbalance, choose_counts, long_tail_indices
from semscale_pl.data.source import DataError

# Beside the long-tailed profiles.
PER_CLASS, LISTED = "per_class", "listed"


def training_subset(
    labels: Tensor,
    num_classes: int,
    profile: str,
    *,
    factor: float = 1.0,
    samples: int | None = None,
    file: str | Path | None = None,
    seed: int = 0,
    **options: Any,
) -> Tensor:
    """Choose the training images.

    Args:
        labels: (N,) class of each image, in 0..C-1.
        num_classes: C.
        profile: "none", "exponential", "step", "per_class" or "listed".
        factor: of the long-tailed profiles.
        samples: images of every class, of "per_class".
        file: of "listed".
        seed: chooses the images.
        options: further ones of :func:`semscale_pl.data.longtail.long_tail_indices`.

    Returns:
        (M,) positions, ascending.

    Raises:
        ValueError: an argument is out of range.
        DataError: the images do not suffice, or the list does not fit them.
    """
    check_subset(factor, profile, samples, file)
    if profile == PER_CLASS:
        return per_class_indices(labels, num_classes, samples or 0, seed, options.get("subset_rule", "seeded"))
    if profile == LISTED:
        return listed_indices(Path(str(file)), labels, num_classes)
    return long_tail_indices(labels, num_classes, factor, profile, seed=seed, **options)


def check_subset(factor: float, profile: str, samples: int | None, file: str | Path | None) -> None:
    """Raise ValueError for a profile and settings that do not fit together."""
    if profile in PROFILES:
        check_imbalance(factor, profile)
        return
    if profile not in (PER_CLASS, LISTED):
        known = ", ".join((*PROFILES, PER_CLASS, LISTED))
        raise ValueError(f"Expected `imbalance` to be one of {known}, but got {profile!r}. Choose one of them.")
    if factor != 1:
        raise ValueError(
            f"Expected `imbalance_factor` to be 1 with imbalance={profile}, but got {factor}. "
            "Set imbalance=exponential or imbalance=step, or leave the factor at 1."
        )
    if profile == PER_CLASS and (samples is None or samples < 1):
        raise ValueError(f"Expected `imbalance.samples` to be at least 1, but got {samples}. It counts each class's.")
    if profile == LISTED and file is None:
        raise ValueError("Expected `imbalance.file` with imbalance=listed, but got none. It is a JSON list.")


def per_class_indices(
    labels: Tensor, num_classes: int, samples: int, seed: int = 0, subset_rule: str = "seeded"
) -> Tensor:
    """Choose the same number of images of every class; with one seed, fewer of them are a subset of more.

    Args:
        labels: (N,) class of each image, in 0..C-1.
        num_classes: C.
        samples: of every class.
        seed: chooses the images.
        subset_rule: see :func:`semscale_pl.data.longtail.long_tail_indices`.

    Returns:
        (C * samples,) positions, ascending.

    Raises:
        DataError: a class has fewer images.

    Example:
        >>> per_class_indices(torch.tensor([0, 1, 1, 0]), 2, 1, subset_rule="first")
        tensor([0, 1])

    Reference: Ma et al. (ICLR 2023), section 3 and appendix D1, the sub-datasets of the marginal effect.
    """
    sizes = torch.bincount(labels, minlength=num_classes)
    if int(sizes.min()) < samples:
        raise DataError(
            f"Expected every class to have at least {samples} images, but class {int(sizes.argmin())} has "
            f"{int(sizes.min())}. Lower imbalance.samples."
        )
    return choose_counts(labels, [samples] * num_classes, seed, subset_rule)


def listed_indices(file: Path, labels: Tensor, num_classes: int) -> Tensor:
    """Read which images to take.

    Args:
        file: a JSON list of positions in the training split, in any order.
        labels: (N,) class of each image, in 0..C-1.
        num_classes: C.

    Returns:
        (M,) positions, ascending.

    Raises:
        DataError: the file is missing or no such list, or it names an image twice, one that is not there, or none of
            a class.
    """
    rows = _positions(file)
    if len(set(rows)) != len(rows):
        raise DataError(f"Expected {str(file)!r} to name each image once, but got duplicates. Remove them.")
    if min(rows) < 0 or max(rows) >= len(labels):
        raise DataError(
            f"Expected {str(file)!r} to hold positions in 0..{len(labels) - 1}, but got {min(rows)}..{max(rows)}. "
            "It must have been made for this dataset."
        )
    chosen = torch.tensor(sorted(rows), dtype=torch.int64)
    counts = torch.bincount(labels[chosen], minlength=num_classes)
    if int(counts.min()) == 0:
        absent = int((counts == 0).sum())
        raise DataError(
            f"Expected {str(file)!r} to name images of every class, but {absent} classes have none, the first is "
            f"class {int(counts.argmin())}. Add an image of each."
        )
    return chosen


def _positions(file: Path) -> list[int]:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except OSError:
        raise DataError(f"Expected `imbalance.file` to be a file, but found none at {str(file)!r}.") from None
    except ValueError:
        raise DataError(f"Expected {str(file)!r} to be JSON, but it is not. Write a list such as [0, 4, 7].") from None
    if not isinstance(rows, list) or not rows or not all(type(row) is int for row in rows):
        raise DataError(f"Expected {str(file)!r} to be a JSON list of integers. Write a list such as [0, 4, 7].")
    return rows
