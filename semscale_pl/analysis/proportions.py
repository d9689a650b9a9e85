"""The interval of a proportion, such as how many of a hundred predictions are right."""

from __future__ import annotations

import math

from scipy import special


def wilson_interval(successes: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a proportion.

    Args:
        successes: from 0 to ``total``.
        total: at least 1.
        level: of confidence, in (0, 1).

    Returns:
        Lower and upper bound, in [0, 1].

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> [round(bound, 3) for bound in wilson_interval(5, 10)]
        [0.237, 0.763]

    Reference: Wilson (Journal of the American Statistical Association 1927).
    """
    if not 0 <= successes <= total or total < 1 or not 0.0 < level < 1.0:
        raise ValueError(
            f"Expected 0 <= successes <= total, a total of at least 1 and a level in (0, 1), but got {successes}, "
            f"{total} and {level}."
        )
    share, square = successes / total, float(special.ndtri(0.5 + level / 2.0)) ** 2
    centre = (share + square / (2 * total)) / (1 + square / total)
    reach = math.sqrt(square * (share * (1 - share) + square / (4 * total)) / total) / (1 + square / total)
    return max(0.0, centre - reach), min(1.0, centre + reach)
