"""Which options need each other: LDAM and a cosine head, held-out images and what is measured on them."""

from __future__ import annotations

import re

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from semscale_pl.config.checks import check_combinations, check_recipe, may_have_validation
from semscale_pl.config.composing import config_dir
from semscale_pl.config.errors import WrongCallError


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("train", overrides=list(overrides))


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["dataset=digits"], False),
        (["dataset=digits", "dataset.validation_per_class=2"], True),
        (["dataset=digits", "dataset.validation_fraction=0.1"], True),
        (["dataset=cifar100_lt"], False),
        (["dataset=imagenet_lt"], True),
        (["dataset=inaturalist2018"], False),
        (["dataset=mini_imagenet"], False),
        (["dataset=oia_odir_b"], False),
        (["dataset=image_folder"], True),
        (["dataset=image_folder", "dataset.source.val=null"], False),
        (["dataset=image_folder", "dataset.source.train_fraction=0.8"], False),
        (["dataset=csv"], False),
        (["dataset=csv", "dataset.source.lists.val=val.csv"], True),
        (["dataset=torch_datasets"], False),
        (["dataset=torch_datasets", "+dataset.source.val._target_=mine.Validation"], True),
        (["dataset=digits", "dataset.source._target_=mine.Source"], True),
    ],
    ids=str,
)
def test_a_validation_part_is_seen_in_the_configuration(overrides: list[str], expected: bool) -> None:
    assert may_have_validation(composed(*overrides)) is expected


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=ldam", "classifier=cosine"],
        ["loss=ldam", "classifier=cosine", "classifier._target_=mine.MyCosineHead"],
        ["loss=ce", "classifier=linear"],
        ["reweighting=cdb", "dataset.validation_per_class=1"],
        ["reweighting=cdb", "dataset=imagenet_lt"],
        ["callbacks=early_stopping", "dataset.validation_fraction=0.1"],
        ["callbacks=early_stopping", "callbacks.early_stopping.monitor=train/loss"],
        ["callbacks=early_stopping", "callbacks.early_stopping=null"],
    ],
    ids=str,
)
def test_what_goes_together_passes(overrides: list[str]) -> None:
    check_combinations(composed(*overrides))


def test_a_run_without_callbacks_passes() -> None:
    cfg = composed()
    cfg.callbacks = None
    check_combinations(cfg)


def test_a_refusal_names_the_head_it_got() -> None:
    with pytest.raises(WrongCallError, match="got LinearClassifier"):
        check_combinations(composed("loss=ldam"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss=soft_triple"], "classifier=centres with loss=soft_triple.*LinearClassifier.*Add classifier=centres"),
        (["loss=norm_softmax"], "classifier=cosine with loss=norm_softmax.*Add classifier=cosine"),
        (["loss=norm_softmax", "classifier=cosine", "classifier.scale=20"], "got 20. Set loss.temperature"),
        (["loss=circle", "classifier=cosine", "reweighting=semantic_scale_prior"], "adds to logits, which are cosines"),
        (["loss=ldam", "classifier=cosine", "reweighting=semantic_scale_prior"], "adds to logits, which are cosines"),
        (["loss=ldam", "classifier=cosine", "reweighting=mean_score"], "mean_score adds to logits, which are cosines"),
        (
            ["loss=ldam", "classifier=cosine", "reweighting=class_geometry", "reweighting.form=prior"],
            "reweighting.form=prior adds to logits, which are cosines",
        ),
        (["loss=proxy_anchor", "classifier=cosine", "mixing=mixup"], "mixing=none with loss=proxy_anchor"),
        (["loss=ldam", "classifier=centres"], "Add classifier=cosine"),
    ],
    ids=str,
)
def test_losses_of_similarities_need_cosines(overrides: list[str], message: str) -> None:
    with pytest.raises(WrongCallError, match=message):
        check_combinations(composed(*overrides))


@pytest.mark.parametrize("head", ["centres", "cosine"])
@pytest.mark.parametrize("loss", ["soft_triple", "circle", "proxy_anchor"])
def test_losses_of_similarities_go_with_proxies_and_centres(loss: str, head: str) -> None:
    check_combinations(composed(f"loss={loss}", f"classifier={head}", "reweighting=semantic_scale"))


@pytest.mark.parametrize("recipe", ["recipe=crt", "recipe=logit_adjustment", "also=[fused]"])
def test_several_centres_a_class_are_no_affine_head(recipe: str) -> None:
    with pytest.raises(WrongCallError, match=f"one vector a class for {re.escape(recipe)}"):
        check_recipe(composed("loss=soft_triple", "classifier=centres", recipe))


def test_ldam_scales_the_cosines_itself() -> None:
    with pytest.raises(
        WrongCallError, match=r"`classifier.scale` to be 1 with loss=ldam.*got 16.*loss.scale"
    ) as caught:
        check_combinations(composed("loss=ldam", "classifier=cosine", "classifier.scale=16"))
    assert "\n" not in str(caught.value)
    check_combinations(composed("loss=ce", "classifier=cosine", "classifier.scale=16"))


def test_a_classifier_is_not_tested_on_classes_that_it_was_not_trained_on() -> None:
    split = ("dataset=digits", "dataset.split=classes", "dataset.validation_per_class=1")
    with pytest.raises(WrongCallError, match=r"Expected retrieval=auto with dataset\.split=classes"):
        check_combinations(composed(*split, "retrieval=false"))
    check_combinations(composed(*split, "retrieval=false", "test=false"))
    check_combinations(composed(*split))
