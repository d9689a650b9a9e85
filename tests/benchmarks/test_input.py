"""The input benchmark feeds every way the same number of images of the same shape, and its ratios are those it says."""

from __future__ import annotations

import json

import pytest
import torch

from semscale_pl.benchmarks import input as benchmark


@pytest.mark.parametrize("augmentation", benchmark.AUGMENTATIONS)
def test_every_way_shows_all_images(augmentation: str) -> None:
    for name, loader in benchmark._ways(20, 8, augmentation).items():
        batches = list(loader)
        assert [len(batch[1]) for batch in batches] == [8, 8, 4], name
        assert all(batch[0].shape[1:] == (3, 32, 32) and batch[0].dtype == torch.float32 for batch in batches), name
        # Noise from black to white: its mean lies within one and a half deviations of the normalization's.
        assert abs(float(batches[0][0].mean())) < 1.5, name


def test_figures_are_printed_as_lines_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        for flags in ([], ["--json"]):
            assert benchmark.main(["--size", "32", "--batch-size", "16", "--repeats", "1", *flags]) == 0
    finally:
        torch.set_num_threads(threads)
    *lines, record = capsys.readouterr().out.splitlines()
    found = json.loads(record)
    assert "times as fast" in lines[2]
    rates, ratios = found["images_per_second"], found["memory_is_faster_by"]
    for name, ratio in ratios.items():
        assert ratio == pytest.approx(rates["in memory"] / rates[name])
    assert found["provenance"]["versions"]["torch"] == torch.__version__
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="CUDA device"):
            benchmark.main(["--device", "cuda"])
