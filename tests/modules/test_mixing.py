"""Mixing: what it computes, and that seed and step alone decide about it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from semscale_pl.modules.mixing import Mixed, Mixing


def mix(mixing: Mixing, images: Tensor, *step: int) -> Mixed | None:
    """Mix images whose labels are ten times their places."""
    places = torch.arange(len(images))
    return mixing(images, 10 * places, places, *step)


def mixed(mixing: Mixing, images: Tensor, *step: int) -> Mixed:
    found = mix(mixing, images, *step)
    assert found is not None
    return found


def test_mixup_is_the_convex_combination_it_says() -> None:
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = mixed(Mixing(mixup_alpha=1.0), images, 0, 0)
    expected = found.lam * images + (1 - found.lam) * images[found.indices]
    torch.testing.assert_close(found.images, expected)
    assert sorted(found.indices.tolist()) == list(range(6))
    assert torch.equal(found.labels, 10 * found.indices)


def test_cutmix_shares_are_the_shares_of_pixels() -> None:
    images = torch.arange(4.0)[:, None, None, None].expand(4, 1, 16, 16)
    shares = set()
    for step in range(20):
        found = mixed(Mixing(cutmix_alpha=1.0), images, 0, step)
        moved = found.indices != torch.arange(4)
        kept = (found.images == images).float().mean(dim=(1, 2, 3))
        torch.testing.assert_close(kept[moved], torch.full_like(kept[moved], found.lam))
        filled = torch.where(found.images == images, torch.nan, found.images).flatten(1)
        assert torch.equal(filled[moved].nanmean(dim=1), found.indices[moved].float())
        shares.add(found.lam)
    assert len(shares) > 10


def test_mixing_leaves_a_share_of_the_batches_alone() -> None:
    mixing, images = Mixing(mixup_alpha=0.4, cutmix_alpha=1.0, probability=0.25), torch.rand(2, 1, 4, 4)
    assert 20 < sum(mix(mixing, images, 0, step) is not None for step in range(200)) < 80


def test_seed_and_step_alone_decide() -> None:
    images = torch.rand(8, 1, 4, 4)
    options: dict[str, Any] = {"mixup_alpha": 0.4, "cutmix_alpha": 1.0, "probability": 0.5}

    def draws(seed: int) -> list[Mixed | None]:
        return [mix(Mixing(**options, seed=seed), images, epoch, step) for epoch in (0, 1) for step in range(20)]

    torch.manual_seed(1)
    first = draws(seed=3)
    before = torch.get_rng_state()
    again = draws(seed=3)
    assert torch.equal(torch.get_rng_state(), before), "dropout draws as without mixing"
    for one, two in zip(first, again, strict=True):
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            assert torch.equal(one.images, two.images)
            assert (one.lam, one.indices.tolist()) == (two.lam, two.indices.tolist())
    coins = [found is None for found in first]
    assert coins != [found is None for found in draws(seed=4)]
    assert coins[:20] != coins[20:], "an epoch repeats another"


@pytest.mark.parametrize(
    "options",
    [{}, {"mixup_alpha": -1.0}, {"mixup_alpha": 1.0, "probability": 0.0}, {"cutmix_alpha": 1, "probability": 2}],
)
def test_mixing_refuses_what_it_cannot_do(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Expected `"):
        Mixing(**options)
