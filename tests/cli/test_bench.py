"""`semscale bench`: every benchmark is listed and answers, wrong calls are one line."""

from __future__ import annotations

import json
import pkgutil

import pytest
import torch

from semscale_pl import benchmarks
from semscale_pl.cli.bench import BENCHMARKS
from semscale_pl.cli.main import main


def test_all_benchmarks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(BENCHMARKS) == {module.name for module in pkgutil.iter_modules(benchmarks.__path__)}
    assert main(["bench", "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", name, "--help"]) == 0
    assert f"usage: semscale bench {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ("usage: semscale bench",)),
        (["pool_stop"], ("Unknown benchmark `pool_stop`", "pool_step")),
        (["memory_format", "--steps", "many"], ("--steps", "'many'")),
    ],
    ids=["nothing", "typo", "option"],
)
def test_wrong_calls(arguments: list[str], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *arguments]) == 2
    error = capsys.readouterr().err
    assert all(word in error for word in words)


def test_runs(capsys: pytest.CaptureFixture[str]) -> None:
    small = "--num-samples 300 --num-classes 6 --largest 120 --smallest 5 --batch-size 16 --num-features 4 --rounds 1"
    threads = torch.get_num_threads()
    try:
        assert main(["bench", "pool_step", *small.split(), "--json"]) == 0
    finally:
        torch.set_num_threads(threads)
    found = json.loads(capsys.readouterr().out)
    assert found["setting"]["num_samples"] == 300
    assert found["milliseconds"]["step"] > 0
