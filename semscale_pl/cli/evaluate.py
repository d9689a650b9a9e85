"""`semscale evaluate`: the test metrics of a checkpoint, as a table and as metrics.json."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from semscale_pl.config.checks import check_evaluate as check
from semscale_pl.config.errors import answers_in_one_line
from semscale_pl.files import write_json
from semscale_pl.training.launching import run_folder

if TYPE_CHECKING:
    from semscale_pl.metrics.report import Report

CONFIG = "evaluate"
SHOWN = (
    "top1",
    "balanced_accuracy",
    "many",
    "medium",
    "few",
    "head",
    "middle",
    "tail",
    "worst_class_accuracy",
    "bias",
    "ece",
)


@answers_in_one_line
def run(cfg: DictConfig) -> None:
    """Check the call, evaluate, print the table and write metrics.json."""
    check(cfg)
    from semscale_pl.training.evaluation import evaluate

    results = evaluate(cfg.ckpt, cfg.accelerator, batch_size=cfg.batch_size, num_workers=cfg.num_workers, root=cfg.root)
    _show(results)
    write_json(run_folder() / "metrics.json", {"checkpoint": str(Path(cfg.ckpt).resolve()), "test": results})


def _show(results: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "value", title="test set")
    for name in SHOWN:
        value = results[name]  # type: ignore[literal-required]
        table.add_row(name.replace("_", " "), "n/a" if value is None else f"{value:.4f}")
    Console().print(table)
