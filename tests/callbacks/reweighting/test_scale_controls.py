"""The controls of DSB: what they know and what not, each against numpy, and that they keep what DSB keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from watching import Build, Step, Watching

import semscale_pl as ss
from semscale_pl.callbacks.reweighting.frequency import FrequencyReweighting
from semscale_pl.callbacks.reweighting.scale_controls import (
    CountMatchedReweighting,
    FrozenScaleReweighting,
    PowerOfCountReweighting,
    ShuffledResidualReweighting,
)
from semscale_pl.callbacks.reweighting.semantic_scale import SemanticScaleReweighting
from semscale_pl.data.samplers import ProgressiveSampling
from semscale_pl.imbalance import fit_scales_to_counts, passed_around
from semscale_pl.weighting import StepTerms

# 150 times as many of the most frequent class as of the last, which has one image and so no extent: the floor counts.
LONG_TAIL = {"imbalance_factor": 150.0}
MAKE = {
    "count_matched": CountMatchedReweighting,
    "shuffled_residual": lambda **options: ShuffledResidualReweighting(seed=7, **options),
    "frozen_scale": FrozenScaleReweighting,
    "power_of_count": lambda **options: PowerOfCountReweighting(match="semantic_scale", **options),
}


class Matched(Watching, CountMatchedReweighting):
    """Keeps every step."""


class Shuffled(Watching, ShuffledResidualReweighting):
    """Keeps every step."""


class Frozen(Watching, FrozenScaleReweighting):
    """Keeps every step."""


class Powered(Watching, PowerOfCountReweighting):
    """Keeps every step."""


class Dynamic(Watching, SemanticScaleReweighting):
    """Keeps every step."""


def scales_of(steps: list[Step]) -> Iterator[tuple[Step, np.ndarray]]:
    """Yield each step with S of all newest features up to it."""
    newest: dict[int, tuple[torch.Tensor, int]] = {}
    for step in steps:
        for feature, label, index in zip(step.inputs.features, step.inputs.labels, step.inputs.indices, strict=True):
            newest[int(index)] = (feature, int(label))
        features = torch.stack([feature for feature, _ in newest.values()])
        labels = torch.tensor([label for _, label in newest.values()])
        yield step, ss.class_geometry(features, labels, 10).imbalance.numpy()


def fitted(scales: np.ndarray, counts: np.ndarray, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """Fit log S over log n, and return fit and residuals."""
    y = np.log(np.maximum(scales, floor * scales.max()))
    slope, start = np.polyfit(np.log(counts), y, 1)
    return start + slope * np.log(counts), y - start - slope * np.log(counts)


def normalized(raw: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Make the expected weight of a drawn sample 1."""
    return raw / (counts / counts.sum() * raw).sum()


def test_count_matched_weights_are_the_fitted_power_of_n_in_every_step(
    digits: Build, classifier: Build, trainer: Build
) -> None:
    callback, data = Matched(start_epoch=1, power=1.5, floor=0.2), digits(**LONG_TAIL)
    trainer(callback, max_epochs=3).fit(classifier(), datamodule=data)
    counts = data.class_counts.numpy().astype(float)
    exponents = set()
    for step, scales in scales_of(callback.steps):
        if step.epoch == 0:
            assert step.terms == StepTerms()
            continue
        fit, _ = fitted(scales, counts, 0.2)
        weights = step.terms.class_weights.numpy()
        np.testing.assert_allclose(weights, normalized(np.exp(-1.5 * fit), counts), rtol=1e-8)
        slope, start = np.polyfit(np.log(counts), np.log(weights), 1)
        np.testing.assert_allclose(np.log(weights), start + slope * np.log(counts), atol=1e-9)
        exponents.add(round(float(slope), 6))
    assert len(exponents) > 5, "the fit follows the features"
    assert callback.report().scalars["num_floored"] >= 1
    assert {"imbalance", "substitute", "weight"} <= set(callback.report().per_class)


@pytest.mark.parametrize("seed", [0, 1])
def test_classes_of_equal_n_have_equal_weights_whatever_their_features(seed: int) -> None:
    generator = np.random.default_rng(seed)
    counts = torch.tensor([90, 90, 30, 30, 4, 4])
    fit = fit_scales_to_counts(torch.tensor(generator.uniform(0.2, 1.0, 6)), counts)
    values = fit.fitted.numpy()
    np.testing.assert_array_equal(values[::2], values[1::2])
    # Swapping the scales of two classes of one n changes nothing: the fit is a function of the pairs (n, S).
    line = values[2] + float(fit.slope) * np.log(counts.numpy() / 30)
    np.testing.assert_allclose(values, line, atol=1e-12)


