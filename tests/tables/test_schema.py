from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semscale_pl.config.composing import experiments_dir
from semscale_pl.tables.schema import load_table, parse_table


def test_enumerates_rows_columns_and_seeds(content: dict[str, Any]) -> None:
    columns = [{"name": "X", "overrides": ["x=1"]}, {"name": "Y"}]
    table = parse_table({**content, "columns": columns, "base": ["base=1"]})
    cells = table.cells(["late=1"])
    assert len(cells) == 2 * 2 * 2
    assert len(set(cells)) == len(cells)
    assert [(cell.row, cell.column, cell.seed) for cell in cells[:5]] == [
        ("A", "X", 0),
        ("B", "X", 0),
        ("A", "Y", 0),
        ("B", "Y", 0),
        ("A", "X", 1),
    ]
    assert cells[1].overrides == ("base=1", "x=1", "level=0.6", "late=1", "seed=0")
    assert cells[1].label == "B · X · seed 0"


def test_profile_replaces_keys_and_appends_base(content: dict[str, Any]) -> None:
    profiles = {"demo": {"seeds": [7], "base": ["steps=2"]}, "paper": None}
    content = {**content, "base": ["a=1"], "profiles": profiles, "default_profile": "paper"}
    assert parse_table(content).seeds == (0, 1)
    demo = parse_table(content, "demo")
    assert (demo.seeds, demo.base, demo.profile) == ((7,), ("a=1", "steps=2"), "demo")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": []}, "seeds"),
        ({"seeds": [0, 0]}, "different"),
        ({"seeds": [True]}, "integers"),
        ({"rows": []}, "rows"),
        ({"rows": [{"name": "A"}, {"name": "A"}]}, "differ"),
        ({"rows": [{"name": "A", "override": []}]}, "mappings"),
        ({"rows": [{"name": "A", "overrides": "a=1"}]}, "list"),
        ({"rows": [{"name": "A", "overrides": ["a"]}]}, "key=value"),
        ({"measures": [{"name": "a"}]}, "measures"),
        ({"baseline": "C"}, "'C'"),
        ({"contrasts": [["A", "C"]]}, "'C'"),
        ({"sedes": [1]}, "sedes"),
        ({"name": "../x"}, "letters"),
        ({"rows": [{"name": "A", "paper": {"accuracy": [43, 42]}}]}, "low, high"),
        ({"rows": [{"name": "A", "paper": {"accuracy": "42"}}]}, "low, high"),
        ({"pictures": ["histogram"]}, "pictures"),
        ({"measures": [{"name": "a", "key": "a", "derived": "accuracy_of_third"}]}, "either"),
        ({"measures": [{"name": "a", "key": "a", "arguments": {"third": "head"}}]}, "beside derived"),
        ({"measures": [{"name": "a", "derived": "accuracy"}]}, "accuracy_of_third"),
        ({"measures": [{"name": "a", "derived": "accuracy_of_third", "arguments": {"third": "head"}}]}, "ranking"),
        (
            {
                "measures": [
                    {"name": "a", "derived": "accuracy_of_third", "arguments": {"ranking": "W", "third": "head"}}
                ]
            },
            "'W'",
        ),
        ({"measures": [{"name": "a", "derived": "correlation_with_S", "arguments": {"alpha": 0.5}}]}, "at least 1"),
    ],
)
def test_refuses(content: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_table({**content, **change})


def test_refuses_missing_file_profile_and_broken_yaml(content: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no"):
        load_table(tmp_path / "none.yaml")
    with pytest.raises(ValueError, match="profile"):
        parse_table(content, "demo")
    (tmp_path / "broken.yaml").write_text("a: [1")
    with pytest.raises(ValueError, match="to be YAML"):
        load_table(tmp_path / "broken.yaml")


@pytest.mark.parametrize(("name", "cells"), [("demo", 45), ("digits_study", 70)])
def test_the_shipped_tables(name: str, cells: int) -> None:
    table = load_table(experiments_dir() / f"{name}.yaml")
    assert len(table.cells()) == cells
