"""`semscale head`: another head on the features of a trained model, compared with the head as trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from semscale_pl.config.checks import check_head as check
from semscale_pl.config.errors import answers_in_one_line
from semscale_pl.terminal import console
from semscale_pl.text_table import print_table
from semscale_pl.training.launching import run_folder

if TYPE_CHECKING:
    from semscale_pl.training.second_stage import SecondStage

CONFIG = "head"
SHOWN = ("top1", "balanced_accuracy", "many", "medium", "few", "worst_class_accuracy", "bias", "ece")


@answers_in_one_line
def run(cfg: DictConfig) -> None:
    """Check the call, make the head, save it with its record, and print its test results beside those as trained."""
    check(cfg)
    from semscale_pl.training.new_head import new_head

    made = new_head(cfg, run_folder())
    stage1: Any = made.stage1
    last: Any = made.last
    rows = [[name.replace("_", " "), _number(stage1[name]), _number(last[name])] for name in SHOWN]
    print_table(console(), ("metric", "as trained", made.stage.name), rows, "test set")
    out = console()
    out.print(_chosen(made.stage), markup=False, soft_wrap=True)
    out.print(f"Saved under {run_folder()}", markup=False, soft_wrap=True)


def _chosen(stage: SecondStage) -> str:
    values = ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in stage.chosen.items()
    )
    if stage.name in ("gaussian", "fused"):
        judged = "" if stage.validated is None else f"; balanced accuracy {stage.validated:.4f} on the validation part"
        return f"{values}: as given, by default, or by leave-one-out on the training features{judged}."
    if stage.validated is None:
        return f"{values}: as given or by default, as there is no validation part."
    return f"{values}: balanced accuracy {stage.validated:.4f} on the validation part, the best of {len(stage.tried)}."


def _number(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4f}"
