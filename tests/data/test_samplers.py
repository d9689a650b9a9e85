"""Samplers against their closed-form frequencies, and batches of two real ranks against those of one process."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from semscale_pl.data.samplers import (
    EpochSampler,
    EvaluationBatchSampler,
    GlobalBatchSampler,
    InstanceSampling,
    PerClassSampling,
    PowerSampling,
    ProgressiveSampling,
    Sampling,
)

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


@pytest.mark.parametrize(
    "sampling", [InstanceSampling(), PowerSampling(0.0), ProgressiveSampling(5), PerClassSampling(4, 8)]
)
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


SIZES = [(20, 8), (21, 5), (17, 8), (16, 8), (9, 4)]


def training(size: int, batch_size: int, sampling: Sampling, drop_last: bool = False) -> GlobalBatchSampler:
    labels = torch.arange(size) % 3
    sampler = EpochSampler(sampling, labels, torch.bincount(labels), seed=5)
    sampler.set_epoch(2)
    return GlobalBatchSampler(sampler, batch_size, drop_last)


def everything() -> list[list[list[tuple[int, int]]] | list[list[int]]]:
    lists: list[list[list[tuple[int, int]]] | list[list[int]]] = []
    for size, batch_size in SIZES:
        for sampling in (InstanceSampling(), PowerSampling(0.0)):
            batches = list(training(size, batch_size, sampling))
            assert len(batches) == len(training(size, batch_size, sampling))
            lists.append(batches)
        evaluation = EvaluationBatchSampler(size, batch_size)
        lists.append(list(evaluation))
        assert len(lists[-1]) == len(evaluation)
    return lists


def _rank(number: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=number, world_size=2)
    with pytest.raises(ValueError, match="number of ranks"):
        list(training(4, 1, InstanceSampling()))
    torch.save(everything(), f"{folder}/{number}.pt")
    dist.destroy_process_group()


def test_two_ranks_see_together_what_one_process_sees(tmp_path: Path) -> None:
    mp.start_processes(_rank, args=(str(tmp_path),), nprocs=2, start_method="fork")
    ranks = [torch.load(tmp_path / f"{number}.pt") for number in range(2)]
    for position, (alone, left, right) in enumerate(zip(everything(), *ranks, strict=True)):
        joined = [a + b for a, b in zip(left, right, strict=True)]
        assert all(batch for batch in left + right)
        if position % 3 == 2:
            assert list(chain(*joined)) == list(chain(*alone))
        else:
            # One process takes also a last batch of one sample, which two ranks cannot share.
            assert joined == [batch for batch in alone if len(batch) > 1]
    assert any(len(batch) == 1 for case in everything() for batch in case)


def test_keys_carry_the_epoch_and_drop_last_drops() -> None:
    batches = list(training(10, 4, InstanceSampling()))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert {epoch for batch in batches for _, epoch in batch} == {2}
    assert [len(batch) for batch in training(10, 4, InstanceSampling(), drop_last=True)] == [4, 4]


def test_a_set_smaller_than_a_batch_is_evaluated() -> None:
    assert list(EvaluationBatchSampler(3, 8)) == [[0, 1, 2]]


@pytest.mark.parametrize(("samples", "batch", "per_batch"), [(4, 12, 4), (5, 10, 5), (2, 8, 4), (1, 3, 1)])
def test_batches_hold_so_many_samples_of_each_drawn_class(samples: int, batch: int, per_batch: int) -> None:
    sampling = PerClassSampling(samples, batch)
    order = sampling.draw(LABELS, COUNTS, 2, 7)
    assert len(order) == 1000
    groups = LABELS[order][: 1000 // samples * samples].view(-1, samples)
    assert bool((groups == groups[:, :1]).all())
    for part in order.split(batch)[:-1]:
        counts = torch.bincount(LABELS[part], minlength=4)
        assert int(counts.max()) == per_batch
        # Three classes have samples: of four groups one class has two.
        assert int(counts[3]) == 0
    for part in order.split(samples)[:-1]:
        assert len(part.unique()) == samples
    share = torch.bincount(LABELS[torch.cat([sampling.draw(LABELS, COUNTS, 0, s) for s in range(20)])], minlength=4)
    assert torch.all((share / 20_000 - sampling.class_frequencies(COUNTS)).abs() < 0.02)


def test_per_class_sampling_shows_all_of_a_class_before_one_comes_again_and_repeats_small_ones() -> None:
    labels = torch.tensor([0] * 8 + [1] * 8 + [2] * 3)
    counts = torch.tensor([8, 8, 3])
    order = PerClassSampling(4, 12).draw(labels, counts, 0, 0)
    assert order[labels[order] == 2].unique().tolist() == [16, 17, 18]
    whole = torch.cat([PerClassSampling(4, 12).draw(labels, counts, 0, 3)[:12]])
    assert torch.bincount(labels[whole]).tolist() == [4, 4, 4]
    long = PerClassSampling(2, 2).draw(torch.zeros(40, dtype=torch.int64), torch.tensor([40]), 1, 1)
    assert long.sort().values.tolist() == list(range(40))


def test_a_batch_that_is_no_multiple_of_the_samples_of_a_class_is_refused() -> None:
    with pytest.raises(ValueError, match=r"multiple of `sampler.samples`, 3, but got 8. Set dataset.batch_size=6"):
        PerClassSampling(3, 8)
