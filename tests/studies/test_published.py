"""Every published result of a study has its figure and its words in docs/, and its figure can be drawn again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from semscale_pl.config.composing import experiments_dir
from semscale_pl.studies.running import draw, read_result

RESULTS = sorted((experiments_dir() / "results").glob("*/result.json"))
DOCS = experiments_dir().parent / "docs"


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.parent.name)
def test_a_result_has_a_figure_and_words(path: Path) -> None:
    name = path.parent.name
    assert (DOCS / "images" / f"{name}.png").is_file()
    pages = [page.read_text() for page in DOCS.glob("*.md") if f"images/{name}.png" in page.read_text()]
    assert pages, f"no page of docs/ shows images/{name}.png"
    assert any(re.search(rf"semscale study {name.split('-')[0]}", page) for page in pages)
    record = read_result(path)
    assert {"versions", "commit", "device", "seconds"} <= set(record["provenance"])
    assert draw(record["figure"], record["result"]).axes
