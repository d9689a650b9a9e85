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
from semscale_pl.data.decoding import DecodedImages
from semscale_pl.data.finding import look_through, printable, shown
from semscale_pl.data.source import DataError
from semscale_pl.data.workers import start_worker
from semscale_pl.files import replacing
from semscale_pl.training.restoring import Restored, restore
from semscale_pl.training.run import TrainingDiverged


@dataclass
class Outcome:
    """What became of the images.

    Args:
        skipped: path and reason of each image that could not be read.
        passed_over: files that are no images, by the sub-folder that they lie below.
    """

    predicted: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    passed_over: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many images were looked at."""
        return self.predicted + len(self.skipped)


def predict(
    ckpt: str | Path,
    images: str | Path,
    target: Path,
    *,
    batch_size: int = 64,
    num_workers: int = 0,
    accelerator: str = "auto",
    on_bad_image: str = "skip",
    exif_rotation: bool | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Write the probabilities of all readable images of a folder.

    Args:
        images: folder, searched with its sub-folders.
        target: the CSV file: path within the folder, class name, its probability, then one probability per class. It
            is put in place in one step, and only where at least one image could be read.
        num_workers: processes that decode; 0 decodes in this one.
        on_bad_image: "skip" images that cannot be decoded, or "refuse" to go on.
        exif_rotation: turn images as their EXIF tag asks for; None does what was done in training.
        progress: called after each batch with how many images are done, and of how many.

    Raises:
        WrongCallError: the file is not a checkpoint of `semscale train`, or there is no such device.
        TrainingDiverged: the model's output is not finite.
        DataError: an image cannot be decoded, where that is refused; no file is written then.
    """
    restored, outcome, folder = restore(ckpt), Outcome(), str(images)
    device = _device(accelerator)
    found = look_through(folder)
    outcome.passed_over = _by_folder(found.passed_over, Path(folder))
    paths = sorted(found.images, key=lambda path: (path.parent, path.name))
    upright = restored.exif_rotation if exif_rotation is None else exif_rotation
    loader = _loader(paths, restored, upright, batch_size, num_workers)
    with replacing(target) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "class_name", "probability", *(f"p_{name}" for name in restored.class_names)])
        for readable, probabilities, others in _scored(loader, restored, device):
            names = [shown(paths[entry.position], folder) for entry in readable]
            writer.writerows(_rows(names, probabilities, restored.class_names))
            outcome.predicted += len(readable)
            outcome.skipped += [(shown(paths[entry.position], folder), entry.problem) for entry in others]
            if outcome.skipped and on_bad_image == "refuse":
                raise DataError(_refusal(*outcome.skipped[0]))
            progress(outcome.total, len(paths))
        if not outcome.predicted:
            file.close()
            partial.unlink()
    return outcome


def _by_folder(files: Sequence[Path], folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in files:
        first, *rest = file.relative_to(folder).parts
        found.setdefault(first if rest else folder.name or str(folder), []).append(file)
    return found


def _refusal(path: str, problem: str) -> str:
    return (
        f"Expected all images to be readable, but {printable(path)} cannot be decoded: {problem}. Replace or remove "
        "it; on_bad_image=skip leaves such images out."
    )


def _loader(paths: Sequence[Path], restored: Restored, upright: bool, batch_size: int, num_workers: int) -> Any:
    model_input = restored.model_input()
    dataset: Any = DecodedImages(paths, model_input, upright)
    # Images that keep their own sizes cannot be stacked.
    size = 1 if model_input.image_size is None else batch_size
    options: dict[str, Any] = {"num_workers": num_workers, "worker_init_fn": start_worker, "collate_fn": list}
    return DataLoader(dataset, batch_size=size, **options)


def _scored(loader: Any, restored: Restored, device: torch.device) -> Iterator[tuple[list[Any], list[Any], list[Any]]]:
    """Yield of each batch the readable images, the probabilities of their classes, and the other images."""
    scorer = restored.scorer().to(device)
    for batch in loader:
        readable = [entry for entry in batch if entry.image is not None]
        probabilities: list[list[float]] = []
        if readable:
            with torch.inference_mode():
                logits = scorer(torch.stack([entry.image for entry in readable]).to(device))
            probabilities = _probabilities(logits)
        yield readable, probabilities, [entry for entry in batch if entry.image is None]


def _probabilities(logits: torch.Tensor) -> list[list[float]]:
    if not bool(logits.isfinite().all()):
        raise TrainingDiverged("the model's output is not finite; its training diverged. Use another checkpoint.")
    return logits.double().softmax(dim=1).tolist()


def _rows(names: list[str], probabilities: list[list[float]], class_names: list[str]) -> Iterator[list[str]]:
    for name, row in zip(names, probabilities, strict=True):
        best = max(range(len(row)), key=row.__getitem__)
        yield [name, class_names[best], *(f"{value:.6g}" for value in (row[best], *row))]


def _device(accelerator: str) -> torch.device:
    found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else None
    if accelerator == "gpu" and found is None:
        raise WrongCallError("Expected a GPU with accelerator=gpu, but torch finds none. Use accelerator=cpu.")
    return torch.device("cpu" if accelerator == "cpu" or found is None else found)
