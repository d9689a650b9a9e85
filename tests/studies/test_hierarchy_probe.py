"""The probe against concatenated samples, on clusters whose parents are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from semscale_pl.geometry import semantic_scale
from semscale_pl.studies.hierarchy import leave_one_out, mixing_ratio, predictions, true_ranks

PARENTS = torch.tensor([0, 1, 0, 1, 2, 2, 2, 0, 1])


def clusters(size: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three parents far apart, each of three near classes."""
    generator = torch.Generator().manual_seed(seed)
    centres = 8.0 * torch.eye(4)[PARENTS] + torch.randn(9, 4, generator=generator)
    labels = torch.arange(9).repeat(size)
    return centres[labels] + torch.randn(9 * size, 4, generator=generator), labels


def test_the_own_parent_grows_least() -> None:
    features, labels = clusters()
    found = leave_one_out(features, labels, PARENTS)
    for values in found:
        assert values.shape == (9, 3)
        assert torch.equal(predictions(values), PARENTS)
        assert true_ranks(values, PARENTS).tolist() == [0] * 9


def test_the_own_parents_ratio_is_that_of_the_samples() -> None:
    features, labels = clusters()
    found = leave_one_out(features, labels, PARENTS, seed=4)
    for child in range(9):
        own = int(PARENTS[child])
        siblings = [label for label in range(9) if int(PARENTS[label]) == own and label != child]
        parent = features[torch.isin(labels, torch.tensor(siblings))]
        mixed = features[labels == child]
        assert float(found.ratios[child, own]) == pytest.approx(mixing_ratio(parent, mixed))
        distance = (parent.double().mean(0) - mixed.double().mean(0)).norm()
        assert float(found.distances[child, own]) == pytest.approx(float(distance))


def test_all_samples_of_one_place_make_the_matched_ratio_1() -> None:
    # Every class is the same few points, so that a draw of any size has the same covariance as the whole.
    corner = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    labels = torch.arange(4).repeat_interleave(40)
    features = corner.repeat(80, 1)
    found = leave_one_out(features, labels, torch.tensor([0, 0, 1, 1]))
    torch.testing.assert_close(found.ratios, torch.ones_like(found.ratios), atol=0.1, rtol=0)
    torch.testing.assert_close(found.matched, torch.ones_like(found.matched), atol=0.1, rtol=0)


def test_counts_are_equal_in_every_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    from semscale_pl.geometry.moments import Moments

    seen: list[list[int]] = []
    original = Moments.scales

    def watched(self: Moments) -> Tensor:
        seen.append(self.counts.tolist())
        return original(self)

    monkeypatch.setattr(Moments, "scales", watched)
    features, labels = clusters(size=18)
    leave_one_out(features, labels, PARENTS)
    # Before, with the child, and matched, for each child: two classes of 18, or 12 of each of three.
    assert {tuple(counts) for counts in seen} == {(36, 36, 36), (54, 54, 54)}
    assert len(seen) == 27


@pytest.mark.parametrize(
    ("labels", "parents"),
    [
        (torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 0])),
        (torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 0, 1])),
        (torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1])),
    ],
)
def test_unequal_classes_are_refused(labels: Tensor, parents: Tensor) -> None:
    with pytest.raises(ValueError, match="equal numbers"):
        leave_one_out(torch.randn(len(labels), 2), labels, parents)


def test_ratio_of_two_sets() -> None:
    parent, child = torch.randn(9, 3), torch.randn(4, 3)
    expected = float(semantic_scale(torch.cat([parent, child])) / semantic_scale(parent))
    assert mixing_ratio(parent, child) == pytest.approx(expected)
    assert math.isnan(mixing_ratio(torch.ones(3, 2), child[:, :2]))
