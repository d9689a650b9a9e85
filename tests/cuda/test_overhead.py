"""The benchmark of a step times the device without waiting for it within the step."""

from __future__ import annotations

import pytest
import torch

from semscale_pl.benchmarks import step_overhead

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("network", step_overhead.NETWORKS)
def test_a_step_is_timed_with_and_without_the_callback(network: str, device: torch.device) -> None:
    found = step_overhead.run(batch_size=2, steps=1, depth=8, device=device.type, network=network)
    assert found["callback_ms"] > 0
    assert found["with_to_without"] == pytest.approx(found["step_ms"] / found["without_ms"])
