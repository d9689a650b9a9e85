"""`semscale evaluate`: the metrics of a checkpoint, class by class, and which classes it confuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.checks import check_evaluate as check
from semscale_pl.config.errors import answers_in_one_line
from semscale_pl.files import staged, write_json, write_text
from semscale_pl.terminal import console
from semscale_pl.text_table import print_table
from semscale_pl.training.launching import run_folder

if TYPE_CHECKING:
    from semscale_pl.metrics.report import Report
    from semscale_pl.training.class_results import ClassResult, Confusion

CONFIG = "evaluate"
SHOWN = (
    "top1", "balanced_accuracy", "many", "medium", "few", "head", "middle", "tail", "worst_class_accuracy", "bias",
    "ece",
)  # fmt: skip
# Pairs of classes that are printed at most.
MOST_PAIRS = 10


@answers_in_one_line
def run(cfg: DictConfig) -> None:
    """Check the call, evaluate, save evaluation.json, classes.csv and confusions.csv, and print what is in them."""
    check(cfg)
    from semscale_pl.training.class_results import class_results, classes_csv, confusions, confusions_csv
    from semscale_pl.training.evaluation import evaluate
    from semscale_pl.training.restoring import read_checkpoint

    settings = {key: cfg[key] for key in ("split", "tta", "batch_size", "num_workers", "root")}
    report = evaluate(cfg.ckpt, cfg.accelerator, **settings)
    if cfg.tta is None:
        settings["tta"] = OmegaConf.select(read_checkpoint(cfg.ckpt).config, "tta") or "none"
    names = report["class_names"] or [str(label) for label in range(len(report["per_class"]["accuracy"]))]
    rows, pairs = class_results(report, names), confusions(report)
    with staged(run_folder()) as folder:
        write_text(folder / "classes.csv", classes_csv(rows))
        write_text(folder / "confusions.csv", confusions_csv(pairs, names))
        identity = {"checkpoint": str(Path(cfg.ckpt).resolve()), **settings}
        write_json(folder / "evaluation.json", {**identity, "results": report})
    _show(report, cfg.split, settings["tta"])
    if report["num_samples"]:
        _show_classes(rows, cfg.split, cfg.top)
        _show_pairs(pairs, names, report["confusion_matrix"] is not None)
    else:
        _show_searched(report, cfg.top)
    console().print(f"Saved under {run_folder()}", markup=False, soft_wrap=True)


def _show(report: Report, split: str, tta: str) -> None:
    from semscale_pl.metrics.embedding_report import SEARCHED  # brings torch

    shown = [*(SHOWN if report["num_samples"] else ()), *(name for name in SEARCHED if name in report)]
    rows = [[name.replace("_", " "), _number(report[name], 4)] for name in shown]  # type: ignore[literal-required]
    print_table(console(), ("metric", "value"), rows, f"{split} set" + ("" if tta == "none" else f", mean of {tta}"))


def _show_classes(rows: Sequence[ClassResult], split: str, top: int) -> None:
    from semscale_pl.training.class_results import by_accuracy

    counts = dict.fromkeys(("n train", f"n {split}"))
    head = ("class", *counts, "accuracy", "95 % interval", "precision", "most confused with")
    out = console()
    shown = [_cells(row, split) for row in by_accuracy(rows)[:top]]
    print_table(out, head, shown, "classes, the least accurate first", texts=(0, len(head) - 1))
    if len(rows) > top:
        more = len(rows) - top
        out.print(
            f"and {more:,} more class{'es' if more > 1 else ''} at least as accurate, see classes.csv (top=N prints "
            "more)",
            markup=False,
        )


def _show_searched(report: Report, top: int) -> None:
    """Show how well images of new classes are found, class by class."""
    found = report["retrieval"]
    assert found is not None
    names = found["class_names"] or []
    worst = sorted(found["per_class"].items(), key=lambda item: (item[1]["recall_at_1"], int(item[0])))
    rows = [
        [names[int(label)] if names else label, f"{one['num_queries']:,}", _number(one["recall_at_1"])]
        for label, one in worst[:top]
    ]
    print_table(console(), ("class", "queries", "Recall@1"), rows, "classes, the least often found first")
    if len(worst) > top:
        console().print(f"and {len(worst) - top:,} more, see evaluation.json (top=N prints more)", markup=False)


def _cells(row: ClassResult, split: str) -> list[str]:
    counts = [row.n_train] if split == "train" else [row.n_train, row.n_evaluated]
    interval = "n/a" if row.accuracy is None else f"{_number(row.accuracy_low)} to {_number(row.accuracy_high)}"
    confused = (
        f"{row.most_confused_with} ({100 * row.num_confused / row.n_evaluated:.0f} %)" if row.num_confused else ""
    )
    return [
        row.class_name,
        *("n/a" if count is None else f"{count:,}" for count in counts),
        _number(row.accuracy),
        interval,
        _number(row.precision),
        confused,
    ]


def _show_pairs(pairs: Sequence[Confusion], names: Sequence[str], counted: bool) -> None:
    out = console()
    if not pairs:
        found = "No image was taken for another class." if counted else "Confusions are counted up to 1,000 classes."
        out.print(found, markup=False)
        return
    shown = [
        [names[pair.true], names[pair.predicted], f"{pair.images:,}", f"{100 * pair.share:.1f} %"]
        for pair in pairs[:MOST_PAIRS]
    ]
    print_table(out, ("class", "taken for", "images", "of the class"), shown, "most confused pairs", texts=(0, 1))
    if len(pairs) > MOST_PAIRS:
        out.print(f"and {len(pairs) - MOST_PAIRS:,} more pairs, see confusions.csv", markup=False)


def _number(value: float | None, digits: int = 3) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"
