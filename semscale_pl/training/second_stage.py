"""A second stage of a trained module: its features, the recipe, the finished head and the checkpoint that keeps it."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from semscale_pl.callbacks.training_data import evaluating
from semscale_pl.distributed import alone, from_first_rank, gather_rows, rank
from semscale_pl.files import replacing
from semscale_pl.heads import (
    Finished,
    Fused,
    Gaussian,
    LearnableWeightScaling,
    NearestMean,
    Recipe,
    Retraining,
    Samples,
    TauNormalization,
    Trained,
)
from semscale_pl.losses import LDAM, CrossEntropy, LogitAdjusted
from semscale_pl.losses.metric_learning import SimilarityLoss
from semscale_pl.metrics.report import ClassificationReport, Report
from semscale_pl.models.classifiers import Affine, LinearClassifier
from semscale_pl.modules.classifier import ImbalancedClassifier
from semscale_pl.training.building import built_or_none
from semscale_pl.training.device import lying_on
from semscale_pl.training.diverging import TrainingDiverged

# Beside the checkpoints of the training, which can be resumed; this one cannot.
CHECKPOINT = Path("checkpoints") / "recipe.ckpt"
_OTHERS: dict[str, Callable[[], Recipe]] = {
    "gaussian": Gaussian,
    "fused": Fused,
    "crt": Retraining,
    "crt_bs": lambda: Retraining(weights="balanced_softmax"),
    "lws": LearnableWeightScaling,
    "tau_norm": TauNormalization,
    "ncm": NearestMean,
}


class JudgedRows(NamedTuple):
    """A batch that a module is judged on: the head's inputs (B, D), of each view of the images, and labels (B,)."""

    views: list[Tensor]
    labels: Tensor


@dataclass(frozen=True)
class SecondStage:
    """What a second stage did.

    Args:
        name: of the recipe in conf/recipe.
        chosen: the settings of the finished head.
        tried: settings that were compared on the validation part, each with its ``balanced_accuracy`` there.
        seconds: features and recipe.
        affine: the finished head.
    """

    name: str
    chosen: dict[str, Any]
    tried: list[dict[str, Any]]
    seconds: float
    affine: Affine

    @property
    def validated(self) -> float | None:
        """Balanced accuracy of the chosen settings on the validation part; None without one."""
        return max((entry["balanced_accuracy"] for entry in self.tried), default=None)

    def record(self) -> dict[str, Any]:
        """Return what metrics.json says of it, beside the options in its configuration."""
        return {"name": self.name, "chosen": self.chosen, "validation": self.tried, "seconds": self.seconds}


def second_stage(
    module: ImbalancedClassifier,
    datamodule: Any,
    cfg: DictConfig,
    device: torch.device,
    trained: Trained | None = None,
) -> SecondStage | None:
    """Give a trained module the head of ``cfg.recipe`` and a loss that evaluates it as it is; None without a recipe.

    All ranks pass their share of the images through the network; the recipe runs on the first one, and the others get
    its head.

    Args:
        device: to compute the features on; recipes themselves run on the CPU.
        trained: what :func:`trained_of` gave, where that is there already.

    Raises:
        TrainingDiverged: a feature or the finished head is not finite.
    """
    recipe = built_or_none(cfg.recipe)
    if recipe is None:
        return None
    return _applied(recipe, module, trained or trained_of(module, datamodule, cfg, device))


def other_heads(
    module: ImbalancedClassifier, names: Sequence[str], trained: Trained, judged_on: Sequence[JudgedRows]
) -> dict[str, tuple[SecondStage, Report]]:
    """Judge a trained module with each of the recipes in the place of its head, which it gets back.

    The images pass through the network once for all heads.

    Args:
        names: of recipes with their default settings, see :data:`semscale_pl.options.ALSO`; ``crt_bs`` is cRT with the
            loss of Balanced Softmax. What a recipe leaves open it chooses on the validation part, where there is one.
        judged_on: what :func:`rows_to_judge` gave.
    """
    own, found = (module.classifier, module.loss), {}
    for name in names:
        stage = _applied(_OTHERS[name](), module, trained)
        found[name] = (stage, _judged(module, judged_on))
        module.classifier, module.loss = own
    return found


@torch.no_grad()
def rows_to_judge(module: ImbalancedClassifier, datamodule: Any, device: torch.device, test: bool) -> list[JudgedRows]:
    """Pass this rank's share of the test images through a module, or of the validation images, as it judges them."""
    loader = datamodule.test_dataloader() if test else datamodule.val_dataloader()
    views = module.views if test else None
    found = []
    with lying_on(module, device), evaluating(module):
        like = next(module.parameters(), torch.zeros(0, device=device))
        for batch in loader:
            images = batch[0].to(like)
            seen = [images] if views is None else views(images)
            found.append(JudgedRows([module.features(view).cpu() for view in seen], batch[1].cpu()))
    return found


