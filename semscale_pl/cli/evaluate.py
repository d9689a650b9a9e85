"""`semscale evaluate`: the test metrics of a checkpoint, from nothing but the checkpoint and the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.checks import check_evaluate as check
from semscale_pl.config.errors import answers_in_one_line
from semscale_pl.files import write_json
from semscale_pl.training.launching import run_folder

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
    results = evaluate(cfg)
    _show(results)
    write_json(run_folder() / "metrics.json", {"checkpoint": str(Path(cfg.ckpt).resolve()), "test": results})


def evaluate(cfg: DictConfig) -> dict[str, Any]:
    """Rebuild the model of a checkpoint and test it.

    Args:
        cfg: composed from conf/evaluate.yaml.

    Returns:
        The results of :class:`semscale_pl.metrics.report.ClassificationReport`.

    Raises:
        WrongCallError: the file is not a checkpoint of `semscale train`.
    """
    import pytorch_lightning as pl

    from semscale_pl.training import building
    from semscale_pl.training.restoring import read_checkpoint

    content = read_checkpoint(cfg.ckpt)
    stored = _stored_config(content, cfg)
    pl.seed_everything(stored.seed, workers=True, verbose=False)
    datamodule = building.build_datamodule(stored)
    module = building.build_module(
        stored, datamodule.num_classes, datamodule.class_names, [int(count) for count in datamodule.class_counts]
    )
    module.load_state_dict(content["state_dict"])
    trainer = pl.Trainer(
        accelerator=cfg.accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.test(module, datamodule=datamodule, verbose=False)
    assert module.last_test_results is not None
    return module.last_test_results


def _stored_config(content: dict[str, Any], cfg: DictConfig) -> DictConfig:
    stored = OmegaConf.create(content["hyper_parameters"]["config"])
    for key in ("batch_size", "num_workers", "root"):
        if cfg[key] is not None and key in stored.dataset:
            stored.dataset[key] = cfg[key]
    if "check_images" in stored.dataset:
        stored.dataset.check_images = "exist"  # testing opens every test image anyway, and no other
    if stored.backbone.get("pretrained"):
        stored.backbone.pretrained = False  # the checkpoint's own weights follow
    return stored


def _show(results: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "value", title="test set")
    for name in SHOWN:
        if name in results:
            value = results[name]
            table.add_row(name.replace("_", " "), "n/a" if value is None else f"{value:.4f}")
    Console().print(table)
