"""Every loss, re-weighting and way of mixing takes two steps on a card, to the losses that the CPU gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from semscale_pl.config.composing import config_dir

pytestmark = pytest.mark.cuda
OF_COSINES = ("ldam", "norm_softmax", "circle", "proxy_nca", "proxy_anchor", "arcface", "cosface")
NEEDS = {
    **{loss: ["classifier=cosine"] for loss in OF_COSINES},
    "soft_triple": ["classifier=centres"],
    "cdb": ["dataset.validation_per_class=1"],
}
# Draws on the device, whose generator is not the CPU's.
RANDOM = {"equalization"}
# Their weights come from an epoch that went before.
LATE = {"cdb"}
FROM_THE_START = {
    "cdb", "effective_area", "semantic_scale", "semantic_scale_prior", "scale_only", "inverse_frequency_drw",
    "class_balanced_drw", "class_geometry", "count_matched", "shuffled_residual", "frozen_scale", "power_of_count",
}  # fmt: skip


def options(group: str) -> list[str]:
    return [file.stem for file in sorted((config_dir() / group).glob("*.yaml"))]


@pytest.fixture
def agree(device: torch.device, fitted: Callable[..., list[float]]) -> Callable[..., None]:
    """Return a function that trains on the device and on the CPU and compares the losses of all steps."""

    def compare(*overrides: str, exact: bool = True, steps: int = 2) -> None:
        small = ["backbone.width=4", "trainer.max_epochs=1", f"trainer.limit_train_batches={steps}", *overrides]
        card = ["trainer=gpu", "trainer.benchmark=false"] if device.type == "cuda" else ["trainer=cpu"]
        found = fitted(*card, "trainer.deterministic=true", *small)
        expected = fitted("trainer=cpu", *small)
        assert len(found) == len(expected) >= steps
        assert all(0 < loss < 1000 for loss in found)  # of cosines times a scale of 64 or 80
        if exact:
            assert found == pytest.approx(expected, rel=1e-4)

    return compare


@pytest.mark.parametrize("loss", options("loss"))
def test_a_loss(loss: str, agree: Callable[..., None]) -> None:
    agree(f"loss={loss}", *NEEDS.get(loss, []), "reweighting=semantic_scale", "reweighting.start_epoch=0",
          exact=loss not in RANDOM)  # fmt: skip


@pytest.mark.parametrize("reweighting", options("reweighting"))
def test_a_reweighting(reweighting: str, agree: Callable[..., None]) -> None:
    start = ["reweighting.start_epoch=0"] if reweighting in FROM_THE_START else []
    more: dict[str, Any] = {"trainer.max_epochs": 2} if reweighting in LATE else {}
    agree(f"reweighting={reweighting}", *NEEDS.get(reweighting, []), *start, *(f"{k}={v}" for k, v in more.items()))


@pytest.mark.parametrize("mixed", ["dominant", "clean"])
@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_a_mixing(mixing: str, mixed: str, agree: Callable[..., None]) -> None:
    agree(f"mixing={mixing}", "reweighting=semantic_scale", "reweighting.start_epoch=0", f"reweighting.mixed={mixed}")


@pytest.mark.parametrize("sampler", ["class_balanced", "progressive"])
def test_a_sampler(sampler: str, agree: Callable[..., None]) -> None:
    agree(f"sampler={sampler}", "reweighting=semantic_scale", "reweighting.start_epoch=0", "reweighting.pool=fifo")
