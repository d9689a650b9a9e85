"""Features as a dataset: which samples, classes and versions its batches have, in memory and from a mapped file."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from semscale_pl.cli.main import main
from semscale_pl.config.checks import check_train
from semscale_pl.config.composing import composed_from
from semscale_pl.config.errors import WrongCallError
from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.features import FeatureDataModule, _with_own_keys
from semscale_pl.data.source import DataError
from semscale_pl.data.vision import Digits
from semscale_pl.features.store import StorePart, write_store
from semscale_pl.tables.named_files import contents

DIGITS = load_digits()
X, Y = (DIGITS.data / 16).astype(np.float32), DIGITS.target


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Return a training and a test file of the digits' pixels."""
    np.savez(tmp_path / "train.npz", features=X[:1000], labels=Y[:1000])
    np.savez(tmp_path / "test.npz", features=X[1000:], labels=Y[1000:])
    return {"train": str(tmp_path / "train.npz"), "test": str(tmp_path / "test.npz")}


def ready(**options: Any) -> FeatureDataModule:
    data = FeatureDataModule(**options)
    data.prepare_data()
    data.setup()
    return data


def epoch(data: ImbalancedDataModule, number: int = 0) -> list[tuple[Tensor, Tensor, Tensor]]:
    loader = data.train_dataloader()
    loader.batch_sampler.sampler.set_epoch(number)  # type: ignore[union-attr, attr-defined]
    return [tuple(batch) for batch in loader]


@pytest.mark.parametrize("in_memory", ["auto", True, False])
def test_batches_have_the_rows_that_their_indices_name(files: dict[str, str], in_memory: Any, tmp_path: Path) -> None:
    data = ready(**files, in_memory=in_memory, imbalance="exponential", imbalance_factor=10, validation_per_class=2)
    rows = data.train_dataset.rows
    for batch, labels, indices in epoch(data):
        np.testing.assert_array_equal(batch.numpy(), X[rows[indices]])
        np.testing.assert_array_equal(labels.numpy(), Y[rows[indices]])
        assert batch.dtype == torch.float32
    held_out = torch.cat([batch[0] for batch in data.val_dataloader()])
    assert held_out.shape == (20, 64)
    whole = torch.cat([batch[0] for batch in data.test_dataloader()])
    np.testing.assert_array_equal(whole.numpy(), X[1000:])
    assert (data.num_features, data.num_classes, data.varies) == (64, 10, False)


def test_order_and_subset_are_those_of_images(tmp_path: Path) -> None:
    options: dict[str, Any] = {"imbalance": "exponential", "imbalance_factor": 20, "seed": 5, "batch_size": 50}
    images = ImbalancedDataModule(Digits(), **options)
    images.setup()
    folder = tmp_path
    train, test = (images.source.load(split, folder, 5) for split in ("train", "test"))
    assert train is not None
    assert test is not None
    for name, part in (("train", train), ("test", test)):
        np.savez(folder / name, features=np.asarray(part.images).reshape(-1, 64), labels=part.labels.numpy())
    vectors = ready(train=str(folder / "train.npz"), test=str(folder / "test.npz"), **options)
    assert vectors.index_hash == images.index_hash
    for (picture, *one), (vector, *other) in zip(epoch(images, 3), epoch(vectors, 3), strict=True):
        assert torch.equal(picture.flatten(1), vector)
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))


def test_views_are_drawn_by_epoch_and_index(tmp_path: Path) -> None:
    views = [X[:200] + shift for shift in (100, 200)]
    parts = {"train": StorePart.of(X[:200], Y[:200], views=views), "test": StorePart.of(X[200:300], Y[200:300])}
    write_store(tmp_path / "store", parts, [str(name) for name in range(10)], dtype="float16")
    data = ready(store=str(tmp_path / "store"), batch_size=64, seed=1)
    mapped = ready(store=str(tmp_path / "store"), batch_size=64, seed=1, in_memory=False)
    chosen = {}
    for number in (0, 1):
        found = torch.empty(200, dtype=torch.int64)
        for (batch, _, indices), (from_file, _, _) in zip(epoch(data, number), epoch(mapped, number), strict=True):
            assert torch.equal(batch, from_file)
            found[indices] = (batch.mean(1) / 100).floor().long()
            expected = torch.from_numpy(X[:200])[indices] + 100 * found[indices][:, None]
            torch.testing.assert_close(batch, expected, atol=0.13, rtol=0)  # what half precision leaves of 200.5
        chosen[number] = found
    assert all(int((found == version).sum()) > 40 for found in chosen.values() for version in range(3))
    assert int((chosen[0] != chosen[1]).sum()) > 80
    small = ready(store=str(tmp_path / "store"), batch_size=7, seed=1)
    for batch, _, indices in epoch(small, 1):
        assert torch.equal((batch.mean(1) / 100).floor().long(), chosen[1][indices])
    assert data.varies
    evaluated = torch.cat([batch[0] for batch in data.eval_train_dataloader()])
    np.testing.assert_allclose(evaluated.numpy(), X[:200], atol=1e-3)
    assert not ready(store=str(tmp_path / "store"), views=False).varies


