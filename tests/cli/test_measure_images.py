"""`semscale measure` of images: their pixels, or the features of a trained network, checked on real data."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from sklearn.datasets import load_digits

import semscale_pl as ss
from semscale_pl.cli.main import main
from semscale_pl.config.composing import config_dir
from semscale_pl.models.torchvision_backbones import torchvision_backbone
from semscale_pl.training.restoring import restore
from semscale_pl.training.run import train

BARE = ("report=false", "figures=false")


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=["trainer.max_epochs=1", "imbalance_factor=10"])
    return train(cfg, tmp_path_factory.mktemp("run")).run_dir / "checkpoints" / "last.ckpt"


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def saved(*settings: str) -> dict[str, Any]:
    assert main(["measure", *settings, "out=out"]) == 0
    return json.loads(Path("out/scales.json").read_text())  # type: ignore[no-any-return]


def data_folder(name: str) -> Path:
    root = os.environ.get("SEMSCALE_DATA")
    if root is None or not (Path(root) / name).is_dir():
        pytest.skip(f"SEMSCALE_DATA does not lead to {name}")
    return Path(root) / name


def digits_folder() -> dict[str, torch.Tensor]:
    """Write 40 digits of three classes as files, and return their pixels."""
    digits, pixels = load_digits(), {}
    for name, label in (("drei", 3), ("eins", 1), ("zwei", 2)):
        images = (digits.images[digits.target == label][:40] * 255 / 16).round().astype(np.uint8)
        Path("images", name).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(Path("images", name, f"{number:02}.png"))
        pixels[name] = torch.from_numpy(images / 255.0)
    return pixels


def test_pixels_of_a_folder_are_measured_as_they_are() -> None:
    pixels = digits_folder()
    record = saved("images=images", "image_size=8")
    assert record["class_names"] == ["drei", "eins", "zwei"]
    assert record["counts"] == [40, 40, 40]
    rows = torch.cat([images.flatten(1).repeat(1, 3) for images in pixels.values()])  # grey, as three equal channels
    expected = ss.semantic_scales(rows, torch.arange(3).repeat_interleave(40), 3)
    assert record["scales"] == pytest.approx(expected.tolist(), abs=1e-3)
    assert Path("out/report.html").exists()
    assert [path.name for path in Path().iterdir() if path.name not in ("images", "out")] == []


def test_pixels_of_a_dataset_are_measured_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    record = saved("dataset=digits_lt", "image_size=16", *BARE)
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        from hydra.utils import instantiate

        data = instantiate(compose("train", overrides=["dataset=digits_lt"]).dataset)
    data.prepare_data()
    data.setup()
    shown = torch.cat([images for images, *_ in data.eval_train_dataloader()])
    labels = torch.cat([labels for _, labels, *_ in data.eval_train_dataloader()])
    pixels = (shown * data.model_input.std + data.model_input.mean).clamp(0.0, 1.0)
    small = torch.nn.functional.interpolate(pixels, size=(16, 16), mode="bilinear", antialias=True).flatten(1)
    assert record["counts"] == torch.bincount(labels).tolist()
    assert record["scales"] == pytest.approx(ss.semantic_scales(small, labels, 10).tolist(), rel=1e-4, abs=1e-3)
    assert record["source"]["overrides"] == ["dataset=digits_lt"]
    printed = capsys.readouterr().out
    assert "8, 9 have a single sample" in printed


def test_a_balanced_dataset_and_a_larger_factor(capsys: pytest.CaptureFixture[str]) -> None:
    assert min(saved("dataset=digits", "image_size=4", *BARE)["counts"]) > 100
    assert saved("dataset=digits_lt", "imbalance_factor=10", "image_size=4", *BARE)["counts"][-1] > 5


@pytest.mark.parametrize("source", ["dataset=digits", "images=images"])
def test_features_are_those_that_enter_the_classifier(ckpt: Path, source: str) -> None:
    if source.startswith("images"):
        pixels = digits_folder()
        stack = torch.cat(list(pixels.values()))[:, None].float()
        labels = torch.arange(3).repeat_interleave(40)
        cfg = restore(ckpt).config.dataset
        shown = (stack - torch.tensor(cfg.mean)) / torch.tensor(cfg.std)
    else:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            from hydra.utils import instantiate

            data = instantiate(compose("train", overrides=["dataset=digits"]).dataset)
        data.setup()
        batches = list(data.eval_train_dataloader())
        shown, labels = (torch.cat([batch[place] for batch in batches]) for place in (0, 1))
    module = restore(ckpt).module
    with torch.no_grad():
        features = module.classifier.features(module.backbone(shown))  # type: ignore[operator]
    record = saved(source, f"ckpt={ckpt}", *BARE)
    assert record["source"]["num_features"] == features.shape[1]
    expected = ss.semantic_scales(features, labels, int(labels.max()) + 1)
    assert record["scales"] == pytest.approx(expected.tolist(), rel=1e-3, abs=1e-3)
    assert record["source"]["measured"] == "features of last.ckpt"


def test_published_weights_come_from_the_folder_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    digits_folder()
    torch.manual_seed(0)
    import torchvision

    stand_in = torchvision.models.resnet18()
    place = Path("torch/hub/checkpoints")
    place.mkdir(parents=True)
    torch.save(stand_in.state_dict(), place / "resnet18-f37072fd.pth")
    monkeypatch.setenv("TORCH_HOME", str(Path("torch").resolve()))
    record = saved("images=images", "backbone=resnet18", "pretrained=true", *BARE)
    assert record["source"]["num_features"] == 512
    backbone = torchvision_backbone("resnet18", pretrained=True).eval()
    image = torch.rand(2, 3, 224, 224)
    stand_in.fc = torch.nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(backbone(image), stand_in.eval()(image))
    assert all(scale > 0.0 for scale in record["scales"])


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(Path("torch").resolve()))
    assert main(["measure", "dataset=digits", "backbone=resnet18", "pretrained=true"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "published weights of resnet18" in line
    assert "no route to host" in line
    assert not Path("runs").exists()


def test_long_tailed_mnist() -> None:
    data_folder("MNIST")
    record = saved("dataset=mnist_lt", "image_size=8", "controlled=oas", *BARE)
    assert record["counts"][0] > 90 * record["counts"][-1]
    by_name = dict(zip(record["class_names"], record["scales"], strict=True))
    assert by_name["1 - one"] < by_name["2 - two"]  # a stroke varies less, although there are more of them


@pytest.mark.slow
def test_aerial_images_in_class_folders() -> None:
    folder = data_folder("rsscn7_64")
    record = saved(f"images={folder}")
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert record["class_names"] == names
    assert record["counts"] == [400] * 7
    files = sorted((folder / names[0]).iterdir())
    images = torch.stack([torch.from_numpy(np.array(Image.open(file).convert("RGB"))) for file in files])
    pixels = images.permute(0, 3, 1, 2).double() / 255.0
    small = torch.nn.functional.interpolate(pixels, size=(16, 16), mode="bilinear", antialias=True).flatten(1)
    expected = ss.semantic_scale(small)
    assert record["scales"][0] == pytest.approx(float(expected), rel=0.01)
    rows = list(csv.DictReader(Path("out/scales.csv").read_text().splitlines()))
    assert {row["n"] for row in rows} == {"400"}
