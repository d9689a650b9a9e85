"""Where the configuration files are: inside an installed package, or beside it in a clone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parent.parent


def config_dir() -> Path:
    """Return the folder of the Hydra configs.

    A wheel carries them as ``semscale_pl/conf``; an editable install finds them at the root of the repository.
    """
    return _beside_package("conf")


def experiments_dir() -> Path:
    """Return the folder of the tables' descriptions, found like :func:`config_dir`."""
    return _beside_package("experiments")


def composed(overrides: Sequence[str]) -> Any:
    """Compose the configuration of a training run with a dataset, and check it.

    Args:
        overrides: of `semscale train`.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from semscale_pl.config.checks import check_values

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=list(overrides))
    check_values(cfg)
    return cfg


def _beside_package(name: str) -> Path:
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name