def test_classes_of_other_files_are_those_of_the_training_file(tmp_path: Path) -> None:
    words = np.array(["zebra", "ant", "zebra", "bee"])
    np.savez(tmp_path / "train.npz", features=X[:4], labels=words)
    np.savez(tmp_path / "test.npz", features=X[:2], labels=np.array(["zebra", "bee"]))
    data = ready(train=str(tmp_path / "train.npz"), test=str(tmp_path / "test.npz"))
    assert data.class_names == ["ant", "bee", "zebra"]
    assert data.test_dataset.labels.tolist() == [2, 1]
    np.savez(tmp_path / "test.npz", features=X[:2], labels=np.array(["zebra", "cow"]))
    with pytest.raises(DataError, match=r"'cow'.*same classes"):
        ready(train=str(tmp_path / "train.npz"), test=str(tmp_path / "test.npz"))
    np.savez(tmp_path / "test.npz", features=X[:2, :3], labels=np.array(["zebra", "ant"]))
    with pytest.raises(DataError, match=r"64 features.*has 3"):
        ready(train=str(tmp_path / "train.npz"), test=str(tmp_path / "test.npz"))


def named(path: Path, features: np.ndarray, labels: np.ndarray, names: list[str] | None) -> str:
    np.savez(path, features=features, labels=labels, **({} if names is None else {"class_names": np.array(names)}))
    return str(path)


def test_classes_that_are_named_agree_between_training_and_test(tmp_path: Path) -> None:
    names = ["cat", "dog", "emu"]
    labels = np.array([0, 1, 2, 0])
    train = named(tmp_path / "train.npz", X[:4], labels, names)
    plain = named(tmp_path / "plain.npz", X[:4], labels, None)
    swapped = named(tmp_path / "swapped.npz", X[:4], labels, ["dog", "cat", "emu"])
    for test in (plain, train):  # numbers count the names of the training file
        data = ready(train=train, test=test)
        assert data.class_names == names
        assert data.test_dataset.labels.tolist() == labels.tolist()
    with pytest.raises(DataError, match=r"cat, dog, emu, but got dog, cat, emu.*dataset\.class_names=FILE"):
        ready(train=train, test=swapped)
    with pytest.raises(DataError, match=r"'cat'.*or pass dataset\.class_names=FILE"):
        ready(train=plain, test=train)
    (tmp_path / "names.txt").write_text("\n".join(names))
    assert ready(train=plain, test=plain, class_names=str(tmp_path / "names.txt")).class_names == names
    assert ready(train=plain, test=swapped, class_names=names).class_names == names