def trained_of(module: ImbalancedClassifier, datamodule: Any, cfg: DictConfig, device: torch.device) -> Trained:
    """Pass all images that a second stage may see through a trained module, every rank its share.

    Raises:
        TrainingDiverged: a feature is not finite.
    """
    started = time.perf_counter()
    with lying_on(module, device):
        train = features_of(module, datamodule.eval_train_dataloader())
        validation = features_of(module, datamodule.val_dataloader()) if datamodule.has_validation else None
    # A progressive sampler is judged by its last epoch.
    frequencies = datamodule.sampling.class_frequencies(datamodule.class_counts, cfg.trainer.max_epochs - 1)
    seconds = time.perf_counter() - started
    parts = (_head_of(module), train, frequencies.cpu(), validation, cfg.seed, _offsets_of(module), seconds)
    return Trained(*parts)


def _applied(recipe: Recipe, module: ImbalancedClassifier, trained: Trained) -> SecondStage:
    """Run a recipe on the first rank and give the module of every rank its head."""
    started = time.perf_counter()
    finished: Finished | None = None
    if rank() == 0:
        with alone():
            finished = recipe(trained)
    finished = from_first_rank(finished)
    assert finished is not None
    affine = Affine(*finished.affine)
    _check_finite("the finished head", affine.weight)
    use_head(module, affine)
    seconds = trained.seconds + time.perf_counter() - started
    return SecondStage(recipe.name, finished.chosen, finished.tried, seconds, affine)


@torch.no_grad()
def _judged(module: ImbalancedClassifier, rows: Sequence[JudgedRows]) -> Report:
    """Return what a test finds of a module whose head is another one: batch by batch, as a test goes."""
    names = None if module.class_names is None else list(module.class_names)
    report = ClassificationReport(module.num_classes, module.class_counts, names)
    like = next(module.classifier.parameters(), torch.zeros(0))
    for views, labels in rows:
        logits = [module.loss.evaluation_logits(module.classifier(view.to(like))) for view in views]
        report.update(torch.stack(logits).mean(dim=0), labels.to(like.device))
    return report.compute()


@torch.no_grad()
def features_of(module: ImbalancedClassifier, loader: Any) -> Samples:
    """Pass images through a module in evaluation mode: inputs of its classifier on the CPU, the rows of all ranks."""
    rows = []
    like = next(module.parameters(), None)
    with evaluating(module):
        for batch in loader:
            features = module.features(batch[0] if like is None else batch[0].to(like))
            rows.append([part.cpu() for part in gather_rows(features.float(), batch[1].to(features.device))])
    features, labels = (torch.cat(part) for part in zip(*rows, strict=True))
    _check_finite("the features of the trained network", features)
    return Samples(features, labels)


def use_head(module: ImbalancedClassifier, affine: Affine) -> None:
    """Replace a module's classifier by a finished head, whose logits count as they are."""
    like = next(module.parameters(), affine.weight)
    module.classifier = LinearClassifier.of(affine).to(like)
    module.loss = CrossEntropy()
    if module.class_counts is not None:
        module.loss.setup(torch.as_tensor(module.class_counts))  # as whoever builds it again for a test does


def finished_config(config: dict[str, Any], affine: Affine) -> dict[str, Any]:
    """Return a run's configuration with the classifier and the loss of its finished head."""
    head = {"_target_": f"{LinearClassifier.__module__}.LinearClassifier", "_partial_": True}
    head |= {"bias": affine.bias is not None, "normalize": affine.normalize}
    loss = {"_target_": "semscale_pl.losses.CrossEntropy", "label_smoothing": 0.0}
    return {**config, "classifier": head, "loss": loss, "ckpt_path": None}


def save_finished(module: ImbalancedClassifier, config: dict[str, Any], affine: Affine, folder: Path) -> Path:
    """Write a module with its finished head as a checkpoint for `evaluate`, `predict`, `export` and the like."""
    names = module.class_names if module.class_names is not None else range(module.num_classes)
    content = {
        "state_dict": {name: value.detach().cpu() for name, value in module.state_dict().items()},
        "hyper_parameters": {"config": finished_config(config, affine)},
        "class_names": [str(name) for name in names],
        "pytorch-lightning_version": pl.__version__,
    }
    target = folder / CHECKPOINT
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as partial, partial.open("wb") as file:
        torch.save(content, file)
    return target


def _head_of(module: ImbalancedClassifier) -> nn.Module:
    """Return the head whose softmax is the model's, in float32: margins of a loss have its scale."""
    head: Any = copy.deepcopy(module.classifier).cpu().float()
    if isinstance(module.loss, (LDAM, SimilarityLoss)) and hasattr(head, "scale"):
        head.scale *= module.loss.scale
    return head  # type: ignore[no-any-return]


def _offsets_of(module: ImbalancedClassifier) -> Tensor | None:
    """Return what the loss adds to the logits at evaluation, (C,), where it does: a prior that is taken off then."""
    loss = module.loss
    if not isinstance(loss, LogitAdjusted) or not loss.posthoc:
        return None
    return loss.evaluation_logits(torch.zeros(1, module.num_classes))[0].cpu()


def _check_finite(what: str, values: Tensor) -> None:
    if not bool(values.isfinite().all()):
        raise TrainingDiverged(f"Expected finite values, but {what} has others. Lower recipe.lr or optimizer.lr.")
