"""A refused call takes its own empty folder away and touches no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from semscale_pl.cli.main import main
from semscale_pl.config.leftovers import Leftovers


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")


def run_folder(path: Path) -> Path:
    (path / ".hydra").mkdir(parents=True)
    for name in ("config.yaml", "hydra.yaml", "overrides.yaml"):
        (path / ".hydra" / name).touch()
    return path


@pytest.mark.parametrize(
    "call",
    [
        "train optimizer.lr=0",
        "train optimizer.lr=0 hydra.run.dir=new/run",
        "train dataset=image_folder dataset.root=nowhere",
        "evaluate ckpt=nowhere.ckpt",
    ],
)
def test_a_refused_call_leaves_no_run_folder(call: str, tmp_path: Path) -> None:
    assert main(call.split()) == 2
    assert not [path for path in tmp_path.rglob("*") if not path.is_dir() or path.name == ".hydra"]


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    assert main(["train", "optimizer.lr=0", "hydra.run.dir=mine"]) == 2
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]
    assert not list((tmp_path / "mine").iterdir())


def test_an_empty_folder_is_removed_only_where_the_call_made_it(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("mine", "new"):
        assert main(["evaluate", "ckpt=nowhere.ckpt", f"out={name}"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("other", ["notes.txt", ".hydra/notes.txt"])
def test_a_folder_with_anything_else_stays(other: str, tmp_path: Path) -> None:
    folder, leftovers = run_folder(tmp_path / "run"), Leftovers()
    leftovers.note([])
    (folder / other).touch()
    assert not leftovers.clear(folder)
    assert (folder / ".hydra" / "config.yaml").exists()
    assert (folder / other).exists()


def test_nothing_is_removed_without_knowing_whose_it_is(tmp_path: Path) -> None:
    folder, leftovers = run_folder(tmp_path / "run"), Leftovers()
    assert not leftovers.clear(folder)
    leftovers.note(["hydra.run.dir=runs/${seed}"])
    assert not leftovers.clear(folder)
    leftovers.note(["++hydra.sweep.dir='run'"])
    assert not leftovers.clear(folder)
    leftovers.note(["seed=1", "hydra.run.dir=another"])
    assert leftovers.clear(folder)
    assert not folder.exists()


def test_empty_folders_of_loggers_go_as_well(tmp_path: Path) -> None:
    found = Leftovers()
    found.note([f"hydra.run.dir={tmp_path / 'run'}"])
    (run_folder(tmp_path / "run") / "csv").mkdir()
    (tmp_path / "run" / "csv" / "metrics.csv").touch()
    assert not found.clear(tmp_path / "run")
    (tmp_path / "run" / "csv" / "metrics.csv").unlink()
    assert found.clear(tmp_path / "run")
    assert not list(tmp_path.iterdir())
