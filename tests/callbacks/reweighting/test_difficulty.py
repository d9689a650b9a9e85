"""Difficulty weights: their values after each validation, both exponents, resume, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from watching import Build, Watching

from semscale_pl.callbacks.reweighting.difficulty import DifficultyReweighting
from semscale_pl.weighting import StepTerms


class Watched(Watching, DifficultyReweighting):
    """Keeps each epoch's terms and validation results."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.results: dict[int, list[float]] = {}

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        super().on_validation_end(trainer, pl_module)
        self.results[trainer.current_epoch] = pl_module.last_val_results["per_class"]["accuracy"]


def naive(accuracies: list[float], tau: float | str, shares: np.ndarray) -> np.ndarray:
    values = np.array(accuracies, dtype=np.float64)
    if tau == "dynamic":
        bias = max(0.0, values.max() / (values.min() + 0.01) - 1)
        tau = 2 / (1 + np.exp(-bias))
    raw = (1 - values) ** float(tau)
    return raw / (shares * raw).sum()


@pytest.mark.parametrize("tau", ["dynamic", 1.5, 0])
def test_weights_follow_the_latest_validation(tau: Any, digits: Build, classifier: Build, trainer: Build) -> None:
    callback, data = Watched(tau=tau), digits(validation_per_class=4)
    trainer(callback, max_epochs=4, num_sanity_val_steps=1).fit(classifier(), datamodule=data)
    shares = data.class_counts.double().numpy() / float(data.class_counts.sum())
    for terms in callback.seen[0]:
        np.testing.assert_array_equal(terms.class_weights, np.ones(10))
    for epoch in (1, 2, 3):
        expected = naive(callback.results[epoch - 1], tau, shares)
        for terms in callback.seen[epoch]:
            np.testing.assert_allclose(terms.class_weights, expected, rtol=1e-12)
    assert callback.results[0] != callback.results[2]
    report = callback.report()
    np.testing.assert_allclose(report.per_class["difficulty"], 1 - np.array(callback.results[3]))
    np.testing.assert_array_equal(report.per_class["weight"], callback.seen[3][0].class_weights)


def test_the_published_exponent() -> None:
    callback = DifficultyReweighting()
    assert callback.exponent == 1.0
    callback.accuracies = torch.tensor([0.9, 0.29, float("nan")], dtype=torch.float64)
    assert callback.exponent == pytest.approx(2 / (1 + np.exp(-2.0)))


@pytest.mark.parametrize(
    ("accuracies", "weighed"),
    [
        ([1.0] * 10, [1.0] * 10),
        ([1.0] * 9 + [0.5], [0.0] * 9 + [10.0]),
        ([0.5] * 9 + [float("nan")], [1.0] * 10),
    ],
    ids=["no mistake at all", "one class errs", "no validation image"],
)
def test_edges(accuracies: list[float], weighed: list[float], digits: Build, classifier: Build, trainer: Build) -> None:
    callback, data = DifficultyReweighting(normalization="class"), digits(validation_per_class=4)
    loop, module = trainer(callback, max_epochs=1), classifier()
    loop.fit(module, datamodule=data)
    callback.accuracies = torch.tensor(accuracies, dtype=torch.float64)
    callback.on_train_epoch_start(loop, module)
    np.testing.assert_allclose(callback.weights, weighed, atol=1e-12)


def test_start_epoch_and_ramp(digits: Build, classifier: Build, trainer: Build) -> None:
    callback = Watched(start_epoch=1, ramp_epochs=1)
    trainer(callback, max_epochs=2).fit(classifier(), datamodule=digits(validation_fraction=0.2))
    assert set(callback.seen[0]) == {StepTerms()}
    assert callback.weights is not None
    torch.testing.assert_close(callback.seen[1][0].class_weights, 1 + 0.5 * (callback.weights - 1))


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_resume_equals_an_unbroken_run_bitwise(resumed_like_unbroken: Build) -> None:
    unbroken, resumed = resumed_like_unbroken(Watched, validation_per_class=4)
    for epoch in (2, 3):
        assert torch.equal(unbroken.seen[epoch][0].class_weights, resumed.seen[epoch][0].class_weights)
    assert not torch.equal(resumed.seen[2][0].class_weights, torch.ones(10, dtype=torch.float64))


@pytest.mark.parametrize(("data", "loop"), [({}, {}), ({"validation_per_class": 4}, {"limit_val_batches": 0})], ids=str)
def test_refused_without_a_validation_part(
    data: dict[str, Any], loop: dict[str, Any], digits: Build, classifier: Build, trainer: Build
) -> None:
    with pytest.raises(MisconfigurationException, match=r"Expected a validation part .* dataset\.validation_") as error:
        trainer(DifficultyReweighting(), **loop).fit(classifier(), datamodule=digits(**data))
    assert "\n" not in str(error.value)


def test_refused_where_no_validation_comes_in_time(digits: Build, classifier: Build, trainer: Build) -> None:
    data = digits(validation_per_class=4)
    for every in (2, 3):
        loop = trainer(DifficultyReweighting(), max_epochs=2, check_val_every_n_epoch=every)
        with pytest.raises(MisconfigurationException, match="`check_val_every_n_epoch` to be below `max_epochs`"):
            loop.fit(classifier(), datamodule=data)
    callback = Watched()
    trainer(callback, max_epochs=3, check_val_every_n_epoch=2).fit(classifier(), datamodule=data)
    assert not bool((callback.seen[2][0].class_weights == 1).all())


def test_refused_where_the_module_keeps_no_results(digits: Build, classifier: Build, trainer: Build) -> None:
    module = classifier()
    module.on_validation_epoch_end = module.val_report.reset
    with pytest.raises(MisconfigurationException, match="to have set `last_val_results`"):
        trainer(DifficultyReweighting()).fit(module, datamodule=digits(validation_per_class=4))


@pytest.mark.parametrize("tau", [-1, "cube", float("nan"), float("inf"), None])
def test_arguments_out_of_range(tau: Any) -> None:
    with pytest.raises(ValueError, match="Expected `tau`"):
        DifficultyReweighting(tau=tau)
