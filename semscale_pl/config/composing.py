"""Where the configuration files are, inside an installed package or beside it in a clone, and how one is composed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, ListConfig

from semscale_pl.options import INPUT_SETTINGS

PACKAGE = Path(__file__).resolve().parent.parent


def config_dir() -> Path:
    """Return the folder of the Hydra configs.

    A wheel carries them as ``semscale_pl/conf``; an editable install finds them at the root of the repository.
    """
    return _beside_package("conf")


def experiments_dir() -> Path:
    """Return the folder of the tables' descriptions, found like :func:`config_dir`."""
    return _beside_package("experiments")


def config_groups() -> set[str]:
    """Return the names of the groups of options, such as ``loss``."""
    return {path.name for path in config_dir().iterdir() if path.is_dir()}


def composed_from(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a file of conf/, whatever Hydra was at before."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return with_kept_input(compose(name, overrides=list(overrides)), overrides)


def with_kept_input(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Add to `keep_input` what overrides set of the images' input: a pre-trained backbone's does not replace that.

    Args:
        cfg: of a training run, changed in place; any other is left alone.
        overrides: that it was composed with.

    Example:
        >>> from omegaconf import OmegaConf
        >>> with_kept_input(OmegaConf.create({"keep_input": []}), ["dataset.image_size=96", "dataset=mnist"])
        {'keep_input': ['image_size']}
    """
    kept = cfg.get("keep_input")
    if isinstance(kept, ListConfig):
        typed = {text.lstrip("+").partition("=")[0] for text in overrides}
        cfg.keep_input = [*kept, *(key for key in INPUT_SETTINGS if f"dataset.{key}" in typed and key not in kept)]
    return cfg


def _beside_package(name: str) -> Path:
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name