@pytest.mark.parametrize("in_memory", ["auto", False])
def test_shards_and_the_parts_of_one_file_give_the_batches_of_whole_files(in_memory: Any, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for start in (0, 300, 700):
        end = {0: 300, 300: 700, 700: 1000}[start]
        np.savez(tmp_path / "train" / f"part-{start}.npz", features=X[start:end], labels=Y[start:end])
    whole = {"train": tmp_path / "whole.npz", "test": tmp_path / "test.npz"}
    np.savez(whole["train"], features=X[:1000], labels=Y[:1000])
    np.savez(whole["test"], features=X[1000:], labels=Y[1000:])
    split = np.array(["train"] * 1000 + ["test"] * (len(X) - 1000))
    np.savez(tmp_path / "all.npz", features=X, labels=Y, fold=split)
    options: dict[str, Any] = {"imbalance": "exponential", "imbalance_factor": 10, "in_memory": in_memory}
    expected = ready(**{key: str(file) for key, file in whole.items()}, **options)
    ways: list[dict[str, Any]] = [
        {"train": str(tmp_path / "train"), "test": str(whole["test"])},
        {"train": str(tmp_path / "train" / "part-*.npz"), "test": str(whole["test"])},
        {"train": str(tmp_path / "all.npz"), "split_key": "fold"},
    ]
    for way in ways:
        data = ready(**way, **options)
        for mine, theirs in zip(epoch(data), epoch(expected), strict=True):
            assert all(torch.equal(one, other) for one, other in zip(mine, theirs, strict=True))
        assert torch.equal(next(iter(data.test_dataloader()))[0], next(iter(expected.test_dataloader()))[0])


def test_parts_need_test_samples_but_no_validation_samples(tmp_path: Path) -> None:
    file = tmp_path / "all.npz"
    np.savez(file, features=X[:6], labels=np.arange(6) % 2, fold=np.array(["train"] * 3 + ["dev", "test", "test"]))
    data = ready(train=str(file), split_key="fold")
    assert [len(part) for part in (data.train_dataset, data.val_dataset, data.test_dataset)] == [3, 1, 2]  # type: ignore[arg-type]
    np.savez(file, features=X[:6], labels=np.arange(6) % 2, fold=np.array(["train"] * 3 + ["rest"] * 3))
    with pytest.raises(DataError, match=r"rows of 'test' in `fold`.*rest \(3 rows\).*dataset\.split_key=NAME"):
        ready(train=str(file), split_key="fold")


@pytest.mark.parametrize("in_memory", ["auto", False])
def test_a_feature_that_is_not_finite_is_refused(files: dict[str, str], in_memory: Any, tmp_path: Path) -> None:
    broken = X[:1000].copy()
    broken[700, 3] = np.nan
    np.savez(tmp_path / "broken.npz", features=broken, labels=Y[:1000])
    with pytest.raises(DataError, match=r"broken\.npz to be finite.*1 samples, the first is number 700"):
        ready(train=str(tmp_path / "broken.npz"), test=files["test"], in_memory=in_memory)


def test_one_file_is_split_by_class(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", features=X, labels=Y)
    data = ready(train=str(tmp_path / "all.npz"), train_fraction=0.6)
    assert len(data.test_dataset) + len(data.train_dataset) == len(X)
    assert data.class_counts.tolist() == [107, 109, 106, 110, 109, 109, 109, 107, 104, 108]


def test_a_store_without_a_test_part_is_split_by_class(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(3), 20)
    rows = np.arange(60, dtype=np.float32)[:, None]
    write_store(tmp_path / "store", {"train": StorePart.of(rows, labels, views=(-rows,))}, ["a", "b", "c"])
    data = ready(store=str(tmp_path / "store"), train_fraction=0.75, batch_size=8)
    train, test = data.train_dataset, data.test_dataset
    assert [len(train), len(test)] == [45, 15]
    assert np.bincount(test.labels.numpy()).tolist() == [5, 5, 5]
    kept, held_out = ({int(part[row][0].abs()) for row in range(len(part))} for part in (data.eval_train_dataset, test))
    assert sorted(kept | held_out) == list(range(60))
    assert all(labels[int(test[row][0])] == test.labels[row] for row in range(len(test)))
    drawn = {float(train[row, epoch][0]) for row in range(45) for epoch in range(8)}
    assert {abs(value) for value in drawn} <= kept
    assert min(drawn) < 0 < max(drawn)


def test_parts_of_stores_stand_where_files_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = [str(number) for number in range(10)]
    # As many test samples, whose positions are the same file once more.
    parts = {"train": StorePart.of(X[:500], Y[:500]), "test": StorePart.of(X[500:1000], Y[500:1000])}
    write_store("store", parts, names)
    np.savez("test.npz", features=X[1000:], labels=Y[1000:])
    check_train(composed_from("train", ["dataset=features", "dataset.train=store", "dataset.test=store"]))
    for test, rows in (("store", X[500:1000]), ("test.npz", X[1000:])):
        data = ready(train="store", test=test)
        np.testing.assert_array_equal(data.train_dataset.images, X[:500])
        np.testing.assert_array_equal(data.test_dataset.images, rows)
    named = contents({"dataset": {"train": "store", "test": "test.npz", "store": None}})
    assert named["dataset.train"] == contents({"dataset": {"store": "store"}})["dataset.store"] != named["dataset.test"]
    write_store("short", {"train": parts["train"]}, names)
    with pytest.raises(DataError, match=r"the store short to have 'test', but it has train"):
        ready(train="store", test="short")


@pytest.mark.parametrize(
    "key", ["label_column=a", "label_key=a", "feature_key=a", "feature_columns=[a]", "split_key=a"]
)
def test_what_a_store_does_not_ask_for_is_refused(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    part = StorePart.of(X[:20], Y[:20])
    write_store("store", {"train": part, "test": part}, [str(number) for number in range(10)])
    with pytest.raises(WrongCallError, match=f"Expected `dataset.{key.partition('=')[0]}` only without a store"):
        check_train(composed_from("train", ["dataset=features", "dataset.store=store", f"dataset.{key}"]))


PARTS = [
    (["train"], [], "Set dataset.train_fraction=0.8, which keeps the rest for the test, or embed that part"),
    (["test"], [], "Expected a part 'train' of the store 'store', but it has test alone. Embed that part"),
    (["train", "test"], ["dataset.train_fraction=0.8"], "only with a store that has no part for the test"),
]


@pytest.mark.parametrize(("parts", "overrides", "said"), PARTS)
def test_a_store_that_lacks_a_part_says_what_to_do(
    parts: list[str], overrides: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    part = StorePart.of(np.eye(4, dtype=np.float32), np.arange(4) % 2)
    write_store("store", dict.fromkeys(parts, part), ["a", "b"])
    with pytest.raises(WrongCallError, match=re.escape(said)):
        check_train(composed_from("train", ["dataset=features", "dataset.store=store", *overrides]))


@pytest.mark.parametrize("in_memory", [True, False])
def test_finite_features_whose_sum_overflows_are_taken(in_memory: bool, tmp_path: Path) -> None:
    large = X.copy()
    large[:4] = 3e38
    part = StorePart.of(large, Y)
    write_store(tmp_path / "large", {"train": part, "test": part}, [str(number) for number in range(10)])
    assert float(ready(store=str(tmp_path / "large"), in_memory=in_memory).train_dataset[0][0][0]) == np.float32(3e38)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "dataset.store=FOLDER, or dataset.train=FILE with dataset.test=FILE, but got neither"),
        (["dataset.train=no.npz", "dataset.test=no.npz"], "dataset.train` to be a file, but there is none at 'no.npz'"),
        (["dataset.train=FILE"], "dataset.test=FILE, or dataset.train_fraction"),
        (["GOOD", "dataset.split_key=a"], "but got test and split_key"),
        (["GOOD", "dataset.class_names=c.txt"], "`dataset.class_names` to be a file, but there is none at 'c.txt'"),
        (["dataset.train=no*.npz", "dataset.test=FILE"], "`dataset.train` to name files, but none fits 'no*.npz'"),
        (["GOOD", "dataset.train_labels=FILE"], "`dataset.train_labels` to end in .npy, .pt, .csv"),
        (["GOOD", "dataset.val_labels=FILE"], "Expected `dataset.val_labels` beside dataset.val=FILE"),
        (["dataset.store=nowhere"], "folder of an embedding store"),
        (["dataset.store=nowhere", "dataset.train=FILE"], "both a store and files"),
        (["GOOD", "backbone=small_cnn"], "backbone=identity or backbone=mlp"),
        (["GOOD", "mixing=cutmix"], "no region to cut"),
        (["GOOD", "augmentation=crop_flip"], "augmentation=none with dataset=features"),
        (["GOOD", "reweighting=sample_volume"], "Expected images with reweighting=sample_volume"),
        (["dataset=digits", "backbone=mlp"], "has images. Embed them"),
        (["GOOD", "backbone=mlp", "backbone.dropout=1"], "Expected `backbone.dropout` to be in"),
        (["GOOD", "backbone=mlp", "backbone.hidden=[8,0]"], "Expected `backbone.hidden` to be an integer"),
        (["GOOD", "dataset.views=3"], "Expected `dataset.views` to be true or false"),
    ],
)
def test_a_wrong_call_is_one_line(overrides: list[str], said: str, files: dict[str, str]) -> None:
    good = [f"dataset.train={files['train']}", f"dataset.test={files['test']}"]
    typed = [
        text.replace("FILE", files["train"]) for each in overrides for text in (good if each == "GOOD" else [each])
    ]
    with pytest.raises(WrongCallError) as raised:
        check_train(composed_from("train", [*(["dataset=features"] if "dataset=digits" not in typed else []), *typed]))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("Leave it out with feature_columns=f0..f3.", "Leave it out with dataset.feature_columns=f0..f3."),
        ("with feature_columns=f0..f3,g, or", "with dataset.feature_columns=[f0..f3,g], or"),
        ("with feature_columns='a b,c', or", "with dataset.feature_columns=\"'a b,c'\", or"),
        ("Pass labels=FILE, or label_column=NAME.", "Pass dataset.val_labels=FILE, or dataset.label_column=NAME."),
        ("Expected `feature_key` of 3 labels.", "Expected `dataset.feature_key` of 3 labels."),
    ],
)
def test_a_message_about_a_file_names_the_settings_of_a_training(message: str, expected: str) -> None:
    assert _with_own_keys(message, "val") == expected


def test_the_columns_that_a_message_names_can_be_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"{n * 0.37 % 1:.3f},{n},{n * 0.61 % 1:.3f},{n * 0.83 % 1:.3f},{'ab'[n % 2]}\n" for n in range(20))
    (tmp_path / "x.csv").write_text("f0,id,f 1,f2,label\n" + rows)
    call = ["train", "dataset=features", f"dataset.train={tmp_path}/x.csv", "dataset.train_fraction=0.5"]
    call += [f"hydra.run.dir={tmp_path}/run", "trainer.max_epochs=1", "logger=csv"]
    assert main(call) == 2
    typed = re.search(r"with (dataset\.feature_columns=.*), or", capsys.readouterr().err)
    assert typed is not None
    assert main([*call, *shlex.split(typed[1])]) == 0
