"""The commit is that of the source, and of no repository that merely surrounds it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import torch

from semscale_pl.training.provenance import commit, device_name, peak_memory, versions


def _git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_commit_of_tracked_source_tells_changes(tmp_path: Path) -> None:
    source = tmp_path / "package"
    source.mkdir()
    (source / "__init__.py").write_text("")
    results = tmp_path / "experiments" / "results" / "table.md"
    results.parent.mkdir(parents=True)
    results.write_text("published")
    assert commit(source) is None
    commit.cache_clear()
    _git(tmp_path, "init", "-q")
    assert commit(source) is None, "an untracked copy inside a repository has no commit"
    commit.cache_clear()
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "first")
    short = commit(source)
    assert short
    assert _git(tmp_path, "rev-parse", "HEAD").startswith(short)
    commit.cache_clear()
    results.write_text("published since")
    assert commit(source) == short, "results are not what made them"
    commit.cache_clear()
    (source / "__init__.py").write_text("changed")
    assert commit(source) == f"{short}-dirty"


def test_versions_are_those_installed() -> None:
    found = versions()
    assert set(found) == {"semscale_pl", "torch", "torchvision", "lightning", "torchmetrics", "python", "numpy"}
    assert found["torch"] == torch.__version__
    assert all(found.values())


def test_device_and_memory_are_told() -> None:
    assert device_name(torch.device("cpu"))
    assert device_name(torch.device("meta")) == "meta"
    ballast = torch.ones(2**22)
    peak = peak_memory()["process_bytes"]
    assert peak is not None
    assert ballast.nbytes < peak < 2**40
