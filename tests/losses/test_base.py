"""The contract of a loss: frequencies, state, refusals."""

from __future__ import annotations

import pytest
import torch

from semscale_pl.losses import LDAM, BalancedSoftmax, CrossEntropy, Equalization, Focal, PerSampleLoss, Seesaw
from semscale_pl.losses.functional import fill_absent


def test_frequencies_are_normalised_and_stored() -> None:
    loss = CrossEntropy()
    loss.setup(torch.tensor([3, 0, 1]))
    assert loss.class_frequencies is not None
    assert loss.class_frequencies.tolist() == [0.75, 0.0, 0.25]
    assert "class_frequencies" in loss.state_dict()


@pytest.mark.parametrize("bad", [[[1.0, 2.0]], [1.0, -1.0], [0.0, 0.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_bad_frequencies_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="Expected `class_frequencies` to be"):
        CrossEntropy().setup(torch.tensor(bad))


def test_another_number_of_classes_is_refused() -> None:
    loss = BalancedSoftmax()
    loss.setup(torch.ones(3))
    with pytest.raises(ValueError, match="to have 3 classes, as in `setup`, but got 4"):
        loss(torch.zeros(2, 4), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    "build",
    [
        lambda: Focal(gamma=-1.0),
        lambda: Focal(gamma=float("nan")),
        lambda: CrossEntropy(label_smoothing=1.5),
        lambda: LDAM(scale=0.0),
        lambda: Equalization(gamma=2.0),
        lambda: Seesaw(p=-0.1),
    ],
)
def test_bad_hyper_parameters_are_refused_when_the_loss_is_built(build: type[PerSampleLoss]) -> None:
    with pytest.raises(ValueError, match=r"^Expected `"):
        build()


def test_an_absent_class_counts_as_one_more_rarest() -> None:
    assert fill_absent(torch.tensor([5.0, 0.0, 2.0])).tolist() == [5.0, 2.0, 2.0]


def test_seesaw_counts_in_update_alone_and_keeps_counts_in_a_second_setup() -> None:
    loss = Seesaw()
    loss.setup(torch.ones(3))
    loss(torch.zeros(2, 3), torch.tensor([0, 0]))
    loss.update(torch.zeros(4, 3), torch.tensor([2, 0, 2, 2]))
    loss.setup(torch.ones(3))
    assert loss.cumulative_counts is not None
    assert loss.cumulative_counts.tolist() == [1, 0, 3]
    loss.setup(torch.ones(4))
    assert loss.cumulative_counts.tolist() == [0, 0, 0, 0]


def test_seesaw_needs_no_update_to_start() -> None:
    loss = Seesaw(q=0.0)
    loss.setup(torch.tensor([9.0, 1.0]))
    logits, labels = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1, 1])
    torch.testing.assert_close(loss(logits, labels), CrossEntropy()(logits, labels))


def test_a_loss_without_state_ignores_update() -> None:
    loss = Focal()
    loss.update(torch.zeros(1, 2), torch.tensor([0]))
    assert loss.state_dict() == {}
    assert type(loss).update is PerSampleLoss.update


def test_stored_state_survives_moving_to_another_dtype() -> None:
    loss = Seesaw().float()
    loss.setup(torch.ones(3))
    loss.half()
    assert loss.cumulative_counts is not None
    assert loss.cumulative_counts.dtype == torch.int64
