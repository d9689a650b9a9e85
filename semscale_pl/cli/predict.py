"""`semscale predict`: the likeliest classes of an image, a folder or a list, with probabilities, as CSV."""

from __future__ import annotations

import sys

from omegaconf import DictConfig, ListConfig, OmegaConf

from semscale_pl.config.checks import check_file, check_values
from semscale_pl.config.errors import FAILED, WrongCallError, answers_in_one_line
from semscale_pl.data.chosen import chosen_images
from semscale_pl.data.decoding import dark_line
from semscale_pl.data.finding import describe
from semscale_pl.progress import Progress
from semscale_pl.terminal import printable
from semscale_pl.training.launching import run_folder

CONFIG = "predict"
FILE = "predictions.csv"
SETTINGS = ("batch_size", "num_workers", "accelerator", "on_bad_image", "exif_rotation", "tta", "top_k")


def check(cfg: DictConfig) -> None:
    """Raise WrongCallError where a prediction cannot work, naming why."""
    if OmegaConf.is_missing(cfg, "ckpt"):
        raise WrongCallError("Expected a checkpoint to predict with. Pass ckpt=RUN/checkpoints/last.ckpt")
    if OmegaConf.is_missing(cfg, "images"):
        raise WrongCallError("Expected images. Pass images=FOLDER, images=FILE or images=[FILE,FILE]")
    check_values(cfg, "predict")
    check_file("ckpt", cfg.ckpt, needed=True)
    try:
        chosen_images(named(cfg))
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


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"
