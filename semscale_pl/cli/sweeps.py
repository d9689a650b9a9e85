"""Check every job of a sweep before the first one starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from omegaconf import DictConfig

from semscale_pl.cli.paths import config_dir

FLAGS = ("-m", "--multirun")
# A larger sweep would not be answered within three seconds; the jobs behind these are checked when they start.
MOST_JOBS = 12


def is_sweep(arguments: Sequence[str]) -> bool:
    """Tell whether the arguments ask for a sweep."""
    return any(flag in arguments for flag in FLAGS)


def check_sweep(config_name: str, arguments: Sequence[str], check: Callable[[DictConfig], Any]) -> None:
    """Compose and check the jobs of a sweep.

    Args:
        config_name: of the command.
        arguments: of the command line; left alone where they hold further flags.
        check: raises where a configuration is wrong.
    """
    from hydra import compose, initialize_config_dir
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides = [argument for argument in arguments if argument not in FLAGS]
    if any(override.startswith(("-", "hydra/sweeper")) for override in overrides):
        return
    parsed = OverridesParser.create().parse_overrides(overrides)
    batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        for job in islice((job for batch in batches for job in batch), MOST_JOBS):
            check(compose(config_name, overrides=list(job)))
