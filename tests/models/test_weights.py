from collections.abc import Callable

import pytest
import torch
from torch import nn

from semscale_pl.models.weights import weights_digest


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten())


def count_a_batch(module: nn.Module) -> None:
    module[1].num_batches_tracked += 1


def round_to_half(module: nn.Module) -> None:
    module.half()


def swap_two_numbers(module: nn.Module) -> None:
    weight = module[0].weight.data.view(-1)
    weight[:2] = weight[:2].flip(0)


def move_a_mean(module: nn.Module) -> None:
    module[1].running_mean[0] = 1e-30


def test_the_same_numbers_have_the_same_digest_wherever_they_lie() -> None:
    one, other = network(), network().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    count_a_batch(other)
    assert weights_digest(one) == weights_digest(other.eval())
    assert len(weights_digest(one)) == 16


@pytest.mark.parametrize("change", [round_to_half, swap_two_numbers, move_a_mean])
def test_any_other_number_has_another_digest(change: Callable[[nn.Module], None]) -> None:
    one, other = network(), network()
    change(other)
    assert weights_digest(one) != weights_digest(other)


def test_types_that_numpy_lacks_have_a_digest() -> None:
    assert weights_digest(network().bfloat16()) != weights_digest(network().half())