def test_the_fit_passes_over_absent_classes_and_is_flat_on_equal_counts() -> None:
    scales, counts = torch.tensor([0.9, torch.nan, 0.5, 0.2]), torch.tensor([50, 10, 20, 3])
    fit = fit_scales_to_counts(scales, counts)
    present = [0, 2, 3]
    expected, residuals = fitted(scales.numpy()[present], counts.numpy()[present], 0.05)
    np.testing.assert_allclose(fit.fitted.numpy()[present], expected - np.log(0.9), rtol=1e-6)
    np.testing.assert_allclose(fit.residuals.numpy()[present], residuals, atol=1e-7)
    assert fit.fitted[1].isnan()
    flat = fit_scales_to_counts(torch.tensor([0.9, 0.5, 0.2]), torch.full((3,), 137))
    np.testing.assert_allclose(flat.fitted, np.log([1, 5 / 9, 2 / 9]).mean(), rtol=1e-6)


def test_without_normalization_a_control_is_as_large_as_what_it_controls(
    digits: Build, classifier: Build, trainer: Build
) -> None:
    callback, data = Matched(start_epoch=1, normalization="none"), digits(**LONG_TAIL)
    trainer(callback, max_epochs=2).fit(classifier(), datamodule=data)
    counts = data.class_counts.numpy().astype(float)
    for step, scales in scales_of(callback.steps):
        if step.epoch > 0:
            fit, _ = fitted(scales, counts, 0.05)
            np.testing.assert_allclose(step.terms.class_weights.numpy(), np.exp(-fit), rtol=1e-8)


def test_shuffled_residuals_are_those_of_the_fit_on_other_classes_around_one_ring(
    digits: Build, classifier: Build, trainer: Build
) -> None:
    callback, data = Shuffled(start_epoch=1, seed=5, max_ratio=1e6), digits(**LONG_TAIL)
    trainer(callback, max_epochs=3).fit(classifier(), datamodule=data)
    counts = data.class_counts.numpy().astype(float)
    order = callback._order.numpy()
    giving = dict(zip(order, np.roll(order, -1), strict=True))
    assert sorted(giving) == list(range(10))
    for step, scales in scales_of(callback.steps):
        if step.epoch == 0:
            continue
        fit, residuals = fitted(scales, counts, 0.05)
        substitute = -np.log(step.terms.class_weights.numpy())
        handed = substitute - fit - (substitute - fit).mean()
        np.testing.assert_allclose(np.sort(handed), np.sort(residuals), atol=1e-8)
        np.testing.assert_allclose(handed, residuals[[giving[label] for label in range(10)]], atol=1e-8)


