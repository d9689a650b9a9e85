"""When a run searches by its embeddings, and what does not go together with that."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.errors import WrongCallError

MONITOR, OF_CLASSES = "val/recall_at_1", "val/balanced_accuracy"


def searches(cfg: DictConfig) -> bool:
    """Tell whether a run's embeddings are searched and clustered: where asked for, and where the test has new classes.

    A configuration from before there was a choice is read as it is now.
    """
    asked = OmegaConf.select(cfg, "retrieval", default="auto")
    return has_new_classes(cfg) if asked == "auto" else bool(asked)


def has_new_classes(cfg: DictConfig) -> bool:
    """Tell whether the test images are of classes that nothing was trained on."""
    return OmegaConf.select(cfg, "dataset.split") == "classes"


def check_retrieval(cfg: DictConfig) -> None:
    """Raise WrongCallError for options that a search by embeddings, or classes of the test alone, cannot work with."""
    tested, new = OmegaConf.select(cfg, "test", default=True), has_new_classes(cfg)
    held_out = OmegaConf.select(cfg, "dataset.validation_classes", default=0)
    if new and tested and not searches(cfg):
        raise WrongCallError(
            "Expected retrieval=auto with dataset.split=classes, as a classifier cannot name classes that it was not "
            "trained on, but got false. Leave it out, or set test=false."
        )
    if new:
        _check_heads(cfg)
    if searches(cfg):
        _check_whole(cfg)
    if held_out and str(OmegaConf.select(cfg, "reweighting._target_")).endswith(".DifficultyReweighting"):
        raise WrongCallError(
            "Expected a validation part of the classes that are trained on for reweighting=cdb, but got "
            f"dataset.validation_classes={held_out}. Hold images out with dataset.validation_per_class=N instead."
        )
    for name in map(str, cfg.get("callbacks") or {}):
        _check_monitor(cfg, name, bool(held_out))


def _check_heads(cfg: DictConfig) -> None:
    """Refuse what only a test of the trained classes tells apart."""
    also = list(OmegaConf.select(cfg, "also") or [])
    if OmegaConf.select(cfg, "recipe._target_") is not None or also:
        got = f"also={also}" if also else "one"
        raise WrongCallError(
            "Expected no second stage (recipe=none, also=[]) with dataset.split=classes, whose test asks for "
            f"embeddings and not for a head, but got {got}. Leave it out."
        )


def _check_whole(cfg: DictConfig) -> None:
    """Refuse to search among a part of the images, or by the logits of several views."""
    views, trainer = OmegaConf.select(cfg, "tta", default="none"), cfg.trainer
    if views not in (None, "none"):
        raise WrongCallError(
            f"Expected tta=none where embeddings are searched, of which an image has one, but got tta={views}. Leave "
            "it out, or set retrieval=false."
        )
    if trainer.get("fast_dev_run"):
        return
    for key, whole in (("limit_val_batches", 1.0), ("limit_test_batches", 1.0), ("overfit_batches", 0.0)):
        value = trainer.get(key, whole)
        if value != whole or (whole and not isinstance(value, float)):
            raise WrongCallError(
                f"Expected trainer.{key}={whole} where embeddings are searched, as an image is looked for among all "
                f"others, but got {value}. Leave it out."
            )


def _check_monitor(cfg: DictConfig, name: str, held_out: bool) -> None:
    watched = OmegaConf.select(cfg, f"callbacks.{name}.monitor")
    if held_out and watched == OF_CLASSES:
        raise WrongCallError(
            f"Expected `callbacks.{name}` to watch what classes held out of training have, but got {watched}. Set "
            f"callbacks.{name}.monitor={MONITOR}."
        )
    if watched == MONITOR and not searches(cfg):
        raise WrongCallError(
            f"Expected embeddings to be searched for `callbacks.{name}`, which watches {MONITOR}, but they are not. "
            "Set retrieval=true."
        )
