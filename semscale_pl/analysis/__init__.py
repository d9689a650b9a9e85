"""What scales say about data, without training: the measure of a dataset, its estimators, and the paper's analyses.

Names are found where they are used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "Measurement": "measurement",
    "Notice": "measurement",
    "measure": "measuring",
}
__all__ = ["Measurement", "Notice", "measure"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
