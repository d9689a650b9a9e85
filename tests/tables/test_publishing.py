"""What a published cell keeps of its run, and what it leaves out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semscale_pl.config.composing import experiments_dir
from semscale_pl.tables.cache import CellRun
from semscale_pl.tables.publishing import CELLS, cell_record, cells_text, joined, own_part, read_cells, shared_part
from semscale_pl.tables.schema import Cell

RUN = CellRun(Cell("A", "", 3, ("level=1",)), Path("runs/tables/t/0123abcd"))


def metrics(classes: int = 2) -> dict[str, Any]:
    return {
        "num_classes": classes,
        "results": {"last": {"accuracy": 0.123456789, "confusion_matrix": [[1, 2]], "per_class": [1 / 3, None, 7]}},
        "config": {"seed": 3, "dataset": {"name": "mnist", "root": "/home/someone/data", "batch_size": 8}},
        "provenance": {"commit": "0123abc"},
    }


def test_position_key_and_record() -> None:
    content = metrics()
    found = cell_record(RUN, content)
    assert {key: found[key] for key in ("row", "column", "seed", "overrides", "key")} == {
        "row": "A",
        "column": "",
        "seed": 3,
        "overrides": ["level=1"],
        "key": "0123abcd",
    }
    assert found["record"]["results"]["last"]["accuracy"] == 0.123456789
    assert found["record"]["results"]["last"]["per_class"] == [0.333333, None, 7]
    assert found["record"]["provenance"] == content["provenance"]
    assert content == metrics()


def test_the_folder_of_datasets_stays_on_its_machine() -> None:
    assert cell_record(RUN, metrics())["record"]["config"]["dataset"] == {"name": "mnist", "batch_size": 8}
    assert cell_record(RUN, {**metrics(), "config": None})["record"]["config"] is None


@pytest.mark.parametrize(("classes", "kept"), [(20, True), (21, False)])
def test_large_confusion_matrices_are_left_out(classes: int, kept: bool) -> None:
    assert ("confusion_matrix" in cell_record(RUN, metrics(classes))["record"]["results"]["last"]) is kept


def test_a_file_gives_back_its_records(tmp_path: Path) -> None:
    cells = [cell_record(RUN, metrics()), {**cell_record(RUN, metrics()), "seed": 4}]
    text = cells_text({"table": "t", "profile": ""}, cells)
    (tmp_path / CELLS).write_text(text)
    assert [record for _, record in read_cells(tmp_path / CELLS)] == [cell["record"] for cell in cells]
    assert text.count("batch_size") == 1, "what all records share is written once"


@pytest.mark.parametrize("file", sorted((experiments_dir() / "results").glob("*/*.json")), ids=lambda p: p.parent.name)
def test_no_published_result_names_a_folder_of_a_machine(file: Path) -> None:
    def texts(content: Any) -> Any:
        if isinstance(content, dict):
            for value in content.values():
                yield from texts(value)
        elif isinstance(content, list):
            for value in content:
                yield from texts(value)
        elif isinstance(content, str):
            yield content

    assert [text for text in texts(json.loads(file.read_text())) if text.startswith(("/", "~"))] == []


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(0, 2)
    | st.sampled_from([0.0, 1.0, "a"])
    | st.lists(st.integers(0, 1), max_size=2)
)
KEYS = st.sampled_from("abc")
RECORDS = st.dictionaries(
    KEYS, st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=6)
)


def _text(record: Any) -> str:
    """JSON distinguishes 1 from 1.0 and from true, as Python does not."""
    return json.dumps(record, sort_keys=True)


@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_every_record_comes_back_whole(records: list[dict[str, Any]]) -> None:
    shared = shared_part(records)
    for record in records:
        assert _text(joined(own_part(record, shared), shared)) == _text(record)


@given(RECORDS)
def test_equal_records_leave_nothing_of_their_own(record: dict[str, Any]) -> None:
    shared = shared_part([record, dict(record)])
    assert _text(shared) == _text(record)
    assert own_part(record, shared) == {}
