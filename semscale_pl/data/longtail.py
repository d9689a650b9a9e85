"""Which images of a dataset stay: long-tailed subsets, stratified parts, and a hash that names the choice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from semscale_pl.data.source import DataError
from semscale_pl.imbalance import long_tail_counts
from semscale_pl.options import PROFILES, RULES, check, check_choice
from semscale_pl.seeding import derive_seed

# Separate streams of one seed, so that the choice of images, of classes and of validation images are independent.
_SUBSET, _ORDER, _CARVE, _SPLIT = 1, 2, 3, 4


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
    """Choose the training images: their positions (M,), ascending.

    Args:
        labels: (N,) class of each image, in 0..C-1.
        num_classes: C.
        profile: "none", "exponential", "step", "per_class" or "listed".
        factor: of the long-tailed profiles.
        samples: images of every class, of "per_class".
        file: of "listed".
        seed: chooses the images.
        options: further ones of :func:`long_tail_indices`.

    Raises:
        ValueError: an argument is out of range.
        DataError: the images do not suffice, or the list does not fit them.
    """
    check_subset(factor, profile, samples, file)
    if profile == "per_class":
        return per_class_indices(labels, num_classes, samples or 0, seed, options.get("subset_rule", "seeded"))
    if profile == "listed":
        return listed_indices(Path(str(file)), labels, num_classes)
    return long_tail_indices(labels, num_classes, factor, profile, seed=seed, **options)


def check_subset(factor: float, profile: str, samples: int | None = None, file: str | Path | None = None) -> None:
    """Raise ValueError for a profile and settings that do not fit together, see :func:`training_subset`."""
    check(imbalance=profile, imbalance_factor=factor)
    if profile not in ("exponential", "step") and factor != 1:
        raise ValueError(
            f"Expected `imbalance_factor` to be 1 with imbalance={profile}, but got {factor}. "
            "Set imbalance=exponential or imbalance=step, or leave the factor at 1."
        )
    if profile == "per_class":
        RULES["imbalance.samples"].check("imbalance.samples", samples)
    if profile == "listed" and file is None:
        raise ValueError("Expected `imbalance.file` with imbalance=listed, but got none. It is a JSON list.")


def long_tail_indices(
    labels: Tensor,
    num_classes: int,
    factor: float,
    profile: str = "exponential",
    *,
    seed: int = 0,
    class_order: str = "label",
    subset_rule: str = "seeded",
) -> Tensor:
    """Choose a long-tailed subset: class i keeps int(size_i * factor^(-i / (C-1))) of its own images, at least one.

    Args:
        labels: (N,) class of each image, in 0..C-1.
        num_classes: C.
        factor: largest over smallest class, at least 1, for classes of equal size.
        profile: "exponential", "step" (the second half of the classes divided by `factor`) or "none".
        seed: chooses the images (rule "seeded") and the order of the classes (order "permuted").
        class_order: "label": class 0 is the head; "reversed": the last class is; "permuted": a seeded order.
        subset_rule: "seeded"; "first": the first images of each class; "cao_seed0": the choice of LDAM-DRW, that is
            numpy's legacy generator with seed 0, shuffled class by class.

    Returns:
        (M,) positions, ascending.

    Raises:
        ValueError: for an unknown name, a factor below 1, or a factor other than 1 with profile "none".

    Reference: Cao et al. (NeurIPS 2019), section 4.1; for classes of unequal size Ma et al. (ICLR 2023), section 5.
    """
    check_choice(profile, PROFILES, "imbalance")
    check_subset(factor, profile)
    check(class_order=class_order, subset_rule=subset_rule)
    sizes = torch.bincount(labels, minlength=num_classes)
    order = torch.arange(num_classes)
    if class_order == "reversed":
        order = order.flip(0)
    if class_order == "permuted":
        order = torch.randperm(num_classes, generator=_generator(seed, _ORDER))
    counts = torch.zeros_like(sizes)
    counts[order] = torch.tensor(long_tail_counts(sizes[order].tolist(), factor, profile))
    return choose_counts(labels, torch.minimum(counts, sizes).tolist(), seed, subset_rule)


def per_class_indices(
    labels: Tensor, num_classes: int, samples: int, seed: int = 0, subset_rule: str = "seeded"
) -> Tensor:
    """Choose the same number of images of every class: their positions (C * samples,), ascending.

    With one seed, fewer of them are a subset of more; labels and rule are as in :func:`long_tail_indices`.

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
    """Read which images to take, from a JSON list of positions in the training split in any order.

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


def long_tail(dataset: Dataset[Any], labels: Tensor, factor: float, **options: Any) -> Subset[Any]:
    """Make any dataset with labels (N,) long-tailed, see :func:`long_tail_indices` for factor and options."""
    return Subset(dataset, long_tail_indices(labels, int(labels.max()) + 1, factor, **options).tolist())


def check_validation(source: str, profile: str) -> None:
    """Raise ValueError where a validation part would be held out before a list of training images is used."""
    if source == "whole" and profile == "listed":
        raise ValueError(
            "Expected validation_from=subset with imbalance=listed, whose list names images of the whole training set, "
            "but got whole. Leave it out."
        )


def carve_validation(
    labels: Tensor, num_classes: int, *, per_class: int = 0, fraction: float = 0.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Take a validation part out of each class, leaving at least one sample of every class for training.

    Args:
        labels: (N,) class of each training sample.
        num_classes: C.
        per_class: samples to take of each class; or
        fraction: share of each class to take, rounded to the nearest sample.
        seed: chooses the samples.

    Returns:
        Positions of the training part and of the validation part, each ascending.
    """
    sizes = torch.bincount(labels, minlength=num_classes).tolist()
    wanted = [per_class if per_class else round(size * fraction) for size in sizes]
    taken = [max(0, min(want, size - 1)) for want, size in zip(wanted, sizes, strict=True)]
    validation = choose_counts(labels, taken, derive_seed(seed, _CARVE), "seeded")
    return _complement(validation, len(labels)), validation


