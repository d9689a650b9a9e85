"""`semscale predict`: the probabilities are the model's own, whatever lies in the folder."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image
from sklearn.datasets import load_digits

from semscale_pl.cli.main import main
from semscale_pl.config.composing import config_dir
from semscale_pl.data.finding import find_images
from semscale_pl.training import prediction
from semscale_pl.training.run import TrainResult, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """LDAM: its logits need a scale before their softmax means anything."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=["trainer.max_epochs=2", "loss=ldam", "classifier=cosine"])
    return train(cfg, tmp_path_factory.mktemp("run"))


@pytest.fixture
def ckpt(trained: TrainResult) -> Path:
    return trained.run_dir / "checkpoints" / "last.ckpt"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine digits in two sub-folders."""
    pixels = (load_digits().images[:9] * 255 / 16).round().astype(np.uint8)
    for number, image in enumerate(pixels):
        path = tmp_path / "images" / ("a" if number < 5 else "b") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return tmp_path / "images"


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")


def called(ckpt: Path, folder: Path, *more: str) -> tuple[int, list[dict[str, str]]]:
    code = main(["predict", f"ckpt={ckpt}", f"images={folder}", "hydra.run.dir=out", *more])
    path = Path("out/predictions.csv")
    assert not list(Path("out").glob(".*.partial"))
    return code, list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def probabilities(rows: list[dict[str, str]]) -> np.ndarray:
    return np.array([[float(row[f"p_{name}"]) for name in range(10)] for row in rows])


def changed(ckpt: Path, target: Path, change: Any) -> Path:
    content = torch.load(ckpt, weights_only=True)
    change(content)
    torch.save(content, target)
    return target


def test_probabilities_are_those_of_the_trained_module(
    trained: TrainResult, ckpt: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, rows = called(ckpt, folder)
    assert code == 0
    assert "9 images predicted, 0 skipped" in capsys.readouterr().out
    assert [row["path"] for row in rows] == [f"{'a' if number < 5 else 'b'}/{number}.png" for number in range(9)]
    # Grey levels pass through RGB, whose luma weights (0.2989, 0.587, 0.114) add up to 0.9999.
    pixels = (load_digits().images[:9] * 255 / 16).round() / 255 * 0.9999
    images = torch.from_numpy((pixels - 0.305) / 0.376).float().unsqueeze(1)
    with torch.no_grad():
        expected = (30.0 * trained.module.eval()(images)).softmax(1).numpy()
    np.testing.assert_allclose(probabilities(rows), expected, atol=2e-5)
    assert [row["class_name"] for row in rows] == [str(label) for label in expected.argmax(1)]
    assert [float(row["probability"]) for row in rows] == pytest.approx(expected.max(1), abs=2e-5)


def test_batch_size_and_workers_change_nothing(ckpt: Path, folder: Path) -> None:
    _, rows = called(ckpt, folder)
    _, again = called(ckpt, folder, "batch_size=2", "num_workers=2")
    assert [row["path"] for row in again] == [row["path"] for row in rows]
    np.testing.assert_allclose(probabilities(again), probabilities(rows), atol=1e-5)


def test_bad_images_are_listed_and_skipped(ckpt: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = Image.effect_noise((64, 48), 80).convert("RGB")
    whole.save(folder / "whole.jpg")
    whole.convert("RGBA").save(folder / "alpha.png")
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:900])
    (folder / "empty.png").touch()
    (folder / "text.JPG").write_text("no image")
    (folder / "notes.txt").write_text("not even by name")
    (folder / ".hidden.png").write_text("of the system")
    code, rows = called(ckpt, folder)
    captured = capsys.readouterr()
    assert code == 0
    assert {row["path"] for row in rows} >= {"whole.jpg", "alpha.png"}
    assert len(rows) == 11
    assert "11 images predicted, 3 skipped" in captured.out
    lines = captured.err.strip().splitlines()
    assert [line.split(":")[1].strip() for line in lines[:3]] == [f"skipped {name}" for name in
                                                                 ("cut.jpg", "empty.png", "text.JPG")]  # fmt: skip
    assert "truncated" in lines[0]
    assert "no known image format" in lines[1]
    assert lines[3] == "semscale: skipped 3 of 14 images"
    assert lines[4] == "semscale: passed over 1 file that cannot be used: images 1 (.txt)"
    assert len(lines) == 5


def test_a_bad_image_can_be_refused(ckpt: Path, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _, before = called(ckpt, folder)
    capfd.readouterr()
    (folder / "b/cut\n.jpg").write_bytes(b"\xff\xd8\xff")
    assert called(ckpt, folder, "on_bad_image=refuse") == (2, before)
    (line,) = capfd.readouterr().err.splitlines()
    assert all(part in line for part in ("b/cut\N{REPLACEMENT CHARACTER}.jpg cannot be decoded", "on_bad_image=skip"))
    assert called(ckpt, folder, "on_bad_image=drop")[0] == 2
    assert "one of refuse, skip" in capfd.readouterr().err


def test_images_are_turned_as_in_training_or_as_asked(ckpt: Path, folder: Path) -> None:
    upright = Image.open(folder / "a/0.png")
    tag = Image.Exif()
    tag[0x0112] = 6  # the camera was turned by 90 degrees
    upright.transpose(Image.Transpose.ROTATE_90).save(folder / "a/0_turned.png", exif=tag)
    _, rows = called(ckpt, folder, "exif_rotation=true")
    assert [row["path"] for row in rows[:2]] == ["a/0.png", "a/0_turned.png"]
    np.testing.assert_array_equal(*probabilities(rows[:2]))
    _, rows = called(ckpt, folder)  # digits know no such tag
    first, second = probabilities(rows[:2])
    assert not np.array_equal(first, second)


def test_a_file_is_decoded_as_in_training(ckpt: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grey = np.asarray(Image.open(folder / "a/0.png"))
    Image.fromarray(grey.astype(np.uint16) << 8).save(folder / "a/0_of_16_bits.png")
    Image.fromarray(grey.astype(np.uint16) << 4).save(folder / "a/of_12_bits.png")
    _, rows = called(ckpt, folder)
    assert [row["path"] for row in rows[:2]] == ["a/0.png", "a/0_of_16_bits.png"]
    np.testing.assert_array_equal(*probabilities(rows[:2]))
    assert "the first is a/of_12_bits.png" in capsys.readouterr().err


def test_no_readable_image_is_a_failure_without_a_file(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "only.png").touch()
    assert called(ckpt, tmp_path / "bad") == (1, [])
    assert "skipped 1 of 1 image" in capsys.readouterr().err


def test_needs_neither_the_training_data_nor_pretrained_weights(ckpt: Path, folder: Path, tmp_path: Path) -> None:
    def forget(content: dict[str, Any]) -> None:
        content["hyper_parameters"]["config"]["dataset"]["source"] = {"_target_": "gone.Source"}
        content["class_names"] = [f"digit, {name}" for name in range(10)]

    code, rows = called(changed(ckpt, tmp_path / "forgetful.ckpt", forget), folder)
    assert code == 0
    assert list(rows[0])[-10:] == [f"p_digit, {name}" for name in range(10)]
    assert all(row["class_name"].startswith("digit, ") for row in rows)


def test_a_diverged_model_is_a_failure_without_a_file(
    ckpt: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def diverge(content: dict[str, Any]) -> None:
        next(value for value in content["state_dict"].values() if value.is_floating_point()).fill_(float("nan"))

    assert called(changed(ckpt, tmp_path / "nan.ckpt", diverge), folder) == (1, [])
    assert "not finite" in capsys.readouterr().err


def test_an_interrupted_prediction_leaves_the_old_file(
    ckpt: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> Iterator[list[str]]:
        yield ["half", "a", "row"]
        raise KeyboardInterrupt

    _, before = called(ckpt, folder)
    monkeypatch.setattr(prediction, "csv_rows", interrupted)
    assert called(ckpt, folder) == (130, before)


def test_the_likeliest_classes_come_first(ckpt: Path, folder: Path) -> None:
    _, rows = called(ckpt, folder, "top_k=3")
    places = ["", "_2", "_3"]
    likeliest = [f"{column}{place}" for place in places for column in ("class_index", "class_name", "probability")]
    assert list(rows[0]) == ["path", *likeliest, *(f"p_{name}" for name in range(10))]
    for row, values in zip(rows, probabilities(rows), strict=True):
        order = np.argsort(-values, kind="stable")[:3]
        assert [int(row[f"class_index{place}"]) for place in places] == order.tolist()
        assert [float(row[f"probability{place}"]) for place in places] == values[order].tolist()
    assert len(called(ckpt, folder, "top_k=99")[1][0]) == 1 + 3 * 10 + 10


def test_one_file_a_list_and_a_list_in_a_file(ckpt: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = {row["path"]: pytest.approx(float(row["p_0"]), rel=1e-3) for row in called(ckpt, folder)[1]}
    capsys.readouterr()
    (folder / "a/my digit (1), no=2.png").write_bytes((folder / "a/1.png").read_bytes())
    code, rows = called(ckpt, folder / "a/my digit (1), no=2.png")
    assert (code, [float(row["p_0"]) for row in rows]) == (0, [whole["a/1.png"]])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == [f"{100 * float(rows[0]['probability']):.1f}", "%", rows[0]["class_name"]]
    assert len(printed) == 5 + 1
    assert main(["predict", f"ckpt={ckpt}", "images=[images/b/7.png,images/a/0.png]", "out=out"]) == 0
    rows = list(csv.DictReader(Path("out/predictions.csv").read_text().splitlines()))
    assert [row["path"] for row in rows] == ["images/b/7.png", "images/a/0.png"]
    Path("list.txt").write_text("images/b/7.png\n\nimages/a\n")
    _, rows = called(ckpt, Path("list.txt"))
    assert [row["path"] for row in rows][:2] == ["images/b/7.png", "images/a/0.png"]
    assert len(rows) == 1 + 6
    assert [float(row["p_0"]) for row in rows[:2]] == [whole["b/7.png"], whole["a/0.png"]]


def test_a_file_that_is_no_image_is_named(ckpt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("notes.md").write_text("no image")
    assert called(ckpt, Path("notes.md")) == (1, [])
    assert "skipped notes.md: no known image format" in capsys.readouterr().err


def test_finds_what_training_finds(tmp_path: Path) -> None:
    for name in ("b/x.png", "a/y.JPEG", "z.webp", ".git/w.png", "a/t.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["a/y.JPEG", "b/x.png", "z.webp"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda content: content.pop("class_names"), "carry class names"),
        (lambda content: content.pop("hyper_parameters"), "cannot read changed.ckpt"),
    ],
)
def test_a_foreign_checkpoint(
    change: Any, expected: str, ckpt: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    changed(ckpt, Path("changed.ckpt"), change)
    assert called(Path("changed.ckpt"), folder)[0] == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert expected in lines[0]


def test_a_gpu_that_is_not_there(
    ckpt: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert called(ckpt, folder, "accelerator=gpu")[0] == 2
    assert "Use accelerator=cpu" in capfd.readouterr().err


# Arguments, and what the line has to contain; x.ckpt is a file of text, full/ holds an image, empty/ nothing.
CALLS = {
    "predict": "Pass ckpt=",
    "predict ckpt=x.ckpt": "Pass images=",
    "predict ckpt=nowhere.ckpt images=full": "`ckpt` to be a checkpoint or the folder",
    "predict ckpt=x.ckpt images=nowhere": "`images` to name files or folders, but there is none at 'nowhere'",
    "predict ckpt=x.ckpt images=[full/0.png,gone.png]": "there is none at 'gone.png'",
    "predict ckpt=x.ckpt images=[]": "found none in an empty list",
    "predict ckpt=x.ckpt images=full top_k=0": "`top_k` to be an integer of at least 1",
    "predict ckpt=x.ckpt images=empty": "found none in 'empty'",
    "predict ckpt=x.ckpt images=other": "passed over 1 file that cannot be used: other 1 (.heic)",
    "predict ckpt=x.ckpt images=full batch_size=0": "`batch_size`",
    "predict ckpt=x.ckpt images=full batch_size=null": "`batch_size`",
    "predict ckpt=x.ckpt images=full num_workers=-1": "`num_workers`",
    "predict ckpt=x.ckpt images=full accelerator=tpu": "`accelerator` to be one of auto, cpu, gpu",
    "predict ckpt=x.ckpt image=full": "Did you mean `images`",
    "export": "Pass ckpt=",
    "export ckpt=nowhere.ckpt": "`ckpt` to be a checkpoint or the folder",
    "export ckpt=x.ckpt format=onyx": "`format` to be one of onnx, torchscript",
    "export ckpt=x.ckpt image_size=0": "`image_size`",
    "export ckpt=x.ckpt format=torchscript image_size=big": "`image_size`",
}


def test_wrong_calls_are_answered_in_one_line_before_torch_is_imported(tmp_path: Path) -> None:
    (tmp_path / "x.ckpt").write_text("text")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/0.heic").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "0.png").touch()
    script = (
        "import json, sys; from semscale_pl.cli.main import main\n"
        "for call in json.loads(sys.argv[1]):\n"
        "    assert main(call.split()) == 2, call\n"
        "assert not {'torch', 'pytorch_lightning'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", script, json.dumps(list(CALLS))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stderr.strip().splitlines()
    assert len(lines) == len(CALLS)
    for call, line in zip(CALLS, lines, strict=True):
        assert CALLS[call] in line, call


def test_a_file_that_is_no_checkpoint(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("text.ckpt").write_text("not a checkpoint")
    for call in (["predict", f"images={folder}"], ["export", "format=torchscript"]):
        assert main([*call, "ckpt=text.ckpt"]) == 2
        assert capfd.readouterr().err.strip().endswith("cannot read text.ckpt.")
