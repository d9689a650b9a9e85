"""Classes that are trained on and others that are tested on, as metric learning and retrieval need them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semscale_pl.data.source import DataError, ImageSet
from semscale_pl.options import check


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


def check_class_split(split: str, train_classes: int | None) -> None:
    """Raise ValueError for settings of a split that do not fit together."""
    check("dataset", split=split, train_classes=train_classes)
    if split == "samples" and train_classes is not None:
        raise ValueError(
            f"Expected dataset.split=classes with dataset.train_classes={train_classes}, but got split=samples. Set "
            "it, or leave `train_classes` out."
        )


def split_classes(train: ImageSet, test: ImageSet, train_classes: int | None = None) -> ClassSplit:
    """Give the first half of the classes, or so many, to training and the others to the test.

    Args:
        train: whose images of the first classes are trained on.
        test: whose images of the other classes are searched, each of them with all others; it may be the same images.
        train_classes: None is half of the classes, rounded down.

    Raises:
        DataError: too few classes are left for one of both, or a test class has no second image to find.

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
    counts = torch.bincount(test.labels, minlength=len(names))[number:]
    lonely = [names[number + place] for place in (counts < 2).nonzero().flatten().tolist()]
    if lonely:
        raise DataError(
            "Expected at least 2 images of every class that is only tested on, as an image is searched among the "
            f"others, but {len(lonely)} have fewer, for example {lonely[0]!r}. Add images, or remove these classes."
        )
    return ClassSplit(_rows(train.labels < number), _rows(test.labels >= number), number)


def _rows(wanted: Tensor) -> Tensor:
    return wanted.nonzero().flatten()
