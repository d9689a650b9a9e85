"""One run from its configuration: fit, test and record, with its checkpoints and tables."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.moved import with_current_names
from semscale_pl.training.diverging import TrainingDiverged as TrainingDiverged
from semscale_pl.training.diverging import staying_finite

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from semscale_pl.heads import Trained
    from semscale_pl.metrics.report import Report
    from semscale_pl.modules.classifier import ImbalancedClassifier
    from semscale_pl.training.second_stage import SecondStage


@dataclass(frozen=True)
class TrainResult:
    """What a run leaves in memory: the last model, its test results, those of the selected epoch if there is one.

    With ``test=false`` nothing was tested: ``validation`` has the last model's results on the validation part instead.
    ``interrupted_by`` says what made it less than a whole run. With a recipe ``last``, or ``validation``, is of the
    finished head and ``stage1`` of the one as trained; the selected epoch's is as trained too. ``others`` has the heads
    of ``also`` and what they were judged, ``trained`` the features that they are of.
    """

    trainer: pl.Trainer
    module: ImbalancedClassifier
    datamodule: Any
    last: Report | None
    best: Report | None
    run_dir: Path
    interrupted_by: tuple[str, ...] = ()
    validation: Report | None = None
    stage: SecondStage | None = None
    stage1: Report | None = None
    others: Mapping[str, tuple[SecondStage, Report]] = field(default_factory=dict)
    trained: Trained | None = None

    @property
    def judged(self) -> tuple[str, Report]:
        """Return what the last model was judged on, and its results there."""
        report = self.last or self.validation
        assert report is not None
        return ("test set" if self.last else "validation part"), report

    @property
    def objective(self) -> tuple[str, float]:
        """What the run is to be judged by, such as a sweeper's choice of options: a metric's name and its value.

        It is the balanced accuracy, or Recall@1 where embeddings are searched, on the validation part, of the epoch
        that this has selected. Only where there is none it is that on the test set, of the last epoch: options chosen
        by it make it no estimate of new images. With a recipe, both are of the finished head.
        """
        name = self.module.judged_by
        if self.stage is not None and self.stage.validated is not None and name == "balanced_accuracy":
            return "val/balanced_accuracy", self.stage.validated
        keeper = next((one for one in self.trainer.checkpoint_callbacks if getattr(one, "monitor", None)), None)
        score = getattr(keeper, "best_model_score", None)
        if self.datamodule.has_validation and score is not None:
            return f"val/{name}", float(score)
        _, report = self.judged
        return f"{'test' if self.last else 'val'}/{name}", float(report[name] or 0.0)  # type: ignore[literal-required]


def train(cfg: DictConfig, run_dir: Path, opening: Callable[[Any, Any, Any], None] = lambda *_: None) -> TrainResult:
    """Train, test and record one model.

    Args:
        run_dir: where checkpoints, tables and the record go. What an earlier run left there goes, unless this one
            resumes from a checkpoint in that folder.
        opening: called on the first rank with datamodule, module and trainer before training begins.

    Raises:
        TrainingDiverged: a loss, a feature of the pool or a parameter is not finite.
        KeyboardInterrupt: the run was interrupted; the last finished epoch's checkpoint is in ``run_dir``.
    """
    from semscale_pl.training.wandb_runs import check_wandb, one_wandb_run

    check_wandb(cfg)
    with one_wandb_run():
        return _train(with_current_names(cfg), run_dir, opening)


def _train(cfg: DictConfig, run_dir: Path, opening: Callable[[Any, Any, Any], None]) -> TrainResult:
    import pytorch_lightning as pl

    from semscale_pl.training import building
    from semscale_pl.training.device import compile_backbone, planned_device, prepare_device
    from semscale_pl.training.first_images import check_first_images
    from semscale_pl.training.interrupting import unwinding
    from semscale_pl.training.limits import check_judged, check_limits
    from semscale_pl.training.model_input import pretrained_backbone
    from semscale_pl.training.retrieval import check_searched
    from semscale_pl.training.run_folder import start_afresh
    from semscale_pl.training.short_steps import with_short_steps
    from semscale_pl.training.wandb_runs import open_wandb

    started = time.perf_counter()
    prepare_device(cfg)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    backbone = pretrained_backbone(cfg)
    datamodule = building.build_datamodule(cfg)
    counts = [int(count) for count in datamodule.class_counts]
    module = building.build_module(cfg, datamodule.num_classes, datamodule.class_names, counts, backbone)
    check_first_images(datamodule, module.backbone)
    check_limits(cfg.trainer, datamodule)
    building.show_for(module.views, datamodule)
    check_judged(cfg, datamodule)
    check_searched(cfg, datamodule)
    if cfg.compile:
        compile_backbone(module.backbone, planned_device(cfg))
    start_afresh(cfg, run_dir)
    callbacks = building.build_callbacks(cfg, run_dir, datamodule.has_validation)
    loggers = building.build_loggers(cfg, run_dir)
    open_wandb(loggers, cfg)
    trains = not building.trains_nothing(module.classifier)
    trainer = building.build_trainer(cfg, callbacks, loggers, run_dir, datamodule.has_validation, trains)
    # Of vectors: a step takes less time than what Lightning does around it.
    if hasattr(datamodule, "num_features"):
        with_short_steps(trainer)
    if trainer.is_global_zero:
        opening(datamodule, module, trainer)
    # Lightning converts it after it has read a checkpoint, whose weights a 64-true run would then round to float32.
    trainer.precision_plugin.convert_module(module)
    with unwinding(trainer):
        with staying_finite(trainer, datamodule, run_dir):
            _fit(trainer, module, datamodule, cfg.ckpt_path)
        fitted = _fitted(trainer)  # a test of the best checkpoint brings the callbacks back to its epoch
        if OmegaConf.select(cfg, "test", default=True):
            last, best = _test(trainer, module, datamodule, run_dir)
            reports: dict[str, Any] = {"last": last, "best": best}
        else:
            reports = {"last": None, "best": None, "validation": _validate(trainer, module, datamodule)}
        why = tuple(fitted["interrupted_by"])
        result = TrainResult(trainer, module, datamodule, run_dir=run_dir, interrupted_by=why, **reports)
        result = _with_second_stage(result, cfg)
    if trainer.is_global_zero:
        _record(result, cfg, time.perf_counter() - started, fitted)
    return result


def _fitted(trainer: pl.Trainer) -> dict[str, Any]:
    """Return what the record says of the training as a whole."""
    from semscale_pl.callbacks.recording.finiteness import skipped_steps
    from semscale_pl.callbacks.recording.interruption import interruption_of

    interruption = interruption_of(trainer)
    return {
        "completed_epochs": trainer.current_epoch - interruption.in_middle,
        "interrupted_by": interruption.reasons,
        "skipped_steps": skipped_steps(trainer),
        "further_cost": {"extra_passes": _extra_passes(trainer)},
    }


def _fit(trainer: pl.Trainer, module: ImbalancedClassifier, datamodule: Any, ckpt_path: str | None) -> None:
    with warnings.catch_warnings():
        # A resumed run goes on in its own folder.
        warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
        # Or in another one, where `BestCheckpoint` sees to what Lightning would lose.
        warnings.filterwarnings("ignore", message="The dirpath has changed from")
        # Or without the limit of time that it had.
        warnings.filterwarnings("ignore", message="Be aware that when using .ckpt_path., callbacks used to create")
        # Frozen parts of a backbone stay there; nothing else is in evaluation mode before a training.
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
        # Or with nothing to train, such as class means on a frozen backbone.
        warnings.filterwarnings("ignore", message=".*configure_optimizers. returned .None.")
        trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True)


def _test(
    trainer: pl.Trainer, module: ImbalancedClassifier, datamodule: Any, run_dir: Path
) -> tuple[Report, Report | None]:
    """Test the selected model first, so that the run ends with the last one in memory."""
    from semscale_pl.callbacks.recording.interruption import is_trial
    from semscale_pl.distributed import from_first_rank

    best: Report | None = None
    selected = run_dir / "checkpoints" / "best.ckpt"
    if datamodule.has_validation and not is_trial(trainer) and from_first_rank(selected.is_file()):
        last_state = {name: value.clone() for name, value in module.state_dict().items()}
        trainer.test(module, datamodule=datamodule, ckpt_path=str(selected), weights_only=True, verbose=False)
        best = module.last_test_results
        module.load_state_dict(last_state)
    trainer.test(module, datamodule=datamodule, verbose=False)
    assert module.last_test_results is not None
    return module.last_test_results, best


def _validate(trainer: pl.Trainer, module: ImbalancedClassifier, datamodule: Any) -> Report:
    """Judge the last model by the validation part, and leave the test set alone."""
    trainer.validate(module, datamodule=datamodule, verbose=False)
    assert module.last_val_results is not None
    return module.last_val_results


def _with_second_stage(result: TrainResult, cfg: DictConfig) -> TrainResult:
    """Apply the recipe, judge the finished head, and keep it beside the checkpoints of the training."""
    from semscale_pl.training.building import plain_config
    from semscale_pl.training.second_stage import other_heads, rows_to_judge, save_finished, second_stage, trained_of

    trainer, module, datamodule = result.trainer, result.module, result.datamodule
    device, others = trainer.strategy.root_device, list(cfg.get("also") or [])
    if others:
        trained = trained_of(module, datamodule, cfg, device)
        rows = rows_to_judge(module, datamodule, device, test=result.last is not None)
        heads = other_heads(module, others, trained, rows)
        result = replace(result, trained=trained, others=heads)
    stage = second_stage(module, datamodule, cfg, device, result.trained)
    if stage is None:
        return result
    name = "validation" if result.last is None else "last"
    found: dict[str, Any] = {"stage": stage, "stage1": result.judged[1], name: _judged(result)}
    if trainer.is_global_zero:
        save_finished(module, plain_config(cfg), stage.affine, result.run_dir)
    return replace(result, **found)


def _judged(result: TrainResult) -> Report:
    """Judge the module as it is now by what the run is judged by."""
    trainer, module, datamodule = result.trainer, result.module, result.datamodule
    if result.last is None:
        return _validate(trainer, module, datamodule)
    trainer.test(module, datamodule=datamodule, verbose=False)
    assert module.last_test_results is not None
    return module.last_test_results


def _reports(result: TrainResult) -> dict[str, Report | None]:
    """Return the reports under their names; one of the head as trained never under that of a finished head."""
    more: dict[str, Report | None] = {} if result.validation is None else {"validation": result.validation}
    more |= {name: report for name, (_, report) in result.others.items()}
    if result.stage is None:
        return {"last": result.last, "selected": result.best, **more}
    as_trained = "stage1" if result.last else "stage1_validation"
    return {"last": result.last, as_trained: result.stage1, "stage1_selected": result.best, **more}


def _record(result: TrainResult, cfg: DictConfig, seconds: float, fitted: dict[str, Any]) -> None:
    from semscale_pl.distributed import alone
    from semscale_pl.training.building import plain_config
    from semscale_pl.training.device import lying_on
    from semscale_pl.training.record import diagnose, write_record
    from semscale_pl.training.wandb_runs import summarize_in_wandb

    device = result.trainer.strategy.root_device
    # On the first rank only, whose loaders would show it its share of the images.
    with alone(), lying_on(result.module, device):
        samples = None if result.trained is None else result.trained.train
        scales = diagnose(result.module, result.datamodule, samples)
    record = write_record(
        result.run_dir,
        config=plain_config(cfg),
        results=_reports(result),
        datamodule=result.datamodule,
        module=result.module,
        scales=scales,
        seconds=seconds,
        device=device,
        extra={
            "objective": dict(zip(("name", "value"), result.objective, strict=True)),
            "recipe": None if result.stage is None else result.stage.record(),
            "also": {name: stage.record() for name, (stage, _) in result.others.items()},
            **_fitted_head(result.module.classifier),
        },
        **fitted,
    )
    summarize_in_wandb(result.trainer.loggers, record)


def _fitted_head(classifier: Any) -> dict[str, Any]:
    """Return what the record says of a head that was fitted instead of trained: its settings and how they came."""
    fitted = getattr(classifier, "fitted", None)
    return {} if fitted is None else {"classifier": {"chosen": fitted.chosen, "leave_one_out": fitted.tried}}


def _extra_passes(trainer: pl.Trainer) -> float:
    """Return the passes over the training images that a re-weighting has cost besides training."""
    from semscale_pl.callbacks.reweighting.slot import SlotReweighting

    callbacks = getattr(trainer, "callbacks", [])
    return sum(callback.extra_passes for callback in callbacks if isinstance(callback, SlotReweighting))
