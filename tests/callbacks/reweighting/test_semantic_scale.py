"""The DSB callback: stages, exactness of the pool against the network, what it refuses, resume, company it keeps."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint, StochasticWeightAveraging, WeightAveraging
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from sklearn.covariance import oas
from torch import Tensor
from watching import Build, Watching

import semscale_pl as ss
from semscale_pl.callbacks.reweighting.frequency import FrequencyReweighting
from semscale_pl.callbacks.reweighting.semantic_scale import SemanticScaleReweighting
from semscale_pl.modules.mixing import Mixing
from semscale_pl.pool import FeaturePool
from semscale_pl.weighting import StepInputs, StepTerms


class Watched(Watching, SemanticScaleReweighting):
    """Keeps every step."""


def test_weights_of_each_step_are_those_of_a_recomputation_from_all_newest_features(
    digits: Build, classifier: Build, trainer: Build
) -> None:
    callback, data = Watched(start_epoch=1, alpha=2.0, power=1.5, floor=0.1), digits()
    trainer(callback, max_epochs=3).fit(classifier(), datamodule=data)
    newest: dict[int, tuple[Tensor, int]] = {}
    assert {stage for epoch, stage, _, _ in callback.steps if epoch == 0} == {1}
    for epoch, stage, inputs, terms in callback.steps:
        for feature, label, index in zip(inputs.features, inputs.labels, inputs.indices, strict=True):
            newest[int(index)] = (feature, int(label))
        if epoch < 1:
            assert terms == StepTerms()
            continue
        assert stage == 3
        features = torch.stack([feature for feature, _ in newest.values()])
        labels = torch.tensor([label for _, label in newest.values()])
        scales = ss.semantic_scales(features, labels, 10)
        interclass = ss.interclass_weights(ss.class_centres(features, labels, 10), 2.0)
        imbalance = ss.semantic_scale_imbalance(scales, interclass)
        expected = ss.scales_to_weights(imbalance, data.class_counts, "sample", 1.5, 0.1)
        torch.testing.assert_close(terms.class_weights, expected, rtol=1e-9, atol=1e-9)
    assert len(newest) == data.train_size


@pytest.mark.parametrize(
    ("start", "stages"), [(0, [3, 3, 3, 3]), (1, [1, 3, 3, 3]), (3, [1, 2, 2, 3])], ids=["0", "1", "3"]
)
def test_stages_depend_on_the_epoch_alone(
    start: int, stages: list[int], digits: Build, classifier: Build, trainer: Build
) -> None:
    callback = Watched(start_epoch=start)
    trainer(callback, max_epochs=4).fit(classifier(), datamodule=digits())
    seen = {epoch: stage for epoch, stage, _, _ in callback.steps}
    assert [seen[epoch] for epoch in range(4)] == stages
    weighted = {epoch for epoch, _, _, terms in callback.steps if terms.class_weights is not None}
    assert weighted == {epoch for epoch, stage in enumerate(stages) if stage == 3}


def test_an_inactive_reweighting_trains_bitwise_as_none(digits: Build, classifier: Build, trainer: Build) -> None:
    plain, waiting = classifier(), classifier()
    trainer(max_epochs=2).fit(plain, datamodule=digits())
    trainer(SemanticScaleReweighting(start_epoch=2), max_epochs=3, max_steps=2).fit(waiting, datamodule=digits())
    fresh = classifier()
    trainer(max_epochs=3, max_steps=2).fit(fresh, datamodule=digits())
    for one, other in zip(waiting.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(one, other)
    assert waiting.weighting is None
    assert not torch.equal(next(plain.parameters()), next(fresh.parameters()))


def test_the_expected_weight_of_a_drawn_sample_is_one(digits: Build, classifier: Build, trainer: Build) -> None:
    callback, data = SemanticScaleReweighting(start_epoch=0), digits()
    trainer(callback).fit(classifier(), datamodule=data)
    assert callback.weights is not None
    assert float((data.class_frequencies * callback.weights).sum()) == pytest.approx(1.0, abs=1e-12)
    assert callback.pool is not None
    assert callback.pool.check() < 1e-8
    assert callback.pool.is_full


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.parametrize("mode", ["indexed", "fifo"])
def test_resume_equals_an_unbroken_run_bitwise(mode: str, resumed_like_unbroken: Build) -> None:
    unbroken, resumed = resumed_like_unbroken(
        lambda: SemanticScaleReweighting(start_epoch=1, pool=mode, update_every_n_steps=3)
    )
    for one, other in zip(unbroken.pool.contents(), resumed.pool.contents(), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(unbroken.weights, resumed.weights)
    assert torch.equal(unbroken.scales, resumed.scales)


def test_a_checkpoint_holds_tensors_and_numbers_only(
    digits: Build, classifier: Build, trainer: Build, tmp_path: Path
) -> None:
    keep = ModelCheckpoint(tmp_path, save_last=True, save_on_train_epoch_end=True)
    loop = trainer(SemanticScaleReweighting(start_epoch=1), keep, enable_checkpointing=True)
    loop.fit(classifier(), datamodule=digits())
    stored = torch.load(tmp_path / "last.ckpt", weights_only=True)
    state = next(value for key, value in stored["callbacks"].items() if "SemanticScale" in key)
    assert state["steps"] == loop.global_step
    assert not any("pool" in name for name in stored["state_dict"])


def test_wide_features_are_pooled_and_narrow_ones_enter_as_they_are(
    digits: Build, classifier: Build, trainer: Build
) -> None:
    for width, expected in ((16, 16), (96, 64)):
        callback = SemanticScaleReweighting(start_epoch=1)
        trainer(callback).fit(classifier(width), datamodule=digits())
        assert callback.pool is not None
        assert callback.pool.contents()[0].shape[1] == expected


def test_rms_scales_do_not_depend_on_the_size_of_the_features(digits: Build, classifier: Build, trainer: Build) -> None:
    callback = SemanticScaleReweighting(start_epoch=0, feature_norm="rms")
    trainer(callback).fit(classifier(), datamodule=digits())
    assert callback.pool is not None
    features, labels = callback.pool.contents()
    unit = float((features.double() - features.double().mean(0)).square().mean().sqrt())
    expected = ss.semantic_scales(features / unit, labels, 10)
    torch.testing.assert_close(callback.scales, expected, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_l2_features_enter_with_length_one(digits: Build, classifier: Build, trainer: Build) -> None:
    callback = SemanticScaleReweighting(start_epoch=0, feature_norm="l2")
    trainer(callback).fit(classifier(), datamodule=digits())
    assert callback.pool is not None
    lengths = callback.pool.contents()[0].norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_update_every_n_steps_holds_the_weights_between(digits: Build, classifier: Build, trainer: Build) -> None:
    callback = Watched(start_epoch=0, update_every_n_steps=4)
    trainer(callback, max_epochs=2).fit(classifier(), datamodule=digits())
    weights = [terms.class_weights for _, _, _, terms in callback.steps]
    changes = [not torch.equal(one, two) for one, two in itertools.pairwise(weights)]
    assert [place + 1 for place, changed in enumerate(changes) if changed] == list(range(4, len(weights), 4))


def test_stage_3_does_not_wait_for_a_multiple_of_the_steps(digits: Build, classifier: Build, trainer: Build) -> None:
    callback = Watched(start_epoch=1, update_every_n_steps=10_000)
    trainer(callback, max_epochs=2).fit(classifier(), datamodule=digits())
    weights = [terms.class_weights for epoch, _, _, terms in callback.steps if epoch == 1]
    assert len(weights) > 1
    for found in weights:
        assert found is not None
        assert torch.equal(found, weights[0])
    assert float(weights[0].std()) > 0


def test_a_skipped_step_at_the_start_of_stage_3_weighs_with_the_pool_as_it_stands(
    digits: Build, classifier: Build, trainer: Build
) -> None:
    callback, mixing = Watched(start_epoch=1, mixed="skip", update_every_n_steps=7), Mixing(1.0, probability=0.5)
    trainer(callback, max_epochs=2).fit(classifier(mixing=mixing), datamodule=digits())
    steps = [(step.inputs.mixed_labels is not None, step.terms) for step in callback.steps if step.epoch == 1]
    assert {skipped for skipped, _ in steps} == {True, False}
    assert all(terms.class_weights is not None for _, terms in steps)
    empty = Watched(start_epoch=0, mixed="skip")
    trainer(empty, max_epochs=1).fit(classifier(mixing=Mixing(1.0, probability=0.9)), datamodule=digits())
    skipped = list(itertools.takewhile(lambda step: step.inputs.mixed_labels is not None, empty.steps))
    assert skipped, "nothing to weigh with: the pool is still empty"
    assert all(step.terms == StepTerms() for step in skipped)
    assert empty.steps[len(skipped)].terms.class_weights is not None


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_run_resumed_before_its_first_weights_weighs_from_the_first_step_of_stage_3(
    digits: Build, classifier: Build, trainer: Build, tmp_path: Path
) -> None:
    def fit(callback: pl.Callback, folder: str, **options: Any) -> None:
        keep = ModelCheckpoint(tmp_path / folder, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
        loop = trainer(callback, keep, max_epochs=2, enable_checkpointing=True)
        loop.fit(classifier(), datamodule=digits(), **options)

    first, second = (Watched(start_epoch=1, update_every_n_steps=1000) for _ in range(2))
    fit(first, "first")
    fit(second, "second", ckpt_path=tmp_path / "first" / "epoch=0.ckpt", weights_only=True)
    weights = [[step.terms.class_weights for step in one.steps if step.epoch == 1] for one in (first, second)]
    assert len(weights[0]) == len(weights[1]) > 1
    for unbroken, resumed in zip(*weights, strict=True):
        assert torch.equal(unbroken, resumed)


def test_bf16_and_gradient_accumulation(digits: Build, classifier: Build, trainer: Build) -> None:
    callback = SemanticScaleReweighting(start_epoch=1, storage_dtype="bfloat16")
    trainer(callback, precision="bf16-mixed", accumulate_grad_batches=2).fit(classifier(), datamodule=digits())
    assert callback.pool is not None
    assert callback.weights is not None
    assert callback.pool.contents()[0].dtype == torch.bfloat16
    assert callback.weights.dtype == torch.float64
    assert callback.pool.check() < 1e-8


@pytest.mark.parametrize("averaging", ["swa", "ema"])
def test_weight_averaging_leaves_the_pool_alone(
    averaging: str, digits: Build, classifier: Build, trainer: Build
) -> None:
    copies = {
        "swa": lambda: StochasticWeightAveraging(swa_lrs=0.01, swa_epoch_start=1),
        "ema": lambda: WeightAveraging(use_buffers=False),
    }
    callback, data = SemanticScaleReweighting(start_epoch=1), digits()
    data.setup()
    module = classifier(class_counts=data.class_counts.tolist())
    module.backbone.layer.append(torch.nn.BatchNorm1d(16))  # makes SWA run its extra pass
    trainer(copies[averaging](), callback, max_epochs=3).fit(module, datamodule=data)
    assert callback.pool is not None
    batches = -(-data.train_size // 32)
    assert callback.state_dict()["steps"] == 3 * batches


def test_a_compiled_backbone_trains(digits: Build, classifier: Build, trainer: Build) -> None:
    module, callback = classifier(), SemanticScaleReweighting(start_epoch=1)
    module.backbone.compile(backend="eager")
    trainer(callback).fit(module, datamodule=digits())
    assert callback.weights is not None
    assert not any("_orig_mod" in name for name in module.state_dict())


@pytest.mark.parametrize("mixed", ["dominant", "clean", "skip"])
def test_mixed_batches(mixed: str, digits: Build, classifier: Build, trainer: Build) -> None:
    callback = Watched(start_epoch=0, mixed=mixed)
    module = classifier(mixing=Mixing(mixup_alpha=1.0, probability=0.5))
    torch.manual_seed(0)
    trainer(callback).fit(module, datamodule=digits())
    assert callback.pool is not None
    mixed_steps = [inputs for _, _, inputs, _ in callback.steps if inputs.mixed_labels is not None]
    assert 0 < len(mixed_steps) < len(callback.steps)
    assert module.training
    truth = {int(i): int(y) for _, _, step, _ in callback.steps for i, y in zip(step.indices, step.labels, strict=True)}
    for index, label in enumerate(callback.pool.labels.tolist()):
        assert label in (-1, truth[index])
    rows = sum(len(inputs.labels) for inputs in mixed_steps)
    assert callback.extra_passes == (rows / callback.pool.capacity if mixed == "clean" else 0.0)
    assert callback.report().scalars.get("extra_passes", 0.0) == callback.extra_passes


def test_a_clean_pass_leaves_frozen_parts_in_evaluation_mode(digits: Build, classifier: Build, trainer: Build) -> None:
    module = classifier(mixing=Mixing(mixup_alpha=1.0), dropout=0.5)
    seen: list[bool] = []

    class Frozen(Watched):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            seen.append(pl_module.backbone.layer.training)
            pl_module.backbone.layer.eval()

    trainer(Frozen(start_epoch=0, mixed="clean"), max_epochs=1).fit(module, datamodule=digits())
    assert seen[0]
    assert not any(seen[1:])


def test_clean_features_have_the_precision_of_the_training_step(
    digits: Build, classifier: Build, trainer: Build
) -> None:
    stored: list[Tensor] = []

    class Storing(Watched):
        def _rows(self, inputs: StepInputs) -> Any:
            rows = super()._rows(inputs)
            with torch.autocast("cpu", torch.bfloat16):
                assert torch.equal(rows[0], self._module.features(inputs.images))
            stored.append(rows[0])
            return rows

    module = classifier(mixing=Mixing(mixup_alpha=1.0))
    trainer(Storing(start_epoch=0, mixed="clean"), max_epochs=1, precision="bf16-mixed").fit(
        module, datamodule=digits()
    )
    assert {rows.dtype for rows in stored} == {torch.bfloat16}
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_a_clean_pass_that_fails_leaves_the_modes_as_they_were(classifier: Build) -> None:
    module, callback = classifier(dropout=0.5), SemanticScaleReweighting(mixed="clean")
    module.backbone.layer[1].eval()
    modes = [part.training for part in module.modules()]
    callback._module, images = module, torch.randn(2, 7)  # of a shape that the layer cannot take
    labels = torch.tensor([0, 1])
    inputs = StepInputs(images, images, labels, labels, labels, 0.7, labels, images)
    with pytest.raises(RuntimeError, match="shape"):
        callback._rows(inputs)
    assert [part.training for part in module.modules()] == modes


def test_dominant_features_take_the_slot_of_the_dominant_image() -> None:
    callback = SemanticScaleReweighting()
    inputs = StepInputs(
        torch.randn(2, 3), torch.randn(2, 2), torch.tensor([0, 1]), torch.tensor([4, 5]),
        torch.tensor([1, 0]), 0.2, torch.tensor([5, 4]),
    )  # fmt: skip
    _, labels, indices = callback._rows(inputs)
    assert indices is not None
    assert labels.tolist() == [1, 0]
    assert indices.tolist() == [5, 4]


def test_what_cannot_work_is_refused_in_one_line(digits: Build, classifier: Build, trainer: Build) -> None:
    manual = classifier()
    manual.automatic_optimization = False
    bare = BoringModel()
    always = classifier(mixing=Mixing(mixup_alpha=1.0))
    cases: list[tuple[list[pl.Callback], Any, str]] = [
        ([SemanticScaleReweighting(start_epoch=2)], classifier(), "below `max_epochs`"),
        ([SemanticScaleReweighting(1), FrequencyReweighting()], classifier(), "one re-weighting"),
        ([SemanticScaleReweighting(1)], manual, "optimizes manually"),
        ([SemanticScaleReweighting(1)], bare, "slot `weighting`"),
        ([SemanticScaleReweighting(1, mixed="skip")], always, "mixed=skip"),
    ]
    for callbacks, module, message in cases:
        with pytest.raises(MisconfigurationException, match=message) as caught:
            trainer(*callbacks).fit(module, datamodule=digits())
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"start_epoch": -1}, {"alpha": 0.5}, {"power": -1.0}, {"floor": 0.0}, {"floor": 1.5}, {"max_ratio": 0.5},
        {"pool": "lifo"}, {"normalization": "max"}, {"estimator": "huber"}, {"feature_norm": "l1"}, {"mixed": "all"},
        {"storage_dtype": "int8"}, {"ratio": "m"}, {"ratio": 0.0}, {"num_features": 0}, {"update_every_n_steps": 0},
        {"ramp_epochs": -1},
    ],
    ids=str,
)  # fmt: skip
def test_arguments_out_of_range_are_refused_at_construction(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"Expected `{next(iter(options))}` to be"):
        SemanticScaleReweighting(**options)


def test_the_slot_is_free_again_after_a_fit_that_failed(digits: Build, classifier: Build, trainer: Build) -> None:
    class Broken(pl.Callback):
        def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError("broken on purpose")

    module = classifier()
    with pytest.raises(RuntimeError, match="on purpose"):
        trainer(SemanticScaleReweighting(1), Broken()).fit(module, datamodule=digits())
    assert module.weighting is None


def by_oas(features: Tensor, labels: Tensor, num_classes: int, ratio: float | None = None) -> Tensor:
    scales = torch.full((num_classes,), math.nan, dtype=torch.float64)
    for label in labels.unique().tolist():
        rows = features[labels == label].double().numpy()
        dim = rows.shape[1]
        covariance = oas(rows)[0] if len(rows) > 1 else np.zeros((dim, dim))
        scales[label] = np.linalg.slogdet(np.eye(dim) + (ratio or dim) * covariance)[1] / 2 / math.log(2)
    return scales


@pytest.mark.parametrize("mode", ["indexed", "fifo"])
@pytest.mark.parametrize("ratio", [None, 1.0])
def test_a_pool_that_slides_keeps_the_shrunk_scales(mode: str, ratio: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    pool = FeaturePool(capacity=60, num_features=8, num_classes=5, mode=mode, storage_dtype=torch.float64)
    for _ in range(15):
        # Class 3 has few rows, fewer than dimensions; class 4 none.
        indices = torch.randperm(60, generator=generator)[:16]
        labels = torch.where(indices < 3, 3, indices % 3)
        features = torch.randn(16, 8, generator=generator, dtype=torch.float64) * (1.0 + labels[:, None])
        pool.push(features, labels, indices)
    found = pool.scales(estimator="shrunk", ratio="dim" if ratio is None else ratio)
    torch.testing.assert_close(found, by_oas(*pool.contents(), 5, ratio), rtol=1e-9, atol=1e-9, equal_nan=True)
    # A change of estimator is not answered from what is cached.
    plain = pool.scales(ratio="dim" if ratio is None else ratio)
    present = pool.class_counts() > 1
    assert not torch.isclose(found[present], plain[present]).any()


@pytest.mark.parametrize("pool", ["indexed", "fifo"])
def test_the_callback_weights_by_the_shrunk_scales_of_its_pool(
    pool: str, digits: Build, classifier: Build, trainer: Build
) -> None:
    callback, data = SemanticScaleReweighting(start_epoch=0, estimator="shrunk", pool=pool), digits()
    trainer(callback, max_epochs=2).fit(classifier(), datamodule=data)
    features, labels = callback.pool.contents()
    scales = by_oas(features, labels, 10)
    torch.testing.assert_close(callback.scales, scales, rtol=1e-6, atol=1e-6, equal_nan=True)
    weights = ss.interclass_weights(ss.class_centres(features, labels, 10))
    imbalance = ss.semantic_scale_imbalance(scales, weights)
    expected = ss.scales_to_weights(imbalance, data.class_counts, "sample")
    torch.testing.assert_close(callback.weights, expected, rtol=1e-5, atol=1e-7)
    few = (data.class_counts > 1) & (data.class_counts < 16)  # fewer images than dimensions
    assert bool(few.any())
    assert bool((callback.scales[few] > callback.pool.scales()[few]).all())
