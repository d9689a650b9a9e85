from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from semscale_pl.metrics.accuracy import rank_groups
from semscale_pl.tables.aggregate import summarize
from semscale_pl.tables.derived import compute
from semscale_pl.tables.schema import parse_table


def record_of(
    accuracy: list[float | None], counts: list[int], scale: list[float], weight: list[float]
) -> dict[str, Any]:
    imbalance = [s / max(scale) * w for s, w in zip(scale, weight)]
    return {
        "class_counts": counts,
        "scales": {"S'": scale, "W": weight, "S": imbalance},
        "results": {"last": {"per_class": {"accuracy": accuracy}}, "selected": None},
        "cost": {"seconds": 3.0},
    }


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_thirds_by_count_equal_those_of_the_record(counts: list[int]) -> None:
    record = record_of([label / len(counts) for label in range(len(counts))], counts, [1.0] * len(counts), counts)
    for third, members in rank_groups(counts).items():
        expected = sum(label / len(counts) for label in members) / len(members) if members else None
        found = compute("accuracy_of_third", record, record, {"ranking": "n", "third": third})
        assert found == pytest.approx(expected)


@pytest.mark.parametrize(("number", "sizes"), [(1000, [333, 333, 334]), (100, [33, 33, 34]), (8, [2, 3, 3])])
def test_thirds_by_scale_have_the_paper_s_sizes(number: int, sizes: list[int]) -> None:
    found = rank_groups(list(range(number)), extra_last=True)
    assert [len(found[name]) for name in ("head", "middle", "tail")] == sizes
    assert sorted(label for members in found.values() for label in members) == list(range(number))


def test_all_methods_are_judged_on_the_baseline_s_thirds(content: dict[str, Any]) -> None:
    content["measures"] = [
        {"name": third, "derived": "accuracy_of_third", "arguments": {"ranking": "S", "third": third}}
        for third in ("head", "middle", "tail")
    ]
    content["seeds"] = [0]
    table = parse_table(content)
    baseline = record_of([0.9, 0.5, 0.1], [5, 5, 5], [30.0, 20.0, 10.0], [1.0, 1.0, 1.0])
    rival = record_of([0.3, 0.6, 0.8], [5, 5, 5], [10.0, 20.0, 30.0], [1.0, 1.0, 1.0])
    summary = summarize(table, zip(table.cells(), (baseline, rival)))
    values = {(e.row, e.measure.name): e.values[0] for e in summary.entries}
    assert [values["B", third] for third in ("head", "middle", "tail")] == [0.3, 0.6, 0.8]
    alone = summarize(table, [(table.cells()[1], rival)])
    assert not any(entry.values for entry in alone.entries)


@pytest.mark.parametrize("alpha", [1.0, 2.0, 8.0])
@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_correlation_with_another_alpha_equals_a_direct_computation(alpha: float, method: str) -> None:
    rng = np.random.default_rng(0)
    scale, distance, accuracy = rng.uniform(5, 40, 12), rng.uniform(1, 3, 12), rng.uniform(0, 1, 12)
    weight = np.log2(1 + distance / distance.max())
    imbalance = scale / scale.max() * np.log2(alpha + distance / distance.max())
    reference = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[method](imbalance, accuracy)[0]
    record = record_of(accuracy.tolist(), [1] * 12, scale.tolist(), weight.tolist())
    found = compute("correlation_with_S", record, record, {"alpha": alpha, "method": method})
    assert found == pytest.approx(reference, abs=1e-12)


def test_undefined_is_none() -> None:
    record = record_of([0.5, None, 0.7], [3, 2, 1], [3.0, 2.0, 1.0], [1.0, 1.0, 1.0])
    third = {"ranking": "n", "third": "middle"}
    assert compute("accuracy_of_third", record, record, third) is None
    assert compute("accuracy_of_third", record, record, {**third, "third": "tail"}) == 0.7
    assert compute("accuracy_of_third", record, None, third) is None
    assert compute("accuracy_of_third", record, record, {**third, "epoch": "selected"}) is None
    assert compute("accuracy_of_third", {"results": {}}, record, third) is None
    record["scales"]["S"][0] = None
    assert compute("accuracy_of_third", record, record, {"ranking": "S", "third": "tail"}) is None


def test_ratio_to_the_baseline() -> None:
    record = record_of([0.5], [1], [1.0], [1.0])
    slower = {**record, "cost": {"seconds": 4.5}}
    assert compute("ratio_to_baseline", slower, record, {"key": "cost.seconds"}) == 1.5
    assert compute("ratio_to_baseline", slower, record, {"key": "cost.memory"}) is None
