"""One run from its configuration: fit, test and record, with its checkpoints and tables."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from semscale_pl.config.moved import with_current_names

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from semscale_pl.metrics.report import Report
    from semscale_pl.modules.classifier import ImbalancedClassifier


class TrainingDiverged(RuntimeError):  # noqa: N818
    """The loss of the last epoch is not finite, so there is nothing to test or to record."""


@dataclass(frozen=True)
class TrainResult:
    """What a run leaves in memory: the last model, its test results, those of the selected epoch if there is one."""

    trainer: pl.Trainer
    module: ImbalancedClassifier
    datamodule: Any
    last: Report
    best: Report | None
    run_dir: Path


def train(cfg: DictConfig, run_dir: Path) -> TrainResult:
    """Train, test and record one model.

    Args:
        run_dir: where checkpoints, tables and the record go. What an earlier run left there goes, unless this one
            resumes from a checkpoint in that folder.

    Raises:
        TrainingDiverged: the loss is not finite.
        KeyboardInterrupt: the run was interrupted; the last finished epoch's checkpoint is in ``run_dir``.
    """
    from semscale_pl.training.wandb_runs import check_wandb, one_wandb_run

    check_wandb(cfg)
    with one_wandb_run():
        return _train(with_current_names(cfg), run_dir)


def _train(cfg: DictConfig, run_dir: Path) -> TrainResult:
    import pytorch_lightning as pl

    from semscale_pl.training import building
    from semscale_pl.training.first_images import check_first_images
    from semscale_pl.training.interrupting import unwinding
    from semscale_pl.training.run_folder import start_afresh
    from semscale_pl.training.wandb_runs import open_wandb

    started = time.perf_counter()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    datamodule = building.build_datamodule(cfg)
    module = building.build_module(
        cfg, datamodule.num_classes, datamodule.class_names, [int(count) for count in datamodule.class_counts]
    )
    check_first_images(datamodule, module.backbone)
    if cfg.compile:
        module.backbone.compile()  # in place: the names in checkpoints stay
    start_afresh(cfg, run_dir)
    callbacks = building.build_callbacks(cfg, run_dir, datamodule.has_validation)
    loggers = building.build_loggers(cfg, run_dir)
    open_wandb(loggers, cfg)
    trainer = building.build_trainer(cfg, callbacks, loggers, run_dir, datamodule.has_validation)
    with unwinding():
        _fit(trainer, module, datamodule, cfg.ckpt_path)
        _check_finite(trainer)
        last, best = _test(trainer, module, datamodule, run_dir)
    result = TrainResult(trainer, module, datamodule, last, best, run_dir)
    if trainer.is_global_zero:
        _record(result, cfg, time.perf_counter() - started)
    return result


def _fit(trainer: pl.Trainer, module: ImbalancedClassifier, datamodule: Any, ckpt_path: str | None) -> None:
    with warnings.catch_warnings():
        # A resumed run goes on in its own folder.
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        # Or in another one, where `BestCheckpoint` sees to what Lightning would lose.
        warnings.filterwarnings("ignore", message="The dirpath has changed from")
        trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)


def _check_finite(trainer: pl.Trainer) -> None:
    loss = trainer.callback_metrics.get("train/loss")
    if loss is not None and not bool(loss.isfinite()):
        raise TrainingDiverged(
            f"Training diverged: the loss of the last epoch is {float(loss)}. Lower optimizer.lr, or look for images "
            "with pixels that are no numbers; no record was written."
        )


def _test(
    trainer: pl.Trainer, module: ImbalancedClassifier, datamodule: Any, run_dir: Path
) -> tuple[Report, Report | None]:
    """Test the selected model first, so that the run ends with the last one in memory."""
    from semscale_pl.distributed import from_first_rank

    best: Report | None = None
    selected = run_dir / "checkpoints" / "best.ckpt"
    if datamodule.has_validation and from_first_rank(selected.is_file()):
        last_state = {name: value.clone() for name, value in module.state_dict().items()}
        trainer.test(module, datamodule=datamodule, ckpt_path=str(selected), weights_only=True, verbose=False)
        best = module.last_test_results
        module.load_state_dict(last_state)
    trainer.test(module, datamodule=datamodule, verbose=False)
    assert module.last_test_results is not None
    return module.last_test_results, best


def _record(result: TrainResult, cfg: DictConfig, seconds: float) -> None:
    from semscale_pl.distributed import alone
    from semscale_pl.training.building import plain_config
    from semscale_pl.training.record import diagnose, write_record
    from semscale_pl.training.wandb_runs import summarize_in_wandb

    with alone():  # on the first rank only, whose loaders would show it its share of the images
        scales = diagnose(result.module, result.datamodule)
    record = write_record(
        result.run_dir,
        config=plain_config(cfg),
        results={"last": result.last, "selected": result.best},
        datamodule=result.datamodule,
        module=result.module,
        scales=scales,
        seconds=seconds,
        completed_epochs=result.trainer.current_epoch,
        further_cost={"extra_passes": _extra_passes(result.trainer)},
    )
    summarize_in_wandb(result.trainer.loggers, record)


def _extra_passes(trainer: pl.Trainer) -> float:
    """Return the passes over the training images that a re-weighting has cost besides training."""
    from semscale_pl.callbacks.reweighting.slot import SlotReweighting

    callbacks = getattr(trainer, "callbacks", [])
    return sum(callback.extra_passes for callback in callbacks if isinstance(callback, SlotReweighting))
