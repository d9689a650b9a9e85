"""Every command saves its files before it prints anything of its result, and outlives a terminal that is gone."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from semscale_pl.cli.main import COMMANDS, DIRECT_COMMANDS, main

TESTS = Path(__file__).parent.parent


class GoneError(Exception):
    """Stands for whatever ends a command when it prints."""


class Gone(io.StringIO):
    """A stdout that ends the command at the first letter."""

    def write(self, text: str) -> int:
        raise GoneError(text)


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRA_FULL_ERROR", "1")
        assert main(["train", "trainer.max_epochs=1", f"hydra.run.dir={folder}"]) == 0
    return folder / "checkpoints" / "last.ckpt"


@pytest.fixture(autouse=True)
def _with_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    generator = np.random.default_rng(0)
    names = np.array(["猫", "naïve [x]"])
    np.savez("x.npz", features=generator.normal(size=(60, 4)), labels=names[np.arange(60) % 2])
    Path("images").mkdir()
    Image.fromarray(generator.integers(0, 255, (8, 8), np.uint8)).save("images/a.png")
    for name in ("ash", "yew"):
        (Path("folders") / name).mkdir(parents=True)
        Image.fromarray(generator.integers(0, 255, (8, 8), np.uint8)).save(f"folders/{name}/a.png")
    for folder in ("tables", "studies"):
        monkeypatch.syspath_prepend(str(TESTS / folder))
    Path("train.yaml").write_text("seed: 0\nbehaviour: ok\nlevel: 0.5\n")
    table = {
        "rows": [{"name": "A"}],
        "seeds": [0],
        "measures": [{"name": "accuracy", "key": "results.last.accuracy", "paired": True}],
        "train": "fake_training:train",
        "config_dir": ".",
    }
    Path("small.yaml").write_text(yaml.safe_dump(table))
    Path("squares.yaml").write_text(
        "study: 'fake_study:run'\nfigure: 'fake_study:draw'\ntitle: Squares\narguments: {values: [2], ending: good}\n"
    )


# What is typed, and a file that must be there when the first letter is printed; None where nothing is saved.
CALLS: dict[str, tuple[str, str | None]] = {
    "train": ("trainer.max_epochs=1 hydra.run.dir=out", "metrics.json"),
    "evaluate": ("ckpt=CKPT out=out", "evaluation.json"),
    "predict": ("ckpt=CKPT images=images hydra.run.dir=out", "predictions.csv"),
    "head": ("ckpt=CKPT recipe=ncm out=out", "metrics.json"),
    "embed": ("images=folders ckpt=CKPT out=out", "manifest.json"),
    "export": ("ckpt=CKPT format=torchscript hydra.run.dir=out", "model.pt"),
    "measure": ("features=x.npz out=out report=false figures=false", "scales.json"),
    "advise": ("features=x.npz batch=5 threshold=0.02 orders=2 out=out", "advice.json"),
    "figure": ("radar out=out/figure.png", "figure.png"),
    "study": ("squares.yaml out=out", "result.json"),
    "table": ("small.yaml jobs=1 out=out", "table.json"),
    "demo": ("", "table.json"),
    "data": ("verify dataset=digits", None),
    "bench": ("pool_step --help", None),
    "claims": ("out=out/claims.md", "claims.md"),
}


def test_all_commands_are_tried() -> None:
    assert set(CALLS) == {*COMMANDS, *DIRECT_COMMANDS}


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("command", CALLS)
def test_files_are_saved_before_the_first_letter_is_printed(
    command: str, ckpt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, file = CALLS[command]
    monkeypatch.setattr(sys, "stdout", Gone())
    if command == "demo":  # the demo is a table of its own, whose cells take minutes
        command, line = "demo", "out=out jobs=1"
        monkeypatch.setattr("semscale_pl.cli.demo.experiments_dir", Path)
        Path("small.yaml").rename("demo.yaml")
        monkeypatch.setattr("semscale_pl.cli.demo.SHOWN", ())
    with pytest.raises(GoneError):
        main([command, *line.replace("CKPT", str(ckpt)).split()])
    assert file is None or Path("out", file).is_file()


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = f'S() {{ "{sys.executable}" -m semscale_pl "$@"; }}; {line}; exit ${{PIPESTATUS[0]}}'
    return subprocess.run(
        ["bash", "-c", command], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("redirection", "code", "printed"),
    [
        ("| true", 0, []),
        (
            "> /dev/full",
            1,
            ["semscale: Could not print all of it: No space left on device. What the command saves is whole."],
        ),
    ],
)
def test_a_terminal_that_is_gone_loses_nothing(redirection: str, code: int, printed: list[str]) -> None:
    call = "advise features=x.npz batch=5 threshold=0.02 orders=2 out=out"
    done = shell(f"S {call} {redirection}", PYTHONIOENCODING="ascii")
    assert done.returncode == code
    # A slow machine shows how far it is.
    lines = [line for line in done.stderr.splitlines() if not line.startswith("class ")]
    assert lines == printed
    assert {path.name for path in Path("out").iterdir()} == {"advice.csv", "advice.json"}
    assert "naïve [x]" in Path("out/advice.csv").read_text(encoding="utf-8")
