"""Rows are called what a file's column of paths calls them, and nothing where it has none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from semscale_pl.features.row_names import names_of_rows

PATHS = [f"img/{number}.png" for number in range(70_000)]


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_the_names_of_the_rows_that_are_asked_for(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"x.{kind}"
    if kind == "npz":
        np.savez(file, features=np.zeros((len(PATHS), 1)), paths=np.array(PATHS))
    else:
        table = pd.DataFrame({"label": 0, "File_Name": PATHS, "a": 1.0})
        table.to_csv(file, index=False) if kind == "csv" else table.to_parquet(file, index=False)
    assert names_of_rows(file, [69_999, 3, 3]) == {3: "img/3.png", 69_999: "img/69999.png"}
    assert names_of_rows(file, []) == {}


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz", "npy"])
def test_a_file_without_paths_names_nothing(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"x.{kind}"
    match kind:
        case "npz":
            np.savez(file, features=np.zeros((4, 1)), paths=np.array(["a", None], dtype=object))  # is not unpickled
        case "npy":
            np.save(file, np.zeros((4, 1)))
        case "csv":
            pd.DataFrame({"label": [0] * 4, "a": 1.0}).to_csv(file, index=False)
        case "parquet":
            pd.DataFrame({"label": [0] * 4, "path": 1.0}).to_parquet(file, index=False)
    assert names_of_rows(file, [1]) == {}
