"""What lies in the files that a configuration names: a changed file of features or weights is another cell."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from semscale_pl.features.feature_files import found_files
from semscale_pl.features.store import StoreError, found_store, is_store, read_manifest

STORE = "dataset.store"
# Keys of files whose content decides a result. The folders of image datasets are not among them: their counts are known
# beforehand and they are too large to be read for each table.
FILES = (
    *("dataset.train", "dataset.val", "dataset.test"),
    *("dataset.train_labels", "dataset.val_labels", "dataset.test_labels"),
    *("dataset.class_names", "backbone.weights", "imbalance.file"),
)
_BLOCK = 2**20


def contents(config: Mapping[str, Any]) -> dict[str, str]:
    """Return a name of the content of each file or store that a configuration names and that is here.

    Args:
        config: of a run, as plain containers.

    Returns:
        Key to a hash of the file, or to the store's own key, which is one of model, images and transform. What is
        absent or no file, such as a tag of published weights, is left out.
    """
    found = {key: _of_file(value) for key in FILES if isinstance(value := _value(config, key), str)}
    store = _value(config, STORE)
    return {key: content for key, content in {**found, STORE: _of_store(store)}.items() if content}


def _value(config: Mapping[str, Any], key: str) -> Any:
    group, _, name = key.partition(".")
    node = config.get(group)
    return node.get(name) if isinstance(node, Mapping) else None


def _of_file(path: str) -> str:
    if is_store(found_store(path)):
        return _of_store(path)
    try:
        files = [Path(path)] if Path(path).is_file() else found_files(path)
    except ValueError:
        return ""
    hashes = [_hash(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    # Of shards, all in their order.
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]


@lru_cache(maxsize=256)
def _hash(path: str, size: int, changed: int) -> str:
    """Hash a file, once for all cells while its size and time of change stay as they are."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()[:16]


def _of_store(folder: Any) -> str:
    if not isinstance(folder, str):
        return ""
    try:
        return str(read_manifest(found_store(folder))["key"])
    except StoreError:
        return ""
