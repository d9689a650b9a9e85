from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from semscale_pl.config.composing import experiments_dir
from semscale_pl.tables import cache
from semscale_pl.tables.schema import Table, load_table


def keys(table: Table, *overrides: str) -> list[str]:
    return [run.folder.name for run in cache.locate(table, table.cells(overrides), Path("root"))]


def test_key_depends_on_the_config_and_not_on_its_spelling(table: Table) -> None:
    before = keys(table)
    assert len(set(before)) == 4
    assert keys(table) == before
    assert keys(table, "behaviour=ok") == before
    assert not set(keys(table, "behaviour=fail")) & set(before)
    assert not set(keys(replace(table, train="fake_training:other"))) & set(before)


def test_each_seed_gets_the_config_that_hydra_composes(table: Table) -> None:
    cells = table.cells()
    apart = [cache.compose_all(table, [cell])[0] for cell in cells]
    assert cache.compose_all(table, cells) == apart
    assert [config["seed"] for config in apart] == [0, 0, 1, 1]


def test_key_ignores_where_the_data_lie(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(table)
    monkeypatch.setenv("NOWHERE", "elsewhere")
    assert keys(table) == before


def test_key_changes_with_sources_and_versions(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys(table)
    with monkeypatch.context() as patch:
        patch.setattr(cache.Sources, "hash", lambda *_: "other")
        assert not set(keys(table)) & set(before)
    monkeypatch.setattr(cache, "versions", lambda *_: {"torch": "0"})
    assert not set(keys(table)) & set(before)


def test_damaged_or_interrupted_records_do_not_count(table: Table, tmp_path: Path) -> None:
    run = cache.locate(table, table.cells(), tmp_path)[0]
    assert run.metrics() is None
    run.folder.mkdir(parents=True)
    for text in ('{"seed": ', "[]", '{"interrupted": true}'):
        (run.folder / "metrics.json").write_text(text)
        assert run.metrics() is None
    (run.folder / "metrics.json").write_text('{"seed": 0, "interrupted": false}')
    assert run.metrics() == {"seed": 0, "interrupted": False}


def test_wrong_overrides_name_the_cell(table: Table) -> None:
    with pytest.raises(ValueError, match=r"'A · seed 0', but: .*wrong"):
        keys(table, "wrong=1")


@pytest.mark.parametrize("name", ["demo", "digits_study"])
def test_the_shipped_tables_compose_to_different_cells(name: str) -> None:
    table = load_table(experiments_dir() / f"{name}.yaml")
    found = keys(replace(table, seeds=table.seeds[:2]))
    assert len(set(found)) == 2 * len(table.rows)


def test_values_out_of_range_are_found_before_anything_runs() -> None:
    table = replace(load_table(experiments_dir() / "demo.yaml"), seeds=(0,))
    with pytest.raises(ValueError, match="start_epoch"):
        keys(table, "trainer.max_epochs=2")
