"""Classes that are trained on and others that are tested on, as metric learning and retrieval need them."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from semscale_pl.data.source import DataError, ImageSet
from semscale_pl.options import check
from semscale_pl.seeding import derive_seed

# A stream of its own, see `longtail`.
_SPLIT_ORDER = 5


class ClassSplit(NamedTuple):
    """The rows of a training and of a test split whose classes are disjoint.

    Attributes:
        train_rows: (N,) positions in the training split of the first `num_train` classes.
        test_rows: (M,) positions in the test split of all other classes, whose labels stay as they are.
        num_train: classes that are trained on.
    """

    train_rows: Tensor
    test_rows: Tensor
    num_train: int


def check_class_split(split: str, train_classes: int | None, split_order: str = "label") -> None:
    """Raise ValueError for settings of a split that do not fit together."""
    check("dataset", split=split, train_classes=train_classes, split_order=split_order)
    for name, value, usual in (("train_classes", train_classes, None), ("split_order", split_order, "label")):
        if split == "samples" and value != usual:
            raise ValueError(
                f"Expected dataset.split=classes with dataset.{name}={value}, but got split=samples. Set it, or leave "
                f"`{name}` out."
            )


def in_seeded_order(images: ImageSet, seed: int) -> ImageSet:
    """Number the classes anew in an order that a seed draws: a split by class then trains on others of them.

    Splits of the same classes come in the same order.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, _SPLIT_ORDER))
    order = torch.randperm(len(images.class_names), generator=generator)
    names = [images.class_names[label] for label in order.tolist()]
    return replace(images, labels=order.argsort()[images.labels], class_names=names)


def split_classes(
    train: ImageSet, test: ImageSet, train_classes: int | None = None, gallery: ImageSet | None = None
) -> ClassSplit:
    """Give the first half of the classes, or so many, to training and the others to the test.

    Args:
        train: whose images of the first classes are trained on.
        test: whose images of the other classes are searched, each of them with all others; it may be the same images.
        train_classes: None is half of the classes, rounded down.
        gallery: what the test images are searched in, where it is not themselves.

    Raises:
        DataError: too few classes are left for one of both, a class to train has no image, or a test class has no
            other image to find.

    Reference: Ma et al. (ICLR 2023), section 5.3; Oh Song et al. (CVPR 2016), section 6.
    """
    names = train.class_names
    number = len(names) // 2 if train_classes is None else train_classes
    if not 2 <= number < len(names):
        cure = f"Set dataset.train_classes to 2..{len(names) - 1}." if len(names) > 2 else "Add classes."
        raise DataError(
            "Expected dataset.split=classes to leave at least 2 classes for training and 1 for the test, but "
            f"{number} of {len(names)} would be trained on. {cure}"
        )
    absent = [names[label] for label in (train.class_counts[:number] == 0).nonzero().flatten().tolist()]
    if absent:
        raise DataError(
            f"Expected training images of each of the {number} classes that are trained on, but {len(absent)} have "
            f"none, for example {absent[0]!r}. Where the source itself parts the classes, leave dataset.split_order at "
            "label and set dataset.train_classes to the number of its training classes."
        )
    _check_can_be_found(test, number, gallery)
    return ClassSplit(_rows(train.labels < number), _rows(test.labels >= number), number)


def _check_can_be_found(test: ImageSet, number: int, gallery: ImageSet | None) -> None:
    """Refuse a test class without a second image, or, with a gallery of its own, without one there."""
    names = test.class_names
    if gallery is None:
        lonely = (test.class_counts[number:] < 2).nonzero().flatten()
        if len(lonely):
            raise DataError(
                "Expected at least 2 images of every class that is only tested on, as an image is searched among the "
                f"others, but {len(lonely)} have fewer, for example {names[number + int(lonely[0])]!r}. Add images, or "
                "remove these classes."
            )
        return
    asked, there = test.class_counts[number:] > 0, gallery.class_counts[number:] > 0
    lonely = (asked & ~there).nonzero().flatten()
    if len(lonely):
        raise DataError(
            f"Expected an image in the gallery of every class that is asked for, but {len(lonely)} have none, for "
            f"example {names[number + int(lonely[0])]!r}. Complete the gallery, or remove these classes."
        )


def hold_out_classes(train: ImageSet, rows: Tensor, num_train: int, number: int) -> tuple[Tensor, Tensor, int]:
    """Keep the last classes of a training part for its validation, with all their images.

    Args:
        rows: (N,) positions of the images of the first `num_train` classes.
        number: of classes to hold out.

    Returns:
        Rows of the classes that are trained on, rows of the others, and the number of the former.

    Raises:
        DataError: fewer than 2 classes are left to train, or an image of a class that is held out finds no other one.
    """
    left = num_train - number
    if left < 2:
        raise DataError(
            f"Expected dataset.validation_classes to leave at least 2 of the {num_train} classes to train, but got "
            f"{number}. Lower it."
        )
    labels = train.labels[rows]
    counts = torch.bincount(labels, minlength=num_train)[left:num_train]
    if bool((counts < 2).any()):
        lonely = train.class_names[left + int((counts < 2).nonzero()[0])]
        raise DataError(
            "Expected at least 2 images of every class of dataset.validation_classes, as an image is searched among "
            f"the others, but {lonely!r} has fewer. Set another number."
        )
    return rows[labels < left], rows[labels >= left], left


def _rows(wanted: Tensor) -> Tensor:
    return wanted.nonzero().flatten()
