"""Checks of the losses' hyper-parameters: refused when the loss is built, not in the ten-thousandth step."""

from __future__ import annotations

import math


def check_not_negative(name: str, value: float) -> float:
    """Return the value as a float.

    Raises:
        ValueError: it is negative or not finite.
    """
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"Expected `{name}` to be a finite number of at least 0, but got {value}.")
    return float(value)


def check_positive(name: str, value: float) -> float:
    """Return the value as a float.

    Raises:
        ValueError: it is not positive or not finite.
    """
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"Expected `{name}` to be a finite number above 0, but got {value}.")
    return float(value)


def check_fraction(name: str, value: float) -> float:
    """Return the value as a float.

    Raises:
        ValueError: it lies outside [0, 1].
    """
    if not 0 <= value <= 1:
        raise ValueError(f"Expected `{name}` to lie in [0, 1], but got {value}.")
    return float(value)
