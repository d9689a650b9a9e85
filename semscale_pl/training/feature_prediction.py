"""Class names and probabilities of features from a file, by a model that was trained on features, as CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from semscale_pl.config.errors import WrongCallError
from semscale_pl.config.features import has_features
from semscale_pl.features.opening import open_rows
from semscale_pl.features.row_names import names_of_rows
from semscale_pl.features.source import Rows
from semscale_pl.files import replacing
from semscale_pl.training.device import chosen_device
from semscale_pl.training.evaluation import with_views
from semscale_pl.training.prediction import Outcome, csv_head, csv_rows, likeliest, probabilities_of
from semscale_pl.training.restoring import Restored, restore


def predict_features(
    ckpt: str | Path,
    features: str | Path,
    target: Path,
    *,
    part: str | None = None,
    batch_size: int = 64,
    accelerator: str = "auto",
    tta: str | None = None,
    top_k: int = 5,
    feature_columns: str | Sequence[str] | None = None,
    feature_key: str | None = None,
    label_column: str | None = None,
    label_key: str | None = None,
    split_key: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Write the probabilities of all rows of a file, which needs no labels.

    Args:
        features: a file or store that :func:`semscale_pl.features.opening.open_features` opens.
        target: the CSV file, as that of images: what the file calls a row (its column of paths), else its number from
            0, then the likeliest classes and all probabilities. It is put in place in one step.
        part: of a store, "train" unless given; or by ``split_key``.
        tta: only "none", or None.
        feature_columns, feature_key, label_column, label_key, split_key: what to take from the file; None for all takes
            what the run took from its training file, where both end alike.
        progress: called after each batch with how many rows are done, and of how many.

    Raises:
        WrongCallError: the checkpoint is no model of features, the file cannot be read, or the features are of another
            width or not finite.
        TrainingDiverged: the model's output is not finite.
    """
    restored, outcome = restore(ckpt), Outcome()
    with_views(restored.config, tta)
    keys = {"feature_columns": feature_columns, "feature_key": feature_key, "label_column": label_column}
    keys |= {"label_key": label_key, "split_key": split_key}
    rows = _opened(restored, features, part, {key: value for key, value in keys.items() if value})
    device, total = chosen_device(accelerator), int(rows.shape[0])
    scorer, top_k = restored.scorer().to(device), min(top_k, len(restored.class_names))
    named = names_of_rows(Path(features), range(total), part, getattr(rows, "places", None))
    with replacing(target) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(csv_head(restored.class_names, top_k, "path" if named else "row"))
        for vectors in _pieces(rows, batch_size, Path(features).name):
            with torch.inference_mode():
                probabilities = probabilities_of(scorer(vectors.to(device)))
            if not outcome.predicted:
                found = likeliest(probabilities[0], top_k)
                outcome.first = [(restored.class_names[label], p) for label, p in found]
            names = _names(named, outcome.predicted, len(vectors))
            writer.writerows(csv_rows(names, probabilities, restored.class_names, top_k))
            outcome.predicted += len(vectors)
            progress(outcome.predicted, total)
    return outcome


def _opened(restored: Restored, features: str | Path, part: str | None, asked: dict[str, Any]) -> Rows:
    if not has_features(restored.config):
        raise WrongCallError(
            "Expected images=FOLDER with a model that was trained on images, but got features. Pass the images."
        )
    try:
        asked = asked or _as_in_training(restored.config.dataset, Path(features), part)
        rows = open_rows(features, part=part, **asked)
    except ValueError as error:
        raise WrongCallError(str(error)) from error
    width = int(restored.config.dataset.num_features)
    if rows.shape[1] != width:
        raise WrongCallError(
            f"Expected {width} features, as the model was trained on, but {Path(features).name} has {rows.shape[1]}. "
            "Embed with the same network."
        )
    return rows


def _pieces(rows: Rows, size: int, name: str) -> Iterator[Tensor]:
    """Yield all rows, (B, D) float32 each; WrongCallError where one is damaged or not finite."""
    start = 0
    try:
        for piece in rows.rows(np.arange(rows.shape[0]), size):
            bad = np.flatnonzero(~np.isfinite(piece).all(1))
            if len(bad):
                raise ValueError(
                    f"Expected finite features, but row {start + int(bad[0]):,} of {name} has NaN or infinity. Repair "
                    "or remove it."
                )
            yield torch.from_numpy(piece).float()
            start += len(piece)
    except ValueError as error:
        raise WrongCallError(str(error)) from error


def _as_in_training(dataset: DictConfig, file: Path, part: str | None) -> dict[str, Any]:
    """Return what the run took from its training file, for a file of the same ending."""
    if dataset.get("train") is None or Path(str(dataset.train)).suffixes != file.suffixes:
        return {}
    keys = ("label_column", "label_key", "feature_key", *(("split_key",) if part is not None else ()))
    return {key: dataset.get(key) for key in keys} | {"feature_columns": list(dataset.get("feature_columns") or ())}


def _names(named: dict[int, str], start: int, count: int) -> Sequence[str]:
    return [named.get(row, str(row)) for row in range(start, start + count)]
