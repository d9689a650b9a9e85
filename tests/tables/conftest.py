from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semscale_pl.tables.schema import Table, parse_table


@pytest.fixture
def content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The mapping of a table of two rows and two seeds that a fake training serves."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "train.yaml").write_text(
        "seed: 0\nsubset_seed: ${seed}\nbehaviour: ok\nlevel: 0.5\nrate: 0\ntest: true\nroot: ${oc.env:NOWHERE,data}\n"
    )
    return {
        "name": "small",
        "title": "Small",
        "rows": [{"name": "A"}, {"name": "B", "overrides": ["level=0.6"]}],
        "seeds": [0, 1],
        "measures": [{"name": "accuracy", "key": "results.last.accuracy", "scale": 100, "digits": 1, "paired": True}],
        "train": "fake_training:train",
        "config_dir": str(folder),
    }


@pytest.fixture
def table(content: dict[str, Any]) -> Table:
    return parse_table(content)
