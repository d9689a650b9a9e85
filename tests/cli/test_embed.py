"""`semscale embed`: the network's own features, once, whoever makes them, and again only where something changed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hydra.utils import instantiate
from PIL import Image

from semscale_pl.cli.main import main
from semscale_pl.config.checks import composed
from semscale_pl.config.errors import WrongCallError
from semscale_pl.features import unfinished_store
from semscale_pl.features.store import EmbeddingStore, stores_folder
from semscale_pl.features.unfinished_store import at_work
from semscale_pl.models.backbone import Backbone
from semscale_pl.seeding import seeded
from semscale_pl.training.embedding import _extract
from semscale_pl.training.restoring import restore
from semscale_pl.training.run import train

DIGITS = ("dataset=digits", "backbone=small_cnn")


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEMSCALE_CACHE", str(tmp_path / "cache"))


def embed(*arguments: str) -> None:
    assert main(["embed", *arguments]) == 0


def expected(*overrides: str, epoch: int | None = None) -> np.ndarray:
    """Compute the features of the training part of digits one image at a time, of an augmented copy where asked."""
    cfg = composed([*DIGITS, *overrides])
    with seeded(0):
        backbone = instantiate(cfg.backbone).eval()
    data = instantiate(cfg.dataset)
    data.prepare_data()
    data.setup()
    images = [
        data.eval_train_dataset[row][0] if epoch is None else data.train_dataset[row, epoch][0] for row in range(60)
    ]
    with torch.no_grad():
        return torch.cat([backbone(image[None]) for image in images]).numpy()


def test_the_whole_training_part_and_the_test_part(capsys: pytest.CaptureFixture[str]) -> None:
    embed(*DIGITS, "out=store")
    store = EmbeddingStore.open("store")
    train, test = store.part("train"), store.part("test")
    assert (len(train), len(test), store.num_features) == (1078, 719, 64)
    np.testing.assert_allclose(train.features[:60], expected(), rtol=1e-4, atol=1e-5)
    assert np.bincount(train.labels).min() > 100
    printed = capsys.readouterr()
    assert "dataset=features \"dataset.store='store'\"" in printed.out
    assert "Embedded 1,797 of 1,797 images" in printed.out
    assert "the network is not trained" in printed.err


def test_copies_are_those_of_the_epochs_of_a_training(capsys: pytest.CaptureFixture[str]) -> None:
    crop = "augmentation=crop"
    embed(*DIGITS, crop, "augment_copies=2", "out=store", "parts=train", "dtype=float16")
    store = EmbeddingStore.open("store")
    assert store.parts == ("train",)
    assert "\"dataset.store='store'\" dataset.train_fraction=0.8" in capsys.readouterr().out
    views = store.part("train").views
    for copy, view in enumerate(views, start=1):
        np.testing.assert_allclose(view[:60], expected(crop, epoch=copy), rtol=2e-3, atol=1e-3)
    assert not np.array_equal(*views)
    assert store.manifest["augmentation"]["copies"] == 2


def test_a_second_call_is_told_from_another_store(capsys: pytest.CaptureFixture[str]) -> None:
    embed(*DIGITS)
    embed("dataset=digits_lt", "backbone=small_cnn")  # whose images are the same before its tail is cut
    assert "All images were embedded already" in capsys.readouterr().out
    assert len(list(stores_folder().iterdir())) == 1
    for change in ("dataset.image_size=10", "dtype=float16", "layer=trunk.block2"):
        embed(*DIGITS, change)
    assert "embedded already" not in capsys.readouterr().out
    found = list(stores_folder().iterdir())
    assert len({EmbeddingStore.open(folder.name).key for folder in found}) == len(found) == 4
    digits = next(folder for folder in found if EmbeddingStore.open(folder).manifest["dtype"] == "float16")
    assert main(["embed", *DIGITS, "seed=1", f"out={digits}"]) == 2
    assert "it holds one of other settings (model, data, dtype)" in capsys.readouterr().err


def test_shards_make_the_bytes_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(unfinished_store, "ROWS", 200)
    embed(*DIGITS, "out=one")
    embed(*DIGITS, "out=two", "shard=2/2")
    assert main(["embed", "merge=two"]) == 2
    assert "5 are missing, the first is train.000000000.npy" in capsys.readouterr().err
    embed(*DIGITS, "out=two", "shard=1/2")  # merges by itself
    one, two = ({file.name: file.read_bytes() for file in Path(name).iterdir()} for name in ("one", "two"))
    assert one == two


def test_nobody_takes_chunks_from_shards_at_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    embed(*DIGITS, "out=store", "shard=1/2")
    chunks = sorted(Path("store/chunks").glob("*.npy"))
    assert chunks
    with at_work(Path("store"), (2, 2)):
        busy = rf"shard 2/2 (process {os.getpid()} on "
        for other in ([], ["shard=1/3"]):
            assert main(["embed", *DIGITS, "out=store", *other]) == 2
            assert f"Expected nobody else at work on store, but {busy}" in capsys.readouterr().err.splitlines()[-1]
        assert main(["embed", *DIGITS, "out=store", "shard=2/2"]) == 2
        assert "is writing in store/chunks/shard-2-of-2. Wait" in capsys.readouterr().err.splitlines()[-1]
        assert main(["embed", "merge=store"]) == 2
        assert f"Shard 2/2 (process {os.getpid()}" in capsys.readouterr().err.splitlines()[-1]
        embed(*DIGITS, "out=store", "shard=1/2")  # has nothing left to do, and leaves the other in peace
    assert sorted(Path("store/chunks").glob("*.npy")) == chunks
    with at_work(Path("store")):
        assert main(["embed", *DIGITS, "out=store", "shard=2/2"]) == 2
        assert "but a call without `shard` (process" in capsys.readouterr().err.splitlines()[-1]
    embed(*DIGITS, "out=store")
    assert not Path("store/chunks").exists()


def test_a_checkpoint_and_what_measure_makes_of_the_store(capsys: pytest.CaptureFixture[str]) -> None:
    run = train(composed(["dataset=digits_lt", "trainer.max_epochs=1", "classifier=cosine"]), Path("run")).run_dir
    embed("dataset=digits", f"ckpt={run}", "out=store")
    store = EmbeddingStore.open("store")
    restored = restore(run / "checkpoints" / "last.ckpt")
    cfg = composed(["dataset=digits"])
    data = instantiate(cfg.dataset)
    data.prepare_data()
    data.setup()
    images = torch.stack([data.test_dataset[row][0] for row in range(50)])
    with torch.no_grad():
        features = restored.module.classifier.features(restored.module.backbone(images))
    np.testing.assert_allclose(store.part("test").features[:50], features, rtol=1e-4, atol=1e-5)
    bare = ("report=false", "figures=false")
    assert main(["measure", "features=store", "out=of_store", *bare]) == 0
    assert main(["measure", "dataset=digits", f"ckpt={run}/checkpoints/last.ckpt", "out=of_images", *bare]) == 0
    found, direct = (json.loads(Path(name, "scales.json").read_text()) for name in ("of_store", "of_images"))
    assert found["scales"] == pytest.approx(direct["scales"], rel=1e-4)
    assert found["counts"] == direct["counts"]
    assert main(["measure", "features=store", "part=test", "out=of_test", *bare]) == 0
    assert sum(json.loads(Path("of_test", "scales.json").read_text())["counts"]) == 719
    assert main(["advise", "features=store", "batch=20", "threshold=0.02", "orders=2", "out=advice"]) == 0


def test_a_folder_with_its_parts_and_paths() -> None:
    for part, count in (("train", 3), ("test", 2)):
        for name in ("ant", "bee"):
            Path("images", part, name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (12, 10), (40 * number, 0, 0)).save(f"images/{part}/{name}/{number}.png")
    small = ("backbone=resnet20", "dataset.image_size=8")
    embed("images=images", *small, "out=store")
    store = EmbeddingStore.open("store")
    assert (store.parts, store.class_names) == (("train", "test"), ("ant", "bee"))
    assert store.part("test").paths == tuple(f"images/test/{name}/{n}.png" for name in ("ant", "bee") for n in (0, 1))
    embed("images=images/train", *small, "out=alone")
    alone = EmbeddingStore.open("alone")
    np.testing.assert_array_equal(alone.part("train").features, store.part("train").features)
    embed("images=images/train", *small, "seed=1", "out=other")  # other weights
    Image.new("RGB", (12, 10), (9, 9, 90)).save("images/train/ant/0.png")
    embed("images=images/train", *small, "out=changed")
    others = {name: EmbeddingStore.open(name).manifest for name in ("other", "changed")}
    assert len({alone.key, *(manifest["key"] for manifest in others.values())}) == 3
    assert [others["other"][name] == alone.manifest[name] for name in ("model", "data", "input")] == [False, True, True]
    assert [others["changed"][name] == alone.manifest[name] for name in ("model", "data")] == [True, False]


REFUSED = [
    (("dataset=digits",), "Expected backbone=NAME or ckpt=FILE"),
    (("backbone=small_cnn",), "Expected one of dataset=NAME and images=FOLDER, but got none"),
    ((*DIGITS, "imbalance_factor=10"), "as a store holds the whole dataset"),
    ((*DIGITS, "loss=ce"), "Expected overrides of dataset, backbone, augmentation, but got `loss`"),
    ((*DIGITS, "lyer=x"), "Unknown"),
    ((*DIGITS, "dataset.imgsize=3"), "dataset.imgsize"),
    ((*DIGITS, "dtype=float64"), "Expected `dtype` to be one of float32, float16"),
    ((*DIGITS, "shard=3/2"), "Expected `shard` to be i/n"),
    ((*DIGITS, "augmentation=crop"), "Expected augment_copies=K with an augmentation"),
    ((*DIGITS, "augment_copies=2"), "Expected an augmentation for `augment_copies`"),
    ((*DIGITS, "parts=val"), "Expected a part 'val' of the dataset, but it has train, test"),
    ((*DIGITS, "layer=nowhere"), "Expected `layer` to be a module of the backbone, but it has none named 'nowhere'"),
    ((*DIGITS, "pretrained=true"), "pretrained"),
    (
        (*DIGITS, "augment_copies=1", "augmentation=crop", "dataset.image_size=96"),
        "Expected an image of at least 94 pixels",
    ),
    (
        ("dataset=features", "dataset.store=x", "backbone=resnet20"),
        "Expected a dataset of images, but features has none",
    ),
    (("merge=.", "dtype=float16"), "Expected merge=FOLDER alone"),
    (("merge=.",), "Expected a store with shards in ., but it is none"),
    (("dataset=digits", "ckpt=nowhere"), "Expected `ckpt` to be a checkpoint or the folder of a run"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[" ".join(arguments) for arguments, _ in REFUSED])
def test_a_wrong_call_is_one_line_and_leaves_nothing(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", *arguments]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "is not trained" not in line]
    assert len(said) == 1
    assert message in said[0]
    assert not stores_folder().exists() or not list(stores_folder().iterdir())


@pytest.mark.parametrize("layer", ["stage3", "stage3.0.conv1"])
def test_a_layer_is_averaged_over_its_places(layer: str, capsys: pytest.CaptureFixture[str]) -> None:
    embed("dataset=digits", "backbone=resnet20", f"layer={layer}", "out=store", "parts=test")
    assert "Train a head" not in capsys.readouterr().out  # nothing to train on
    assert EmbeddingStore.open("store").num_features == 64


class Windows(torch.nn.Module):
    """A backbone one of whose modules sees four windows of each image as rows of their own."""

    num_features, in_channels = 3, 3

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = self.attention(images.flatten(2).mean(2).repeat(4, 1))
        return rows[: len(images)]

    def __init__(self) -> None:
        super().__init__()
        self.attention = torch.nn.Identity()


@pytest.mark.parametrize(("layer", "prefix"), [("blocks.1", 5), ("patch_embed", 0), ("blocks.0.attn.qkv", 5)])
def test_tokens_are_averaged_without_those_of_class_and_registers(layer: str, prefix: int) -> None:
    options = {"img_size": 16, "patch_size": 4, "embed_dim": 12, "depth": 2, "num_heads": 2, "reg_tokens": 4}
    trunk = timm.models.VisionTransformer(**options, num_classes=0).eval()
    images, seen = torch.rand(3, 3, 16, 16), []
    handle = trunk.get_submodule(layer).register_forward_hook(lambda module, inputs, output: seen.append(output))
    trunk(images)
    handle.remove()
    tokens = seen[0].detach().numpy().astype(np.float64)
    assert tokens.shape[1] == 16 + prefix
    with torch.no_grad():
        found = _extract(Backbone(trunk, 12, 3), layer)(images)
    np.testing.assert_allclose(found, sum(tokens[:, place] for place in range(prefix, prefix + 16)) / 16, atol=1e-6)


def test_the_tokens_of_clip_are_averaged_without_that_of_the_class() -> None:
    transformer = pytest.importorskip("open_clip.transformer", reason="pip install 'semscale-pl[open_clip]'")
    tower = transformer.VisionTransformer(
        image_size=16, patch_size=8, width=12, layers=1, heads=2, mlp_ratio=1.0, output_dim=5
    ).eval()
    images = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        found = _extract(Backbone(tower, 5, 3), "transformer")(images)
        tokens = tower.transformer(tower._embeds(images))
    assert tokens.shape == (3, 5, 12)
    torch.testing.assert_close(found, (tokens[:, 1] + tokens[:, 2] + tokens[:, 3] + tokens[:, 4]) / 4)


class Pair(torch.nn.Module):
    """A layer that gives two things."""

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, None]:
        return rows, None


class OddLayers(torch.nn.Module):
    """A backbone with a layer that gives a tuple, and one that is never called."""

    num_features, in_channels = 3, 3

    def __init__(self, **_: object) -> None:
        super().__init__()
        self.pair, self.spare = Pair(), torch.nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.pair(images.flatten(1)[:, :3])[0]


@pytest.mark.parametrize(("layer", "got"), [("pair", "got a tuple"), ("spare", "as the network does not call it")])
def test_a_layer_that_gives_no_tensor_is_refused_before_anything_is_written(
    layer: str, got: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semscale_pl.models.small_cnn.SmallCNN", OddLayers)
    assert main(["embed", *DIGITS, f"layer={layer}", "out=store"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"semscale: Expected layer={layer} to give one tensor")
    assert got in said
    assert not Path("store").exists()


def test_a_layer_whose_rows_are_windows_is_refused_at_the_first_batch() -> None:
    extract = _extract(Windows(), "attention")
    with pytest.raises(WrongCallError, match="to give one row for each of 2 images, but got 8"):
        extract(torch.zeros(2, 3, 4, 4))


@pytest.fixture
def head() -> Path:
    """Return the checkpoint of a classifier of features."""
    np.savez("x.npz", features=np.eye(8, dtype=np.float32), labels=np.arange(8) % 2)
    files = ["dataset=features", "dataset.train=x.npz", "dataset.test=x.npz"]
    return train(composed([*files, "trainer.max_epochs=1"]), Path("run")).run_dir / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize("command", ["embed", "measure"])
def test_a_model_of_features_is_given_no_images(command: str, head: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("images/a").mkdir(parents=True)
    Path("images/b").mkdir()
    for name in ("a/0", "a/1", "b/0", "b/1"):
        Image.new("RGB", (8, 8), (len(name), ord(name[0]), 7)).save(f"images/{name}.png")
    assert main([command, f"ckpt={head}", "images=images", "out=out"]) == 2
    assert "Expected `ckpt` to be a model of images" in capsys.readouterr().err.splitlines()[-1]


def test_the_command_evaluates_a_model_of_features(head: Path) -> None:
    assert main(["evaluate", f"ckpt={head}", "out=evaluated"]) == 0
    assert json.loads(Path("evaluated/evaluation.json").read_text())


PROGRAM = """
import sys, time
from semscale_pl.cli.main import main
from semscale_pl.features import unfinished_store
unfinished_store.ROWS = 50
save = unfinished_store.UnfinishedStore.save
def slowly(self, chunk, features):
    save(self, chunk, features)
    print(chunk.file, flush=True)
    time.sleep(0.2)
unfinished_store.UnfinishedStore.save = slowly
sys.exit(main(["embed", "dataset=digits", "backbone=small_cnn", "out=killed"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_call_that_a_signal_ends_goes_on(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline().strip()
        os.kill(process.pid, number)
        made, said = [first, *process.stdout.read().split()], process.stderr.read()
    assert process.returncode == (-number if number == signal.SIGKILL else 128 + number)
    assert ("What is embedded stays. To go on, type:" in said) == (number != signal.SIGKILL)
    monkeypatch.setattr(unfinished_store, "ROWS", 50)
    again: list[str] = []
    save = unfinished_store.UnfinishedStore.save

    def noted(self: unfinished_store.UnfinishedStore, chunk: unfinished_store.Chunk, features: np.ndarray) -> None:
        again.append(chunk.file)
        save(self, chunk, features)

    monkeypatch.setattr(unfinished_store.UnfinishedStore, "save", noted)
    embed(*DIGITS, "out=killed")
    assert again
    assert not set(made) & set(again)
    embed(*DIGITS, "out=whole")
    for file in Path("whole").iterdir():
        assert (Path("killed") / file.name).read_bytes() == file.read_bytes()
