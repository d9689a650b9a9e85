"""Open files of features by their ending: one, or the shards of a folder or a glob; or an embedding store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from semscale_pl.features.arrays import npy_rows, npz_parts, read_array
from semscale_pl.features.columns import values_shown
from semscale_pl.features.csv_files import csv_labels, csv_parts, text_encoding
from semscale_pl.features.feature_files import FORMATS, LABEL_FORMATS, TABLES, WITH_KEYS, ending, found_files
from semscale_pl.features.shards import chosen_part, joined, names_shown
from semscale_pl.features.source import Asked, FeatureSource, Found, Rows, Taken
from semscale_pl.features.store import EmbeddingStore, found_store, is_store
from semscale_pl.labels import (
    Labels,
    checked_names,
    class_names_in,
    class_positions,
    encode_labels,
    label_array,
    numbers_or_words,
    positions_either_way,
)

__all__ = ["FORMATS", "open_features", "open_rows"]


def open_features(
    features: str | Path,
    labels: str | Path | None = None,
    label_column: str | None = None,
    feature_columns: str | Sequence[str] = (),
    feature_key: str | None = None,
    part: str | None = None,
    *,
    label_key: str | None = None,
    split_key: str | None = None,
    class_names: str | Path | Sequence[str] | None = None,
) -> FeatureSource:
    """Open labelled features; the rows are read when they are asked for.

    Args:
        features: a file of one of :data:`FORMATS`; a folder of shards, or a glob; or the folder of an embedding store.
        labels: a .npy, .pt, .csv, .tsv or .txt file (one class a line), where the labels are not in the same one; of
            shards as many, by a folder or a glob.
        label_column: of a table, or the array of labels in a file of several.
        feature_columns: of a table: names, globs such as ``f*`` and ranges such as ``f0..f511``; all columns besides
            the label unless given.
        feature_key: the array of features in a file that has several.
        part: of an embedding store, "train" unless given; with ``split_key`` which rows.
        label_key: another name of ``label_column``.
        split_key: of a table, or the array, which says for each row whether it is of train, val or test.
        class_names: names in the order of the classes, or a file of them (.txt: one a line, .json: a list); labels are
            then these names, or numbers that count them from 0. What a file says of its own classes unless given.

    Raises:
        ValueError: a file is missing, of an unknown format, damaged, or holds something else; one line says what.
    """
    label_column = _one_name(label_column, label_key)
    place = found_store(features)
    if is_store(place):
        of_files = {"labels": labels, "label_column": label_column, "feature_key": feature_key, "split_key": split_key}
        of_files["class_names"] = class_names  # type: ignore[assignment]
        return _part_of_store(place, part or "train", {**of_files, "feature_columns": feature_columns or None})
    files = found_files(features)
    others = None if labels is None else found_files(labels, "labels", LABEL_FORMATS)
    asked = _asked(files[0], others[0] if others else None, label_column, feature_columns, feature_key, split_key)
    found = _opened(files, asked, others, label_column)
    if found.labels is None:
        left_out = found.taken.left_out
        more = f", or label_column=NAME with one of {', '.join(left_out[:8])}" if left_out else ""
        raise ValueError(f"Expected labels for {files[0].name}, but it holds features only. Pass labels=FILE{more}.")
    name = files[0].name if len(files) == 1 else _name_of(features)
    found = _of_part(found, part, split_key, name)
    numbers, names = _classes(found, class_names, f"labels of {name}")
    given = class_names is not None or found.class_names is not None
    return FeatureSource(found.rows, numbers, names, name, found.taken, given)


def open_rows(
    features: str | Path,
    label_column: str | None = None,
    feature_columns: str | Sequence[str] = (),
    feature_key: str | None = None,
    part: str | None = None,
    *,
    label_key: str | None = None,
    split_key: str | None = None,
) -> Rows:
    """Open features with or without labels, which are not numbered.

    Args:
        features, label_column, feature_columns, feature_key, part, label_key, split_key: see :func:`open_features`.

    Raises:
        ValueError: a file is missing, of an unknown format, damaged, or holds something else; one line says what.
    """
    label_column = _one_name(label_column, label_key)
    if is_store(found_store(features)):
        keys = {"feature_key": feature_key, "split_key": split_key}
        return open_features(features, None, label_column, feature_columns, part=part, **keys).matrix
    files = found_files(features)
    asked = _asked(files[0], None, label_column, feature_columns, feature_key, split_key)
    found = _opened(files, replace(asked, labels_elsewhere=True), None, None)
    return _of_part(found, part, split_key, files[0].name).rows


def _one_name(label_column: str | None, label_key: str | None) -> str | None:
    if label_column is not None and label_key is not None:
        raise ValueError("Expected one of `label_column` and `label_key`, which mean the same, but got both.")
    return label_column or label_key


def _name_of(features: str | Path) -> str:
    path = Path(features)
    return path.name if path.is_dir() else f"{path.parent.name or '.'}/{path.name}"


def _asked(
    path: Path,
    other: Path | None,
    label_column: str | None,
    feature_columns: str | Sequence[str],
    feature_key: str | None,
    split_key: str | None,
) -> Asked:
    """Return what to take from a file, once it is seen that a file of this kind has it."""
    columns = tuple(feature_columns.split(",")) if isinstance(feature_columns, str) else tuple(feature_columns)
    kinds = [ending(file) for file in (path, other) if file is not None]
    named = {"label_column": label_column if not set(kinds) & set(WITH_KEYS) else None}
    named |= {"split_key": split_key if kinds[0] not in WITH_KEYS else None}
    for key, value in named.items():
        if value is not None:
            raise ValueError(
                f"Expected `{key}` only with a {', '.join(WITH_KEYS[:-1])} or {WITH_KEYS[-1]} file, but got "
                f"{path.name}. Leave it out."
            )
    if columns and kinds[0] not in WITH_KEYS:
        raise ValueError(f"Expected `feature_columns` only with a table, but got {path.name}. Leave it out.")
    if feature_key is not None and (columns or kinds[0] not in WITH_KEYS):
        what = "it with `feature_columns`" if columns else path.name
        raise ValueError(f"Expected `feature_key` only with a file of several arrays, but got {what}. Leave it out.")
    if split_key is not None and split_key in (label_column, feature_key):
        raise ValueError(f"Expected `split_key` to name other values than features and labels, but got {split_key!r}.")
    return Asked(columns, feature_key, label_column, other is not None, split_key)


def _opened(files: Sequence[Path], asked: Asked, others: Sequence[Path] | None, label_column: str | None) -> Found:
    """Open shards, with the labels of other files where there are any."""
    if others is not None and len(others) not in (1, len(files)):
        raise ValueError(
            f"Expected a file of labels for each of the {len(files):,} shards, or one for all, but got {len(others):,}."
        )
    opened = [_parts(file, asked) for file in files]
    if others is None:
        return joined(opened, files)
    read = [_labels(other, label_column) for other in others]
    if len(others) > 1:
        opened = [replace(each, labels=values) for each, values in zip(opened, read, strict=True)]
        for each, file, other in zip(opened, files, others, strict=True):
            if len(each.labels) != each.rows.shape[0]:  # type: ignore[arg-type]
                raise ValueError(
                    f"Expected one label for each of the {each.rows.shape[0]:,} rows of {file.name}, but {other.name} "
                    f"has {len(each.labels):,}. Check that both are of the same samples."  # type: ignore[arg-type]
                )
    found = joined(opened, files)
    labels = read[0] if len(others) == 1 else found.labels
    more = "" if len(others) == 1 else f" to {others[-1].name}"
    return replace(found, labels=labels, taken=replace(found.taken, label_column=f"in {others[0].name}{more}"))


def _of_part(found: Found, part: str | None, split_key: str | None, name: str) -> Found:
    if split_key is None and part is None:
        return found
    if split_key is None:
        raise ValueError(
            f"Expected `part` only with an embedding store or with split_key=NAME, but got {name}. Leave it out."
        )
    if part is None:
        raise ValueError(
            f"Expected part=train, val or test with `split_key`, but got none. Say which rows of {name} to take."
        )
    return chosen_part(found, part, split_key, name)


def _classes(
    found: Found, class_names: str | Path | Sequence[str] | None, what: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Number labels by the names that were given or that the file has; otherwise in sorted order."""
    labels = found.labels
    assert labels is not None
    names = _names(class_names, found.class_names, what)
    if names is None:
        is_text = isinstance(labels, np.ndarray) and labels.dtype.kind == "U"
        return encode_labels(numbers_or_words(labels) if is_text else labels, what)  # type: ignore[arg-type]
    values = label_array(labels, what)
    if values.dtype.kind == "U":
        numbers = positions_either_way(np.char.strip(values), names, what)
    elif class_names is None:
        numbers = class_positions(values, names)  # a file that names its classes itself counts them
    else:
        numbers = positions_either_way(values, names, what)
    wrong = np.flatnonzero(numbers < 0)
    if len(wrong):
        raise ValueError(
            f"Expected `{what}` to be among {len(names):,} classes, by name or as 0..{len(names) - 1}, but got "
            f"{values[wrong[0]].item()!r} in row {int(wrong[0]):,} ({len(wrong):,} such rows; the classes are "
            f"{names_shown(names)}). Correct it, or name every class with class_names=FILE."
        )
    return numbers, names


