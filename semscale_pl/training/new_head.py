"""Another head for the model of a finished run: `semscale head`, which leaves a folder like a run's."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.checks import check_recipe
from semscale_pl.config.command_line import shown
from semscale_pl.config.errors import WrongCallError
from semscale_pl.config.retrieval import check_retrieval
from semscale_pl.data.checking import check_same_classes
from semscale_pl.metrics.report import Report
from semscale_pl.training.building import build_datamodule, build_module, plain_config, show_for
from semscale_pl.training.device import allow_tf32, check_accelerator, chosen_device, lying_on
from semscale_pl.training.evaluation import check_classes, for_testing, tested
from semscale_pl.training.record import Record, diagnose, write_record
from semscale_pl.training.restoring import read_checkpoint
from semscale_pl.training.run_folder import LAST, RECORD
from semscale_pl.training.second_stage import SecondStage, save_finished, second_stage


@dataclass(frozen=True)
class NewHead:
    """What became of a run's head: test results as trained and finished, and the record."""

    stage1: Report
    last: Report
    stage: SecondStage
    record: Record


def new_head(cfg: DictConfig, folder: Path) -> NewHead:
    """Give the model of a checkpoint another head and write a folder like a run's: record, classes, checkpoint.

    Args:
        cfg: of conf/head.yaml: ``ckpt``, ``recipe``, ``seed``, ``accelerator`` and settings of the dataset.

    Raises:
        WrongCallError: the file is not a checkpoint of `semscale train` or has a finished head, its head or loss does
            not go with the recipe, or the folder holds a run.
    """
    started = time.perf_counter()
    check_accelerator(cfg.accelerator)
    if (folder / RECORD).exists() or (folder / LAST).exists():
        raise WrongCallError(
            f"Expected a folder without a run, but {shown(folder)} holds one. Name another folder by out=."
        )
    checkpoint = read_checkpoint(cfg.ckpt)
    if checkpoint.is_finished:
        raise WrongCallError(
            f"Expected `ckpt` to have the head that was trained, such as last.ckpt, but {cfg.ckpt} has the finished "
            "head of a recipe, on which another would build in silence. Pass the last.ckpt of that run."
        )
    dataset = {key: cfg[key] for key in ("batch_size", "num_workers", "root")}
    config = for_testing(checkpoint.config, **dataset)
    OmegaConf.set_struct(config, False)
    config.recipe = cfg.recipe
    config.seed = config.seed if cfg.seed is None else cfg.seed
    check_recipe(config)
    check_retrieval(config)
    allow_tf32(bool(config.get("tf32", False)))
    pl.seed_everything(config.seed, workers=True, verbose=False)
    datamodule = build_datamodule(config)
    check_classes(checkpoint.class_names, datamodule.class_names, config.dataset.get("name"))
    check_same_classes(checkpoint.class_names, datamodule.class_names)
    counts = [int(count) for count in datamodule.class_counts]
    module = build_module(config, datamodule.num_classes, datamodule.class_names, counts)
    module.load_state_dict(checkpoint.state)
    show_for(module.views, datamodule)
    stage1 = tested(module, datamodule.test_dataloader(), cfg.accelerator)
    device = chosen_device(cfg.accelerator)
    stage = second_stage(module, datamodule, config, device)
    assert stage is not None
    last = tested(module, datamodule.test_dataloader(), cfg.accelerator)
    with lying_on(module, device):
        scales = diagnose(module, datamodule)
    plain = plain_config(config)
    save_finished(module, plain, stage.affine, folder)
    record = write_record(
        folder,
        config=plain,
        results={"last": last, "stage1": stage1},
        datamodule=datamodule,
        module=module,
        scales=scales,
        seconds=time.perf_counter() - started,
        device=device,
        extra={
            "objective": _objective(stage, last),
            "recipe": stage.record(),
            "checkpoint": str(Path(cfg.ckpt).resolve()),
        },
    )
    return NewHead(stage1, last, stage, record)


def _objective(stage: SecondStage, last: Report) -> dict[str, Any]:
    """Say what the head is to be judged by, as a training does: on the validation part where there is one."""
    if stage.validated is not None:
        return {"name": "val/balanced_accuracy", "value": stage.validated}
    return {"name": "test/balanced_accuracy", "value": last["balanced_accuracy"]}
