"""Which images are kept in memory, that batches stay what they are, and the lines where it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from semscale_pl.data import in_memory
from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.errors import DataError
from semscale_pl.data.files import Folder
from semscale_pl.data.source import ImageSet
from semscale_pl.data.transforms import auto_augment_cutout, crop_flip, resized_crop_flip
from semscale_pl.data.vision import Digits
from semscale_pl.data.wrapped import TorchDatasets


class Pixels:
    """A source of uint8 images."""

    def prepare(self, root: Path, download: bool) -> None:
        """Do nothing."""

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        if split == "val":
            return None
        generator = torch.Generator().manual_seed(len(split))
        images = torch.randint(0, 256, (30, 3, 16, 16), generator=generator, dtype=torch.uint8)
        return ImageSet(images, torch.arange(30) % 3, ["a", "b", "c"])


def folder(root: Path, sizes: dict[str, tuple[int, int]]) -> Path:
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for name, size in sizes.items():
                noise = torch.randint(0, 256, (size[1], size[0], 3), dtype=torch.uint8).numpy()
                Image.fromarray(noise).save(root / split / label / f"{name}.png")
    return root


def module(source: Any, wish: Any, **options: Any) -> ImbalancedDataModule:
    options = {"channels": 3, "image_size": 16, "mean": [0.5], "std": [0.25], "batch_size": 4, "seed": 2, **options}
    data = ImbalancedDataModule(source, in_memory=wish, **options)
    data.setup()
    return data


def batches(data: ImbalancedDataModule, epochs: int = 2) -> list[tuple[Tensor, ...]]:
    loader = data.train_dataloader()
    found = []
    for epoch in range(epochs):
        loader.batch_sampler.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        found += list(loader)
    return [*found, *data.test_dataloader()]


def assert_equal(one: list[tuple[Tensor, ...]], other: list[tuple[Tensor, ...]]) -> None:
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


CHANGES: dict[str, Any] = {
    "none": None,
    "crop_flip": crop_flip(16),
    "jitter": resized_crop_flip(16, jitter=0.4),
    "auto_augment_cutout": auto_augment_cutout(16),
}


@pytest.mark.parametrize("change", CHANGES)
def test_files_give_the_same_batches_from_memory(change: str, tmp_path: Path) -> None:
    folder(tmp_path, {str(number): (16, 16) for number in range(5)})
    read, kept = (
        module(Folder("."), wish, root=str(tmp_path), augmentation=CHANGES[change]) for wish in (False, "auto")
    )
    assert_equal(batches(read), batches(kept))
    assert kept.train_dataset.in_one_tensor
    assert not read.train_dataset.in_one_tensor
    for path in tmp_path.rglob("*.png"):
        path.unlink()
    assert_equal(batches(kept), batches(kept))


@pytest.mark.parametrize("change", CHANGES)
def test_tensors_give_the_same_batches_by_workers_or_sample_by_sample(change: str) -> None:
    kept = module(Pixels(), "auto", augmentation=CHANGES[change], num_workers=1)
    assert kept.train_dataloader().num_workers == 0
    working = module(Pixels(), False, augmentation=CHANGES[change], num_workers=1)
    assert working.train_dataloader().num_workers == 1
    shown = batches(kept)
    if change == "crop_flip":
        assert_equal(shown, batches(working))
    for images, labels, indices in shown[:3]:
        for place, index in enumerate(indices.tolist()):
            image, label, _ = kept.train_dataset[(index, 0)]
            assert torch.equal(image, images[place])
            assert label == labels[place]


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_show_together_what_one_process_shows(ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"augmentation": auto_augment_cutout(16), "batch_size": 7}
    whole = list(module(Pixels(), "auto", **options).train_dataloader())
    parts = []
    for number in range(ranks):
        monkeypatch.setattr("semscale_pl.data.samplers.world_size", lambda: ranks)
        monkeypatch.setattr("semscale_pl.data.samplers.rank", lambda number=number: number)
        parts.append(list(module(Pixels(), "auto", **options).train_dataloader()))
    together = [tuple(map(torch.cat, zip(*batch, strict=True))) for batch in zip(*parts, strict=True)]
    # A last batch with fewer samples than ranks is dropped.
    assert_equal(together, whole[: len(together)])
    assert len(together) == (5 if ranks == 2 else 4)


def test_files_that_are_resized_are_kept_where_nothing_is_drawn(tmp_path: Path) -> None:
    folder(tmp_path, {"1": (30, 20), "2": (18, 25), "3": (16, 16)})
    options: dict[str, Any] = {"root": str(tmp_path), "crop_share": 0.875}
    read, kept = (module(Folder("."), wish, **options) for wish in (False, "auto"))
    assert_equal(batches(read), batches(kept))
    assert kept.train_dataset.in_one_tensor
    # A crop is drawn in the file's own size: these stay files.
    drawn = module(Folder("."), "auto", augmentation=resized_crop_flip(16), **options)
    assert_equal(batches(drawn), batches(module(Folder("."), False, augmentation=resized_crop_flip(16), **options)))
    assert not drawn.train_dataset.in_one_tensor
    assert drawn.test_dataset.in_one_tensor
    with pytest.raises(DataError, match=r"of one size with in_memory=true, but .*1\.png has \(20, 30\)"):
        module(Folder("."), True, augmentation=resized_crop_flip(16), **options).train_dataloader()


def test_too_many_files_are_kept_only_where_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, {str(number): (16, 16) for number in range(5)})
    monkeypatch.setattr(in_memory, "LARGEST", 10 * 16 * 16 * 3 - 1)
    for wish, expected in (("auto", False), (True, True)):
        data = module(Folder("."), wish, root=str(tmp_path))
        data.train_dataloader()
        assert data.train_dataset.in_one_tensor is expected
    monkeypatch.setattr(in_memory, "LARGEST", 10 * 16 * 16 * 3)
    data = module(Folder("."), "auto", root=str(tmp_path))
    data.train_dataloader()
    assert data.train_dataset.in_one_tensor


def test_files_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, {"1": (16, 16), "2": (16, 18)})
    data = module(Folder("."), "auto", root=str(tmp_path), augmentation=crop_flip(16))
    tried = []
    monkeypatch.setattr(
        "semscale_pl.data.datamodule.keep_in_memory", lambda *arguments: bool(tried.append(arguments[0]))
    )
    for _ in range(3):
        data.train_dataloader()
        data.eval_train_dataloader()
    assert tried == [data.train_dataset, data.eval_train_dataset]


def test_what_cannot_be_kept_stays_as_it_was_or_is_refused() -> None:
    each = [(torch.full((3, 16, 16), number, dtype=torch.uint8), number % 2) for number in range(6)]
    foreign = TorchDatasets(Listed(each), Listed(each))
    alone = {"augmentation": v2.RandomHorizontalFlip()}
    for source, options, reason in (
        (foreign, {}, "they come one by one from a dataset that may change them each time"),
        (Pixels(), alone, "their augmentation takes one image at a time"),
    ):
        data = module(source, "auto", num_workers=1, **options)
        assert data.train_dataloader().num_workers == 1
        with pytest.raises(ValueError, match=f"in_memory=true, but {reason}. Set dataset.in_memory=auto or false."):
            module(source, True, **options)
    with pytest.raises(ValueError, match="`in_memory` to be \"auto\", true or false, but got 'yes'"):
        ImbalancedDataModule(Digits(), in_memory="yes")  # type: ignore[arg-type]


class Listed(list[Any]):
    """A torch dataset of (image, label)."""
