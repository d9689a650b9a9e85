"""Shared set-up: the package comes before torchvision, which it lets load beside a CPU-only torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import semscale_pl  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the user's cache folder out of the tests, those in other processes included."""
    before, folder = os.environ.get("SEMSCALE_CACHE"), tmp_path_factory.mktemp("cache")
    os.environ["SEMSCALE_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["SEMSCALE_CACHE"]
    else:
        os.environ["SEMSCALE_CACHE"] = before


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every computation go through several blocks."""
    monkeypatch.setattr("semscale_pl.geometry.volumes.BLOCK_ELEMENTS", 60)
    monkeypatch.setattr("semscale_pl.geometry.classes.BLOCK_ELEMENTS", 60)
