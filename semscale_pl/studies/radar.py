"""The degree of imbalance of several real datasets, from their images alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from semscale_pl.data.vision import cifar100_superclasses
from semscale_pl.figures.radar import radar_panels
from semscale_pl.geometry import class_geometry
from semscale_pl.studies.running import Report, data_folder
from semscale_pl.training.image_features import Images


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Report) -> dict[str, Any]:
    """Measure the training images of every dataset that is there.

    Args:
        arguments: ``datasets`` (mappings with ``title``, ``overrides`` of `semscale train`, and ``superclasses`` where
            CIFAR-100's 100 classes are to be joined to its 20), ``side`` of the resized images, ``alpha`` of W.

    Returns:
        For each dataset the classes with n, S', W and S, and the ratio of the largest to the smallest n, S' and S; and
        the titles of those that are absent.

    Raises:
        ValueError: no dataset is there.

    Reference: Ma et al. (ICLR 2023), Figures 7 and 8, and appendix E for the volume of images.
    """
    found, absent = [], []
    for dataset in arguments["datasets"]:
        title = dataset["title"]
        progress(f"{title}: reading its training images")
        try:
            found.append({"title": title, **degrees(dataset, arguments["side"], arguments["alpha"])})
        except FileNotFoundError as error:
            progress(f"{title}: left out. {' '.join(str(error).split())}")
            absent.append(title)
    if not found:
        raise ValueError(f"Expected one of the datasets to be there, but all are absent: {', '.join(absent)}.")
    return {"side": arguments["side"], "alpha": arguments["alpha"], "datasets": found, "absent": absent}


def degrees(dataset: Mapping[str, Any], side: int, alpha: float) -> dict[str, Any]:
    """Measure an entry of the study's ``datasets``: names, numbers and ratios of its classes.

    Raises:
        FileNotFoundError: it is not there.
    """
    features, labels, names = Images(list(dataset["overrides"])).pixels(side).load()
    if dataset.get("superclasses"):
        parents, parent_names = cifar100_superclasses(data_folder())
        labels, names = parents[labels], tuple(parent_names)
    found = class_geometry(features, labels, len(names), alpha=alpha)
    measured = {"counts": found.counts, "scales": found.scales, "imbalance": found.imbalance}
    return {
        "classes": list(names),
        **{name: values.tolist() for name, values in measured.items()},
        "weights": found.interclass_weights.tolist(),
        "ratios": {name: ratio(values.numpy()) for name, values in measured.items()},
    }


def ratio(values: np.ndarray) -> float | None:
    """Return the largest over the smallest value; None where the smallest is 0 or undefined.

    Example:
        >>> ratio(np.array([1.0, 4.0])), ratio(np.array([0.0, 1.0]))
        (4.0, None)
    """
    least = float(np.min(values))
    return float(np.max(values)) / least if least > 0 else None


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw one radar plot a dataset."""
    return radar_panels(result["datasets"], note=f"sample volumes, images of {result['side']} x {result['side']}")
