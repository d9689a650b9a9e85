"""A run's folder: no earlier run is overwritten unasked, none of its files stays beside a new one, the user's do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from semscale_pl.cli.main import main
from semscale_pl.config.composing import config_dir
from semscale_pl.config.errors import WrongCallError
from semscale_pl.files import claimed
from semscale_pl.training.run_folder import (
    clear,
    goes_on,
    holds_same_run,
    is_finished,
    own_folder,
    refuse_to_overwrite,
)

QUICK = ["trainer.max_epochs=1", "backbone.width=4", "dataset.batch_size=64"]
EVERYTHING = ["logger=all", "callbacks=drift", "callbacks.recorder.pictures_every_n_epochs=1"]
HELD_OUT = "dataset.validation_fraction=0.2"


def configured(*overrides: str) -> Any:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")


def test_a_finished_run_is_not_overwritten_in_silence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    call = ["train", *QUICK, HELD_OUT, "hydra.run.dir=my/run"]
    assert main([*call, "seed=1"]) == 0
    before, folder = content(tmp_path / "my/run"), tmp_path / "my/run"
    assert {".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "metrics.json"} < set(before)
    capfd.readouterr()
    for _ in range(2):
        assert main([*call, "seed=2"]) == 2
    assert content(folder) == before
    line, again = capfd.readouterr().err.splitlines()
    assert line == again
    assert "my/run holds a finished run: go on with it by ckpt_path=my/run/checkpoints/last.ckpt, replace it by" in line
    # What the line says works in that very command.
    assert main([*call, "seed=1", "ckpt_path=my/run/checkpoints/last.ckpt"]) == 0
    (folder / "notes.txt").write_text("mine")
    (folder / "figures").mkdir()
    (folder / "figures" / "mine.png").write_text("mine")
    assert main(["train", *QUICK, "hydra.run.dir=my/run", "seed=2", "overwrite=true"]) == 0
    assert json.loads((folder / "metrics.json").read_text())["seed"] == 2
    assert "seed=2" in (folder / ".hydra/overrides.yaml").read_text()
    assert files(folder) == set(before) - {"checkpoints/best.ckpt"} | {"notes.txt", "figures/mine.png"}


def test_every_file_that_a_run_writes_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main(["train", *QUICK, *EVERYTHING, HELD_OUT, "hydra.run.dir=run"]) == 0
    assert {"drift.csv", "figures/bars.png", "checkpoints/best.ckpt"} < files(tmp_path / "run")
    assert any("tfevents" in name for name in files(tmp_path / "run"))
    assert any("wandb/offline-run" in name for name in files(tmp_path / "run"))
    clear(tmp_path / "run")
    assert files(tmp_path / "run") == {".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml"}
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".hydra"]


def test_a_run_that_fails_before_it_begins_loses_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").write_text("earlier")
    before = content(folder)
    absent = ["dataset=image_folder", "dataset.root=nowhere", "overwrite=true", "hydra.run.dir=run"]
    assert main(["train", *QUICK, *absent]) == 2
    assert content(folder) == before


@pytest.mark.parametrize(
    ("record", "checkpoint", "overrides", "answer"),
    [
        (None, False, [], None),
        ({}, False, [], "holds a finished run: replace it by overwrite=true"),
        ({}, True, [], "holds a finished run: go on with it by ckpt_path=run/checkpoints/last.ckpt, replace"),
        ({}, True, ["overwrite=true"], None),
        ({"interrupted": True}, True, [], "holds an unfinished run: go on"),
        (None, True, [], "holds an unfinished run: go on with it by ckpt_path=run/checkpoints/last.ckpt, replace it"),
        (None, True, ["ckpt_path=run/checkpoints/last.ckpt"], None),
        ({}, True, ["ckpt_path=other/checkpoints/last.ckpt"], "holds a finished run"),
        ({}, True, ["ckpt_path=other/checkpoints/last.ckpt", "overwrite=true"], None),
        (None, True, ["ckpt_path=run/checkpoints/last.ckpt", "overwrite=true"], "Expected either `ckpt_path` in run"),
    ],
)
def test_what_may_begin_where(
    record: Any, checkpoint: bool, overrides: list[str], answer: str | None, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    if record is not None:
        (folder / "metrics.json").write_text(json.dumps(record))
    if checkpoint:
        (folder / "checkpoints" / "last.ckpt").touch()
    if answer is None:
        refuse_to_overwrite(configured(*overrides), folder)
        return
    with pytest.raises(WrongCallError) as refusal:
        refuse_to_overwrite(configured(*overrides), folder)
    assert answer in str(refusal.value)


def test_a_second_process_is_refused_and_ranks_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with claimed(tmp_path / "run"):
        assert main(["train", *QUICK, "hydra.run.dir=run"]) == 2
        assert "is writing in" in capfd.readouterr().err
        monkeypatch.setenv("LOCAL_RANK", "1")
        with own_folder(configured(), tmp_path / "run"):
            pass
    assert not (tmp_path / "run").exists()


def test_a_damaged_record_is_none(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"a": ')
    assert not is_finished(tmp_path)
    assert not holds_same_run(configured(), tmp_path)
    assert goes_on("x/../checkpoints/last.ckpt", Path())
    assert not goes_on(None, Path())
