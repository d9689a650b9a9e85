"""Whether the parts of a dataset can be searched by embeddings, seen before anything is trained."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig

from semscale_pl.config.errors import WrongCallError
from semscale_pl.config.retrieval import searches
from semscale_pl.metrics.retrieval import KS


def check_searched(cfg: DictConfig, datamodule: Any, parts: tuple[str, ...] = ("val", "test")) -> None:
    """Refuse parts that are to be searched and have too few images, or a class of which one image is alone.

    Args:
        parts: names of those that are evaluated; an absent one is passed over, as is the test's where none is made.

    Raises:
        WrongCallError: with the part, and what to set.
    """
    if not searches(cfg) or cfg.trainer.get("fast_dev_run"):
        return
    for part in parts:
        dataset = getattr(datamodule, f"{part}_dataset")
        if part == "test" and datamodule.gallery_dataset is not None:
            continue  # the split has seen to it that every query has something to find there
        if dataset is not None and (part != "test" or cfg.get("test", True)):
            _check(dataset.labels, list(datamodule.test_class_names), part, cfg)


def _check(labels: torch.Tensor, names: list[str], part: str, cfg: DictConfig) -> None:
    what, cure = ("test set", "add test images") if part == "test" else ("validation part", "hold out more images")
    without = ", or set retrieval=false" if cfg.dataset.get("split") != "classes" else ""
    if len(labels) <= max(KS):
        raise WrongCallError(
            f"Expected at least {max(KS) + 1} images in the {what}, whose embeddings are searched for up to {max(KS)} "
            f"neighbours, but got {len(labels)}: {cure}{without}."
        )
    counts = torch.bincount(labels, minlength=len(names))
    lonely = (counts == 1).nonzero().flatten().tolist()
    if lonely:
        raise WrongCallError(
            f"Expected at least 2 images of a class in the {what}, as an image is searched among the others, but "
            f"{len(lonely)} of the classes have 1, for example {names[lonely[0]]!r}: {cure}{without}."
        )
    if int((counts > 0).sum()) < 2:
        if not without:
            cure = "lower dataset.train_classes" if part == "test" else "raise dataset.validation_classes"
        raise WrongCallError(f"Expected at least 2 classes in the {what} to tell apart, but got 1: {cure}{without}.")
