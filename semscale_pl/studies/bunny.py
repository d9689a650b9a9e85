"""The study of the Stanford bunny: S' of a scanned surface that grows, gets noisy and loses points."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semscale_pl.analysis.point_cloud import (
    noisy_clouds,
    normalised,
    predicted_noisy_scale,
    scaled_clouds,
    subsampled_clouds,
)


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Measure the cloud under scaling, noise and subsampling.

    Args:
        arguments: ``file`` (.npz with ``vertices``; null: bunny.npz in the folder of the datasets), ``factors``,
            ``deviations``, ``sizes``, ``repeats``, ``seed``.
        folder: not used.
        jobs: not used.
        progress: is told what comes.

    Returns:
        S' of every variant in bits, and a share of the cloud's points for the picture.

    Reference: Ma et al. (ICLR 2023), Figure 6 and appendix C.
    """
    points = normalised(read_points(arguments["file"]))
    repeats, seed = arguments["repeats"], arguments["seed"]
    sizes = [size for size in arguments["sizes"] if size < len(points)] + [len(points)]
    progress(f"{len(points)} points, scaling")
    scaled = scaled_clouds(points, arguments["factors"])
    progress("noise and subsampling")
    return {
        "points": len(points),
        "factors": arguments["factors"],
        "scaled": scaled,
        "deviations": arguments["deviations"],
        "noisy": noisy_clouds(points, arguments["deviations"], repeats, seed),
        "noisy_predicted": [predicted_noisy_scale(points, deviation) for deviation in arguments["deviations"]],
        "sizes": sizes,
        "subsampled": subsampled_clouds(points, sizes, repeats, seed),
        "picture": _thinned(points, 1500, seed),
    }


def read_points(file: str | None) -> Tensor:
    """Read the vertices of a cloud.

    Args:
        file: .npz with an array ``vertices`` (m, d); None for bunny.npz in the folder of the datasets.

    Raises:
        ValueError: there is no such file, or it holds no such array.
    """
    path = Path(file) if file else Path(os.environ.get("SEMSCALE_DATA", "data")) / "bunny.npz"
    if not path.is_file():
        raise ValueError(
            f"Expected a point cloud at {str(path)!r}, but there is none. Save the vertices of the Stanford bunny "
            "(graphics.stanford.edu/data/3Dscanrep) as array `vertices` (m, 3) of an .npz and pass file=, or put it "
            "there."
        )
    try:
        with np.load(path, allow_pickle=False) as content:
            vertices = np.asarray(content["vertices"], dtype=np.float64)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"Expected {str(path)!r} to be an .npz with an array `vertices`, but: {' '.join(str(error).split())}."
        ) from None
    if vertices.ndim != 2 or not np.isfinite(vertices).all():
        raise ValueError(f"Expected finite `vertices` of shape (m, d), but got shape {vertices.shape}.")
    return torch.from_numpy(vertices)


def _thinned(points: Tensor, number: int, seed: int) -> list[list[float]]:
    rows = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))[:number]
    return [[round(value, 3) for value in point] for point in points[rows].tolist()]
