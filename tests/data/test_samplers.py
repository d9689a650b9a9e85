"""Samplers against their closed-form frequencies."""

from __future__ import annotations

import pytest
import torch

from semscale_pl.data.samplers import InstanceSampling, PowerSampling, ProgressiveSampling, Sampling

COUNTS = torch.tensor([900, 90, 10, 0])
LABELS = torch.repeat_interleave(torch.arange(4), COUNTS)

CASES = [
    (InstanceSampling(), 0, [0.9, 0.09, 0.01, 0]),
    (PowerSampling(0.0), 0, [1 / 3, 1 / 3, 1 / 3, 0]),
    (PowerSampling(1.0), 0, [0.9, 0.09, 0.01, 0]),
    (PowerSampling(0.5), 0, [30 / 42.649111, 9.486833 / 42.649111, 3.162278 / 42.649111, 0]),
    (PowerSampling(-1.0), 0, [1 / 101, 10 / 101, 90 / 101, 0]),
    (ProgressiveSampling(11), 0, [0.9, 0.09, 0.01, 0]),
    (ProgressiveSampling(11), 5, [0.45 + 1 / 6, 0.045 + 1 / 6, 0.005 + 1 / 6, 0]),
    (ProgressiveSampling(11), 10, [1 / 3, 1 / 3, 1 / 3, 0]),
    (ProgressiveSampling(1), 0, [0.9, 0.09, 0.01, 0]),
]


@pytest.mark.parametrize(("sampling", "epoch", "expected"), CASES)
def test_frequencies_and_draws(sampling: Sampling, epoch: int, expected: list[float]) -> None:
    frequencies = sampling.class_frequencies(COUNTS, epoch)
    assert frequencies.dtype == torch.float64
    torch.testing.assert_close(frequencies, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0)
    drawn = torch.cat([sampling.draw(LABELS, COUNTS, epoch, seed) for seed in range(40)])
    share = torch.bincount(LABELS[drawn], minlength=4) / len(drawn)
    # Five standard errors of 40,000 draws.
    assert torch.all((share - frequencies).abs() <= 5 * (frequencies * (1 - frequencies) / 40_000).sqrt())


@pytest.mark.parametrize("sampling", [InstanceSampling(), PowerSampling(0.0), ProgressiveSampling(5)])
def test_draws_depend_on_seed_and_epoch_alone(sampling: Sampling) -> None:
    before = torch.get_rng_state()
    draws = [sampling.draw(LABELS, COUNTS, epoch, seed).tolist() for epoch, seed in [(0, 0), (0, 0), (1, 0), (0, 1)]]
    assert torch.equal(before, torch.get_rng_state())
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]
    assert draws[0] != draws[3]
    assert draws[2] != draws[3]


def test_instance_sampling_shows_every_sample_once() -> None:
    assert InstanceSampling().draw(LABELS, COUNTS, 3, 1).sort().values.tolist() == list(range(1000))


def test_all_samples_of_a_class_are_drawn_alike() -> None:
    drawn = torch.cat([PowerSampling(0.0).draw(LABELS, COUNTS, 0, seed) for seed in range(60)])
    tail = torch.bincount(drawn, minlength=1000)[990:].double()
    assert torch.all((tail - 2000).abs() < 5 * 2000**0.5)


def test_progressive_needs_an_epoch() -> None:
    with pytest.raises(ValueError, match="num_epochs"):
        ProgressiveSampling(0)
