"""Backbones of vectors: the identity, and an MLP against the products written out."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from semscale_pl.models.vectors import MLP, Identity


def test_identity_has_no_parameters_and_hands_on() -> None:
    features = torch.randn(3, 5)
    backbone = Identity(in_features=5)
    assert backbone(features) is features
    assert (backbone.num_features, list(backbone.parameters())) == (5, [])
    with pytest.raises(ValueError, match=r"\(B, 5\), but got \(3, 4\)"):
        backbone(features[:, :4])
    with pytest.raises(ValueError, match="Use dataset=features"):
        Identity(in_features=None)  # type: ignore[arg-type]


def test_mlp_is_its_layers() -> None:
    torch.manual_seed(0)
    backbone = MLP(in_features=5, hidden=[7, 3], activation="tanh", norm="layer", dropout=0.5).eval()
    features = torch.randn(4, 5)
    x = features
    for layer, width in ((backbone.trunk[0], 7), (backbone.trunk[4], 3)):
        x = torch.tanh(F.layer_norm(x @ layer.weight.T + layer.bias, (width,)))
    torch.testing.assert_close(backbone(features), x)
    assert backbone.num_features == 3
    assert int((backbone.train()(features) == 0).sum()) > 0


@pytest.mark.parametrize(
    "arguments", [{"hidden": 0}, {"hidden": []}, {"dropout": 1}, {"activation": "x"}, {"norm": "x"}]
)
def test_mlp_refuses(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Expected"):
        MLP(in_features=3, **arguments)  # type: ignore[arg-type]
