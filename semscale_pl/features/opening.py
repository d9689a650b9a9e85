"""Open a file of features by its ending."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from semscale_pl.features.arrays import npy_rows, npz_parts, read_array
from semscale_pl.features.csv_files import csv_labels, csv_parts
from semscale_pl.features.source import FeatureSource, Rows
from semscale_pl.labels import Labels, encode_labels, numbers_or_words

FORMATS = (".npy", ".npz", ".pt", ".parquet", ".csv")
_LABEL_FORMATS = (".npy", ".pt", ".csv", ".txt")
_TABLES = (".parquet", ".csv")


def open_features(
    features: str | Path, labels: str | Path | None = None, label_column: str | None = None
) -> FeatureSource:
    """Open labelled features; the rows are read when they are asked for.

    Args:
        features: a .npy, .npz, .pt, .parquet or .csv file.
        labels: a .npy, .pt, .csv or .txt file (one class a line), where the labels are not in the same one.
        label_column: of a table.

    Raises:
        ValueError: a file is missing, of an unknown format, damaged, or holds something else; one line says what.
    """
    path = _checked(features, FORMATS, "features")
    other = None if labels is None else _checked(labels, _LABEL_FORMATS, "labels")
    tables = [file for file in (path, other) if file is not None and file.suffix.lower() in _TABLES]
    if label_column is not None and not tables:
        raise ValueError(
            f"Expected `label_column` only with a .parquet or .csv file, but got {path.name}. Leave it out."
        )
    rows, found = _parts(path, label_column, labels_elsewhere=other is not None)
    if other is not None:
        found = _labels(other, label_column)
    if found is None:
        raise ValueError(f"Expected labels for {path.name}, but it holds features only. Pass labels=FILE.")
    if isinstance(found, np.ndarray) and found.dtype.kind == "U":
        found = numbers_or_words(found)
    return FeatureSource(rows, *encode_labels(found, f"labels of {path.name}"), path.name)


def _checked(file: str | Path, formats: tuple[str, ...], key: str) -> Path:
    path = Path(file)
    if path.is_dir():
        raise ValueError(f"Expected `{key}` to be a file, but {str(file)!r} is a folder. Pass a file in it.")
    if not path.is_file():
        raise ValueError(f"Expected `{key}` to be a file, but there is none at {str(file)!r}.")
    if path.suffix.lower() not in formats:
        raise ValueError(f"Expected `{key}` to end in {', '.join(formats)}, but got {path.name!r}. Convert it.")
    if not os.access(path, os.R_OK):
        raise ValueError(f"Expected to read `{key}`, but {path.name} does not allow it. Change its permissions.")
    if path.stat().st_size == 0:
        raise ValueError(f"Expected `{key}` to hold something, but {path.name} is empty. Save it again.")
    return path


def _parts(path: Path, label_column: str | None, labels_elsewhere: bool) -> tuple[Rows, Labels | None]:
    match path.suffix.lower():
        case ".npy":
            return npy_rows(path), None
        case ".npz":
            return npz_parts(path)
        case ".pt":  # imports torch, which takes seconds
            from semscale_pl.features.pt import pt_parts

            return pt_parts(path)
        case ".csv":
            return csv_parts(path, label_column, labels_elsewhere)
    if find_spec("pyarrow") is None:
        raise ValueError(f"Expected pyarrow, which reads {path.name}, but it is not installed. pip install pyarrow.")
    from semscale_pl.features.parquet import parquet_parts

    return parquet_parts(path, label_column)


def _labels(path: Path, label_column: str | None) -> Labels:
    match path.suffix.lower():
        case ".npy":
            with path.open("rb") as file:
                return read_array(file, path.name)
        case ".pt":
            from semscale_pl.features.pt import pt_labels

            return pt_labels(path)
        case ".csv":
            return csv_labels(path, label_column)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"Expected {path.name} to be text in UTF-8 with one class a line. Save it so.") from error
    while lines and not lines[-1].strip():
        lines.pop()
    return numbers_or_words(np.array([line.strip() for line in lines]))
