"""Shrinking keeps the share of every class's volume that was asked for, with as few samples as possible."""

from __future__ import annotations

import pytest
import torch

from semscale_pl.advice.selection import METHODS, select, shrink
from semscale_pl.geometry.volumes import semantic_scale


def data() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0] * 120 + [2] * 40 + [3] * 1)
    return torch.randn(161, 4, generator=generator, dtype=torch.float64), labels[torch.randperm(161)]


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("share", [0.5, 0.95, 1.0])
def test_the_share_is_kept_and_one_sample_fewer_would_miss_it(method: str, share: float) -> None:
    features, labels = data()
    kept = shrink(features, labels, share, method)
    assert kept.counts.tolist()[1] == 0
    assert bool(kept.scales[1].isnan())
    assert kept.counts.tolist()[3] == 1
    assert torch.bincount(labels[kept.rows], minlength=4).tolist() == kept.counts.tolist()
    assert bool((kept.rows.diff() > 0).all())
    for label in (0, 2):
        samples = features[labels == label]
        full = float(semantic_scale(samples))
        assert float(kept.full_scales[label]) == pytest.approx(full)
        assert float(kept.scales[label]) == pytest.approx(
            float(semantic_scale(features[kept.rows][labels[kept.rows] == label]))
        )
        assert float(kept.scales[label]) >= share * full or kept.counts[label] == len(samples)
        fewer = int(kept.counts[label]) - 1
        assert float(semantic_scale(samples[select(samples, fewer, method)])) < share * full


def test_a_head_class_shrinks_in_count_and_not_in_volume() -> None:
    generator = torch.Generator().manual_seed(1)
    head = torch.randn(2000, 3, generator=generator)
    tail = torch.randn(20, 3, generator=generator)
    labels = torch.tensor([0] * 2000 + [1] * 20)
    kept = shrink(torch.cat([head, tail]), labels, 0.95, "random")
    assert 3 < int(kept.counts[0]) < 200
    assert float(kept.scales[0]) >= 0.95 * float(kept.full_scales[0])


@pytest.mark.parametrize("share", [0.0, -1.0, 1.01, float("nan")])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="Expected `keep_volume` to be above 0 and at most 1"):
        shrink(*data(), share)


def test_labels_and_methods_are_checked() -> None:
    features, labels = data()
    with pytest.raises(ValueError, match="one a row"):
        shrink(features, labels[:5])
    with pytest.raises(ValueError, match="Expected `method` to be one of"):
        shrink(features, labels, 0.9, "best")
    with pytest.raises(ValueError, match="from -1"):
        shrink(features, labels - 1)
