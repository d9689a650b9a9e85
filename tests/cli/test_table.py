from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from semscale_pl.cli import demo, table
from semscale_pl.tables.publishing import read_cells

FAKE = Path(__file__).parent.parent / "tables"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table's file with one row that works and one that does as it is told, in a fresh working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(FAKE))
    # Somebody may edit the package while its tests run.
    (tmp_path / "train.yaml").write_text("seed: 0\nbehaviour: ok\nlevel: 0.5\n")
    content = {
        "rows": [{"name": "A"}, {"name": "B", "overrides": ["level=0.6"]}],
        "seeds": [0, 1],
        "measures": [{"name": "accuracy", "key": "results.last.accuracy", "paired": True}],
        "train": "fake_training:train",
        "config_dir": ".",
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_saves_prints_and_publishes(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main([str(file), "jobs=1", "publish=true"]) == 0
    output = capsys.readouterr()
    assert "A has" not in output.out
    assert "B has the highest mean accuracy" in output.out
    assert "[4/4]" in output.err
    saved = tmp_path / "runs" / "tables" / "small"
    names = {path.name for path in saved.iterdir() if path.is_file() and path.name != ".drawn"}
    assert names == {"table.md", "table.csv", "table.tex", "table.json", "figure.png"}
    cells = read_cells(tmp_path / "experiments" / "results" / "small" / "cells.json")
    assert [(cell.row, cell.seed, record["seed"]) for cell, record in cells] == [
        ("A", 0, 0),
        ("B", 0, 0),
        ("A", 1, 1),
        ("B", 1, 1),
    ]
    drawn = (saved / "figure.png").stat().st_mtime_ns
    assert table.main([str(file), "jobs=1"]) == 0
    output = capsys.readouterr()
    assert "[" not in output.err
    assert "accuracy, published" in output.out
    assert "Published: 4 cells" in output.out
    assert (saved / "figure.png").stat().st_mtime_ns == drawn


def test_published_cells_never_stand_in_for_a_cell(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main([str(file), "jobs=1", "publish=true"]) == 0
    shutil.rmtree("runs")
    file.write_text(file.read_text().replace("level=0.6", "level=0.7"))
    assert table.main([str(file), "jobs=1", "seeds=0"]) == 0
    output = capsys.readouterr()
    assert "[2/2]" in output.err
    lines = list(csv.DictReader(io.StringIO(Path("runs/tables/small/table.csv").read_text())))
    mine = next(line for line in lines if (line["row"], line["measure"]) == ("B", "accuracy"))
    assert (mine["mean"], mine["n"], mine["published_n"]) == ("0.7", "1", "2")
    assert float(mine["published_mean"]) == pytest.approx(0.605)
    assert "2 of them were run with other settings" in " ".join(output.out.split())


def test_an_absent_dataset_says_so_and_exits_with_0(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(file.read_text().replace("level=0.6", "behaviour=absent"))
    assert table.main([str(file), "jobs=1", "publish=true"]) == 0
    output = capsys.readouterr()
    assert output.out.count("Nowhere was not found. Put it there.") == 1
    assert "DATA ABSENT B · seed 0 and 1 more cell:" in output.out
    assert "| B | data absent |" in Path("runs/tables/small/table.md").read_text()
    assert {cell.row for cell, _ in read_cells(Path("experiments/results/small/cells.json"))} == {"A"}


def test_a_failed_cell_exits_with_1_and_is_not_published(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(file.read_text().replace("level=0.6", "behaviour=fail"))
    assert table.main([str(file), "jobs=1", "publish=true", "seeds=0"]) == 1
    output = capsys.readouterr()
    assert "FAILED B · seed 0: RuntimeError: no such luck" in output.out
    assert "log.txt" in output.err
    assert not Path("experiments").exists()
    assert json.loads(Path("runs/tables/small/table.json").read_text())["failures"]


def test_a_cluster_has_settings_and_takes_many_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    call = table.with_cluster(
        table.COMMAND.parse(["submitit=slurm", "submitit.timeout=5", "submitit.partition=gpu", "loss=focal"])
    )
    assert call.cluster is not None
    assert call.cluster.parameters() == {"timeout_min": 5, "slurm_partition": "gpu"}
    assert (call.jobs, call.overrides) == (1024, ("loss=focal",))
    assert table.with_cluster(table.COMMAND.parse(["submitit=local"])).jobs == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.yaml"], "there is no"),
        (["small.yaml", "jobs=0"], "jobs"),
        (["small.yaml", "jobs=two"], "jobs"),
        (["small.yaml", "seeds=a"], "seeds"),
        (["small.yaml", "seeds=1,1"], "different"),
        (["small.yaml", "seed=1"], "seeds="),
        (["small.yaml", "publish=yes"], "publish"),
        (["small.yaml", "out=small.yaml"], "Expected `out` to be a folder, but 'small.yaml' is a file."),
        (["small.yaml", "runs=small.yaml"], "Expected `runs` to be a folder, but 'small.yaml' is a file."),
        (["small.yaml", "profile=big"], "profile"),
        (["small.yaml", "nonsense"], "KEY=VALUE"),
        (["small.yaml", "submitit=cloud"], "'cloud'"),
        (["small.yaml", "submitit=slurm"], "sbatch"),
        (["small.yaml", "submitit.gpus=1"], "beside"),
        (["small.yaml", "leevl=1"], "leevl"),
    ],
)
def test_wrong_calls(file: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("runs").exists()


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert table.main([]) == 2
    assert table.main(["--help"]) == 0
    assert demo.main(["--help"]) == 0
    assert demo.main(["trainer.max_epochs=2", "seeds=0"]) == 2
    assert "start_epoch" in capsys.readouterr().err


def test_finds_a_shipped_table_by_name() -> None:
    assert table.find_table("digits_study").name == "digits_study.yaml"
    assert table.find_table("experiments/digits_study.yaml").is_file()


@pytest.mark.parametrize(("number", "whole_group"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_an_interruption_ends_all_processes_and_goes_on_later(
    number: signal.Signals, whole_group: bool, file: Path, tmp_path: Path
) -> None:
    file.write_text(file.read_text().replace("level=0.6", "behaviour=hang"))
    code = "import sys; from semscale_pl.cli.main import main; sys.exit(main(['table', *sys.argv[1:]]))"
    paths = os.pathsep.join([str(FAKE), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(file), "jobs=2", "seeds=0"],
        env={**os.environ, "PYTHONPATH": paths},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that starts the tests in the background leaves the signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    end = time.monotonic() + 120
    while not ((done := list(tmp_path.rglob("metrics.json"))) and len(list(tmp_path.rglob("pid"))) == 2):
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(process.pid, number) if whole_group else os.kill(process.pid, number)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "Finished cells are kept. To go on, type: " in error
    assert len(done) == 1
    for pid in tmp_path.rglob("pid"):
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text().split()[0]), 0)


def test_a_limit_of_time_says_what_is_left_and_a_pack_carries_the_rest_on(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(file.read_text().replace("level=0.6", "behaviour=slow"))
    call = [str(file), "jobs=1", "pack=out/results.tar.gz"]
    assert table.main([*call, "minutes=0.01"]) == 3
    printed = capsys.readouterr().out
    assert "Stopped by minutes=0.01: 1 of 4 cells are finished, 0 are begun, 3 are not. To go on, type:" in printed
    assert printed.rstrip().endswith(f"table {file} jobs=1 pack=out/results.tar.gz minutes=0.01")
    assert table.main(call) == 0
    assert "Packed in out/results.tar.gz" in capsys.readouterr().out
    assert table.main([str(file), "import=out/results.tar.gz", "runs=elsewhere", "publish=true"]) == 0
    assert "4 new cells, 0 that were here already; 0 were unfinished" in capsys.readouterr().out
    assert len(read_cells(tmp_path / "experiments" / "results" / "small" / "cells.json")) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["minutes=0"], "`minutes` to be a number above 0, but got 0"),
        (["minutes=1", "submitit=local"], "Expected `minutes` without submitit"),
        (["pack=results.zip"], "ends in .tar.gz, but got 'results.zip'"),
        (["import=none.tar.gz"], "there is no none.tar.gz"),
        (["publish=some"], "`publish` to be true, false or finished, but got 'some'"),
    ],
)
def test_wrong_limits_and_packs_are_one_line(
    file: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table.main([str(file), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
