"""The study of correlations on the published digits, its picture and its refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from semscale_pl.figures.style import as_pixels
from semscale_pl.files import strict
from semscale_pl.studies.correlation import draw, read_cells, run


def test_reads_published_trainings_and_agrees_with_their_own_records() -> None:
    arguments = {"results": ["digits_study"], "rows": ["CE"], "alphas": [1.0, 2.0]}
    result = strict(run(arguments, Path("unused"), 1, lambda line: None))
    (group,) = result["groups"]
    assert (group["table"], group["row"], group["dataset"], group["backbone"]) == (
        "digits_study",
        "CE",
        "digits_lt",
        "SmallCNN",
    )
    assert len(group["seeds"]) == 10
    records = [cell["record"] for cell in read_cells("digits_study") if cell["row"] == "CE"]
    for name in ("n", "S'", "W", "S"):
        values = [record["correlations"]["last"][name]["spearman"]["value"] for record in records]
        assert min(values) - 1e-4 <= group["quantities"][name]["spearman"]["mean"] <= max(values) + 1e-4
    assert as_pixels(draw(result)).std() > 0


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="semscale table"):
        read_cells("no_such_table")
    (tmp_path / "cells.json").write_text("[")
    with pytest.raises(ValueError, match="cells"):
        read_cells(str(tmp_path))
    with pytest.raises(ValueError, match="Rows:"):
        run({"results": ["digits_study"], "rows": ["none"], "alphas": [1.0]}, tmp_path, 1, lambda line: None)
