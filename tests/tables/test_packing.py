"""Packs: the same bytes for the same cells, in parts, checked on arrival, and never in place of another result."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from semscale_pl.tables import cache, packing
from semscale_pl.tables.cache import CellRun, key_versions, locate
from semscale_pl.tables.engine import run_table
from semscale_pl.tables.packing import imported_sentence, key_of, read_pack, write_pack
from semscale_pl.tables.publishing import publish, read_cells
from semscale_pl.tables.schema import Table

ELSEWHERE = {"torch": "2.11.0", "python": "3.12.1"}


def finished(table: Table, root: Path, but: tuple[str, ...] = ()) -> list[CellRun]:
    """Write what finished cells leave."""
    runs = locate(table, table.cells(), root)
    for run in runs:
        if run.cell.label not in but:
            (run.folder / "checkpoints").mkdir(parents=True)
            (run.folder / "checkpoints" / "last.ckpt").write_bytes(b"0" * 1000)
            (run.folder / ".hydra").mkdir()
            (run.folder / ".hydra" / "config.yaml").write_text("level: 0.5\n")
            (run.folder / "scales.csv").write_text("epoch\n")
            record = {"seed": run.cell.seed, "results": {"last": {"accuracy": 0.5 + 0.01 * run.cell.seed}}}
            record |= {"provenance": {"device": "Card", "commit": "abc", "versions": ELSEWHERE}}
            (run.folder / "metrics.json").write_text(json.dumps(record))
    return runs


@pytest.fixture
def pack(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pack from a machine with other versions, where one of four cells was unfinished."""
    file = tmp_path / "results.tar.gz"
    with monkeypatch.context() as patch:
        patch.setattr(cache, "versions", lambda *_: ELSEWHERE)
        runs = finished(table, tmp_path / "there", but=("B · seed 1",))
        assert write_pack(table, runs, (), {"B · seed 1": "after epoch 3 of 9"}, file) == [file]
    return file


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as archive:
        return {one.name: archive.extractfile(one).read() for one in archive}  # type: ignore[union-attr]


def packed(contents: dict[str, bytes], file: Path) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    file.write_bytes(gzip.compress(raw.getvalue()))


def test_holds_results_and_configs_and_says_what_is_unfinished(pack: Path) -> None:
    found = members(pack)
    manifest = json.loads(found.pop("pack.json"))
    assert {name.split("/", 2)[2] for name in found} == {"metrics.json", "scales.csv", ".hydra/config.yaml"}
    assert manifest["unfinished"] == {"B · seed 1": "after epoch 3 of 9"}
    assert [(one["row"], one["seed"]) for one in manifest["cells"]] == [("A", 0), ("B", 0), ("A", 1)]
    assert manifest["versions"] == ELSEWHERE


