"""The test metrics of a checkpoint, from nothing but the checkpoint and the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig

from semscale_pl.metrics.report import Report
from semscale_pl.training.building import build_datamodule, build_module
from semscale_pl.training.restoring import read_checkpoint


def evaluate(ckpt: str | Path, accelerator: str = "cpu", **dataset: Any) -> Report:
    """Rebuild the model of a checkpoint and test it on the test set of its run.

    Args:
        dataset: ``batch_size``, ``num_workers`` and ``root``, instead of the run's; None keeps the run's.

    Returns:
        The results of :class:`semscale_pl.metrics.report.ClassificationReport`.

    Raises:
        WrongCallError: the file is not a checkpoint of `semscale train`.
    """
    checkpoint = read_checkpoint(ckpt)
    config = for_testing(checkpoint.config, **dataset)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    datamodule = build_datamodule(config)
    counts = [int(count) for count in datamodule.class_counts]
    module = build_module(config, datamodule.num_classes, datamodule.class_names, counts)
    module.load_state_dict(checkpoint.state)
    trainer = pl.Trainer(
        accelerator=accelerator,
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


def for_testing(config: DictConfig, **dataset: Any) -> DictConfig:
    """Return a run's configuration for a test alone, with settings of ``dataset`` that are not None replaced."""
    changed = config.copy()
    for key, value in dataset.items():
        if value is not None and key in changed.dataset:
            changed.dataset[key] = value
    if "check_images" in changed.dataset and changed.dataset.get("on_bad_image") != "skip":
        changed.dataset.check_images = "exist"  # testing opens every test image anyway, and no other
    return changed
