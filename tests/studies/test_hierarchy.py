"""The study of the hierarchy: its probe and its picture on clusters, its training on digits."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from semscale_pl.figures.style import as_pixels
from semscale_pl.files import strict
from semscale_pl.geometry import semantic_scale
from semscale_pl.geometry.moments import Moments
from semscale_pl.studies.hierarchy import (
    METHODS,
    SPLITS,
    draw,
    leave_one_out,
    mixing_ratio,
    over_seeds,
    predictions,
    probe,
    true_ranks,
)
from semscale_pl.studies.running import run_features, trained

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
    found = {split: run_features(cell.folder / "checkpoints" / "last.ckpt", split) for split in SPLITS}
    assert {split: tuple(features.shape) for split, (features, _) in found.items()} == {
        "train": (1078, 64),
        "test": (719, 64),
    }
    assert all(labels.unique().tolist() == list(range(10)) for _, labels in found.values())


# The probe against concatenated samples, on clusters whose parents are known.
THREE_EACH = torch.tensor([0, 1, 0, 1, 2, 2, 2, 0, 1])


def clusters(size: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three parents far apart, each of three near classes."""
    generator = torch.Generator().manual_seed(seed)
    centres = 8.0 * torch.eye(4)[THREE_EACH] + torch.randn(9, 4, generator=generator)
    labels = torch.arange(9).repeat(size)
    return centres[labels] + torch.randn(9 * size, 4, generator=generator), labels


def test_the_own_parent_grows_least() -> None:
    features, labels = clusters()
    found = leave_one_out(features, labels, THREE_EACH)
    for values in found:
        assert values.shape == (9, 3)
        assert torch.equal(predictions(values), THREE_EACH)
        assert true_ranks(values, THREE_EACH).tolist() == [0] * 9


def test_the_own_parents_ratio_is_that_of_the_samples() -> None:
    features, labels = clusters()
    found = leave_one_out(features, labels, THREE_EACH, seed=4)
    for child in range(9):
        own = int(THREE_EACH[child])
        siblings = [label for label in range(9) if int(THREE_EACH[label]) == own and label != child]
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
    seen: list[list[int]] = []
    original = Moments.scales

    def watched(self: Moments) -> Tensor:
        seen.append(self.counts.tolist())
        return original(self)

    monkeypatch.setattr(Moments, "scales", watched)
    features, labels = clusters(size=18)
    leave_one_out(features, labels, THREE_EACH)
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
