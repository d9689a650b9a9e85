"""The study of the hierarchy: its probe and its picture on clusters, its training on digits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from semscale_pl.figures.style import as_pixels
from semscale_pl.files import strict
from semscale_pl.studies.hierarchy import METHODS, draw, network_features, over_seeds, probe
from semscale_pl.studies.running import trained

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


def probes(accuracies: dict[str, list[float]]) -> list[dict[str, object]]:
    (count,) = {len(values) for values in accuracies.values()}
    return [
        {"methods": {name: {"accuracy": values[seed], "low": 0.0, "high": 1.0} for name, values in accuracies.items()}}
        for seed in range(count)
    ]


def test_trainings_are_averaged_and_compared_in_pairs() -> None:
    found = probes(
        {"S' ratio": [0.2, 0.1, 0.3], "S' ratio, equal counts": [0.1] * 3, "nearest centre": [0.5, 0.4, 0.6]}
    )
    summary = strict(over_seeds(found))
    ratio, baseline = summary["S' ratio"], summary["nearest centre"]
    assert ratio["accuracies"] == [0.2, 0.1, 0.3]
    reach = 4.302653 * 0.1 / 3**0.5  # Student's t for 2 degrees of freedom, standard deviation 0.1
    assert (ratio["low"], ratio["high"]) == pytest.approx((0.2 - reach, 0.2 + reach))
    assert ratio["less_baseline"] == pytest.approx({"mean": -0.3, "low": -0.3, "high": -0.3})
    difference = summary["S' ratio, equal counts"]["less_baseline"]
    assert (difference["mean"], difference["high"]) == pytest.approx((-0.4, -0.4 + reach))
    assert "less_baseline" not in baseline


def test_several_trainings_are_one_line_of_the_picture() -> None:
    found = probes({name: [0.2, 0.4] for name in METHODS})
    kinds = {
        "raw images": found[0],
        "network, train images, seed 0": found[0],
        "network, train images, seed 1": found[1],
    }
    summary = {"network, train images": over_seeds(found)}
    result = {"parents": ["a", "b"], "classes": list("wxyz"), "methods": METHODS, "kinds": kinds, "over_seeds": summary}
    result["network_accuracy"] = [0.3, 0.4]
    (ax,) = draw(result).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["raw images", "network, train images\n2 trainings"]
    alone = {"network, train images": over_seeds(found[:1])}
    assert alone["network, train images"]["S' ratio"]["low"] is None
    (ax,) = draw({**result, "over_seeds": alone, "network_accuracy": [0.3]}).axes
    assert len(ax.get_yticklabels()) == 3


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
