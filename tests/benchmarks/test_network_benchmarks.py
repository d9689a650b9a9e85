"""The benchmarks of networks run, and time what they name."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from semscale_pl.benchmarks import memory_format, step_overhead


@pytest.mark.parametrize("name", memory_format.NETWORKS)
def test_both_formats_are_the_same_network(name: str) -> None:
    make, shape = memory_format.NETWORKS[name]
    plain, last = make(False).eval(), make(True).eval()
    last.load_state_dict(plain.state_dict())
    images = torch.randn(2, *shape)
    torch.testing.assert_close(plain(images), last(images), rtol=1e-4, atol=1e-5)
    formats = [next(p for p in network.parameters() if p.ndim == 4 and p.shape[1] > 3) for network in (plain, last)]
    assert [weight.is_contiguous(memory_format=torch.channels_last) for weight in formats] == [False, True]


def test_a_comparison_holds_both_times_and_their_ratio() -> None:
    found = memory_format.compare("ResNet-8, 32 x 32 colour", batch_size=2, steps=1)
    assert found["faster_by"] == pytest.approx(found["contiguous_ms"] / found["channels_last_ms"])
    assert found["channels_last_ms"] > 0


def test_the_callback_is_part_of_its_step() -> None:
    found = step_overhead.run(batch_size=4, steps=1, depth=8)
    assert found["slots"] == 10_847  # CIFAR-100-LT at factor 100
    assert 0 < found["callback_ms"] < found["step_ms"]
    assert found["share"] == pytest.approx(found["callback_ms"] / found["step_ms"])
    assert found["with_to_without"] == pytest.approx(found["step_ms"] / found["without_ms"])


def test_figures_are_printed_as_lines_or_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        memory_format, "NETWORKS", {"small CNN, 28 x 28 grey": memory_format.NETWORKS["small CNN, 28 x 28 grey"]}
    )
    threads = torch.get_num_threads()
    try:
        for flags in ([], ["--json"]):
            monkeypatch.setattr(sys, "argv", ["memory_format", "--steps", "1", *flags])
            memory_format.main()
    finally:
        torch.set_num_threads(threads)
    line, record = capsys.readouterr().out.splitlines()
    assert "times as fast" in line
    assert json.loads(record)["network"] == "small CNN, 28 x 28 grey"
