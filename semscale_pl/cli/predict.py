"""`semscale predict`: class names and probabilities of a folder of images, as CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.checks import check_file, check_values
from semscale_pl.config.errors import FAILED, WrongCallError, answers_in_one_line
from semscale_pl.data.decoding import SUFFIXES, DecodedImages, find_images, shown
from semscale_pl.files import replacing
from semscale_pl.progress import Progress
from semscale_pl.training.launching import run_folder

if TYPE_CHECKING:
    import torch

    from semscale_pl.training.restoring import Restored

CONFIG = "predict"
FILE = "predictions.csv"
ACCELERATORS = ("auto", "cpu", "gpu")


@dataclass
class Outcome:
    """What became of the images.

    Args:
        predicted: images in the file.
        skipped: path and reason of each image that could not be read.
    """

    predicted: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)


def check(cfg: DictConfig) -> None:
    """Check what a prediction is made from.

    Raises:
        WrongCallError: naming what cannot work.
    """
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
            f"Expected `images` to hold image files ({', '.join(SUFFIXES)}), but found none in {folder!r}."
        )


@answers_in_one_line
def run(cfg: DictConfig) -> None:
    """Check the call, predict, and say what was written and what was skipped.

    Raises:
        SystemExit: with 1 where no image could be read.
    """
    check(cfg)
    target = run_folder() / FILE
    outcome = predict(cfg, target)
    for path, problem in outcome.skipped:
        sys.stderr.write(f"semscale: skipped {path}: {problem}\n")
    if outcome.skipped:
        sys.stderr.write(f"semscale: skipped {len(outcome.skipped)} of {_images(_total(outcome))}\n")
    if not outcome.predicted:
        raise SystemExit(FAILED)
    print(f"{_images(outcome.predicted)} predicted, {len(outcome.skipped)} skipped; probabilities in {target}")


def predict(cfg: DictConfig, target: Path) -> Outcome:
    """Write the probabilities of all readable images of a folder.

    Args:
        cfg: composed from conf/predict.yaml.
        target: the CSV file: path within the folder, class name, its probability, then one probability per class. It
            is put in place in one step, and only where at least one image could be read.

    Returns:
        How many images were predicted, and which were skipped.

    Raises:
        WrongCallError: the file is not a checkpoint of `semscale train`, or there is no such device.
    """
    from semscale_pl.training.restoring import restore

    restored = restore(cfg.ckpt)
    device = _device(cfg.accelerator)
    folder, outcome = str(cfg.images), Outcome()
    paths = sorted(find_images(folder), key=lambda path: (path.parent, path.name))
    loader = _loader(paths, restored, cfg.batch_size, cfg.num_workers)
    progress = Progress("{} images")
    with replacing(target) as partial, partial.open("w", encoding="utf-8", newline="") as file, progress:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "class_name", "probability", *(f"p_{name}" for name in restored.class_names)])
        for positions, probabilities, problems in _scored(loader, restored, device):
            names = [shown(paths[position], folder) for position in positions]
            writer.writerows(_rows(names, probabilities, restored.class_names))
            outcome.predicted += len(positions)
            outcome.skipped += [(shown(paths[position], folder), problem) for position, problem in problems]
            progress(_total(outcome), len(paths))
        if not outcome.predicted:
            file.close()
            partial.unlink()
    return outcome


Scores = tuple[list[int], list[list[float]], list[tuple[int, str]]]


def _loader(paths: Sequence[Path], restored: Restored, batch_size: int, num_workers: int) -> Any:
    from torch.utils.data import DataLoader

    model_input = restored.model_input()
    dataset: Any = DecodedImages(paths, model_input)
    # Images that keep their own sizes cannot be stacked.
    size = 1 if model_input.image_size is None else batch_size
    return DataLoader(dataset, batch_size=size, num_workers=num_workers, collate_fn=list)


def _scored(loader: Any, restored: Restored, device: torch.device) -> Iterator[Scores]:
    """Yield positions and probabilities of the readable images of each batch, and the problems of the others."""
    import torch

    scorer = restored.scorer().to(device)
    for batch in loader:
        good = [entry for entry in batch if entry.image is not None]
        probabilities: list[list[float]] = []
        if good:
            with torch.inference_mode():
                logits = scorer(torch.stack([entry.image for entry in good]).to(device))
            probabilities = _probabilities(logits)
        bad = [(entry.position, entry.problem) for entry in batch if entry.image is None]
        yield [entry.position for entry in good], probabilities, bad


def _probabilities(logits: torch.Tensor) -> list[list[float]]:
    if not bool(logits.isfinite().all()):
        sys.stderr.write("semscale: the model's output is not finite; its training diverged. Use another checkpoint.\n")
        raise SystemExit(FAILED)
    return logits.double().softmax(dim=1).tolist()


def _rows(names: list[str], probabilities: list[list[float]], class_names: list[str]) -> Iterator[list[str]]:
    for name, row in zip(names, probabilities, strict=True):
        best = max(range(len(row)), key=row.__getitem__)
        yield [name, class_names[best], *(f"{value:.6g}" for value in (row[best], *row))]


def _device(accelerator: str) -> torch.device:
    import torch

    found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else None
    if accelerator == "gpu" and found is None:
        raise WrongCallError("Expected a GPU with accelerator=gpu, but torch finds none. Use accelerator=cpu.")
    return torch.device("cpu" if accelerator == "cpu" or found is None else found)


def _total(outcome: Outcome) -> int:
    return outcome.predicted + len(outcome.skipped)


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"
