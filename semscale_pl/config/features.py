"""What a training run on features needs, and what belongs to images alone, before torch is imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.errors import WrongCallError
from semscale_pl.features.feature_files import FORMATS, LABEL_FORMATS, found_files
from semscale_pl.features.store import StoreError, found_store, is_store, read_manifest

_DATAMODULE = "semscale_pl.data.features.FeatureDataModule"
# Backbones of this package that take vectors.
_OF_VECTORS = ("semscale_pl.models.vectors.Identity", "semscale_pl.models.vectors.MLP")
_FILES = ("train", "val", "test", "train_labels", "val_labels", "test_labels")
# How files are read.
_OF_FILES = ("split_key", "class_names", "label_column", "label_key", "feature_columns", "feature_key")
# What says how the test samples are told from the training samples.
_TEST = ("test", "train_fraction", "split_key")


def has_features(cfg: DictConfig) -> bool:
    """Tell whether the samples of a run are vectors."""
    return str(OmegaConf.select(cfg, "dataset._target_")) == _DATAMODULE


def check_features(cfg: DictConfig) -> None:
    """Raise WrongCallError where a run on features lacks them, or asks for what only images have, or the reverse."""
    backbone = str(OmegaConf.select(cfg, "backbone._target_"))
    if not has_features(cfg):
        if backbone in _OF_VECTORS:
            name = OmegaConf.select(cfg, "dataset.name")
            raise WrongCallError(
                f"Expected dataset=features with a backbone of vectors, but got `{name}`, which has images. Embed them "
                f"first (semscale embed dataset={name} ...), or choose another backbone."
            )
        return
    if backbone.startswith("semscale_pl.") and backbone not in _OF_VECTORS:
        raise WrongCallError(
            "Expected backbone=identity or backbone=mlp with dataset=features, whose samples are vectors, but got "
            f"{backbone.rpartition('.')[2]}. Choose one of these."
        )
    _check_files(cfg.dataset)
    _check_changes(cfg)


def may_have_validation_features(dataset: Any) -> bool:
    """Tell whether features may come with a validation part: a file for it, or perhaps a part of store or file."""
    return any(dataset.get(key) is not None for key in ("store", "val", "split_key"))


def _check_files(dataset: DictConfig) -> None:
    store, train = dataset.get("store"), dataset.get("train")
    if (store is None) == (train is None):
        what = "both a store and files" if store is not None else "neither"
        raise WrongCallError(
            f"Expected dataset.store=FOLDER, or dataset.train=FILE with dataset.test=FILE, but got {what}. Pass one."
        )
    if store is not None:
        named = [key for key in (*_FILES, *_OF_FILES) if dataset.get(key) not in (None, [])]
        if named:
            raise WrongCallError(f"Expected `dataset.{named[0]}` only without a store, but got both. Leave it out.")
        folder = found_store(str(store))
        if not is_store(folder):
            raise WrongCallError(
                f"Expected `dataset.store` to be the folder of an embedding store, but there is none at "
                f"{str(store)!r}. Make it with semscale embed."
            )
        try:
            parts = list(read_manifest(folder)["parts"])  # an unfinished one says how to go on
        except StoreError as error:
            raise WrongCallError(f"dataset.store: {error}") from error
        _check_parts(parts, str(store), dataset.get("train_fraction"))
        return
    given = [key for key in _TEST if dataset.get(key) is not None]
    if len(given) != 1:
        what = " and ".join(given) or "neither"
        raise WrongCallError(
            "Expected dataset.test=FILE, or dataset.train_fraction=0.8 where all samples are in one file, or "
            f"dataset.split_key=NAME where that says which are for testing, but got {what}. Pass one."
        )
    if given == ["split_key"] and dataset.get("val") is not None:
        raise WrongCallError("Expected no `dataset.val` with `dataset.split_key`, which says it. Leave it out.")
    for key in _FILES:
        if dataset.get(key) is not None:
            features = key.removesuffix("_labels")
            if dataset.get(features) is None:
                raise WrongCallError(
                    f"Expected `dataset.{key}` beside dataset.{features}=FILE, whose labels it has, but got it alone. "
                    "Leave it out."
                )
            if is_store(found_store(str(dataset[features]))):
                continue  # opened as a part of a store, which has labels of its own
            formats = LABEL_FORMATS if key.endswith("_labels") else FORMATS
            try:
                found_files(str(dataset[key]), f"dataset.{key}", formats)
            except ValueError as error:
                raise WrongCallError(str(error)) from error
    names = dataset.get("class_names")
    if isinstance(names, str) and not Path(names).is_file():
        raise WrongCallError(f"Expected `dataset.class_names` to be a file, but there is none at {names!r}.")


def _check_parts(parts: list[str], store: str, train_fraction: float | None) -> None:
    """Refuse a store that lacks samples to train or to test on, or that has the latter twice."""
    missing = next((part for part in ("train", "test") if part not in parts), None)
    if missing == "train" or (missing == "test" and train_fraction is None):
        way = (
            "Set dataset.train_fraction=0.8, which keeps the rest for the test, or embed"
            if "train" in parts
            else "Embed"
        )
        raise WrongCallError(
            f"Expected a part {missing!r} of the store {store!r}, but it has {', '.join(parts)} alone. {way} that part "
            f"into it as well (semscale embed parts={missing})."
        )
    if missing is None and train_fraction is not None:
        raise WrongCallError(
            "Expected `dataset.train_fraction` only with a store that has no part for the test, but "
            f"{store!r} has one. Leave it out."
        )


def _check_changes(cfg: DictConfig) -> None:
    if OmegaConf.select(cfg, "mixing.cutmix_alpha"):
        raise WrongCallError(
            "Expected `mixing.cutmix_alpha` to be 0 with dataset=features, as vectors have no region to cut, but got "
            f"{cfg.mixing.cutmix_alpha}. Use mixing=mixup."
        )
    if OmegaConf.select(cfg, "dataset.augmentation") is not None:
        raise WrongCallError(
            "Expected augmentation=none with dataset=features, as augmentations change images. Embed augmented copies "
            "instead: semscale embed augment_copies=K."
        )
    if str(OmegaConf.select(cfg, "reweighting._target_")).endswith(".SampleVolumeReweighting"):
        raise WrongCallError(
            "Expected images with reweighting=sample_volume, which measures their pixels, but dataset=features has "
            "none. Use reweighting=semantic_scale."
        )
