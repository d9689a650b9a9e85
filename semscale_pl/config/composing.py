"""Where the configuration files are: inside an installed package, or beside it in a clone."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def config_dir() -> Path:
    """Return the folder of the Hydra configs.

    A wheel carries them as ``semscale_pl/conf``; an editable install finds them at the root of the repository.
    """
    return _beside_package("conf")


def experiments_dir() -> Path:
    """Return the folder of the tables' descriptions, found like :func:`config_dir`."""
    return _beside_package("experiments")


def _beside_package(name: str) -> Path:
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name