def test_a_ring_passes_over_absent_classes_and_depends_on_the_seed() -> None:
    order = torch.tensor([4, 2, 0, 1, 3])
    present = torch.tensor([True, False, True, True, True])
    found = passed_around(torch.tensor([10.0, 11.0, 12.0, 13.0, 14.0]), present, order)
    assert found[present].tolist() == [13.0, 10.0, 14.0, 12.0]
    assert found[1].isnan()
    fit = fit_scales_to_counts(torch.rand(50, generator=torch.Generator().manual_seed(1)), torch.arange(1, 51))
    first, again, other = (ShuffledResidualReweighting(seed=seed)._substituted(fit) for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("number", [2, 3, 7])
def test_no_class_keeps_its_own_residual_whatever_the_seed(number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    fit = fit_scales_to_counts(torch.rand(number, generator=generator), torch.randint(3, 90, (number,)))
    for seed in range(30):
        found = ShuffledResidualReweighting(seed=seed)._substituted(fit) - fit.fitted
        torch.testing.assert_close(found.sort().values, fit.residuals.sort().values)
        assert bool(((found - fit.residuals).abs() > 1e-12).all()) or number == 2
        if number == 2:
            torch.testing.assert_close(found, fit.residuals.flip(0))


def test_frozen_scales_are_those_at_the_beginning_of_the_start_epoch(
    digits: Build, classifier: Build, trainer: Build
) -> None:
    callback, data = Frozen(start_epoch=2), digits()
    trainer(callback, max_epochs=4).fit(classifier(), datamodule=data)
    steps = list(scales_of(callback.steps))
    last = [scales for step, scales in steps if step.epoch == 1][-1]
    expected = ss.scales_to_weights(last, data.class_counts)
    weights = [step.terms.class_weights for step, _ in steps if step.epoch >= 2]
    torch.testing.assert_close(weights[0], expected, rtol=1e-9, atol=1e-9)
    assert all(torch.equal(one, weights[0]) for one in weights)


def test_scales_frozen_before_and_after_the_start_epoch(digits: Build, classifier: Build, trainer: Build) -> None:
    early, late = Frozen(start_epoch=2, scale_epoch=1), Frozen(start_epoch=0, scale_epoch=2)
    for callback in (early, late):
        trainer(callback, max_epochs=4).fit(classifier(), datamodule=digits())
    steps = list(scales_of(early.steps))
    first = [scales for step, scales in steps if step.epoch == 0][-1]
    expected = ss.scales_to_weights(first, digits_counts(digits))
    torch.testing.assert_close(early.seen[2][0].class_weights, expected, rtol=1e-9, atol=1e-9)
    moving = [terms.class_weights for terms in late.seen[1]]
    kept = [terms.class_weights for epoch in (2, 3) for terms in late.seen[epoch]]
    assert not torch.equal(moving[0], moving[-1])
    assert torch.equal(kept[0], moving[-1])
    assert all(torch.equal(one, kept[0]) for one in kept)


def digits_counts(digits: Build) -> torch.Tensor:
    data = digits()
    data.setup()
    return data.class_counts


@pytest.mark.parametrize("start", [0, 2])
def test_on_features_that_never_change_frozen_scales_are_dsb(
    start: int, digits: Build, classifier: Build, trainer: Build
) -> None:
    found = []
    for callback in (Frozen(start_epoch=start), Dynamic(start_epoch=start)):
        module = classifier()
        module.backbone.requires_grad_(False)
        trainer(callback, max_epochs=4).fit(module, datamodule=digits())
        found.append([step.terms.class_weights for step in callback.steps if step.epoch >= start])
    for kept, moving in zip(*found, strict=True):
        torch.testing.assert_close(kept, moving, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_powers_of_n(p: float, digits: Build, classifier: Build, trainer: Build) -> None:
    callback, data = Powered(p=p, start_epoch=1), digits(**LONG_TAIL)
    trainer(callback).fit(classifier(), datamodule=data)
    counts = data.class_counts.numpy().astype(float)
    np.testing.assert_allclose(callback.seen[1][0].class_weights, normalized(counts**-p, counts), rtol=1e-12)
    assert callback.seen[0][-1] == StepTerms()
    assert callback.pool is None
    assert callback.report().scalars["exponent"] == p


@pytest.mark.parametrize(("p", "scheme"), [(1.0, "inverse"), (0.5, "sqrt_inverse")])
def test_frequency_weights_are_powers_of_n(
    p: float, scheme: Any, digits: Build, classifier: Build, trainer: Build
) -> None:
    ours, theirs = PowerOfCountReweighting(p=p, start_epoch=0), FrequencyReweighting(scheme=scheme)
    for callback in (ours, theirs):
        data = digits(sampler=ProgressiveSampling(3))
        trainer(callback, max_epochs=3).fit(classifier(), datamodule=data)
    assert ours.weights is not None
    torch.testing.assert_close(ours.weights, theirs.weights, rtol=1e-12, atol=0.0)


def test_a_matched_power_spreads_as_dsb_in_the_same_step(digits: Build, classifier: Build, trainer: Build) -> None:
    options = {"start_epoch": 1, "power": 2.0, "floor": 0.1, "max_ratio": 30.0}
    callback, data = Powered(match="semantic_scale", **options), digits(**LONG_TAIL)
    trainer(callback, max_epochs=3).fit(classifier(), datamodule=data)
    counts = data.class_counts.numpy().astype(float)
    exponents = []
    for step, scales in scales_of(callback.steps):
        if step.epoch == 0:
            continue
        dsb = ss.scales_to_weights(scales, counts, power=2.0, floor=0.1, max_ratio=30.0).numpy()
        exponents.append(np.log(dsb).std() / np.log(counts).std())
        expected = normalized(counts ** -exponents[-1], counts)
        weights = step.terms.class_weights.numpy()
        np.testing.assert_allclose(weights, expected, rtol=1e-8)
        assert np.log(weights).std() == pytest.approx(np.log(dsb).std(), rel=1e-8)
    assert callback.report().scalars["exponent"] == pytest.approx(exponents[-1])
    assert len(set(exponents)) > 5


def test_balanced_counts_leave_nothing_to_weigh_by(digits: Build, classifier: Build, trainer: Build) -> None:
    for callback in (Matched(start_epoch=0), Powered(start_epoch=0, match="semantic_scale")):
        data = digits(imbalance="per_class", imbalance_factor=1.0, imbalance_samples=7)
        trainer(callback, max_epochs=2).fit(classifier(), datamodule=data)
        weights = callback.steps[-1].terms.class_weights
        torch.testing.assert_close(weights, torch.ones_like(weights), rtol=0.0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.parametrize("name", MAKE)
def test_resume_equals_an_unbroken_run_bitwise(name: str, resumed_like_unbroken: Build) -> None:
    unbroken, resumed = resumed_like_unbroken(lambda: MAKE[name](start_epoch=1, update_every_n_steps=3))
    assert torch.equal(unbroken.weights, resumed.weights)
    assert torch.equal(unbroken.scales, resumed.scales)
    assert unbroken.report().scalars == resumed.report().scalars


@pytest.mark.parametrize(
    "make",
    [
        lambda: PowerOfCountReweighting(p=-0.5),
        lambda: PowerOfCountReweighting(match="count"),
        lambda: ShuffledResidualReweighting(seed=-1),
        lambda: FrozenScaleReweighting(scale_epoch=0.5),
    ],
)
def test_arguments_out_of_range(make: Any) -> None:
    with pytest.raises(ValueError, match="Expected `"):
        make()


def test_scales_of_an_epoch_that_never_comes(digits: Build, classifier: Build, trainer: Build) -> None:
    with pytest.raises(MisconfigurationException, match="`scale_epoch` to be below `max_epochs`, but got 2 with 2"):
        trainer(FrozenScaleReweighting(start_epoch=1, scale_epoch=2)).fit(classifier(), datamodule=digits())
