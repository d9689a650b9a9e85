"""Weights, margins and priors of other measures than S: each step against numpy, those of counts against losses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from watching import Build, Step, Watching

import semscale_pl as ss
from semscale_pl.callbacks.reweighting.class_geometry import ClassGeometryReweighting
from semscale_pl.callbacks.reweighting.scale_controls import PowerOfCountReweighting, ShuffledResidualReweighting
from semscale_pl.callbacks.reweighting.semantic_scale import SemanticScaleReweighting
from semscale_pl.losses import LDAM, BalancedSoftmax
from semscale_pl.modules.mixing import Mixing
from semscale_pl.weighting import StepTerms, adjusted_logits

LONG_TAIL = {"imbalance_factor": 150.0}  # the last class has one image
MEASURES = ("semantic_scale", "interclass", "distance", "separation", "spread", "dimension")


class Watched(Watching, ClassGeometryReweighting):
    """Keeps every step."""


class Dynamic(Watching, SemanticScaleReweighting):
    """Keeps every step."""


class Shuffled(Watching, ShuffledResidualReweighting):
    """Keeps every step."""


class Powered(Watching, PowerOfCountReweighting):
    """Keeps every step."""


def measured(features: np.ndarray, labels: np.ndarray, of: str) -> np.ndarray:
    """Compute a measure class by class."""
    rows = [features[labels == label] for label in range(10)]
    if of in ("semantic_scale", "interclass"):
        found = ss.class_geometry(features, labels, 10)
        return (found.imbalance if of == "semantic_scale" else found.interclass_weights).numpy()
    centred = [part - part.mean(0) for part in rows]
    within = sum((part**2).sum() for part in centred) / sum(len(part) - 1 for part in rows)
    spreads = np.array([(part**2).sum() / (len(part) - 1) if len(part) > 1 else within for part in centred])
    centres = np.stack([part.mean(0) for part in rows])
    squares = ((centres[:, None] - centres) ** 2).sum(2) + np.diag(np.full(10, np.inf))
    if of == "dimension":
        grams = [part.T @ part for part in centred]
        return np.array([np.trace(g) ** 2 / max((g**2).sum(), 1e-300) for g in grams])
    ratios = (squares / (spreads[:, None] + spreads)).min(1)
    return {"distance": np.sqrt(squares.min(1)), "spread": spreads, "separation": ratios}[of]


def full_steps(steps: list[Step], of: str) -> Iterator[tuple[Step, np.ndarray]]:
    """Yield each step of epoch 1, before which all features came once, with the measure at it."""
    newest: dict[int, tuple[np.ndarray, int]] = {}
    for step in steps:
        for feature, label, index in zip(step.inputs.features, step.inputs.labels, step.inputs.indices, strict=True):
            newest[int(index)] = (feature.double().numpy(), int(label))
        if step.epoch > 0:
            features = np.stack([feature for feature, _ in newest.values()])
            yield step, measured(features, np.array([label for _, label in newest.values()]), of)


def centred(values: Any) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    return values - values.mean()


@pytest.mark.parametrize("of", MEASURES)
def test_every_step_weighs_by_the_measure_and_the_count(
    of: str, digits: Build, classifier: Build, trainer: Build
) -> None:
    callback, data = Watched(of=of, power=-0.5, p=0.25, floor=0.1, start_epoch=1), digits(**LONG_TAIL)
    trainer(callback).fit(classifier(), datamodule=data)
    counts = data.class_counts.numpy().astype(float)
    for step, values in full_steps(callback.steps, of):
        raw = counts**-0.25 * np.maximum(values, 0.1 * values.max()) ** 0.5
        expected = raw / (counts / counts.sum() * raw).sum()
        np.testing.assert_allclose(step.terms.class_weights.numpy(), expected, rtol=1e-5)
    assert callback.steps[0].terms == StepTerms()
    assert {"scale", "interclass", "imbalance", "measure", "substitute", "weight"} <= set(callback.report().per_class)


@pytest.mark.parametrize("part", ["residual", "count", "shuffled", "shuffled_residual"])
def test_parts_are_those_of_the_line_in_log_n(part: str, digits: Build, classifier: Build, trainer: Build) -> None:
    options = {"of": "separation", "form": "prior", "power": 0.7, "p": 1.0, "max_ratio": 1e9}
    callback, data = Watched(part=part, start_epoch=1, **options), digits(**LONG_TAIL)
    trainer(callback).fit(classifier(), datamodule=data)
    x = np.log(data.class_counts.numpy().astype(float))
    for step, values in full_steps(callback.steps, "separation"):
        y = np.log(np.maximum(values, 0.05 * values.max()))
        slope, start = np.polyfit(x, y, 1)
        fit, residuals = start + slope * x, y - start - slope * x
        handed = np.asarray(step.terms.log_prior) - x
        assert step.terms.class_weights is None
        if part == "residual":
            np.testing.assert_allclose(centred(handed), 0.7 * residuals, atol=1e-5)
        elif part == "count":
            np.testing.assert_allclose(centred(handed), 0.7 * centred(fit), atol=1e-5)
        else:
            less = 0.7 * centred(fit) if part == "shuffled" else 0.0
            found = (centred(handed) - less) / 0.7
            np.testing.assert_allclose(np.sort(found), np.sort(residuals), atol=1e-5)
            assert (np.abs(found - residuals) > 1e-6).all()


def test_of_semantic_scale_is_dsb_and_its_shuffled_part_the_control(
    digits: Build, classifier: Build, trainer: Build
) -> None:
    options = {"start_epoch": 0, "power": 1.5}
    pairs = (
        (Watched(of="semantic_scale", **options), Dynamic(**options)),
        (Watched(of="semantic_scale", part="shuffled", seed=4, **options), Shuffled(seed=4, **options)),
        (Watched(power=0.0, p=0.5, start_epoch=0), Powered(p=0.5, start_epoch=0)),
    )
    for pair in pairs:
        for callback in pair:
            trainer(callback, max_epochs=1).fit(classifier(), datamodule=digits())
        ours, theirs = ([step.terms.class_weights for step in callback.steps][-1] for callback in pair)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=0.0)


def test_a_prior_of_counts_is_balanced_softmax_and_margins_of_counts_are_ldam(
    digits: Build, classifier: Build, trainer: Build
) -> None:
    prior = Watched(form="prior", power=0.0, p=1.0, start_epoch=0)
    margins = Watched(form="margins", power=0.0, p=0.25, max_margin=0.3, start_epoch=0)
    data = digits(**LONG_TAIL)
    for callback in (prior, margins):
        trainer(callback, max_epochs=1).fit(classifier(), datamodule=data)
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(20, 10, generator=generator).double(), torch.arange(20) % 10
    terms = [callback.steps[-1].terms for callback in (prior, margins)]
    plain, ldam, known = LDAM(max_margin=0.0), LDAM(max_margin=0.3), BalancedSoftmax()
    for loss in (plain, ldam, known):
        loss.setup(data.class_counts.double())
    ours = torch.nn.functional.cross_entropy(adjusted_logits(logits, terms[0]), labels, reduction="none")
    torch.testing.assert_close(ours, known(logits, labels).to(ours), rtol=1e-6, atol=1e-6)
    with_margins = plain(adjusted_logits(logits, terms[1], labels), labels)
    torch.testing.assert_close(with_margins, ldam(logits, labels), rtol=1e-6, atol=1e-6)
    assert set(margins.report().per_class) >= {"measure", "margin"}
    assert "weight" not in prior.report().per_class


def test_margins_need_labels_and_images_that_are_not_mixed(digits: Build, classifier: Build, trainer: Build) -> None:
    with pytest.raises(ValueError, match="Expected `labels`"):
        adjusted_logits(torch.zeros(2, 3), StepTerms(margins=torch.ones(3)))
    with pytest.raises(MisconfigurationException, match="not mixed with `form=margins`"):
        trainer(Watched(form="margins", start_epoch=0)).fit(classifier(mixing=Mixing(0.4, 0.0)), datamodule=digits())


def test_the_cap_holds_for_the_measure_alone(digits: Build, classifier: Build, trainer: Build) -> None:
    callback, data = Watched(of="dimension", p=1.0, max_ratio=1.5, start_epoch=0), digits(**LONG_TAIL)
    trainer(callback, max_epochs=1).fit(classifier(), datamodule=data)
    own = callback.steps[-1].terms.class_weights * data.class_counts
    assert float(own.max() / own.min()) == pytest.approx(1.5)
    assert callback.report().scalars["num_capped"] >= 1


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_resume_equals_an_unbroken_run_bitwise(resumed_like_unbroken: Build) -> None:
    unbroken, resumed = resumed_like_unbroken(
        lambda: ClassGeometryReweighting(part="shuffled_residual", p=0.5, start_epoch=1, update_every_n_steps=3)
    )
    assert torch.equal(unbroken.weights, resumed.weights)
    assert unbroken.report().scalars == resumed.report().scalars


@pytest.mark.parametrize("wrong", [{"of": "size"}, {"part": "half"}, {"form": "loss"}, {"p": -1.0}, {"power": "big"}])
def test_arguments_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Expected `"):
        ClassGeometryReweighting(**wrong)
