"""Every format gives the rows and labels that were saved, whole, in part and in pieces."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from pyarrow import feather, ipc
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from semscale_pl.features.opening import open_features

ROWS, DIM = 300, 7
LABELS = np.array(["tabby cat", "dog", "emu"])[np.arange(ROWS) % 3]
Save = Callable[[Path, np.ndarray], Path]


def matrix() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ROWS, DIM)).astype(np.float32)


def _npz(folder: Path, features: np.ndarray) -> Path:
    np.savez(folder / "f.npz", features=features, labels=LABELS)
    return folder / "f.npz"


def _npz_compressed(folder: Path, features: np.ndarray) -> Path:
    np.savez_compressed(folder / "f.npz", embeddings=features, y=LABELS)
    return folder / "f.npz"


def _npz_by_columns(folder: Path, features: np.ndarray) -> Path:
    np.savez(folder / "f.npz", x=np.asfortranarray(features), targets=LABELS)
    return folder / "f.npz"


def _pt(folder: Path, features: np.ndarray) -> Path:
    torch.save({"features": torch.from_numpy(features), "labels": LABELS.tolist()}, folder / "f.pt")
    return folder / "f.pt"


def _frame(features: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(features, columns=[f"f{number}" for number in range(DIM)]).assign(label=LABELS)


def _csv(folder: Path, features: np.ndarray) -> Path:
    _frame(features).to_csv(folder / "f.csv", index=False)
    return folder / "f.csv"


def _parquet(folder: Path, features: np.ndarray) -> Path:
    _frame(features).to_parquet(folder / "f.parquet", row_group_size=64)
    return folder / "f.parquet"


def _npz_columns(folder: Path, features: np.ndarray) -> Path:
    np.savez(folder / "f.npz", **{f"f{number}": features[:, number] for number in range(DIM)}, labels=LABELS)
    return folder / "f.npz"


def _pt_columns(folder: Path, features: np.ndarray) -> Path:
    tensors = {f"f{number}": torch.from_numpy(features[:, number]) for number in range(DIM)}
    torch.save({**tensors, "labels": LABELS.tolist()}, folder / "f.pt")
    return folder / "f.pt"


def _safetensors(folder: Path, features: np.ndarray) -> Path:
    names = ["tabby cat", "dog", "emu"]
    numbers = np.array([names.index(label) for label in LABELS])
    described = {"class_names": json.dumps(names)}
    save_file({"labels": numbers, "features": features}, folder / "f.safetensors", described)
    return folder / "f.safetensors"


def _safetensors_bfloat16(folder: Path, features: np.ndarray) -> Path:
    features[:] = torch.from_numpy(features).bfloat16().float().numpy()
    content = {"features": torch.from_numpy(features).bfloat16(), "y": torch.arange(ROWS) % 3}
    save_tensors(content, folder / "f.safetensors", {"class_names": json.dumps(["tabby cat", "dog", "emu"])})
    return folder / "f.safetensors"


def _feather(folder: Path, features: np.ndarray) -> Path:
    feather.write_feather(pa.Table.from_pandas(_frame(features)), folder / "f.feather", "uncompressed", chunksize=64)
    return folder / "f.feather"


def _feather_lists(folder: Path, features: np.ndarray) -> Path:
    frame = pd.DataFrame({"embeddings": list(features), "class_name": pd.Categorical(LABELS)})
    feather.write_feather(frame, folder / "f.feather", "lz4", chunksize=64)
    return folder / "f.feather"


def _arrow_stream(folder: Path, features: np.ndarray) -> Path:
    table = pa.Table.from_pandas(_frame(features))
    with ipc.new_stream(folder / "f.arrow", table.schema) as stream:
        stream.write_table(table, 64)
    return folder / "f.arrow"


def _hdf5(folder: Path, features: np.ndarray) -> Path:
    return _written_hdf5(folder, features)


def _hdf5_in_chunks(folder: Path, features: np.ndarray) -> Path:
    return _written_hdf5(folder, features, chunks=(64, 2), compression="gzip")


def _written_hdf5(folder: Path, features: np.ndarray, **how: Any) -> Path:
    h5py = pytest.importorskip("h5py", reason="pip install 'semscale-pl[hdf5]'")
    with h5py.File(folder / "f.h5", "w") as file:
        file.create_dataset("all/features", data=features, **how)
        file["all/labels"] = LABELS.tolist()
    return folder / "f.h5"


def _shards(folder: Path, features: np.ndarray) -> Path:
    (folder / "shards").mkdir()
    for start, end in ((0, 70), (70, 71), (71, ROWS)):
        _frame(features).iloc[start:end].to_parquet(folder / "shards" / f"part-{start}.parquet", row_group_size=64)
    (folder / "shards" / "_SUCCESS").touch()
    return folder / "shards"


def _glob(folder: Path, features: np.ndarray) -> Path:
    for start, end in ((0, 70), (70, 71), (71, ROWS)):
        np.savez(folder / f"part-{start}.npz", features=features[start:end], labels=LABELS[start:end])
    return folder / "part-*.npz"


def _parquet_lists(folder: Path, features: np.ndarray) -> Path:
    frame = pd.DataFrame({"embeddings": list(features), "class_name": pd.Categorical(LABELS)})
    frame.to_parquet(folder / "f.parquet", row_group_size=64)
    return folder / "f.parquet"


FORMATS = [
    *(_npz, _npz_compressed, _npz_by_columns, _npz_columns, _pt, _pt_columns, _csv, _parquet, _parquet_lists),
    *(_safetensors, _safetensors_bfloat16, _feather, _feather_lists, _arrow_stream, _hdf5, _hdf5_in_chunks),
    *(_shards, _glob),
]


@pytest.mark.parametrize("save", FORMATS)
def test_rows_and_labels_come_back(tmp_path: Path, save: Save) -> None:
    features = matrix()
    source = open_features(save(tmp_path, features))
    assert (source.num_rows, source.num_features) == (ROWS, DIM)
    assert source.class_names == (("tabby cat", "dog", "emu") if source.names_given else ("dog", "emu", "tabby cat"))
    assert [source.class_names[label] for label in source.labels] == LABELS.tolist()
    for wanted in (np.arange(ROWS), np.array([0, 63, 64, 65, 200, 299]), np.arange(2, ROWS, 3), np.array([299])):
        pieces = [piece.copy() for piece in source.rows(wanted, 50)]
        assert max(map(len, pieces)) <= 50
        np.testing.assert_allclose(np.concatenate(pieces), features[wanted], rtol=1e-6)


@pytest.mark.parametrize("ending", ["npy", "pt", "csv", "txt"])
def test_labels_of_their_own(tmp_path: Path, ending: str) -> None:
    numbers, labels = np.arange(ROWS) % 12, tmp_path / f"l.{ending}"
    np.save(tmp_path / "f.npy", matrix())
    if ending == "npy":
        np.save(labels, numbers)
    elif ending == "pt":
        torch.save(torch.from_numpy(numbers), labels)
    else:
        labels.write_text("\n".join([*(["label"] if ending == "csv" else []), *map(str, numbers)]) + "\n")
    source = open_features(tmp_path / "f.npy", labels)
    assert source.class_names == tuple(map(str, range(12)))
    assert source.labels.tolist() == numbers.tolist()


@pytest.mark.parametrize(("kind", "given"), [("f2", 4), ("f4", 4), ("f8", 8), (">f4", 8), ("u1", 4), ("i4", 8)])
def test_numbers_of_other_types(tmp_path: Path, kind: str, given: int) -> None:
    features = (10.0 * np.abs(matrix())).astype(kind)
    np.save(tmp_path / "f.npy", features)
    np.save(tmp_path / "l.npy", np.arange(ROWS) % 2)
    source = open_features(tmp_path / "f.npy", tmp_path / "l.npy")
    (piece,) = source.rows(np.arange(ROWS), ROWS)
    assert piece.dtype.itemsize == source.itemsize == given
    np.testing.assert_array_equal(piece, features)


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    tensor = torch.from_numpy(matrix()).bfloat16().requires_grad_()
    torch.save({"x": tensor, "y": torch.arange(ROWS) % 2}, tmp_path / "f.pt")
    (piece,) = open_features(tmp_path / "f.pt").rows(np.arange(ROWS), ROWS)
    np.testing.assert_array_equal(piece, tensor.detach().float().numpy())


def test_a_column_may_be_named_as_the_label(tmp_path: Path) -> None:
    _frame(matrix()).rename(columns={"label": "species"}).to_csv(tmp_path / "f.csv", index=False)
    assert open_features(tmp_path / "f.csv", label_column="species").class_names == ("dog", "emu", "tabby cat")
    _frame(matrix()).rename(columns={"label": "species"}).to_parquet(tmp_path / "f.parquet")
    assert open_features(tmp_path / "f.parquet", label_column="species").num_features == DIM


def test_one_line_where_pyarrow_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _parquet(tmp_path, matrix())
    monkeypatch.setattr("semscale_pl.features.opening.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"Expected pyarrow, which reads f\.parquet, but it is not installed"):
        open_features(file)
