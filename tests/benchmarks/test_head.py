from __future__ import annotations

import json
import math

import pytest
import torch
from torch import nn

from semscale_pl.benchmarks import head
from semscale_pl.seeding import derive_seed


def test_the_bare_loop_is_sgd_on_the_batches_of_a_run() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors, labels = torch.randn(150, 3, generator=generator), torch.arange(150) % 2
    torch.manual_seed(1)
    found = head.bare_loop(vectors, labels, 2, 1)
    torch.manual_seed(1)
    expected = nn.Linear(3, 2)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(derive_seed(derive_seed(0, 0), 0)))
    momentum = [torch.zeros_like(one) for one in expected.parameters()]
    for rows in (order[:128], order[128:]):
        loss = nn.functional.cross_entropy(expected(vectors[rows]), labels[rows])
        gradients = torch.autograd.grad(loss, list(expected.parameters()))
        with torch.no_grad():
            for one, gradient, moved in zip(expected.parameters(), gradients, momentum, strict=True):
                decayed = gradient + 5e-4 * one
                moved.mul_(0.9).add_(decayed)
                one -= head.RATE * (decayed + 0.9 * moved)
    torch.testing.assert_close(found.weight, expected.weight)
    torch.testing.assert_close(found.bias, expected.bias)


def test_a_small_benchmark_times_every_way(capsys: pytest.CaptureFixture[str]) -> None:
    assert head.main(["--classes", "3", "--features", "4", "--epochs", "2", "--repeats", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["samples"], found["features"], found["epochs"]) == (500 + 50 + 5, 4, 2)
    assert list(found["milliseconds_a_step"]) == ["bare loop", *head.WAYS]
    assert list(found["times_the_bare_loop"]) == list(head.WAYS)
    numbers = [*found["milliseconds_a_step"].values(), *found["times_the_bare_loop"].values(), found["dsb_to_ce"]]
    assert all(math.isfinite(number) and number > 0 for number in numbers)
    assert head.render(found).splitlines()[-1].startswith("DSB takes ")
