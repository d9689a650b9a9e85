"""What a report shows is what was measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import torch

from semscale_pl.measuring.measurement import Measurement
from semscale_pl.measuring.report.content import closest_pairs, columns, key_figures, page_data, spectrum_band, title_of
from semscale_pl.measuring.report.writing import embedded

Measured = Callable[..., Measurement]


def test_columns_hold_the_measured_values_and_only_those_that_there_are(measured: Measured) -> None:
    plain = measured(6)
    assert [column["key"] for column in columns(plain)] == [
        "count", "effective", "scale", "weight", "imbalance", "suggested",
    ]  # fmt: skip
    full = measured(6, intervals=True, matched=True)
    found = {column["key"]: column["values"] for column in columns(full)}
    assert list(found)[2:7] == ["scale", "low", "high", "matched", "oas"]
    assert found["count"].tolist() == full.counts.tolist()
    for key, values in {
        "scale": full.scales,
        "imbalance": full.imbalance,
        "matched": full.controlled["matched"],
    }.items():
        np.testing.assert_allclose(found[key], values, rtol=1e-4)


def test_undefined_values_are_null_in_strict_json(measure: Measured) -> None:
    features, labels = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([0, 0, 2])
    text = embedded(page_data(measure(features, labels, ["a", "absent", "one"])))
    content = json.loads(text, parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
    scales = next(column["values"] for column in content["columns"] if column["key"] == "scale")
    assert scales[1] is None
    assert scales[2] == 0.0
    assert content["spectra"][1] == []
    assert content["pairs"] == [[0, 2, 4.5]]
    assert [figure[1] for figure in content["figures"][:3]] == ["3", "3", "2.0"]


def test_one_class_alone_has_a_scale_and_no_ratio_to_others(measure: Measured) -> None:
    alone = measure(torch.randn(5, 3), torch.zeros(5, dtype=torch.long), ["only"])
    content = page_data(alone)
    assert content["pairs"] == []
    assert content["nearest"].shape == (1, 0)
    undefined = dataclasses.replace(alone, imbalance=np.full(1, np.nan))
    assert [figure[0] for figure in key_figures(undefined)][-1] == "largest / smallest S′"


def test_the_band_holds_the_share_of_classes_that_it_names() -> None:
    spectra = np.sort(np.random.default_rng(0).gamma(2.0, size=(200, 8)), axis=1)[:, ::-1]
    for rank, (low, middle, high) in enumerate(spectrum_band(spectra)):
        inside = (spectra[:, rank] >= low) & (spectra[:, rank] <= high)
        assert abs(inside.mean() - 0.8) < 0.02
        assert abs((spectra[:, rank] <= middle).mean() - 0.5) < 0.02
    assert spectrum_band(np.full((2, 3), np.nan)) == []


def test_closest_pairs_agree_with_all_distances() -> None:
    centres = torch.randn(30, 4, generator=torch.Generator().manual_seed(1))
    distances = torch.cdist(centres, centres).fill_diagonal_(float("inf"))
    lengths, others = distances.topk(5, largest=False)
    found = closest_pairs(others.numpy(), lengths.numpy())
    smallest = distances.triu(1)[distances.triu(1) > 0].sort().values[:12]
    np.testing.assert_allclose([pair[2] for pair in found], smallest, rtol=1e-4)
    assert all(one < other for one, other, _ in found)


def test_the_title_says_what_was_measured(measured: Measured) -> None:
    assert title_of(measured(3, dataset="digits_lt")) == "Semantic scales of digits_lt"
    assert title_of(dataclasses.replace(measured(3), source={})) == "Semantic scales"


def test_a_ratio_that_leaves_zeros_out_says_so(measured: Measured) -> None:
    plain = measured(4)
    zero = dataclasses.replace(plain, scales=np.array([0.0, 2.0, 4.0, 8.0]))
    assert key_figures(zero)[3] == ["largest / smallest S′", "4.0", "of those above 0"]
    assert key_figures(dataclasses.replace(plain, scales=np.array([1.0, 2.0, 4.0, 8.0])))[3][2] == ""
