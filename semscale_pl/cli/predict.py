"""`semscale predict`: class names and probabilities of a folder of images, as CSV."""

from __future__ import annotations

import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.checks import check_file, check_values
from semscale_pl.config.errors import FAILED, WrongCallError, answers_in_one_line
from semscale_pl.data.finding import USUAL_SUFFIXES, describe, find_images, printable
from semscale_pl.progress import Progress
from semscale_pl.training.launching import run_folder

CONFIG = "predict"
FILE = "predictions.csv"
SETTINGS = ("batch_size", "num_workers", "accelerator", "on_bad_image", "exif_rotation")
ACCELERATORS = ("auto", "cpu", "gpu")


def check(cfg: DictConfig) -> None:
    """Raise WrongCallError where a prediction cannot work, naming why."""
    if OmegaConf.is_missing(cfg, "ckpt"):
        raise WrongCallError("Expected a checkpoint to predict with. Pass ckpt=RUN/checkpoints/last.ckpt")
    if OmegaConf.is_missing(cfg, "images"):
        raise WrongCallError("Expected a folder of images. Pass images=FOLDER")
    check_values(cfg, "predict")
    if cfg.accelerator not in ACCELERATORS:
        choices = ", ".join(ACCELERATORS)
        raise WrongCallError(f"Expected `accelerator` to be one of {choices}, but got {cfg.accelerator!r}.")
    check_file("ckpt", cfg.ckpt, needed=True)
    _check_folder(str(cfg.images))


def _check_folder(folder: str) -> None:
    if not Path(folder).is_dir():
        raise WrongCallError(f"Expected `images` to be a folder, but there is none at {folder!r}.")
    if not find_images(folder):
        raise WrongCallError(
            f"Expected `images` to hold image files ({', '.join(USUAL_SUFFIXES)}, ...), but found none in {folder!r}."
        )


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
        with Progress("{} images") as progress:
            outcome = predict(cfg.ckpt, cfg.images, target, progress=progress, **settings)
    except TrainingDiverged as error:
        sys.stderr.write(f"semscale: {error}\n")
        raise SystemExit(FAILED) from error
    for path, problem in outcome.skipped:
        sys.stderr.write(f"semscale: skipped {printable(path)}: {problem}\n")
    if outcome.skipped:
        sys.stderr.write(f"semscale: skipped {len(outcome.skipped)} of {_images(outcome.total)}\n")
    if passed_over := describe(outcome.passed_over):
        sys.stderr.write(f"semscale: {passed_over}\n")
    if not outcome.predicted:
        raise SystemExit(FAILED)
    print(f"{_images(outcome.predicted)} predicted, {len(outcome.skipped)} skipped; probabilities in {target}")


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"
