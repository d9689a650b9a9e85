"""One datamodule for every dataset: long-tailed subset, carved validation part, sampling, loaders, exact resume."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from semscale_pl.data.checking import (
    BadImages,
    ImageCheck,
    broken_images,
    check_decodable,
    check_files,
    check_same_classes,
    check_splits,
    is_first_rank,
    memory_of,
    passed_over_of,
    say_once,
    skipped_line,
    used_files,
    what_is_untested,
)
from semscale_pl.data.class_split import check_class_split, hold_out_classes, in_seeded_order, split_classes
from semscale_pl.data.files import upright
from semscale_pl.data.in_memory import InMemory, check_can_be_kept, keep_in_memory
from semscale_pl.data.indexed import IndexedDataset, collate
from semscale_pl.data.longtail import carve_validation, check_subset, check_validation, index_hash, training_subset
from semscale_pl.data.samplers import (
    EpochSampler,
    EvaluationBatchSampler,
    GlobalBatchSampler,
    InstanceSampling,
    Sampling,
)
from semscale_pl.data.source import DataError, ImageSet, Source
from semscale_pl.data.transforms import Augmentation, ModelInput
from semscale_pl.data.workers import start_worker
from semscale_pl.distributed import from_all_ranks, rank
from semscale_pl.options import check
from semscale_pl.seeding import derive_seed


class ImbalancedDataModule(pl.LightningDataModule):
    """Labelled images, made long-tailed, as batches (images, labels, indices).

    `index` is the position 0..N-1 in the final training split. Set `use_distributed_sampler=False` on the Trainer: the
    loaders cut their batches for the ranks themselves.

    Args:
        source: where the images come from.
        name: of the dataset, for records.
        root: folder of all datasets.
        download: whether a missing dataset may be fetched.
        num_classes: checked against the data where given.
        channels: of the model's input, 1 or 3; None keeps the images' own.
        image_size: height and width of the model's input in pixels; None keeps the images' own.
        mean: per channel, of values in [0, 1].
        std: per channel, of values in [0, 1].
        crop_share: central share of evaluation images (ImageNet: 0.875).
        interpolation: of images that are resized, "bilinear" or "bicubic".
        imbalance: profile "none", "exponential", "step", "per_class" or "listed".
        imbalance_factor: largest over smallest class, at least 1.
        imbalance_samples: images of every class, of profile "per_class".
        imbalance_file: JSON list of the training images, of profile "listed".
        class_order: "label", "reversed" or "permuted".
        subset_rule: "seeded", "first" or "cao_seed0".
        validation_per_class: samples of each class to hold out of the training data; or
        validation_fraction: share of each class to hold out. One sample of a class always stays in training.
        validation_from: "subset" holds them out of the long-tailed subset, in which a rare class may have none to
            spare; "whole" out of all training samples before the subset is chosen among the others, so that every class
            is validated.
        validation_classes: of split "classes", hold out the last so many of the classes to train instead, with all
            their images: the validation part then has new classes as the test has, labelled from `num_classes` on.
        split: "samples": training and test have the same classes; "classes": the first half of the classes is trained
            on, in the images of the source's training part, and the others are tested on, in those of its test part,
            which may be the same. Test labels then go on from `num_classes`.
        train_classes: of split "classes", the first so many instead of half.
        split_order: of split "classes", which classes are the first: in the order of "label", or "permuted" by
            `subset_seed`.
        sampler: which classes an epoch shows how often; None is instance sampling.
        augmentation: random change of a decoded training image; None for none.
        batch_size: samples of a training batch of all ranks together, so that two ranks equal one process.
        eval_batch_size: samples of an evaluation batch of all ranks together; None is `batch_size`.
        drop_last: drop an incomplete last training batch.
        num_workers: of each loader.
        prefetch_factor: batches that each worker keeps ready; None is torch's default.
        persistent_workers: keep workers between epochs.
        pin_memory: for faster copies to a GPU.
        seed: of order and augmentation.
        subset_seed: of the choice of images; None is `seed`.
        check_images: before training, "decode" every image file in use (once: whole ones are remembered), only see that
            they "exist", or "none". Images in memory need no check.
        on_bad_image: "refuse" to start where an image file cannot be decoded, or "skip" these: they are named, and
            neither counted nor numbered.
        exif_rotation: turn image files as their EXIF tag asks for, which benchmark sets are not.
        in_memory: make batches of images that lie in one tensor, on the GPU where training runs on one; without workers
            of a loader. "auto": images that come as a tensor, and files of one size that decode to at most 1 GiB a
            part; True: also larger ones, or the datamodule says why not; False: no files are kept, nothing is copied to
            a GPU, and workers make the batches.
    """

    train_dataset: IndexedDataset
    eval_train_dataset: IndexedDataset
    val_dataset: IndexedDataset | None
    test_dataset: IndexedDataset
    # What the test images are searched in, where the source has it apart from them.
    gallery_dataset: IndexedDataset | None
    num_classes: int
    class_names: list[str]
    # Of all labels in the test part: more than `class_names` where the split is by classes.
    test_class_names: list[str]
    class_counts: Tensor
    train_size: int
    index_hash: str

    def __init__(
        self,
        source: Source,
        *,
        name: str = "custom",
        root: str = "data",
        download: bool = False,
        num_classes: int | None = None,
        channels: int | None = None,
        image_size: int | None = None,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        crop_share: float = 1.0,
        interpolation: str = "bilinear",
        imbalance: str = "none",
        imbalance_factor: float = 1.0,
        imbalance_samples: int | None = None,
        imbalance_file: str | None = None,
        class_order: str = "label",
        subset_rule: str = "seeded",
        validation_per_class: int = 0,
        validation_fraction: float = 0.0,
        validation_from: str = "subset",
        validation_classes: int = 0,
        split: str = "samples",
        train_classes: int | None = None,
        split_order: str = "label",
        sampler: Sampling | None = None,
        augmentation: Augmentation | None = None,
        batch_size: int = 128,
        eval_batch_size: int | None = None,
        drop_last: bool = False,
        num_workers: int = 0,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory: bool = False,
        seed: int = 0,
        subset_seed: int | None = None,
        check_images: ImageCheck = "decode",
        on_bad_image: BadImages = "refuse",
        exif_rotation: bool = False,
        in_memory: InMemory = "auto",
    ) -> None:
        super().__init__()
        check_subset(imbalance_factor, imbalance, imbalance_samples, imbalance_file)
        check("dataset", download=download, num_classes=num_classes, class_order=class_order, subset_rule=subset_rule)
        check(imbalance_samples=imbalance_samples, check_images=check_images, seed=seed, subset_seed=subset_seed)
        check(on_bad_image=on_bad_image, exif_rotation=exif_rotation, in_memory=in_memory)
        check(batch_size=batch_size, eval_batch_size=eval_batch_size)
        check(num_workers=num_workers, prefetch_factor=prefetch_factor)
        check(validation_per_class=validation_per_class, validation_fraction=validation_fraction)
        check("dataset", validation_from=validation_from)
        check_validation(validation_from, imbalance)
        check_class_split(split, train_classes, split_order)
        check(validation_classes=validation_classes)
        if validation_classes and split != "classes":
            raise ValueError(
                f"Expected dataset.split=classes with dataset.validation_classes={validation_classes}, but got "
                f"split={split}. Set it, or hold samples of every class out with dataset.validation_per_class=N."
            )
        held_out = {"per_class": validation_per_class, "fraction": validation_fraction, "classes": validation_classes}
        if sum(map(bool, held_out.values())) > 1:
            raise ValueError(
                "Expected one of `validation_per_class`, `validation_fraction` and `validation_classes` above 0, but "
                f"got {', '.join(map(str, held_out.values()))}. Set one of them."
            )
        if on_bad_image == "skip" and check_images != "decode":
            raise ValueError(
                "Expected check_images=decode with on_bad_image=skip, as broken images are found by decoding them, but "
                f"got check_images={check_images}. Leave one of them out."
            )
        self.source, self.name, self.root, self.download = source, name, Path(root), download
        self.expected_classes = num_classes
        self.model_input = ModelInput(image_size, channels, mean, std, crop_share, interpolation)
        self.imbalance, self.imbalance_factor = imbalance, imbalance_factor
        self.imbalance_samples, self.imbalance_file = imbalance_samples, imbalance_file
        self.class_order, self.subset_rule = class_order, subset_rule
        self.validation_per_class, self.validation_fraction = validation_per_class, validation_fraction
        self.validation_from, self.split, self.train_classes = validation_from, split, train_classes
        self.split_order = split_order
        self.validation_classes = validation_classes
        self.sampling = sampler if sampler is not None else InstanceSampling()
        self.augmentation = augmentation
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.drop_last = drop_last
        workers = {"persistent_workers": persistent_workers, "prefetch_factor": prefetch_factor} if num_workers else {}
        self.loader_options: dict[str, Any] = {"num_workers": num_workers, "pin_memory": pin_memory, **workers}
        self.seed, self.subset_seed = seed, seed if subset_seed is None else subset_seed
        self.augmentation_seed = derive_seed(seed, 1)
        self.check_images, self.on_bad_image, self.exif_rotation = check_images, on_bad_image, exif_rotation
        self.in_memory = in_memory
        self.skipped_images: dict[str, int] = {}
        self._kept: dict[tuple[IndexedDataset, torch.device], bool] = {}
        self._resumed_epoch = 0
        self._ready = False

    def prepare_data(self) -> None:
        """Fetch what is missing, where allowed."""
        self.source.prepare(self.root, self.download)

    def setup(self, stage: str | None = None) -> None:
        """Choose the training subset and build the datasets of all stages, as metrics of any need the training counts.

        A second call does nothing.
        """
        if not self._ready:
            self._build()
        if self.on_bad_image == "skip":
            self._check_ranks_agree()
        if self.trainer is not None and not self.has_validation:
            self.trainer.limit_val_batches = 0  # Lightning warns of an empty loader, and asks for one every epoch

    def _build(self) -> None:
        train = self._load("train")
        self.class_names, self.num_classes = train.class_names, len(train.class_names)
        if self.expected_classes not in (None, self.num_classes):
            raise DataError(
                f"Expected `num_classes` to be {self.num_classes}, as in the data, but got {self.expected_classes}. "
                "Correct dataset.num_classes."
            )
        test, official, gallery = self._load("test"), self._load_if_there("val"), None
        everything, test_rows = torch.arange(len(train.labels)), torch.arange(len(test.labels))
        self.test_class_names = self.class_names
        files = self.check_images != "none"
        if self.split == "classes":
            # A validation part of the source has classes of the test: only what is held out of training has none.
            official, gallery = None, self._load("gallery") if getattr(self.source, "has_gallery", False) else None
            if self.split_order == "permuted":
                train, test = in_seeded_order(train, self.subset_seed), in_seeded_order(test, self.subset_seed)
                gallery = None if gallery is None else in_seeded_order(gallery, self.subset_seed)
            everything, test_rows, self.num_classes = split_classes(train, test, self.train_classes, gallery)
            for images in (train, test, gallery) if files else ():
                if images is not None:
                    check_files(images)
            if self.validation_classes:
                everything, new_classes, self.num_classes = hold_out_classes(
                    train, everything, self.num_classes, self.validation_classes
                )
            self.class_names, self.test_class_names = train.class_names[: self.num_classes], train.class_names
        else:
            check_splits({"train": train, "val": official, "test": test}, files)
        rows, held_out = self._choose_rows(train, everything)
        held_out = new_classes if self.validation_classes else held_out
        self.train_dataset = self._dataset(train, rows, training=True)
        self.eval_train_dataset = self._dataset(train, rows)
        self.val_dataset = None if official is None else self._whole(official)
        if len(held_out):
            self.val_dataset = self._dataset(train, held_out)
        self.test_dataset = self._dataset(test, test_rows)
        self.gallery_dataset = None if gallery is None else self._whole(gallery)
        if self.in_memory is True:
            check_can_be_kept(self.train_dataset, self.val_dataset, self.test_dataset)
        if self.check_images == "decode":
            self._look_into_files()
        self.class_counts = torch.bincount(self.train_dataset.labels, minlength=self.num_classes)
        self.train_size, self.index_hash = len(self.train_dataset), index_hash(self.train_dataset.rows)
        untested = "" if self.split == "classes" else what_is_untested(self.test_dataset.labels, self.class_names)
        say_once(passed_over_of([train, official, test]), untested)
        self._ready = True

    def _look_into_files(self) -> None:
        """Decode every image file in use, and refuse the broken ones or leave them out."""
        parts = {"training": self.train_dataset, "validation": self.val_dataset, "test": self.test_dataset}
        parts["gallery"] = self.gallery_dataset
        used, memory = used_files(*parts.values()), memory_of(str(self.name), self.root)
        if self.on_bad_image == "refuse":
            # The first rank answers for all; it has done so before Lightning starts the others.
            if is_first_rank():
                check_decodable(used, memory)
            return
        broken = broken_images(used, memory)  # each rank has to know which images are left out
        say_once(skipped_line(broken, len(set(used))))
        self.skipped_images = {part: data.leave_out(broken, part) for part, data in parts.items() if data is not None}
        self.eval_train_dataset.leave_out(broken, "training")

    def _check_ranks_agree(self) -> None:
        """Raise DataError where ranks could not read different files: they would train on different images."""
        found = from_all_ranks((self.index_hash, self.skipped_images))
        if any(other != found[0] for other in found):
            raise DataError(
                "Expected all ranks to read the same images, but they had to skip "
                f"{[skipped for _, skipped in found]}. Look whether every machine sees the whole dataset."
            )

    def show_larger(self, part: str, image_size: int) -> None:
        """Evaluate the whole images of a part at another size, without a central crop, for views that are cut of them.

        Args:
            part: "test", "val" or "train".
            image_size: height and width in pixels.
        """
        name = {"train": "eval_train_dataset"}.get(part, f"{part}_dataset")
        dataset = getattr(self, name)
        if dataset is not None:
            setattr(self, name, dataset.shown_as(self.model_input.at(image_size)))

    @property
    def has_validation(self) -> bool:
        """Whether there is a validation part."""
        return self.val_dataset is not None

    @property
    def class_frequencies(self) -> Tensor:
        """Probability q_c that the sampler draws class c in the current epoch, (C,) float64."""
        epoch = self.trainer.current_epoch if self.trainer is not None else self._resumed_epoch
        return self.sampling.class_frequencies(self.class_counts, epoch)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training loader, set to the epoch that comes next."""
        seed, repeated = derive_seed(self.seed, 0), bool(getattr(self.trainer, "overfit_batches", 0))
        labels, counts = self.train_dataset.labels, self.class_counts
        sampler = EpochSampler(self.sampling, labels, counts, seed, repeated=repeated)
        # Lightning builds the first iterator, whose workers prefetch at once, before it calls `set_epoch`.
        sampler.set_epoch(self._next_epoch())
        batches = self._keyed(GlobalBatchSampler(sampler, self.batch_size, self.drop_last))
        return self._loader(self.train_dataset, batches)

    def eval_train_dataloader(self) -> DataLoader[Any]:
        """Return the training subset in order, with the evaluation transform."""
        return self._evaluation_loader(self.eval_train_dataset)

    def val_dataloader(self) -> Any:
        """Return the validation loader, an empty list without a validation part."""
        return [] if self.val_dataset is None else self._evaluation_loader(self.val_dataset)

    def test_dataloader(self) -> DataLoader[Any]:
        """Return the test loader."""
        return self._evaluation_loader(self.test_dataset)

    def gallery_dataloader(self) -> DataLoader[Any] | None:
        """Return the loader of what the test images are searched in; None where that is the test part itself."""
        return None if self.gallery_dataset is None else self._evaluation_loader(self.gallery_dataset)

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return the test loader."""
        return self.test_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch to go on with, the name of the training subset, and the classes in their order."""
        return {"epoch": self._next_epoch(), "index_hash": self.index_hash, "class_names": list(self.class_names)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the epoch of a checkpoint; raise ValueError where training would go on with another subset."""
        self._resumed_epoch = int(state_dict["epoch"])
        fitting = self.trainer is None or self.trainer.state.fn == "fit"
        if fitting and self._ready and state_dict["index_hash"] != self.index_hash:
            raise ValueError(
                f"Expected the checkpoint's training subset, {state_dict['index_hash']}, but got {self.index_hash}. "
                "Resume with the same dataset, imbalance_factor and subset_seed."
            )
        if fitting and self._ready:
            check_same_classes(state_dict.get("class_names", self.class_names), self.class_names)

    def _next_epoch(self) -> int:
        if self.trainer is None or self.trainer.state.fn != "fit":
            return self._resumed_epoch
        # `processed`, not `current_epoch`: it has been raised when checkpoints are written at the end of an epoch, and
        # a resumed trainer has restored it before it asks for the loader.
        progress: Any = self.trainer.fit_loop.epoch_progress.current
        return int(progress.processed)

    def _load(self, split: str) -> ImageSet:
        images = self._load_if_there(split)
        if images is None:
            raise DataError(f"Expected the source to have a {split!r} split, but got none. Give it one.")
        return images

    def _load_if_there(self, split: str) -> ImageSet | None:
        images = self.source.load(split, self.root, self.subset_seed)
        if images is None or not self.exif_rotation:
            return images
        return replace(images, images=upright(images.images))

    def _choose_rows(self, train: ImageSet, everything: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows of the training and of the validation part, out of those of classes that are trained on."""
        if self.validation_from == "whole":
            others, held_out = self._carve(train.labels, everything)
            return self._subset(train.labels, others), held_out
        return self._carve(train.labels, self._subset(train.labels, everything))

    def _subset(self, labels: Tensor, rows: Tensor) -> Tensor:
        chosen = training_subset(
            labels[rows],
            self.num_classes,
            self.imbalance,
            factor=self.imbalance_factor,
            samples=self.imbalance_samples,
            file=self.imbalance_file,
            seed=self.subset_seed,
            class_order=self.class_order,
            subset_rule=self.subset_rule,
        )
        return rows[chosen]

    def _carve(self, labels: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        kept, held_out = carve_validation(
            labels[rows],
            self.num_classes,
            per_class=self.validation_per_class,
            fraction=self.validation_fraction,
            seed=self.subset_seed,
        )
        return rows[kept], rows[held_out]

    def _whole(self, images: ImageSet) -> IndexedDataset:
        return self._dataset(images, torch.arange(len(images.labels)))

    def _dataset(self, samples: ImageSet, rows: Tensor, training: bool = False) -> IndexedDataset:
        """Return some rows of a split, changed at random only for training."""
        if not training:
            return IndexedDataset(samples, rows, self.model_input)
        return IndexedDataset(samples, rows, self.model_input, self.augmentation, self.augmentation_seed)

    def _evaluation_loader(self, dataset: IndexedDataset) -> DataLoader[Any]:
        return self._loader(dataset, self._keyed(EvaluationBatchSampler(len(dataset), self.eval_batch_size)))

    def _keyed(self, batches: Any) -> Any:
        """Return the batches with the keys that the datasets take."""
        return batches

    def _loader(self, dataset: IndexedDataset, batches: Sampler[Any]) -> DataLoader[Any]:
        # A generator of its own: building an iterator leaves torch's global one alone.
        generator = torch.Generator().manual_seed(derive_seed(self.seed, 2))
        start = partial(start_worker, rank=rank())
        kept = self._keeps(dataset)
        if kept:  # workers, which Lightning recommends where there are cores for them, have nothing to do then
            warnings.filterwarnings("ignore", message=".*does not have many workers")
        loading = {"num_workers": 0, "pin_memory": False} if kept else self.loader_options
        options: dict[str, Any] = {"generator": generator, "worker_init_fn": start, **loading}
        return DataLoader(dataset, batch_sampler=batches, collate_fn=collate, **options)

    def _keeps(self, dataset: IndexedDataset) -> bool:
        """Keep a dataset in memory where that can be, which is tried once, and tell whether it is."""
        strategy = getattr(self.trainer, "strategy", None)
        device = torch.device("cpu") if strategy is None else strategy.root_device
        if (dataset, device) not in self._kept:
            self._kept[dataset, device] = self._keep(dataset, device)
        return self._kept[dataset, device]

    def _keep(self, dataset: IndexedDataset, device: torch.device) -> bool:
        return keep_in_memory(dataset, self.in_memory, device)
