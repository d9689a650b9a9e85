"""The metrics of a checkpoint on a split of its run's dataset, from nothing but the checkpoint and the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.checks import check_views
from semscale_pl.config.errors import WrongCallError
from semscale_pl.config.features import has_features
from semscale_pl.config.retrieval import check_retrieval
from semscale_pl.data.checking import check_same_classes
from semscale_pl.metrics.report import Report
from semscale_pl.training.building import build_datamodule, build_module, build_views, show_for
from semscale_pl.training.device import allow_tf32, check_accelerator
from semscale_pl.training.restoring import read_checkpoint
from semscale_pl.training.retrieval import check_searched

# Class names that a refusal lists at most.
_LISTED = 5


def evaluate(
    ckpt: str | Path,
    accelerator: str = "cpu",
    split: str = "test",
    tta: str | None = None,
    **dataset: Any,
) -> Report:
    """Rebuild the model of a checkpoint and evaluate it on a split of its run's dataset.

    Args:
        split: ``test``, ``val`` or ``train``; the last is the long-tailed training subset without augmentation.
        tta: views of each image whose logits are averaged, ``none``, ``flips`` or ``crops``; None does as its run did.
        dataset: ``batch_size``, ``num_workers`` and ``root``, instead of the run's; None keeps the run's.

    Returns:
        The results of :class:`semscale_pl.metrics.report.ClassificationReport`.

    Raises:
        WrongCallError: the file is not a checkpoint of `semscale train`, the data has other classes, or there is no
            validation part; or there is no such device.
    """
    check_accelerator(accelerator)
    checkpoint = read_checkpoint(ckpt)
    _check_of_features(checkpoint.config, dataset)
    allow_tf32(bool(OmegaConf.select(checkpoint.config, "tf32", default=False)))
    config = for_testing(with_views(checkpoint.config, tta), **dataset)
    if split == "train":  # whose rare classes may have an image alone
        config = with_settings(config, retrieval=False)
    check_retrieval(config)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    datamodule = build_datamodule(config)
    check_classes(checkpoint.class_names, datamodule.class_names, config.dataset.get("name"))
    show_for(build_views(config), datamodule, split)
    loader = _loader(datamodule, split)
    check_same_classes(checkpoint.class_names, datamodule.class_names)
    check_searched(config, datamodule, (split,))
    counts = [int(count) for count in datamodule.class_counts]
    module = build_module(config, datamodule.num_classes, datamodule.class_names, counts)
    module.search_in(datamodule.test_class_names, datamodule.gallery_dataloader if split == "test" else None)
    module.load_state_dict(checkpoint.state)
    return tested(module, loader, accelerator)


def tested(module: pl.LightningModule, loader: Any, accelerator: str) -> Report:
    """Return the test report of a module on the batches of a loader, on one device."""
    trainer = pl.Trainer(
        accelerator=accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.test(module, dataloaders=loader, verbose=False)
    results: Report | None = module.last_test_results  # type: ignore[assignment]
    assert results is not None
    return results


def with_views(config: DictConfig, tta: str | None) -> DictConfig:
    """Return a run's configuration with other views of a test image, or with its own where ``tta`` is None.

    Raises:
        WrongCallError: the run's images cannot be seen so.
    """
    if tta is None:
        return config
    changed = with_settings(config, tta=tta)
    check_views(changed)
    return changed


def with_settings(config: DictConfig, **settings: Any) -> DictConfig:
    """Return a run's configuration with other values, also of settings that it is older than."""
    changed = config.copy()
    OmegaConf.set_struct(changed, False)
    for key, value in settings.items():
        changed[key] = value
    return changed


def for_testing(config: DictConfig, **dataset: Any) -> DictConfig:
    """Return a run's configuration for a test alone, with settings of ``dataset`` that are not None replaced."""
    changed = config.copy()
    for key, value in dataset.items():
        if value is not None and key in changed.dataset:
            changed.dataset[key] = value
    if dataset.get("batch_size") is not None and "eval_batch_size" in changed.dataset:
        changed.dataset.eval_batch_size = dataset["batch_size"]
    if "check_images" in changed.dataset and changed.dataset.get("on_bad_image") != "skip":
        changed.dataset.check_images = "exist"  # testing opens every test image anyway, and no other
    if "num_classes" in changed.dataset:
        changed.dataset.num_classes = None  # `check_classes` says more of data with other classes
    return changed


def check_classes(trained: Sequence[str], found: Sequence[str], dataset: str | None) -> None:
    """Raise WrongCallError, with names, where the data does not have the classes that a model was trained on."""
    if list(trained) == list(found):
        return
    missing, new = ([name for name in ours if name not in set(theirs)] for ours, theirs in
                    ((trained, found), (found, trained)))  # fmt: skip
    differences = [f"{what} {_listed(names)}" for what, names in (("lacks", missing), ("has besides", new)) if names]
    raise WrongCallError(
        f"Expected the {len(trained)} classes of the checkpoint in `{dataset}`, but it "
        f"{' and '.join(differences) or 'has them in another order'}. Pass root=FOLDER of data with the same classes."
    )


def _check_of_features(config: DictConfig, dataset: Mapping[str, Any]) -> None:
    """Refuse, for a run on features, what only the images of a dataset have."""
    named = next((key for key in ("root", "num_workers") if dataset.get(key)), None)  # the command passes 0 workers
    if named and has_features(config):
        raise WrongCallError(
            f"Expected no `{named}` with a run on features, which are read from where they were in training, but got "
            f"{dataset[named]}. Leave it out."
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(repr(name) for name in names[:_LISTED]) + more


def _loader(datamodule: Any, split: str) -> Any:
    if split == "val" and not datamodule.has_validation:
        raise WrongCallError("Expected a validation part for split=val, but its run had none. Use split=test or train.")
    return {
        "test": datamodule.test_dataloader,
        "val": datamodule.val_dataloader,
        "train": datamodule.eval_train_dataloader,
    }[split]()
