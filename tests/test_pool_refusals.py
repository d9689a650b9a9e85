"""What the pool refuses, in which words, and that a refusal changes nothing."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from small_pools import DIM, make_pool, tensors_of
from torch import Tensor

from semscale_pl.pool import FeaturePool

ONES, ZEROS = torch.ones(2, DIM), torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "Expected `features` to be of shape (B, 3), but got (2, 4)", (torch.ones(2, 4), ZEROS, ZEROS)),
        (ValueError, "Expected `features` to be of shape (B, 3), but got (3,)", (torch.ones(3), ZEROS, ZEROS)),
        (TypeError, "Expected `features` to be floating point, but got torch.int64", (ONES.long(), ZEROS, ZEROS)),
        (ValueError, "Expected `labels` to be of shape (2,), but got (3,)", (ONES, torch.zeros(3).long(), ZEROS)),
        (ValueError, "Expected `indices` to be of shape (2,), but got (1,)", (ONES, ZEROS, ZEROS[:1])),
        (ValueError, "Expected `indices` in an indexed pool, but got None", (ONES, ZEROS)),
        (TypeError, "Expected `labels` to be integers, but got torch.float32", (ONES, ZEROS.float(), ZEROS)),
        (TypeError, "Expected `indices` to be integers, but got torch.bool", (ONES, ZEROS, ZEROS.bool())),
        (
            ValueError,
            "Expected `labels` to be in [0, 4), but got values from -1 to 0",
            (ONES, torch.tensor([-1, 0]), ZEROS),
        ),
        (
            ValueError,
            "Expected `labels` to be in [0, 4), but got values from 0 to 4",
            (ONES, torch.tensor([0, 4]), ZEROS),
        ),
        (
            ValueError,
            "Expected `indices` to be in [0, 12), but got values from 3 to 12",
            (ONES, ZEROS, torch.tensor([12, 3])),
        ),
        (
            ValueError,
            "Expected `features` to be finite in torch.float32, but got NaN",
            (ONES * torch.nan, ZEROS, ZEROS),
        ),
    ],
)
def test_bad_batches_are_refused_and_change_nothing(
    error: type[Exception], message: str, arguments: tuple[Tensor, ...]
) -> None:
    pool = make_pool()
    before = copy.deepcopy(pool.state_dict())
    with pytest.raises(error, match=re.escape(message)):
        pool.push(*arguments)
    assert all(torch.equal(value, kept) for value, kept in tensors_of(before, pool.state_dict()))


def test_features_too_large_for_the_storage_dtype_are_refused() -> None:
    with pytest.raises(ValueError, match=r"finite in torch.float16.*wider `storage_dtype`"):
        make_pool(storage_dtype="float16").push(ONES * 1e6, ZEROS, ZEROS)


def test_checks_of_values_can_be_skipped() -> None:
    pool = make_pool(validate_args=False)
    pool.push(ONES * torch.nan, ZEROS, torch.tensor([0, 1]))
    assert len(pool.contents()[0]) == 2
    with pytest.raises(ValueError, match="of shape"):
        pool.push(torch.ones(2, 4), ZEROS, ZEROS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capacity": 0}, "Expected `capacity` to be an integer of at least 1, but got 0"),
        ({"num_features": 0}, "Expected `num_features` to be an integer of at least 1, but got 0"),
        ({"num_classes": -1}, "Expected `num_classes` to be an integer of at least 1, but got -1"),
        ({"mode": "ring"}, "Expected `mode` to be one of indexed, fifo, but got 'ring'"),
        ({"storage_dtype": "int8"}, "Expected `storage_dtype` to be one of"),
        ({"storage_dtype": torch.int64}, "Expected `storage_dtype` to be one of"),
        ({"rebuild_every": -1}, "Expected `rebuild_every` to be at least 0, but got -1"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        FeaturePool(**{"capacity": 3, "num_features": 2, "num_classes": 2, **options})
