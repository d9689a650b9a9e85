"""Build the objects of a run from its configuration, one function for each part of the config tree."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler

from semscale_pl.callbacks.head_start import HeadStart
from semscale_pl.callbacks.recording.finiteness import FinitenessWatch
from semscale_pl.callbacks.recording.interruption import Interruption
from semscale_pl.config.checks import check_prior
from semscale_pl.config.errors import WrongCallError
from semscale_pl.config.retrieval import MONITOR, OF_CLASSES, searches
from semscale_pl.metrics.embedding_report import EmbeddingReport
from semscale_pl.models.finetuning import FineTuning
from semscale_pl.models.views import Views
from semscale_pl.modules.classifier import ImbalancedClassifier
from semscale_pl.modules.schedules import linear_scaling
from semscale_pl.training.checkpoints import AtomicCheckpointIO, checkpoint_callbacks
from semscale_pl.training.interrupting import EndsBySignal


def build_datamodule(cfg: DictConfig) -> Any:
    """Build the datamodule and read its training split, whose classes shape everything else.

    The width of samples that are vectors is written into the configuration, as the backbone and a checkpoint need it.
    """
    datamodule = instantiate(cfg.dataset)
    datamodule.prepare_data()
    datamodule.setup("fit")
    if "num_features" in cfg.dataset:
        cfg.dataset.num_features = datamodule.num_features
    return datamodule


def build_module(
    cfg: DictConfig,
    num_classes: int,
    class_names: list[str] | None = None,
    class_counts: list[int] | None = None,
    backbone: Any | None = None,
) -> ImbalancedClassifier:
    """Build backbone, classifier and loss, and the module that joins them, for C classes of (C,) training images.

    Args:
        backbone: of :func:`semscale_pl.training.model_input.pretrained_backbone`; None builds that of `cfg`.

    Raises:
        WrongCallError: a list of priors of a Gaussian head fits other classes, or see :func:`build_backbone`.
    """
    check_prior(cfg, num_classes)
    backbone, finetuning = build_backbone(cfg, backbone)
    kind, width = _kind(cfg, backbone.num_features)
    classifier = instantiate(cfg.classifier)(num_features=width, num_classes=num_classes)
    if trains_nothing(classifier):
        finetuning = FineTuning(train_last=0)
        finetuning.prepare(backbone)
    return kind(
        backbone,
        classifier,
        instantiate(cfg.loss),
        build_optimizer(cfg),
        built_or_none(cfg.scheduler),
        num_classes=num_classes,
        class_names=class_names,
        class_counts=class_counts,
        mixing=built_or_none(cfg.mixing),
        finetuning=finetuning,
        views=build_views(cfg),
        search=build_search(cfg),
        config=plain_config(cfg),
    )


def _kind(cfg: DictConfig, num_features: int) -> tuple[Callable[..., ImbalancedClassifier], int]:
    """Return what joins a backbone of so many features and its head, and the width of the head's input."""
    node = cfg.get("embedding")
    if node is None or not node.get("_target_"):  # none, or a checkpoint from before there was a choice
        return ImbalancedClassifier, num_features
    rate = node.get("centre_lr")
    return instantiate(node, centre_lr=None if rate is None else _scaled(rate, cfg)), int(node.dim)


def trains_nothing(classifier: Any) -> bool:
    """Tell whether a classifier is fitted when training begins, to features that then have to stay as they are."""
    return bool(getattr(classifier, "trains_nothing", False))


def build_backbone(cfg: DictConfig, built: Any | None = None) -> tuple[Any, FineTuning | None]:
    """Build the backbone unless it is built, freeze it and add adapters as is asked for, and say how it is trained.

    Raises:
        WrongCallError: the backbone cannot be trained so.
    """
    backbone, node = instantiate(cfg.backbone) if built is None else built, cfg.get("finetune")
    if node is None:  # a checkpoint from before there was a choice
        return backbone, None
    rate = node.get("backbone_lr")
    finetuning = instantiate(node, backbone_lr=None if rate is None else _scaled(rate, cfg))
    try:
        finetuning.prepare(backbone)
    except ValueError as error:
        raise WrongCallError(f"`finetune`: {error}") from error
    return backbone, finetuning


def build_optimizer(cfg: DictConfig) -> Callable[..., Any]:
    """Build the optimizer's factory, its learning rate scaled with the global batch where that is asked for."""
    factory: Callable[..., Any] = instantiate(cfg.optimizer)
    return factory if _reference(cfg) is None else partial(factory, lr=_scaled(cfg.optimizer.lr, cfg))


def build_views(cfg: DictConfig) -> Views | None:
    """Build the views of a test image; None for the image alone, as before there was a choice."""
    kind = OmegaConf.select(cfg, "tta") or "none"
    return None if kind == "none" else Views(kind, OmegaConf.select(cfg, "dataset.image_size"))


