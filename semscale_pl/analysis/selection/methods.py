"""The ways of choosing k samples of a class, by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from semscale_pl.analysis.selection.draws import best_of_draws, random_rows
from semscale_pl.analysis.selection.greedy import greedy
from semscale_pl.analysis.selection.herding import herding
from semscale_pl.analysis.selection.k_centre import k_centre
from semscale_pl.validation import check_choice

# Features (N, d), k and a seed to (k,) rows; those that draw nothing leave the seed alone.
METHODS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "random": lambda features, size, seed: random_rows(len(features), size, seed),
    "draws": lambda features, size, seed: best_of_draws(features, size, seed=seed),
    "greedy": lambda features, size, seed: greedy(features, size).rows,
    "herding": lambda features, size, seed: herding(features, size),
    "k_centre": lambda features, size, seed: k_centre(features, size),
}


def select(features: Tensor, size: int, method: str = "greedy", seed: int = 0) -> Tensor:
    """Choose k samples of a class.

    Args:
        features: (N, d) of the class.
        size: k, from 1 to N.
        method: ``random``, ``draws`` (the best of 100 by S'), ``greedy``, ``herding`` or ``k_centre``.
        seed: of the methods that draw.

    Returns:
        (k,) int64 rows.

    Raises:
        TypeError: the features are not a floating-point tensor.
        ValueError: there is no such method, or what the method itself refuses.

    Example:
        >>> import torch
        >>> select(torch.tensor([[0.0], [1.0], [9.0]]), 1).tolist()
        [2]
    """
    check_choice(method, tuple(METHODS), "method")
    return METHODS[method](features, size, seed)
