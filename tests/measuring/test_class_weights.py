"""Class weights of a measurement: their values, the files that hold them, and other trainers that read them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import semscale_pl as ss
from semscale_pl.files import write_json
from semscale_pl.measuring.class_weights import schemes, weights_csv, weights_json
from semscale_pl.measuring.measurement import Measurement

NAMES = ["yew", "ash", "elm"]
COUNTS = np.array([40, 15, 5])


@pytest.fixture(scope="module")
def measurement() -> Measurement:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), COUNTS)
    features = generator.normal(size=(60, 4)) * np.array([1.0, 2.0, 0.5])[labels, None] + 3.0 * labels[:, None]
    return ss.measure(features, [NAMES[label] for label in labels])


@pytest.fixture
def folder(measurement: Measurement, tmp_path: Path) -> Path:
    write_json(tmp_path / "weights.json", weights_json(measurement))
    return tmp_path


def test_weights_are_inverses_of_mean_one_over_the_samples(measurement: Measurement) -> None:
    counts = measurement.counts.astype(float)
    beta = 0.9999
    raw = {
        "semantic_scale": 1 / measurement.imbalance,
        "scale_only": 1 / measurement.scales,
        "inverse_frequency": 1 / counts,
        "sqrt_inverse_frequency": 1 / np.sqrt(counts),
        "class_balanced": (1 - beta) / (1 - beta**counts),
    }
    found = schemes(measurement)
    assert list(found) == list(raw)
    for name, values in raw.items():
        expected = values * counts.sum() / (values * counts).sum()
        np.testing.assert_allclose(found[name].weights, expected, rtol=1e-9, err_msg=name)


def test_both_files_hold_the_same(measurement: Measurement, folder: Path) -> None:
    content = json.loads((folder / "weights.json").read_text())
    rows = list(csv.DictReader(weights_csv(measurement).splitlines()))
    assert [one["name"] for one in content["classes"]] == [row["class"] for row in rows] == sorted(NAMES)
    assert [one["n"] for one in content["classes"]] == [int(row["n"]) for row in rows] == measurement.counts.tolist()
    for name, one in content["schemes"].items():
        assert (
            one["weights"] == [float(row[name]) for row in rows] == [row["weights"][name] for row in content["classes"]]
        )
    assert content["source"]["settings"]["ratio"] == "dim"


def test_weights_come_in_the_order_of_the_model(measurement: Measurement, folder: Path) -> None:
    plain = ss.class_weights(folder, "inverse_frequency")
    assert plain.tolist() == pytest.approx([60 / 3 / n for n in measurement.counts])
    turned = ss.class_weights(folder / "weights.json", "inverse_frequency", class_names=NAMES)
    assert turned.tolist() == pytest.approx([60 / 3 / n for n in COUNTS])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scheme": "effective"}, "Expected `scheme` to be one of semantic_scale, scale_only"),
        ({"class_names": ["yew", "ash"]}, r"1 are in one of them only \(elm\)"),
        ({"class_names": [*NAMES, "elm"]}, "Expected 3 different `class_names`, but got 4"),
    ],
)
def test_other_classes_or_schemes_are_refused(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ss.class_weights(folder, **options)


@pytest.mark.parametrize(("text", "message"), [("{", "to be a weights.json, but got"), ('{"a": 1}', "but it is none")])
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "weights.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        ss.class_weights(tmp_path)
    with pytest.raises(ValueError, match="but there is none at"):
        ss.class_weights(tmp_path / "scales.json")


def test_timm_takes_them(folder: Path) -> None:
    from timm.loss import BinaryCrossEntropy

    weight = ss.class_weights(folder, class_names=NAMES)
    logits, labels = torch.zeros(2, 3), torch.tensor([0, 2])
    loss = BinaryCrossEntropy(smoothing=0.0, weight=weight)(logits, labels)
    assert loss.item() == pytest.approx(np.log(2) * float(weight.mean()), rel=1e-5)


def test_transformers_trainer_takes_them(folder: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    weight, seen = ss.class_weights(folder, class_names=NAMES), list[float]()

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
            return {"logits": self.linear(x)}

    def weighted(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        losses = nn.functional.cross_entropy(outputs["logits"], labels, reduction="none")
        loss = (losses * weight.to(losses)[labels]).mean()
        seen.append(loss.item())
        return loss

    rows = [{"x": torch.randn(4), "labels": label} for label in range(3)]
    arguments = transformers.TrainingArguments(str(tmp_path / "out"), max_steps=2, report_to=[], use_cpu=True)
    transformers.Trainer(Model(), arguments, train_dataset=rows, compute_loss_func=weighted).train()
    assert len(seen) == 2
