"""`semscale train`: one run from its configuration, in this process or, in a sweep over ranks, in one of its own."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from semscale_pl.config.checks import check_train as check
from semscale_pl.config.composing import with_kept_input
from semscale_pl.config.errors import FAILED, answers_in_one_line
from semscale_pl.config.stopping import is_first_process
from semscale_pl.training.launching import (
    needs_own_process,
    repeatable_command_line,
    run_folder,
    run_in_own_process,
)
from semscale_pl.training.run_folder import objective_in, own_folder

CONFIG = "train"


@answers_in_one_line
def run(cfg: DictConfig) -> float | None:
    """Check the configuration, then train in this process or, for a distributed job of a sweep, in one of its own.

    Returns:
        What the run is to be judged by, see :attr:`semscale_pl.training.run.TrainResult.objective`; Hydra hands it to
        its sweeper.
    """
    check(with_kept_input(cfg, HydraConfig.get().overrides.task))
    if needs_own_process(cfg):
        run_in_own_process(CONFIG)
        return objective_in(run_folder())
    with own_folder(cfg, run_folder()):
        return _train(cfg)


def _train(cfg: DictConfig) -> float:
    from semscale_pl.training.run import TrainingDiverged, train

    _quiet()
    try:
        with repeatable_command_line(CONFIG):
            result = train(cfg, run_folder(), lambda *parts: _open(cfg, *parts))
    except TrainingDiverged as error:
        if is_first_process():
            sys.stderr.write(f"semscale: {error}\n")
        raise SystemExit(FAILED) from error
    if result.trainer.is_global_zero:
        part, report = result.judged
        print(f"{_result(report)} on the {part}; record in {result.run_dir}")
        if result.interrupted_by:
            why = ", ".join(result.interrupted_by)
            sys.stderr.write(f"semscale: The run is not a whole one ({why}): tables leave out its record.\n")
    return result.objective[1]


def _result(report: Any) -> str:
    """Say what a run came to: the accuracy of the trained classes, and what a search by embeddings finds."""
    named = {"balanced_accuracy": "balanced accuracy", "recall_at_1": "Recall@1", "map_at_r": "MAP@R", "nmi": "NMI"}
    known = {text: report[name] for name, text in named.items() if report.get(name) is not None}
    return ", ".join(f"{text} {value:.4f}" for text, value in known.items()) or "nothing searched"


def _open(cfg: DictConfig, datamodule: Any, module: Any, trainer: Any) -> None:
    """Say what is about to run: a few lines, or one in a sweep."""
    from semscale_pl.training.opening import opening_line, opening_lines

    hydra = HydraConfig.get()
    choices, folder = hydra.runtime.choices, run_folder()
    is_sweep = hydra.mode == RunMode.MULTIRUN
    short = [opening_line(cfg, choices, folder)]
    lines = short if is_sweep else opening_lines(cfg, datamodule, module, trainer, folder, choices)
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()


def _quiet() -> None:
    """Keep the terminal for what the user asked to see."""
    import pytorch_lightning  # noqa: F401  (it sets its logger's level when it is imported)

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=r".isinstance\(treespec, LeafSpec\)", category=FutureWarning)
