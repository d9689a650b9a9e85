from __future__ import annotations

import json
import math

import pytest
import torch

from semscale_pl.benchmarks import pool_step
from semscale_pl.geometry.moments import ClassMoments

SMALL = {"num_samples": 300, "num_classes": 6, "largest": 120, "smallest": 5, "batch_size": 16, "num_features": 4}


def test_labels_have_the_shape_of_imagenet_lt() -> None:
    counts = pool_step.long_tail_labels(115_846, 1000, 1280, 5).bincount()
    assert (int(counts.sum()), len(counts)) == (115_846, 1000)
    assert (int(counts.max()), int(counts.min())) == (1280, 5)
    assert int((counts.diff() > 1).sum()) == 0  # falling, up to rounding


def test_all_contenders_answer_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = pool_step.long_tail_labels(300, 6, 120, 5)
    pool = pool_step.filled_pool(labels, 6, 4, "indexed", generator)
    indices = torch.arange(40)
    answer = pool_step.step(pool, torch.randn(40, 4, generator=generator), labels[indices], indices)
    features, labels = pool.contents()
    by_class = [features[labels == label].numpy() for label in range(6)]
    rivals = [
        pool_step.full_recomputation(features, labels, 6),
        pool_step.rebuilt(ClassMoments(6, 4), features, labels),
        pool_step.loop_recomputation(features, labels, 6),
    ]
    for rival in rivals:
        torch.testing.assert_close(rival, answer, atol=1e-9, rtol=0)
    in_numpy = tuple(torch.from_numpy(part).double() for part in pool_step.numpy_recomputation(by_class))
    torch.testing.assert_close(in_numpy, answer, atol=1e-4, rtol=0)


@pytest.mark.parametrize("mode", ["indexed", "fifo"])
def test_a_small_run_reports_times_and_ratios(mode: str) -> None:
    result = pool_step.run(**SMALL, mode=mode, rounds=1)
    assert result["setting"]["largest_class"] == 120
    assert result["deviation_bits"] < 1e-9
    assert set(result["times_faster"]) == {"full", "rebuild", "numpy", "loop"}
    for name, ratio in result["times_faster"].items():
        assert math.isclose(ratio, result["milliseconds"][name] / result["milliseconds"]["step"])
    assert "x the step" in pool_step.render(result)


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    try:
        assert pool_step.main([*arguments, "--rounds=1", "--json"]) == 0
    finally:
        torch.set_num_threads(threads)
    assert json.loads(capsys.readouterr().out)["setting"]["batch_size"] == 16
