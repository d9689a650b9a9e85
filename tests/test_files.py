"""Records are strict JSON and are replaced in one step."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semscale_pl.files import strict, write_json


class Pair(NamedTuple):
    low: float
    high: float | None


def test_every_kind_of_value_becomes_plain() -> None:
    value = {
        "tensor": torch.tensor([1.0, torch.nan]),
        "array": np.array([[1, 2]], dtype=np.int64),
        "scalar": np.float32(0.5),
        "infinite": [float("inf"), -np.inf],
        "pair": Pair(0.5, None),
        "path": Path("a/b"),
        5: (True, None, "text"),
    }
    assert strict(value) == {
        "tensor": [1.0, None],
        "array": [[1, 2]],
        "scalar": 0.5,
        "infinite": [None, None],
        "pair": {"low": 0.5, "high": None},
        "path": "a/b",
        "5": [True, None, "text"],
    }


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(TypeError, match="but got object"):
        strict({"a": object()})


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
trees = st.recursive(leaves, lambda part: st.lists(part) | st.dictionaries(st.text(), part), max_leaves=20)


@settings(max_examples=50, deadline=None)
@given(trees)
def test_strict_values_are_a_fixed_point_that_a_strict_parser_reads(tree: Any) -> None:
    plain = strict(tree)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads(json.dumps(plain, allow_nan=False), parse_constant=refuse) == plain
    assert strict(plain) == plain


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = write_json(tmp_path / "run" / "metrics.json", {"a": float("nan")})
    assert target.read_text() == '{\n  "a": null\n}\n'

    def fail(source: str, destination: str) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_json(target, {"a": 1})
    assert json.loads(target.read_text()) == {"a": None}
    assert [path.name for path in target.parent.iterdir()] == ["metrics.json"]
