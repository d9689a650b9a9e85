"""Class names and probabilities of image files, by a trained model, as CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from semscale_pl.config.errors import WrongCallError
from semscale_pl.config.features import has_features
from semscale_pl.data.chosen import chosen_images
from semscale_pl.data.decoding import DecodedImages
from semscale_pl.data.source import DataError
from semscale_pl.data.transforms import ModelInput
from semscale_pl.data.workers import start_worker
from semscale_pl.files import replacing
from semscale_pl.models.views import Views
from semscale_pl.terminal import printable
from semscale_pl.training.building import build_views
from semscale_pl.training.device import chosen_device
from semscale_pl.training.evaluation import with_views
from semscale_pl.training.restoring import Restored, restore
from semscale_pl.training.run import TrainingDiverged


@dataclass
class Outcome:
    """What became of the images.

    Args:
        first: the likeliest classes of the first image, as many as were asked for, with their probabilities.
        skipped: path and reason of each image that could not be read.
        dark: images that are nearly black, see :func:`semscale_pl.data.decoding.dark_line`.
        passed_over: files that are no images, by the sub-folder that they lie below.
    """

    predicted: int = 0
    first: list[tuple[str, float]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    dark: list[str] = field(default_factory=list)
    passed_over: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many images were looked at."""
        return self.predicted + len(self.skipped)


def predict(
    ckpt: str | Path,
    images: str | Path | Sequence[str | Path],
    target: Path,
    *,
    batch_size: int = 64,
    num_workers: int = 0,
    accelerator: str = "auto",
    on_bad_image: str = "skip",
    exif_rotation: bool | None = None,
    tta: str | None = None,
    top_k: int = 5,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Write the probabilities of all readable images that are named.

    Args:
        images: a file, a folder or a list, see :func:`semscale_pl.data.chosen.chosen_images`.
        target: the CSV file: path, index, name and probability of the likeliest class, the same of the next ones, then
            one probability per class. It is put in place in one step, and only where at least one image could be read.
        top_k: likeliest classes of each image, at most as many as there are.
        num_workers: processes that decode; 0 decodes in this one.
        on_bad_image: "skip" images that cannot be decoded, or "refuse" to go on.
        exif_rotation: turn images as their EXIF tag asks for; None does what was done in training.
        tta: views of each image whose logits are averaged, "none", "flips" or "crops"; None does as its run's test did.
        progress: called after each batch with how many images are done, and of how many.

    Raises:
        WrongCallError: the file is not a checkpoint of `semscale train`, or there is no such device.
        TrainingDiverged: the model's output is not finite.
        DataError: an image cannot be decoded, where that is refused; no file is written then.
    """
    restored, outcome = restore(ckpt), Outcome()
    if has_features(restored.config):
        raise WrongCallError(
            "Expected features=FILE with a model that was trained on features, but got images. Embed them with the "
            "same network (semscale embed images=FOLDER), and pass features=STORE."
        )
    device = chosen_device(accelerator)
    paths, shown, outcome.passed_over = chosen_images(images)
    top_k = min(top_k, len(restored.class_names))
    upright = restored.exif_rotation if exif_rotation is None else exif_rotation
    views = build_views(with_views(restored.config, tta)) or Views("none")
    loader = _loader(paths, restored.model_input(), views, upright, batch_size, num_workers)
    with replacing(target) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(csv_head(restored.class_names, top_k))
        for readable, probabilities, others in _scored(loader, restored, views, device):
            names = [shown[entry.position] for entry in readable]
            writer.writerows(csv_rows(names, probabilities, restored.class_names, top_k))
            if probabilities and not outcome.predicted:
                outcome.first = [(restored.class_names[label], p) for label, p in likeliest(probabilities[0], top_k)]
            outcome.predicted += len(readable)
            outcome.dark += [name for name, entry in zip(names, readable, strict=True) if entry.dark]
            outcome.skipped += [(shown[entry.position], entry.problem) for entry in others]
            if outcome.skipped and on_bad_image == "refuse":
                raise DataError(_refusal(*outcome.skipped[0]))
            progress(outcome.total, len(paths))
        if not outcome.predicted:
            file.close()
            partial.unlink()
    return outcome


def _refusal(path: str, problem: str) -> str:
    return (
        f"Expected all images to be readable, but {printable(path)} cannot be decoded: {problem}. Replace or remove "
        "it; on_bad_image=skip leaves such images out."
    )


def _loader(
    paths: Sequence[Path], model_input: ModelInput, views: Views, upright: bool, batch_size: int, num_workers: int
) -> Any:
    if views.size_before_cropping is not None:
        model_input = model_input.at(views.size_before_cropping)
    dataset: Any = DecodedImages(paths, model_input, upright)
    # Images that keep their own sizes cannot be stacked.
    size = 1 if model_input.image_size is None else batch_size
    options: dict[str, Any] = {"num_workers": num_workers, "worker_init_fn": start_worker, "collate_fn": list}
    return DataLoader(dataset, batch_size=size, **options)


def _scored(
    loader: Any, restored: Restored, views: Views, device: torch.device
) -> Iterator[tuple[list[Any], list[Any], list[Any]]]:
    """Yield of each batch the readable images, the probabilities of their classes, and the other images."""
    scorer = restored.scorer().to(device)
    for batch in loader:
        readable = [entry for entry in batch if entry.image is not None]
        probabilities: list[list[float]] = []
        if readable:
            with torch.inference_mode():
                logits = views.average(scorer, torch.stack([entry.image for entry in readable]).to(device))
            probabilities = probabilities_of(logits)
        yield readable, probabilities, [entry for entry in batch if entry.image is None]


def probabilities_of(logits: torch.Tensor) -> list[list[float]]:
    """Return the probabilities of logits (B, C); TrainingDiverged where one is not finite."""
    if not bool(logits.isfinite().all()):
        raise TrainingDiverged("the model's output is not finite; its training diverged. Use another checkpoint.")
    return logits.double().softmax(dim=1).tolist()


def csv_head(class_names: Sequence[str], top_k: int, first: str = "path") -> list[str]:
    """Return the names of the columns of predictions."""
    places = ["", *(f"_{place}" for place in range(2, top_k + 1))]
    top = [f"{column}{place}" for place in places for column in ("class_index", "class_name", "probability")]
    return [first, *top, *(f"p_{name}" for name in class_names)]


def csv_rows(
    names: Sequence[str], probabilities: Sequence[list[float]], class_names: Sequence[str], top_k: int
) -> Iterator[list[str]]:
    """Yield a line for each name: its likeliest classes, then the probabilities of all."""
    for name, row in zip(names, probabilities, strict=True):
        top = [text for label, p in likeliest(row, top_k) for text in (str(label), class_names[label], f"{p:.6g}")]
        yield [name, *top, *(f"{value:.6g}" for value in row)]


def likeliest(row: Sequence[float], top_k: int) -> list[tuple[int, float]]:
    """Return the k classes of highest probability, with it."""
    labels = sorted(range(len(row)), key=lambda label: -row[label])[:top_k]
    return [(label, row[label]) for label in labels]
