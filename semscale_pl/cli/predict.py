"""`semscale predict`: the likeliest classes of images, or of features, with probabilities, as CSV."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from semscale_pl.config.checks import check_checkpoint, check_values
from semscale_pl.config.errors import FAILED, WrongCallError, answers_in_one_line
from semscale_pl.data.chosen import chosen_images
from semscale_pl.data.decoding import dark_line
from semscale_pl.data.finding import describe
from semscale_pl.features.feature_files import found_files
from semscale_pl.features.store import found_store, is_store
from semscale_pl.progress import Progress
from semscale_pl.terminal import printable
from semscale_pl.training.launching import run_folder

CONFIG = "predict"
FILE = "predictions.csv"
SETTINGS = ("batch_size", "num_workers", "accelerator", "on_bad_image", "exif_rotation", "tta", "top_k")
_OF_FEATURES = ("part", "feature_columns", "feature_key", "label_column", "label_key", "split_key")


def check(cfg: DictConfig) -> None:
    """Raise WrongCallError where a prediction cannot work, naming why."""
    if OmegaConf.is_missing(cfg, "ckpt"):
        raise WrongCallError("Expected a checkpoint to predict with. Pass ckpt=RUN, the folder of a run")
    if OmegaConf.is_missing(cfg, "images") and cfg.features is None:
        raise WrongCallError(
            "Expected images. Pass images=FOLDER, images=FILE or images=[FILE,FILE]; or features=FILE to a model of "
            "features"
        )
    check_values(cfg, "predict")
    check_checkpoint(cfg)
    if cfg.features is not None:
        _check_features(cfg)
        return
    for key in _OF_FEATURES:
        if cfg[key] is not None:
            raise WrongCallError(f"Expected `{key}` only with features=, but got it with images=. Leave it out.")
    try:
        chosen_images(named(cfg))
    except ValueError as error:
        raise WrongCallError(str(error)) from error


def _check_features(cfg: DictConfig) -> None:
    if not OmegaConf.is_missing(cfg, "images"):
        raise WrongCallError("Expected one of images= and features=, but got both. Leave one out.")
    for key, default in (("num_workers", 0), ("on_bad_image", "skip"), ("exif_rotation", None)):
        if cfg[key] != default:
            raise WrongCallError(f"Expected `{key}` only with images=, but got it with features=. Leave it out.")
    if is_store(found_store(str(cfg.features))):
        return
    try:
        found_files(str(cfg.features))
    except ValueError as error:
        raise WrongCallError(str(error)) from error


def named(cfg: DictConfig) -> str | list[str]:
    """Return what `images` names: one path, or those of a list."""
    return [str(path) for path in cfg.images] if isinstance(cfg.images, ListConfig) else str(cfg.images)


@answers_in_one_line
def run(cfg: DictConfig) -> None:
    """Check the call, predict, and say what was written and what was skipped.

    It exits with 1 where no image could be read, or the model gives no finite number.
    """
    check(cfg)
    from semscale_pl.training.prediction import predict
    from semscale_pl.training.run import TrainingDiverged

    target, settings = run_folder() / FILE, {key: cfg[key] for key in SETTINGS}
    try:
        if cfg.features is not None:
            _predict_features(cfg, target)
            return
        with Progress("{} images") as progress:
            outcome = predict(cfg.ckpt, named(cfg), target, progress=progress, **settings)
    except TrainingDiverged as error:
        sys.stderr.write(f"semscale: {error}\n")
        raise SystemExit(FAILED) from error
    for path, problem in outcome.skipped:
        sys.stderr.write(f"semscale: skipped {printable(path)}: {problem}\n")
    if outcome.skipped:
        sys.stderr.write(f"semscale: skipped {len(outcome.skipped)} of {_images(outcome.total)}\n")
    for line in filter(None, (dark_line(outcome.dark), describe(outcome.passed_over))):
        sys.stderr.write(f"semscale: {line}\n")
    if not outcome.predicted:
        raise SystemExit(FAILED)
    if outcome.total == 1:
        sys.stdout.write("".join(f"{100 * p:5.1f} %  {printable(name)}\n" for name, p in outcome.first))
    print(f"{_images(outcome.predicted)} predicted, {len(outcome.skipped)} skipped; probabilities in {target}")


def _predict_features(cfg: DictConfig, target: Path) -> None:
    from semscale_pl.training.feature_prediction import predict_features

    settings = {key: cfg[key] for key in ("batch_size", "accelerator", "tta", "top_k", *_OF_FEATURES)}
    if isinstance(cfg.feature_columns, ListConfig):
        settings["feature_columns"] = [str(name) for name in cfg.feature_columns]
    with Progress("{} rows") as progress:
        outcome = predict_features(cfg.ckpt, str(cfg.features), target, progress=progress, **settings)
    print(f"{outcome.predicted} row{'' if outcome.predicted == 1 else 's'} predicted; probabilities in {target}")


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"