def stratified_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split each class in two parts, of which the first gets a fraction rounded to the nearest sample, at least one.

    Returns:
        Positions of the first and of the second part, each ascending.

    Raises:
        DataError: nothing is left for the second part.
    """
    sizes = torch.bincount(labels).tolist()
    kept = [max(1, round(size * fraction)) for size in sizes]
    first = choose_counts(labels, kept, derive_seed(seed, _SPLIT), "seeded")
    if len(first) == len(labels):
        raise DataError(
            f"Expected `train_fraction` to leave images for the test part, but {fraction:g} of classes of at most "
            f"{max(sizes)} images leaves none. Lower it."
        )
    return first, _complement(first, len(labels))


def choose_counts(labels: Tensor, counts: list[int], seed: int, rule: str) -> Tensor:
    """Take the given number of images of each class, by a ``subset_rule``; positions, ascending."""
    check(subset_rule=rule)
    legacy = np.random.RandomState(0)
    chosen = []
    for label, count in enumerate(counts):
        members = torch.nonzero(labels == label).flatten()
        if rule == "seeded":
            members = members[torch.randperm(len(members), generator=_generator(seed, _SUBSET, label))]
        elif rule == "cao_seed0":
            shuffled = members.numpy().copy()
            legacy.shuffle(shuffled)
            members = torch.from_numpy(shuffled)
        chosen.append(members[:count])
    return torch.cat(chosen).sort().values


def index_hash(indices: Tensor) -> str:
    """Name a choice of images by 16 hexadecimal digits: SHA-256 over the indices as little-endian int64, in order.

    Example:
        >>> index_hash(torch.tensor([0, 1, 2]))
        'ab25350e3e65efeb'
    """
    return hashlib.sha256(indices.cpu().numpy().astype("<i8").tobytes()).hexdigest()[:16]


def _complement(rows: Tensor, size: int) -> Tensor:
    kept = torch.ones(size, dtype=torch.bool)
    kept[rows] = False
    return torch.nonzero(kept).flatten()


def _generator(*parts: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(*parts))


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