def test_the_same_cells_give_the_same_bytes(table: Table, tmp_path: Path) -> None:
    runs = finished(table, tmp_path)
    first, second = (write_pack(table, runs, (), {}, tmp_path / f"{name}.tar.gz")[0] for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_cells_arrive_as_if_trained_here_and_say_where_they_come_from(
    table: Table, pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    found = read_pack(table, (), here, pack)
    assert (found.new, found.known) == (("A · seed 0", "B · seed 0", "A · seed 1"), ())
    assert dict(found.unfinished) == {"B · seed 1": "after epoch 3 of 9"}
    assert read_pack(table, (), here, pack).known == found.new
    result = run_table(table, here, train=False)
    assert result.summary.entry("A", "", table.focus).values == {0: 50.0, 1: 51.0}
    assert list(result.unfinished) == ["B · seed 1"]
    assert "Imported: 3 of 4 cells, trained on Card, torch 2.11.0, commit abc." in result.summary.remarks
    with pytest.raises(ValueError, match="1 are not: B · seed 1"):
        publish(result, tmp_path / "results")
    cells = read_cells(publish(result, tmp_path / "results", only_finished=True) / "cells.json")
    assert [record["provenance"]["device"] for _, record in cells] == ["Card"] * 3
    there = sorted(folder.name for folder in (tmp_path / "there" / "small").iterdir())
    assert sorted(key_of(run) for run in result.runs[:3]) == there
    again = write_pack(table, result.runs, (), {}, tmp_path / "again.tar.gz")[0]
    assert json.loads(members(again)["pack.json"])["cells"] == [], "only what was trained here is packed"


def test_nothing_is_said_of_cells_trained_here(table: Table, tmp_path: Path) -> None:
    assert imported_sentence(finished(table, tmp_path)) == ""


def test_another_result_of_a_finished_cell_stays(table: Table, pack: Path, tmp_path: Path) -> None:
    run = finished(table, tmp_path / "here", but=("A · seed 0", "B · seed 0", "B · seed 1"))[2]
    before = (run.folder / "metrics.json").read_text().replace("0.51", "0.52")
    (run.folder / "metrics.json").write_text(before)
    with pytest.raises(ValueError, match=r"Expected A · seed 1 of .* to be new here, but .* another result"):
        read_pack(table, (), tmp_path / "here", pack)
    assert (run.folder / "metrics.json").read_text() == before
    assert [path.parent for path in (tmp_path / "here").rglob("metrics.json")] == [run.folder]


def test_a_large_pack_comes_in_parts_that_belong_together(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, runs = tmp_path / "results.tar.gz", finished(table, tmp_path / "there")
    write_pack(table, runs, (), {}, file)
    monkeypatch.setattr(packing, "PART_BYTES", packing._ROOM + 1000)
    parts = write_pack(table, runs, (), {}, file)
    assert [part.name for part in parts] == ["results-1-of-2.tar.gz", "results-2-of-2.tar.gz"]
    assert not file.exists()
    for number, named in enumerate((file, parts[1])):
        assert len(read_pack(table, (), tmp_path / f"here{number}", named).new) == 4
    parts[0].unlink()
    with pytest.raises(ValueError, match=r"there is no .*results-1-of-2\.tar\.gz"):
        read_pack(table, (), tmp_path / "here", file)


def cut(contents: dict[str, bytes], manifest: dict[str, Any]) -> None:
    next_one = next(name for name in contents if name.endswith("metrics.json"))
    contents[next_one] = contents[next_one][:-1]


def other_code(contents: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["cells"][0]["key"] = "0123456789abcdef"


def other_table(contents: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["table"] = "large"


def other_seed(contents: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["cells"][0]["seed"] = 7


def outside(contents: dict[str, bytes], manifest: dict[str, Any]) -> None:
    contents["../../outside"] = b"x"


def further(contents: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest["cells"][0]["files"]["../../../outside"] = "0"


def headless(contents: dict[str, bytes], manifest: dict[str, Any]) -> None:
    manifest.pop("versions")


def not_a_number(contents: dict[str, bytes], manifest: dict[str, Any]) -> None:
    entry = manifest["cells"][0]
    name = f"cells/{entry['key']}/metrics.json"
    contents[name] = contents[name].replace(b"0.5", b"NaN")
    entry["files"]["metrics.json"] = packing.hashlib.sha256(contents[name]).hexdigest()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, "metrics.json is damaged, that of A · seed 0"),
        (other_code, "to come from this code and these settings, but A · seed 0 does not"),
        (other_table, "Expected a pack of small, but"),
        (other_seed, "It was packed with seeds=0,1"),
        (outside, "to be a whole pack of results, but: .*outside"),
        (further, "does not belong there"),
        (headless, "lacks 'versions'"),
        (not_a_number, "holds NaN, which is not JSON"),
    ],
)
def test_a_pack_that_is_not_right_changes_nothing(
    table: Table,
    pack: Path,
    tmp_path: Path,
    spoil: Callable[[dict[str, bytes], dict[str, Any]], None],
    message: str,
) -> None:
    contents = members(pack)
    manifest = json.loads(contents["pack.json"])
    spoil(contents, manifest)
    packed({**contents, "pack.json": json.dumps(manifest).encode()}, pack)
    with pytest.raises(ValueError, match=message):
        read_pack(table, (), tmp_path / "here", pack)
    assert not (tmp_path / "here").exists()
    assert not list(tmp_path.rglob("outside"))


def test_a_file_cut_short_says_so(table: Table, pack: Path, tmp_path: Path) -> None:
    pack.write_bytes(pack.read_bytes()[:-100])
    with pytest.raises(ValueError, match="to be a whole pack of results"):
        read_pack(table, (), tmp_path / "here", pack)


def test_other_seeds_than_packed_name_them(table: Table, pack: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"It was packed with seeds=0,1\."):
        read_pack(replace(table, seeds=(0,)), (), tmp_path / "here", pack)


def test_versions_of_the_key_are_those_of_the_libraries() -> None:
    assert {"torch", "timm", "python", "semscale_pl"} <= set(key_versions())
