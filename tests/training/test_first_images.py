"""What images, backbone and settings do not allow ends before training, in one line; and what ends it later."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from semscale_pl.cli.main import main
from semscale_pl.config.errors import answers_in_one_line, message_of
from semscale_pl.data.source import DataError
from semscale_pl.training.first_images import check_first_images


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setenv("SEMSCALE_CACHE", str(tmp_path / "cache"))


def trained(*overrides: str) -> int:
    return main(["train", "trainer.max_epochs=1", "hydra.run.dir=run", *overrides])


def folders(root: Path, size: int = 16) -> list[str]:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            for number in range(2):
                path = root / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)
    return ["dataset=image_folder", f"dataset.root={root}", "dataset.image_size=16", "dataset.batch_size=4"]


def test_own_images_take_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trained(*folders(tmp_path / "mine")) == 0
    assert "balanced accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["backbone=vgg16"], ("`backbone`", "at least 32 x 32, but got 8 x 8", "dataset.image_size")),
        (["backbone.in_channels=3"], ("`backbone`", "(B, 3, H, W), but got (1, 1, 8, 8)", "dataset.channels")),
        (["augmentation=crop_flip", "dataset.image_size=20"], ("at least 12 pixels", "(8, 8)", "augmentation")),
        (["augmentation=crop_flip", "dataset.image_size=null"], ("`image_size`", "None", "dataset.image_size")),
        (["dataset.class_order=size"], ("`dataset.class_order`", "label, reversed, permuted")),
        (["dataset.subset_rule=last"], ("`dataset.subset_rule`", "cao_seed0")),
        (["dataset.image_size=0"], ("`dataset.image_size`", "at least 1 or null")),
        (["dataset.mean=[0.1,0.2]"], ("`dataset`: ", "`mean`", "each of 1 channels")),
        (["dataset.channels=null"], ("`backbone`", "got None", "dataset.channels to 1 or 3")),
        (["sampler=square_root", "sampler.power=x"], ("`sampler.power`", "a finite number")),
        (["compile=perhaps"], ("`compile`", "true or false")),
    ],
)
def test_what_cannot_work_is_one_line(
    overrides: list[str], parts: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert trained(*overrides) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(part in error for part in parts), error


class Broken(torch.utils.data.Dataset[Any]):
    """Samples whose images are no images."""

    targets = (0, 1, 0, 1)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[str, int]:
        return "a picture", self.targets[index]


def test_a_foreign_dataset_whose_images_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    places = [f"dataset.source.{split}._target_={__name__}.Broken" for split in ("train", "test")]
    assert trained("dataset=torch_datasets", "dataset.channels=1", *places) == 2
    error = capsys.readouterr().err
    assert "Expected the first training image to become the model's input, but got TypeError" in error
    assert error.count("\n") == 1


def test_a_broken_image_met_while_training_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = folders(tmp_path / "mine")
    path = tmp_path / "mine/train/dog/1.png"
    path.write_bytes(path.read_bytes()[:150])
    for reading in (("dataset.in_memory=false", "dataset.num_workers=1"), ("dataset.in_memory=auto",)):
        assert trained(*settings, "dataset.check_images=exist", *reading, "overwrite=true") == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"semscale: Expected {path} to be an image, but it cannot be read")
        assert "Traceback" not in last


def test_the_message_of_a_worker_is_the_last_part_of_what_torch_raises() -> None:
    text = "Caught DataError in DataLoader worker process 0.\nOriginal Traceback:\n x.DataError: Expected a: b.\n"
    assert (message_of(DataError(text), "train") or "").strip() == "Expected a: b."
    assert message_of(DataError("Expected DataError: b."), "train") == "Expected DataError: b."


def test_the_check_leaves_frozen_parts_frozen() -> None:
    datamodule = SimpleNamespace(train_dataset=[(torch.rand(4),)], test_dataset=[(torch.rand(3),)])
    backbone = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
    backbone[0].eval()
    with pytest.raises(RuntimeError, match="shape"):
        check_first_images(datamodule, backbone)
    assert [part.training for part in backbone.modules()] == [True, False, True]


def test_an_exchange_that_breaks_off_names_the_other_process() -> None:
    gone = RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:25008.")
    assert (message_of(gone) or "").startswith("Another process of this run ended first")
    assert message_of(RuntimeError("shapes differ")) is None

    @answers_in_one_line
    def broken(cfg: Any) -> None:
        raise gone

    with pytest.raises(SystemExit) as ended:
        broken(None)
    assert ended.value.code == 1


def test_a_training_that_diverges_says_so_and_leaves_no_record(capsys: pytest.CaptureFixture[str]) -> None:
    assert trained("optimizer.lr=1e30", "trainer.max_epochs=2") == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("semscale: Training diverged: the loss is not finite in epoch 1, step 2 of 5.")
    assert "optimizer.lr" in last
    assert not Path("run/metrics.json").exists()


def test_compile_compiles_the_backbone_alone_and_changes_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def compile_eagerly(function: Any, **_: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            return function(*args, **kwargs)

        return counted

    monkeypatch.setattr(torch, "compile", compile_eagerly)
    assert trained("compile=true") == 0
    compiled = torch.load("run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert calls
    assert trained("compile=false", "overwrite=true") == 0
    plain = torch.load("run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert list(plain) == list(compiled)
    assert all(torch.equal(plain[name], compiled[name]) for name in plain)
