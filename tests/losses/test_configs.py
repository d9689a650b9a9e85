"""The shipped loss configs build what their names say."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from semscale_pl.losses import PerSampleLoss

FOLDER = Path(__file__).parents[2] / "conf" / "loss"
EXPECTED = {
    "ce": "CrossEntropy",
    "label_smoothed_ce": "CrossEntropy",
    "focal": "Focal",
    "sigmoid_focal": "SigmoidFocal",
    "ldam": "LDAM",
    "balanced_softmax": "BalancedSoftmax",
    "logit_adjustment": "LogitAdjusted",
    "seesaw": "Seesaw",
    "equalization": "Equalization",
    "norm_softmax": "NormSoftmax",
    "soft_triple": "SoftTriple",
    "circle": "Circle",
    "proxy_nca": "ProxyNCA",
    "proxy_anchor": "ProxyAnchor",
    "arcface": "ArcFace",
    "cosface": "CosFace",
}


def built(name: str) -> PerSampleLoss:
    config: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    module, attribute = config.pop("_target_").rsplit(".", 1)
    loss: PerSampleLoss = getattr(import_module(module), attribute)(**config)
    return loss


@pytest.mark.parametrize("name", EXPECTED)
def test_builds_and_trains(name: str) -> None:
    loss = built(name)
    assert type(loss).__name__ == EXPECTED[name]
    loss.setup(torch.tensor([5.0, 2.0, 0.0]))
    assert loss(torch.zeros(2, 3), torch.tensor([0, 2])).isfinite().all()
    assert (FOLDER / f"{name}.yaml").read_text().startswith("# ")


def test_label_smoothing_is_on_where_the_name_says_so() -> None:
    smoothed, plain = built("label_smoothed_ce"), built("ce")
    assert (smoothed.label_smoothing, plain.label_smoothing) == (0.1, 0.0)
