"""The study of the hierarchy: its probe and its picture on clusters, its training on digits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from semscale_pl.cli.strict_json import strict
from semscale_pl.figures.hierarchy import draw
from semscale_pl.figures.style import as_pixels
from semscale_pl.studies.hierarchy import METHODS, network_features, probe
from semscale_pl.studies.training import trained

PARENTS = torch.tensor([0, 0, 1, 1])


def test_probe_finds_far_apart_parents_and_is_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat(20)
    features = 9.0 * torch.eye(3)[PARENTS[labels]] + torch.randn(80, 3, generator=generator)
    found = strict(probe(features, labels, PARENTS, 0))
    assert found["shape"] == [80, 3]
    for method in METHODS:
        entry = found["methods"][method]
        assert (entry["accuracy"], entry["rank"], entry["top3"]) == (1.0, 0.0, 1.0)
        assert entry["low"] == pytest.approx(0.5101, abs=1e-3)  # Wilson, 4 of 4
        assert entry["predicted"] == PARENTS.tolist()
    result = {"parents": ["a", "b"], "classes": list("wxyz"), "methods": METHODS, "kinds": {"one": found, "two": found}}
    assert as_pixels(draw(result)).std() > 0


def test_features_of_a_trained_network(tmp_path: Path) -> None:
    base = ["dataset=digits", "backbone=small_cnn", "trainer.max_epochs=1"]
    (cell,) = trained({"name": "tiny", "base": base, "rows": [{"name": "network"}], "seeds": [0]}, tmp_path, 1)
    assert cell.origin["row"] == "network"
    assert len(cell.origin["index_hash"]) == 16
    found = network_features(cell.folder / "checkpoints" / "last.ckpt")
    assert {split: tuple(features.shape) for split, (features, _) in found.items()} == {
        "train": (1078, 64),
        "test": (719, 64),
    }
    assert all(labels.unique().tolist() == list(range(10)) for _, labels in found.values())
