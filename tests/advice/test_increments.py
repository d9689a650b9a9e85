"""The increment of the last batch against a numpy loop and against all possible last samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from semscale_pl.advice.growth import last_increment, scales_of_orders


def cloud(rows: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scale(samples: np.ndarray) -> float:
    centred = samples - samples.mean(0)
    gram = np.eye(samples.shape[1]) + samples.shape[1] / len(samples) * centred.T @ centred
    return 0.5 * float(np.linalg.slogdet(gram)[1]) / math.log(2.0)


def test_with_one_sample_at_a_time_all_orders_are_leave_one_out() -> None:
    samples = cloud(7, 3)
    full = scale(samples.numpy())
    others = [scale(np.delete(samples.numpy(), row, axis=0)) for row in range(7)]
    values = [(full - other) / other for other in others]
    found = last_increment(samples, 1, orders=400, level=0.999)
    assert found.low == pytest.approx(min(values), rel=1e-9)
    assert found.high == pytest.approx(max(values), rel=1e-9)
    assert found.mean == pytest.approx(np.mean(values), abs=4 * np.std(values) / math.sqrt(400))


def test_orders_are_nested_and_end_at_the_whole_class() -> None:
    samples = cloud(12, 4)
    scales = scales_of_orders(samples, [1, 5, 12], 6, seed=3)
    assert scales.shape == (3, 6)
    assert scales[0].tolist() == [0.0] * 6
    assert scales[2].tolist() == pytest.approx([scale(samples.numpy())] * 6)
    assert scales_of_orders(samples, [5], 6, seed=3)[0].tolist() == scales[1].tolist()
    assert len(set(scales[1].tolist())) == 6


def test_a_class_in_blocks_is_the_class_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = cloud(12, 4)
    whole = scales_of_orders(samples, [5, 9], 6)
    monkeypatch.setattr("semscale_pl.advice.growth._ELEMENTS", 40)
    assert scales_of_orders(samples, [5, 9], 6).flatten().tolist() == pytest.approx(whole.flatten().tolist())


@pytest.mark.parametrize(("rows", "batch"), [(1, 1), (5, 5), (6, 5), (3, 10)])
def test_too_few_samples_have_no_increment(rows: int, batch: int) -> None:
    assert all(math.isnan(value) for value in last_increment(cloud(rows, 2), batch))


def test_identical_samples_have_no_increment() -> None:
    assert math.isnan(last_increment(torch.ones(20, 3), 5).mean)


def test_wrong_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected `batch` to be at least 1, but got 0"):
        last_increment(cloud(5, 2), 0)
    with pytest.raises(ValueError, match="Expected `orders` to be at least 1, but got 0"):
        last_increment(cloud(5, 2), 1, orders=0)
    with pytest.raises(ValueError, match="Expected `level`"):
        last_increment(cloud(5, 2), 1, level=1.0)
    with pytest.raises(ValueError, match="to be finite"):
        last_increment(torch.tensor([[math.nan], [1.0]]), 1)