def build_search(cfg: DictConfig) -> Callable[..., EmbeddingReport] | None:
    """Build what makes the reports of embeddings; None where they are not searched."""
    restarts = OmegaConf.select(cfg, "kmeans_restarts", default=10)
    return partial(_searched, restarts) if searches(cfg) else None


def _searched(usual: int, class_names: list[str] | None = None, restarts: int | None = None) -> EmbeddingReport:
    return EmbeddingReport(usual if restarts is None else restarts, class_names=class_names)


def show_for(views: Views | None, datamodule: Any, part: str = "test") -> None:
    """Let a part's images be as large as crops of them need, in the place of their own central crop."""
    if views is not None and views.size_before_cropping is not None:
        datamodule.show_larger(part, views.size_before_cropping)


def _scaled(rate: float, cfg: DictConfig) -> float:
    """Scale a learning rate with the global batch where that is asked for."""
    batch, reference = cfg.dataset.batch_size * cfg.trainer.accumulate_grad_batches, _reference(cfg)
    return rate if reference is None else linear_scaling(rate, batch, reference)


def _reference(cfg: DictConfig) -> int | None:
    return OmegaConf.select(cfg, "lr_reference_batch")


def build_callbacks(cfg: DictConfig, run_dir: Path, has_validation: bool) -> list[pl.Callback]:
    """Build the re-weighting, the callbacks of the configuration and those that keep the checkpoints."""
    callbacks = [finish(entry, dirpath=run_dir) for entry in entries(cfg.callbacks)]
    reweighting = built_or_none(cfg.reweighting)
    first = [] if reweighting is None else [reweighting]
    interruption = Interruption(*left_out(cfg, has_validation), cfg.trainer.get("max_steps", -1))
    watch = FinitenessWatch(OmegaConf.select(cfg, "on_nonfinite", default="raise"))
    return [
        EndsBySignal(),
        watch,
        HeadStart(),
        *first,
        *callbacks,
        interruption,
        *checkpoint_callbacks(run_dir, has_validation, MONITOR if searches(cfg) else OF_CLASSES),
    ]


def left_out(cfg: DictConfig, has_validation: bool) -> tuple[list[str], list[str]]:
    """Name the settings that leave a part of the data out of the training, and of the test."""
    training = {"fast_dev_run": False, "limit_train_batches": 1.0, "overfit_batches": 0.0}
    if has_validation:
        training["limit_val_batches"] = 1.0
    return _changed(cfg, training), _changed(cfg, {"limit_test_batches": 1.0})


def _changed(cfg: DictConfig, whole: dict[str, Any]) -> list[str]:
    values = {key: cfg.trainer.get(key, default) for key, default in whole.items()}
    # 1 is one batch, 1.0 all of them.
    different = [key for key, value in values.items() if value != whole[key] or type(value) is not type(whole[key])]
    return [f"trainer.{key}={values[key]}" for key in different if values[key]]


def build_loggers(cfg: DictConfig, run_dir: Path) -> list[Logger]:
    """Build the loggers, writing into the run folder."""
    return [finish(entry, save_dir=run_dir) for entry in entries(cfg.logger)]


def build_trainer(
    cfg: DictConfig,
    callbacks: list[pl.Callback],
    loggers: list[Logger],
    run_dir: Path,
    has_validation: bool,
    trains: bool = True,
) -> pl.Trainer:
    """Build the trainer, for an epoch of one step where nothing trains: validation and checkpoints follow on it."""
    once = {"max_epochs": 1, "min_epochs": None, "limit_train_batches": 1, "num_sanity_val_steps": 0}
    return instantiate(
        cfg.trainer,
        max_steps=-1,  # `Interruption` keeps it
        **({} if has_validation else {"limit_val_batches": 0}),
        **({} if trains or cfg.trainer.get("fast_dev_run") else once),
        profiler=_profiler(cfg.trainer.get("profiler"), run_dir / "profile"),
        callbacks=callbacks,
        logger=loggers,
        default_root_dir=str(run_dir),
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=any(isinstance(callback, pl.callbacks.ProgressBar) for callback in callbacks),
        _convert_="object",
    )


def _profiler(name: str | None, folder: Path) -> Any:
    """Build a profiler that writes into the run folder."""
    if name is None:
        return None
    kinds = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
    return kinds[name](dirpath=folder, filename=name)  # type: ignore[abstract]


def plain_config(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved configuration as plain dicts and lists, which a checkpoint may carry."""
    return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]


def built_or_none(node: DictConfig) -> Any:
    """Build a part that may be left out: `_target_: null` stands for nothing."""
    return instantiate(node) if node.get("_target_") else None


def entries(group: DictConfig | None) -> list[DictConfig]:
    """Return the named parts of a group in order; an entry set to null is left out."""
    return [] if group is None else [entry for entry in group.values() if isinstance(entry, DictConfig)]


def finish(node: DictConfig, **late: Any) -> Any:
    """Build a part; one marked `_partial_` is given what only the run knows."""
    built = instantiate(node)
    return built(**late) if node.get("_partial_") else built
