"""Merged moments against the samples themselves."""

from __future__ import annotations

import pytest
import torch

from semscale_pl.geometry import semantic_scale
from semscale_pl.geometry.moments import Moments

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.tensor([0] * 7 + [1] * 12 + [2] * 3)
FEATURES = torch.randn(22, 5, generator=GENERATOR) + 3.0 * LABELS[:, None]


def test_scales_of_classes_groups_and_joined_sets() -> None:
    moments = Moments.of(FEATURES, LABELS, 3)
    expected = [float(semantic_scale(FEATURES[label == LABELS])) for label in range(3)]
    assert moments.scales().tolist() == pytest.approx(expected)
    groups = moments.grouped(torch.tensor([[True, False, True], [True, True, True]]))
    assert groups.counts.tolist() == [10, 22]
    both = [FEATURES[LABELS != 1], FEATURES]
    assert groups.scales().tolist() == pytest.approx([float(semantic_scale(part)) for part in both])
    torch.testing.assert_close(groups.means, torch.stack([part.double().mean(0) for part in both]))
    joined = moments.take([0, 1]).joined(moments.take([2]))
    pairs = [FEATURES[(label == LABELS) | (LABELS == 2)] for label in (0, 1)]
    assert joined.scales().tolist() == pytest.approx([float(semantic_scale(part)) for part in pairs])
    torch.testing.assert_close(joined.means, torch.stack([part.double().mean(0) for part in pairs]))


def test_an_absent_class_is_refused() -> None:
    with pytest.raises(ValueError, match="class 3"):
        Moments.of(FEATURES, LABELS, 4)
