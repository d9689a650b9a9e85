"""On a borrowed machine: no library that is not there, the rows that matter first, and all rehearsed on the CPU."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from semscale_pl.cli import table as table_command
from semscale_pl.tables.schema import load_table

ROOT = Path(__file__).parents[2]
ABSENT = ("wandb", "pytorch_metric_learning", "hypothesis", "xdist", "submitit", "joblib_launcher", "onnx", "mypy")
# Hides modules as if they were not installed, in this process and in those that it starts.
HIDING = f"""
from functools import partial
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_others(name, path=None, target=None):
    return None if name.partition('.')[0] in {ABSENT!r} else find(name, path, target)
PathFinder.find_spec = partial(find_others)  # no method of whatever class keeps it
"""


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine without the development extra and W&B."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(HIDING)
    return {**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}", "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_a_table_runs_without_what_a_borrowed_machine_lacks(bare: dict[str, str], tmp_path: Path) -> None:
    call = [sys.executable, "-m", "semscale_pl", "table", "calibration", "profile=demo", "seeds=0", "jobs=1"]
    done = subprocess.run(
        [*call, "trainer.max_epochs=6", "pack=results.tar.gz"], cwd=tmp_path, env=bare, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results.tar.gz").is_file()


def test_the_tests_of_a_card_need_pytest_alone() -> None:
    for file in (ROOT / "tests" / "conftest.py", *sorted((ROOT / "tests" / "cuda").glob("*.py"))):
        nodes = list(ast.walk(ast.parse(file.read_text())))
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        assert not {name.partition(".")[0] for name in names} & set(ABSENT), file


def test_the_calibration_works_through_its_gates_first_and_seed_by_seed() -> None:
    cells = load_table(ROOT / "experiments" / "calibration.yaml", "paper").cells()
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    assert [cell.row for cell in cells[:9]] == [
        *("CE", "LDAM-DRW", "Balanced Softmax", "Square-root BS", "DSB-CE", "DSB-BS"),
        *("Inverse frequency DRW", "DSB-CE DRW", "DSB-BS DRW"),
    ]
    assert {cell.seed for cell in cells} == {0, 1, 2, 3, 4}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_check_is_cut_by_its_limit_goes_on_and_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    checked = f"{ROOT}/experiments/calibration.yaml profile=demo seeds=0,1 trainer.max_epochs=6"
    call = [
        "make",
        "-C",
        str(ROOT),
        "gpu-check",
        f"PYTHON={sys.executable}",
        "DEVICE=cpu",
        "JOBS=2",
        "CHECKED_TESTS=tests/cuda/test_pool.py",
    ]
    call += [f"CHECK={tmp_path}/check", f"CHECKED_TABLE={checked}"]
    # The tests and the overhead take longer: the first cell of each process begins, and stops at once.
    first = subprocess.run([*call, "MINUTES=0.02"], capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert "The time is over" in first.stdout
    assert (
        json.loads((tmp_path / "check" / "overhead-resnet32.json").read_text().splitlines()[0])["with_to_without"] > 0
    )
    second = subprocess.run([*call, "MINUTES=30"], capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert " passed" in first.stdout
    assert " passed" not in second.stdout, "the tests are not run again"
    settings = ["profile=demo", "seeds=0,1", "trainer.max_epochs=6", "trainer=cpu"]
    pack = f"import={tmp_path}/check/results.tar.gz"
    assert table_command.main([f"{ROOT}/experiments/calibration.yaml", *settings, pack, "publish=true"]) == 0
    cells = json.loads(Path("experiments/results/calibration-demo/cells.json").read_text())["cells"]
    assert len(cells) == 26
