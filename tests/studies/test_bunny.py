"""The study of the bunny on a small cloud, and the files it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from semscale_pl.figures.style import as_pixels
from semscale_pl.files import strict
from semscale_pl.studies.bunny import draw, read_points, run


def test_runs_and_draws(tmp_path: Path) -> None:
    file = tmp_path / "cloud.npz"
    np.savez(file, vertices=np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32))
    arguments = {"file": str(file), "factors": [1.0, 2.0], "deviations": [0.0, 0.5], "sizes": [10, 5000], "repeats": 3}
    lines: list[str] = []
    result = strict(run({**arguments, "seed": 0}, tmp_path, 1, lines.append))
    assert result["sizes"] == [10, 300]
    assert result["scaled"][1] > result["scaled"][0]
    assert result["noisy"][0] == pytest.approx([result["scaled"][0]] * 3)
    assert result["noisy_predicted"][0] == pytest.approx(result["scaled"][0])
    assert len(lines) == 2
    assert as_pixels(draw(result)).std() > 0


def test_refuses_what_is_no_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMSCALE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"bunny\.npz"):
        read_points(None)
    file = tmp_path / "bunny.npz"
    for content in ({"points": np.zeros((3, 3))}, {"vertices": np.array([[None]])}, {"vertices": np.zeros(3)}):
        np.savez(file, **content)
        with pytest.raises(ValueError, match="vertices") as caught:
            read_points(None)
        assert "\n" not in str(caught.value)
    file.write_bytes(b"PK")
    with pytest.raises(ValueError, match="vertices"):
        read_points(str(file))
