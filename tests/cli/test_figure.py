"""`semscale figure`: every published result is drawn again; wrong calls are told at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from semscale_pl.cli import figure
from semscale_pl.config.composing import experiments_dir
from semscale_pl.studies.stored import draw_stored, stored_figures

RESULTS = experiments_dir() / "results"
NAMES = stored_figures(RESULTS)


@pytest.mark.parametrize("name", NAMES)
def test_every_published_result_is_drawn(name: str, tmp_path: Path) -> None:
    out = tmp_path / "picture.png"
    assert figure.main([name, f"out={out}"]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", [path.parent.name for path in RESULTS.glob("*/result.json")])
def test_every_study_has_its_picture_in_the_documentation(name: str) -> None:
    assert (RESULTS.parent.parent / "docs" / "images" / f"{name}.png").is_file()


def test_a_table_draws_the_stored_means_with_the_baseline_on_top() -> None:
    content = json.loads((RESULTS / "digits_study" / "table.json").read_text())
    (axes,) = draw_stored("digits_study", RESULTS).axes
    means = {e["row"]: e["mean"] for e in content["entries"] if e["measure"] == "balanced accuracy"}
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[0] == content["baseline"]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [means[name] for name in names])


def test_the_classes_show_the_baselines_means_over_its_seeds() -> None:
    content = json.loads((RESULTS / "digits_study" / "cells.json").read_text())
    baseline = json.loads((RESULTS / "digits_study" / "table.json").read_text())["baseline"]
    records = [cell["record"] for cell in content["cells"] if cell["row"] == baseline]
    accuracy, images, imbalance = draw_stored("digits_study-classes", RESULTS).axes
    expected = np.mean([record["results"]["last"]["per_class"]["accuracy"] for record in records], axis=0)
    np.testing.assert_allclose([bar.get_height() for bar in accuracy.patches], expected)
    np.testing.assert_allclose([bar.get_height() for bar in images.patches], content["shared"]["class_counts"])
    expected = np.mean([record["scales"]["S"] for record in records], axis=0)
    np.testing.assert_allclose([bar.get_height() for bar in imbalance.patches], expected)


def test_lists_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert figure.main([]) == figure.main(["list"]) == 0
    assert capsys.readouterr().out.split() == NAMES * 2


@pytest.mark.parametrize("ending", ["pdf", "svg"])
def test_the_ending_chooses_the_format(ending: str, tmp_path: Path) -> None:
    out = tmp_path / f"bunny.{ending}"
    assert figure.main(["bunny", f"out={out}"]) == 0
    assert out.read_bytes().startswith(b"%PDF" if ending == "pdf" else b"<?xml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bunyn"], "Did you mean `bunny`"),
        (["bunny", "out=here.txt"], ".svg"),
        (["bunny", f"out={__file__}/here.png"], "Expected `folder of out` to be a folder"),
        (["bunny", "ot=here.png"], "Did you mean `out`"),
        (["bunny", "results=nowhere"], "folder"),
        (["bunny", "drift"], "one name"),
    ],
)
def test_wrong_calls(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert figure.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("file", ["result.json", "table.json"])
def test_a_damaged_result_is_told_and_leaves_nothing(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / file).write_text("{")
    assert figure.main(["mine", f"results={tmp_path}", f"out={tmp_path / 'mine.png'}"]) == 2
    assert "Expected" in capsys.readouterr().err
    assert not (tmp_path / "mine.png").exists()


def test_a_wrong_call_is_answered_without_torch_and_matplotlib() -> None:
    code = (
        "import sys; from semscale_pl.cli.figure import main; code = main(['bunyn']); "
        "sys.exit(99 if {'torch', 'matplotlib'} & set(sys.modules) else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
