"""The Stanford bunny: S' of a scanned surface that grows, gets noisy and loses points."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from semscale_pl.figures.style import PALETTE, finite, new_figure
from semscale_pl.geometry import semantic_scale
from semscale_pl.seeding import derive_seed
from semscale_pl.studies.running import Report, data_folder

_NOISE, _SUBSAMPLE = 1, 2  # streams of random numbers
_DRAWN = 1500  # points of the picture


def normalised(points: Tensor) -> Tensor:
    """Move a cloud's centre to the origin and give its points a root-mean-square distance of 1 from it.

    A scan comes in metres or millimetres, and S' depends on the unit; this one belongs to the cloud itself.

    Args:
        points: (m, d).

    Raises:
        ValueError: the points are no matrix, or all equal.

    Example:
        >>> normalised(torch.tensor([[0.0], [4.0]])).flatten().tolist()
        [-1.0, 1.0]
    """
    if points.ndim != 2 or len(points) < 2:
        raise ValueError(f"Expected `points` of shape (m, d) with m of at least 2, but got {tuple(points.shape)}.")
    centred = points.double() - points.double().mean(0)
    radius = centred.square().sum(1).mean().sqrt()
    if not float(radius) > 0.0:
        raise ValueError("Expected points that differ, but all are equal. Give a cloud with some extent.")
    return centred / radius


def scaled_clouds(points: Tensor, factors: Sequence[float]) -> list[float]:
    """Return S' in bits of a cloud (m, d) scaled about its centre by each of some factors.

    Reference: Ma et al. (ICLR 2023), Figure 6 and appendix C.
    """
    centre = points.mean(0)
    return [float(semantic_scale(centre + factor * (points - centre))) for factor in factors]


def noisy_clouds(points: Tensor, deviations: Sequence[float], repeats: int = 5, seed: int = 0) -> list[list[float]]:
    """Return S' of a cloud whose points are all moved by independent Gaussian noise.

    Args:
        points: (m, d).
        deviations: (K,) standard deviation in each direction, at least 0.
        repeats: draws of each.

    Returns:
        (K, repeats) bits.
    """
    found = []
    for step, deviation in enumerate(deviations):
        generators = [_generator(derive_seed(seed, _NOISE, step, repeat)) for repeat in range(repeats)]
        draws = [torch.randn(points.shape, generator=one, dtype=torch.float64) for one in generators]
        found.append([float(semantic_scale(points + deviation * noise)) for noise in draws])
    return found


def subsampled_clouds(points: Tensor, sizes: Sequence[int], repeats: int = 20, seed: int = 0) -> list[list[float]]:
    """Return S' of random points of a cloud, drawn without replacement.

    Args:
        points: (m, d).
        sizes: (K,) points to draw, from 1 to m.
        repeats: draws of each.

    Returns:
        (K, repeats) bits.

    Raises:
        ValueError: a size is out of range.
    """
    if min(sizes) < 1 or max(sizes) > len(points):
        raise ValueError(f"Expected `sizes` in 1..{len(points)}, but got {min(sizes)}..{max(sizes)}.")
    found = []
    for step, size in enumerate(sizes):
        seeds = [derive_seed(seed, _SUBSAMPLE, step, repeat) for repeat in range(repeats)]
        found.append([float(semantic_scale(_subsample(points, size, one))) for one in seeds])
    return found


def predicted_noisy_scale(points: Tensor, deviation: float) -> float:
    """Return S' in bits with the noise's variance added to every eigenvalue: what to expect of many points (m, d).

    Example:
        >>> round(predicted_noisy_scale(torch.tensor([[0.0], [2.0]]), 1.0), 6)  # 1/2 log2(1 + 1 + 1)
        0.792481
    """
    centred = points.double() - points.double().mean(0)
    variances = torch.linalg.eigvalsh(centred.T @ centred / len(points)) + deviation**2
    return float(0.5 * torch.log1p(points.shape[1] * variances).sum() / math.log(2.0))


def _subsample(points: Tensor, size: int, seed: int) -> Tensor:
    return points[torch.randperm(len(points), generator=_generator(seed))[:size]]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(arguments: Mapping[str, Any], folder: Path, jobs: int, progress: Report) -> dict[str, Any]:
    """Measure the cloud under scaling, noise and subsampling.

    Args:
        arguments: ``file`` (.npz with ``vertices``; null: bunny.npz in the folder of the datasets), ``factors``,
            ``deviations``, ``sizes``, ``repeats``, ``seed``.

    Returns:
        S' of every variant in bits, and a share of the cloud's points for the picture.

    Reference: Ma et al. (ICLR 2023), Figure 6 and appendix C.
    """
    points = normalised(read_points(arguments["file"]))
    factors, deviations, repeats, seed = (arguments[key] for key in ("factors", "deviations", "repeats", "seed"))
    sizes = [size for size in arguments["sizes"] if size < len(points)] + [len(points)]
    progress(f"{len(points)} points, scaling")
    scaled = scaled_clouds(points, factors)
    progress("noise and subsampling")
    return {
        "points": len(points),
        "factors": factors,
        "scaled": scaled,
        "deviations": deviations,
        "noisy": noisy_clouds(points, deviations, repeats, seed),
        "noisy_predicted": [predicted_noisy_scale(points, deviation) for deviation in deviations],
        "sizes": sizes,
        "subsampled": subsampled_clouds(points, sizes, repeats, seed),
        "picture": [[round(value, 3) for value in point] for point in _subsample(points, _DRAWN, seed).tolist()],
    }


def read_points(file: str | None) -> Tensor:
    """Read the array ``vertices`` (m, d) of an .npz; None stands for bunny.npz in the folder of the datasets.

    Raises:
        ValueError: there is no such file, or it holds no such array.
    """
    path = Path(file) if file else data_folder() / "bunny.npz"
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


def draw(result: Mapping[str, Any]) -> Figure:
    """Draw the four panels."""
    figure, (cloud, scaled, noisy, subsampled) = new_figure(12.0, 3.2, 1, 4)
    _draw_cloud(cloud, finite(result["picture"]), result["points"])
    scaled.plot(result["factors"], finite(result["scaled"]), color=PALETTE[0], marker="o", markersize=4)
    scaled.set_xlabel("size of the cloud (1: as scanned)")
    _draw_spread(noisy, result["deviations"], result["noisy"], "measured")
    predicted = finite(result["noisy_predicted"])
    noisy.plot(result["deviations"], predicted, color=PALETTE[1], linestyle="--", linewidth=1.0, label="expected")
    noisy.set_xlabel("noise (1: the cloud's radius)")
    noisy.legend(fontsize=8, frameon=False)
    _draw_spread(subsampled, result["sizes"], result["subsampled"])
    subsampled.set(xscale="log", xlabel="points drawn")
    for ax, title in ((scaled, "scaled about its centre"), (noisy, "noise added"), (subsampled, "subsampled")):
        ax.set_title(title, fontsize=10)
        ax.set(ylabel="S' (bits)", ylim=(0.0, None))
    return figure


def _draw_cloud(ax: Axes, points: np.ndarray, number: int) -> None:
    # Depth as shade; the scan has y pointing up.
    order = np.argsort(points[:, 2])
    ax.scatter(points[order, 0], points[order, 1], c=points[order, 2], cmap="viridis", s=1.5)
    ax.set_aspect("equal")
    ax.grid(False)
    ax.set_axis_off()
    ax.set_title(f"{number} points", fontsize=10)


def _draw_spread(ax: Axes, x: Sequence[float], draws: Any, label: str = "") -> None:
    values = finite(draws)
    ax.fill_between(x, values.min(1), values.max(1), color=PALETTE[0], alpha=0.2, linewidth=0)
    ax.plot(x, values.mean(1), color=PALETTE[0], marker="o", markersize=4, label=label)
