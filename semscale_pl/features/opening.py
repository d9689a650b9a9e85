"""Open a file of features by its ending."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from semscale_pl.features.arrays import npy_rows, npz_parts, read_array
from semscale_pl.features.columns import values_shown
from semscale_pl.features.csv_files import csv_labels, csv_parts, text_encoding
from semscale_pl.features.source import Asked, FeatureSource, Rows, Taken
from semscale_pl.features.store import EmbeddingStore, found_store, is_store
from semscale_pl.labels import Labels, encode_labels, numbers_or_words

FORMATS = (".npy", ".npz", ".pt", ".parquet", ".csv", ".tsv", ".csv.gz", ".tsv.gz")
_CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_LABEL_FORMATS = (".npy", ".pt", ".csv", ".txt", ".tsv", ".csv.gz", ".tsv.gz")
_TABLES = (".parquet", *_CSV)
_WITH_KEYS = (".npz", ".pt", *_TABLES)


def open_features(
    features: str | Path,
    labels: str | Path | None = None,
    label_column: str | None = None,
    feature_columns: str | Sequence[str] = (),
    feature_key: str | None = None,
    part: str | None = None,
) -> FeatureSource:
    """Open labelled features; the rows are read when they are asked for.

    Args:
        features: a .npy, .npz, .pt, .parquet, .csv or .tsv file; the last two may be compressed (.csv.gz); or the
            folder of an embedding store.
        labels: a .npy, .pt, .csv, .tsv or .txt file (one class a line), where the labels are not in the same one.
        label_column: of a table, or the array of labels in a .npz or .pt file.
        feature_columns: of a table: names, globs such as ``f*`` and ranges such as ``f0..f511``; all columns besides
            the label unless given.
        feature_key: the array of features in a file that has several.
        part: of an embedding store; "train" unless given.

    Raises:
        ValueError: a file is missing, of an unknown format, damaged, or holds something else; one line says what.
    """
    place = found_store(features)
    if is_store(place):
        of_files = {"labels": labels, "label_column": label_column, "feature_key": feature_key}
        return _part_of_store(place, part or "train", {**of_files, "feature_columns": feature_columns or None})
    if part is not None:
        raise ValueError(f"Expected `part` only with an embedding store, but got {place.name}. Leave it out.")
    path = _checked(features, FORMATS, "features")
    other = None if labels is None else _checked(labels, _LABEL_FORMATS, "labels")
    asked = _asked(path, other, label_column, feature_columns, feature_key)
    rows, found, taken = _parts(path, asked)
    if other is not None:
        found, taken = _labels(other, label_column), replace(taken, label_column=f"in {other.name}")
    if found is None:
        others = f", or label_column=NAME with one of {', '.join(taken.left_out[:8])}" if taken.left_out else ""
        raise ValueError(f"Expected labels for {path.name}, but it holds features only. Pass labels=FILE{others}.")
    if isinstance(found, np.ndarray) and found.dtype.kind == "U":
        found = numbers_or_words(found)
    return FeatureSource(rows, *encode_labels(found, f"labels of {path.name}"), path.name, taken)


def open_rows(
    features: str | Path,
    label_column: str | None = None,
    feature_columns: str | Sequence[str] = (),
    feature_key: str | None = None,
    part: str | None = None,
) -> Rows:
    """Open features with or without labels, which are not read.

    Args:
        features, label_column, feature_columns, feature_key, part: see :func:`open_features`.

    Raises:
        ValueError: a file is missing, of an unknown format, damaged, or holds something else; one line says what.
    """
    if part is not None or is_store(found_store(features)):
        return open_features(features, None, label_column, feature_columns, feature_key, part).matrix
    path = _checked(features, FORMATS, "features")
    asked = _asked(path, None, label_column, feature_columns, feature_key)
    return _parts(path, replace(asked, labels_elsewhere=True))[0]


def _asked(
    path: Path,
    other: Path | None,
    label_column: str | None,
    feature_columns: str | Sequence[str],
    feature_key: str | None,
) -> Asked:
    """Return what to take from a file, once it is seen that a file of this kind has it."""
    columns = tuple(feature_columns.split(",")) if isinstance(feature_columns, str) else tuple(feature_columns)
    endings = [_ending(file) for file in (path, other) if file is not None]
    if label_column is not None and not set(endings) & set(_WITH_KEYS):
        raise ValueError(
            f"Expected `label_column` only with a .parquet, .csv, .tsv, .npz or .pt file, but got {path.name}. "
            "Leave it out."
        )
    if columns and endings[0] not in _TABLES:
        instead = "Name an array with feature_key=NAME" if endings[0] in _WITH_KEYS else "Leave it out"
        raise ValueError(f"Expected `feature_columns` only with a table, but got {path.name}. {instead}.")
    if feature_key is not None and (columns or endings[0] not in _WITH_KEYS):
        what = "it with `feature_columns`" if columns else path.name
        raise ValueError(f"Expected `feature_key` only with a file of several arrays, but got {what}. Leave it out.")
    return Asked(columns, feature_key, label_column, labels_elsewhere=other is not None)


def _part_of_store(folder: Path, part: str, asked: Mapping[str, object]) -> FeatureSource:
    """Open a part of an embedding store, which has features and labels of its own."""
    for key, value in asked.items():
        if value is not None:
            raise ValueError(f"Expected no `{key}` with an embedding store, which has its own. Leave it out.")
    store = EmbeddingStore.open(folder)
    labels = store.part(part).labels
    rows = npy_rows(store.folder / f"{part}.npy")
    taken = Taken(f"{part} of the store ({rows.shape[1]} values)", label_column="of the store")
    return FeatureSource(rows, labels, store.class_names, folder.name, taken)


def _ending(path: Path) -> str:
    """Return the ending of a file in small letters, with what stands before .gz."""
    endings = [suffix.lower() for suffix in path.suffixes]
    return "".join(endings[-2:] if endings[-1:] == [".gz"] else endings[-1:])


def _checked(file: str | Path, formats: tuple[str, ...], key: str) -> Path:
    path = Path(file)
    if path.is_dir():
        raise ValueError(f"Expected `{key}` to be a file, but {str(file)!r} is a folder. Pass a file in it.")
    if not path.is_file():
        raise ValueError(f"Expected `{key}` to be a file, but there is none at {str(file)!r}.")
    if _ending(path) not in formats:
        raise ValueError(f"Expected `{key}` to end in {', '.join(formats)}, but got {path.name!r}. Convert it.")
    if not os.access(path, os.R_OK):
        raise ValueError(f"Expected to read `{key}`, but {path.name} does not allow it. Change its permissions.")
    if path.stat().st_size == 0:
        raise ValueError(f"Expected `{key}` to hold something, but {path.name} is empty. Save it again.")
    return path


def _parts(path: Path, asked: Asked) -> tuple[Rows, Labels | None, Taken]:
    match _ending(path):
        case ".npy":
            rows = npy_rows(path)
            return rows, None, Taken(values_shown("the array", rows.shape[1]))
        case ".npz":
            return npz_parts(path, asked)
        case ".pt":  # imports torch, which takes seconds
            from semscale_pl.features.pt import pt_parts

            return pt_parts(path, asked)
        case ".parquet":
            if find_spec("pyarrow") is None:
                raise ValueError(
                    f"Expected pyarrow, which reads {path.name}, but it is not installed. pip install pyarrow."
                )
            from semscale_pl.features.parquet import parquet_parts

            return parquet_parts(path, asked)
    return csv_parts(path, asked)


def _labels(path: Path, label_column: str | None) -> Labels:
    match _ending(path):
        case ".npy":
            with path.open("rb") as file:
                return read_array(file, path.name)
        case ".pt":
            from semscale_pl.features.pt import pt_labels

            return pt_labels(path, label_column)
        case ".txt":
            return _lines(path)
    return csv_labels(path, label_column)


def _lines(path: Path) -> np.ndarray:
    try:
        lines = path.read_text(encoding=text_encoding(path)).splitlines()
    except UnicodeError as error:
        raise ValueError(f"Expected {path.name} to be text in UTF-8 with one class a line. Save it so.") from error
    while lines and not lines[-1].strip():
        lines.pop()
    return np.array([line.strip() for line in lines])
