"""The study of the bunny on a small cloud, and the files it refuses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from semscale_pl.figures.style import as_pixels
from semscale_pl.files import strict
from semscale_pl.studies.bunny import (
    draw,
    noisy_clouds,
    normalised,
    predicted_noisy_scale,
    read_points,
    run,
    scaled_clouds,
    subsampled_clouds,
)


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


# S' of point clouds against closed forms.
CLOUD = torch.from_numpy(np.random.default_rng(0).normal(3.0, [1.0, 2.0, 0.5], (400, 3)))


def bits(points: np.ndarray) -> float:
    centred = points - points.mean(0)
    gram = np.eye(points.shape[1]) + points.shape[1] / len(points) * centred.T @ centred
    return float(np.linalg.slogdet(gram)[1] / 2 / math.log(2))


def test_normalised_has_centre_0_and_radius_1() -> None:
    cloud = normalised(CLOUD)
    assert cloud.mean(0).tolist() == pytest.approx([0, 0, 0], abs=1e-12)
    assert float(cloud.square().sum(1).mean()) == pytest.approx(1.0)
    torch.testing.assert_close(normalised(1000 * CLOUD + 5), cloud)


@pytest.mark.parametrize("points", [torch.ones(5, 3), torch.ones(1, 3), torch.ones(4)])
def test_a_cloud_without_extent_is_refused(points: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="Expected"):
        normalised(points)


def test_scaling_is_about_the_centre_and_grows() -> None:
    factors = [0.0, 0.5, 1.0, 2.0, 8.0]
    found = scaled_clouds(CLOUD, factors)
    assert found == pytest.approx([bits(factor * CLOUD.numpy()) for factor in factors])
    assert found[0] == 0.0
    assert found == sorted(found)


def test_noise_adds_its_variance_to_every_eigenvalue() -> None:
    predicted = predicted_noisy_scale(CLOUD, 0.7)
    variances = np.linalg.eigvalsh(np.cov(CLOUD.numpy().T, bias=True)) + 0.49
    assert predicted == pytest.approx(0.5 * np.log2(1 + 3 * variances).sum())
    (exact, *_), drawn = noisy_clouds(CLOUD, [0.0, 0.7], repeats=40)
    assert exact == pytest.approx(bits(CLOUD.numpy()))
    assert np.mean(drawn) == pytest.approx(predicted, abs=4 * np.std(drawn) / math.sqrt(40) + 0.02)
    assert len(set(drawn)) == 40


def test_subsampling_draws_without_replacement() -> None:
    one, every = subsampled_clouds(CLOUD, [1, len(CLOUD)], repeats=3)
    assert one == [0.0, 0.0, 0.0]
    assert every == pytest.approx([bits(CLOUD.numpy())] * 3)
    assert subsampled_clouds(CLOUD, [9], 2, seed=1) != subsampled_clouds(CLOUD, [9], 2, seed=2)
    with pytest.raises(ValueError, match=r"1\.\.400"):
        subsampled_clouds(CLOUD, [401])
