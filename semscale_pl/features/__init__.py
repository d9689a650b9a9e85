"""Features in files: one reader a format, all of them with rows, labels and class names, none of them unpickling."""

from __future__ import annotations

from semscale_pl.features.opening import FORMATS, open_features

__all__ = ["FORMATS", "open_features"]
