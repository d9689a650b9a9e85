"""Check every job of a sweep before the first one starts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from semscale_pl.config.composing import config_dir, config_groups
from semscale_pl.config.errors import WrongCallError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


FLAGS = ("-m", "--multirun")
# A larger sweep would not be answered within three seconds; the jobs behind these are checked when they start.
MOST_JOBS = 12


def is_sweep(arguments: Sequence[str]) -> bool:
    """Tell whether the arguments ask for a sweep."""
    return any(argument in FLAGS or argument == "hydra.mode=MULTIRUN" for argument in arguments)


def check_sweep(config_name: str, arguments: Sequence[str], check: Callable[[DictConfig], Any]) -> None:
    """Compose and check the jobs of a sweep, and say of those that will be refused when their turn comes.

    Settings of a swept group are for its other options where a job has the option `none`, the plain baseline.
    Arguments with further flags are left alone.

    Raises:
        WrongCallError: every job is refused.
        HydraException: a job cannot be composed.
    """
    from hydra import compose, initialize_config_dir
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides = [argument for argument in arguments if argument not in FLAGS]
    if any(override.startswith(("-", "hydra/sweeper")) for override in overrides):
        return
    parsed = OverridesParser.create().parse_overrides(overrides)
    batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    settings = settings_of_swept(parsed)
    shared = {override.key_or_group for override in parsed if override.input_line in settings}
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        jobs = [_meant(job, shared) for batch in batches for job in batch]
        refusals = dict[int, WrongCallError]()
        for number, job in enumerate(islice(jobs, MOST_JOBS)):
            config = compose(config_name, overrides=job)  # a typo is an error of the whole sweep
            try:
                check(config)
            except WrongCallError as error:
                refusals[number] = error
    if len(refusals) == len(jobs):
        raise next(iter(refusals.values()))
    if refusals:
        number, refusal = next(iter(refusals.items()))
        more = f" The same or another reason keeps {len(refusals) - 1} more." if len(refusals) > 1 else ""
        sys.stderr.write(f"semscale: job {number} of the sweep cannot run, the others do. {refusal}{more}\n")


def runnable(arguments: Sequence[str]) -> list[str]:
    """Let a sweep over a group come with settings of that group.

    Before its jobs Hydra composes the sweep itself, without the swept groups: in ``-m reweighting=a,b
    reweighting.start_epoch=4`` the setting then meets the default option, which may not have it. Every job has been
    checked strictly by :func:`check_sweep`, so the setting may be forced here.

    Example:
        >>> runnable(["-m", "reweighting=none,semantic_scale", "reweighting.start_epoch=4", "seed=1"])
        ['-m', 'reweighting=none,semantic_scale', '++reweighting.start_epoch=4', 'seed=1']
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    overrides = [argument for argument in arguments if not argument.startswith("-")]
    forced = settings_of_swept(OverridesParser.create().parse_overrides(overrides))
    return [f"++{argument}" if argument in forced else argument for argument in arguments]


def settings_of_swept(overrides: Sequence[Override]) -> set[str]:
    """Return the lines that set one value inside a group which is swept over."""
    from hydra.core.override_parser.types import OverrideType

    groups = {override.key_or_group for override in overrides if override.is_sweep_override()} & config_groups()
    return {
        str(override.input_line)
        for override in overrides
        if override.type == OverrideType.CHANGE and override.key_or_group.split(".")[0] in groups
        if "." in override.key_or_group and not override.is_sweep_override()
    }


def _meant(job: Sequence[str], shared: set[str]) -> list[str]:
    """Leave out of a job the settings of swept groups of which it has the option `none`."""
    empty = {line.removesuffix("=none") for line in job if line.endswith("=none")}
    dropped = {key for key in shared if key.split(".")[0] in empty}
    return [line for line in job if line.partition("=")[0] not in dropped]
