"""`semscale study`: files, publishing, exit codes and lines."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from semscale_pl.cli import study
from semscale_pl.config.command_line import to_type
from semscale_pl.studies.running import PICTURE, RESULT, read_result

FAKE = Path(__file__).parent.parent / "studies"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(FAKE))
    path = tmp_path / "squares.yaml"
    path.write_text(
        "study: 'fake_study:run'\nfigure: 'fake_study:draw'\ntitle: Squares\n"
        "arguments: {values: [2, 3], ending: good}\nprofiles: {more: {values: [1, 2, 3]}}\n"
    )
    return path


def test_saves_draws_and_publishes(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study.main([str(file), "jobs=3", "publish=true"]) == 0
    output = capsys.readouterr()
    assert "value 2 of 2, about 0 s left" in output.err
    assert "Published" in output.out
    folder = tmp_path / "runs" / "studies" / "squares"
    record = json.loads((folder / RESULT).read_text())
    assert (record["name"], record["title"]) == ("squares", "Squares")
    assert record["result"] == {"squares": [4, 9], "undefined": None, "jobs": 3}
    assert record["arguments"] == {"values": [2, 3], "ending": "good"}
    assert {"versions", "commit", "device", "seconds"} <= set(record["provenance"])
    assert (folder / PICTURE).read_bytes().startswith(b"\x89PNG")
    assert read_result(tmp_path / "experiments" / "results" / "squares" / RESULT) == record
    assert (tmp_path / "docs" / "images" / "squares.png").read_bytes() == (folder / PICTURE).read_bytes()


def test_profile_arguments_and_folder(file: Path, tmp_path: Path) -> None:
    assert study.main([str(file), "profile=more", "values=5", "out=here"]) == 0
    record = read_result(tmp_path / "here" / RESULT)
    assert record["name"] == "squares-more"
    assert record["result"]["squares"] == [25]
    assert not (tmp_path / "experiments").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.yaml"], "study's name"),
        (["squares.yaml", "jobs=0"], "jobs"),
        (["squares.yaml", "publish=yes"], "publish"),
        (["squares.yaml", "profile=big"], "profile"),
        (["squares.yaml", "nonsense"], "KEY=VALUE"),
        (["squares.yaml", "valeus=1"], "Did you mean `values`"),
        (["squares.yaml", "ending=wrong"], "to be good"),
    ],
)
def test_wrong_calls(file: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert study.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("runs").exists()


def test_other_endings(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert study.main([str(file), "ending=failed"]) == 1
    assert "1 of 2 trainings failed" in capsys.readouterr().err
    call = [str(file), "ending=interrupted"]
    assert study.main(call) == 130
    assert f"Finished trainings are kept. To go on, type: {to_type('study', call)}\n" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="fault of ours"):
        study.main([str(file), "ending=broken"])


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert study.main([]) == 2
    assert study.main(["--help"]) == 0
    assert "studies:" in capsys.readouterr().out


def test_a_wrong_call_is_answered_without_torch() -> None:
    code = (
        "import sys; from semscale_pl.cli.main import main; code = main(['study', 'bunyn']); "
        "sys.exit(code if 'torch' not in sys.modules else 99)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text("{")
    with pytest.raises(ValueError, match="semscale study"):
        read_result(tmp_path / RESULT)
