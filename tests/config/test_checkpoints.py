"""Which checkpoint the folder of a run stands for, in commands that look at results and in those that build on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from semscale_pl.cli import advise, embed, export, measure, predict
from semscale_pl.config.checkpoints import finished_checkpoint, last_checkpoint
from semscale_pl.config.checks import check_evaluate, check_head, check_train
from semscale_pl.config.composing import composed_from
from semscale_pl.config.errors import WrongCallError


@pytest.fixture(autouse=True)
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay out a run, one with a second stage, the folder of `semscale head`, and a folder without checkpoints."""
    monkeypatch.chdir(tmp_path)
    for run, names in {"run": ("last",), "two": ("last", "recipe"), "head": ("recipe",), "none": ()}.items():
        Path(run, "checkpoints").mkdir(parents=True)
        for name in names:
            Path(run, "checkpoints", f"{name}.ckpt").touch()


CASES = [
    (last_checkpoint, "run", "run/checkpoints/last.ckpt"),
    (last_checkpoint, "two", "two/checkpoints/last.ckpt"),
    (last_checkpoint, "head", "head/checkpoints/recipe.ckpt"),
    (finished_checkpoint, "run", "run/checkpoints/last.ckpt"),
    (finished_checkpoint, "two", "two/checkpoints/recipe.ckpt"),
    (finished_checkpoint, "two/checkpoints", "two/checkpoints/recipe.ckpt"),
    (finished_checkpoint, "two/checkpoints/last.ckpt", "two/checkpoints/last.ckpt"),
]


@pytest.mark.parametrize(("meant", "text", "expected"), CASES)
def test_a_folder_stands_for_one_of_its_checkpoints(
    meant: Callable[[str, str], Path], text: str, expected: str
) -> None:
    assert meant("ckpt", text) == Path(expected)


@pytest.mark.parametrize(("text", "said"), [("none", "'none' holds no checkpoints/last.ckpt"), ("no", "none at 'no'")])
def test_a_folder_without_checkpoints_is_refused(text: str, said: str) -> None:
    for meant in (last_checkpoint, finished_checkpoint):
        with pytest.raises(ValueError, match=said):
            meant("ckpt", text)


def test_every_command_takes_the_folder_of_a_run() -> None:
    for command in (measure, advise, embed):
        assert command.COMMAND.keys["ckpt"].value_of("two", command.COMMAND.name) == Path("two/checkpoints/last.ckpt")
    for name, check, more in (
        ("evaluate", check_evaluate, []),
        ("export", export.check, ["format=torchscript"]),
        ("predict", predict.check, ["images=two/checkpoints/last.ckpt"]),
        ("head", check_head, []),
    ):
        cfg = composed_from(name, ["ckpt=two", *more])
        check(cfg)
        assert cfg.ckpt == f"two/checkpoints/{'last' if name == 'head' else 'recipe'}.ckpt"


def test_going_on_says_what_to_pass_for_a_folder() -> None:
    with pytest.raises(WrongCallError, match=r"none at 'two'\. Pass two/checkpoints/last\.ckpt\."):
        check_train(composed_from("train", ["ckpt_path=two"]))
