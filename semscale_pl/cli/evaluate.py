"""`semscale evaluate`: the test metrics of a checkpoint, as a table and as metrics.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from semscale_pl.config.checks import check_evaluate as check
from semscale_pl.config.errors import answers_in_one_line
from semscale_pl.files import write_json
from semscale_pl.terminal import console
from semscale_pl.training.launching import run_folder

CONFIG = "evaluate"
SHOWN = (
    "top1", "balanced_accuracy", "many", "medium", "few", "head", "middle", "tail", "worst_class_accuracy", "bias",
    "ece",
)  # fmt: skip


@answers_in_one_line
def run(cfg: DictConfig) -> None:
    """Check the call, evaluate, print the table and write metrics.json."""
    check(cfg)
    from semscale_pl.training.evaluation import evaluate

    results = evaluate(cfg.ckpt, cfg.accelerator, batch_size=cfg.batch_size, num_workers=cfg.num_workers, root=cfg.root)
    write_json(run_folder() / "metrics.json", {"checkpoint": str(Path(cfg.ckpt).resolve()), "test": results})
    _show(results)


def _show(results: Mapping[str, Any]) -> None:
    from rich.table import Table

    table = Table("metric", "value", title="test set")
    for name in SHOWN:
        table.add_row(name.replace("_", " "), "n/a" if results[name] is None else f"{results[name]:.4f}")
    console().print(table)