def _names(
    given: str | Path | Sequence[str] | None, described: Sequence[str] | None, what: str
) -> tuple[str, ...] | None:
    if given is None or (not isinstance(given, str | Path) and not len(given)):
        return None if described is None else tuple(checked_names(described, f"what the file of the {what} says"))
    if not isinstance(given, str | Path):
        return tuple(checked_names(given, "class_names"))
    path = Path(given)
    if not path.is_file():
        raise ValueError(f"Expected `class_names` to be a file, but there is none at {str(given)!r}.")
    return tuple(class_names_in(path))


def _part_of_store(folder: Path, part: str, asked: Mapping[str, object]) -> FeatureSource:
    """Open a part of an embedding store, which has features and labels of its own."""
    for key, value in asked.items():
        if value is not None:
            raise ValueError(f"Expected no `{key}` with an embedding store, which has its own. Leave it out.")
    store = EmbeddingStore.open(folder)
    labels = store.part(part).labels
    rows = npy_rows(store.folder / f"{part}.npy")
    taken = Taken(f"{part} of the store ({rows.shape[1]} values)", label_column="of the store")
    return FeatureSource(rows, labels, store.class_names, folder.name, taken, True)


def _parts(path: Path, asked: Asked) -> Found:
    kind = ending(path)
    if kind in TABLES and not kind.endswith(("csv", "tsv", "gz")) and find_spec("pyarrow") is None:
        raise ValueError(f"Expected pyarrow, which reads {path.name}, but it is not installed. pip install pyarrow.")
    match kind:
        case ".npy":
            rows = npy_rows(path)
            return Found(rows, None, Taken(values_shown("the array", rows.shape[1])))
        case ".npz":
            return npz_parts(path, asked)
        case ".pt":  # imports torch, which takes seconds
            from semscale_pl.features.pt import pt_parts

            return pt_parts(path, asked)
        case ".safetensors":
            from semscale_pl.features.safetensors_files import safetensors_parts

            return safetensors_parts(path, asked)
        case ".h5" | ".hdf5":
            from semscale_pl.features.hdf5 import hdf5_parts

            return hdf5_parts(path, asked)
        case ".parquet":
            from semscale_pl.features.parquet import parquet_parts

            return parquet_parts(path, asked)
        case ".feather" | ".arrow":
            from semscale_pl.features.feather import feather_parts

            return feather_parts(path, asked)
    return csv_parts(path, asked)


def _labels(path: Path, label_column: str | None) -> Labels:
    match ending(path):
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
