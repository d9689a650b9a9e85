"""`semscale advise`: the table, the files, and one clear line for every wrong call or file."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semscale_pl.cli.advise import COMMAND, checked, main
from semscale_pl.cli.main import main as semscale

SETTINGS = ["batch=10", "threshold=0.02"]


def arrays() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.array(["cat"] * 300 + ["dog [x]"] * 30 + ["emu"] * 2)
    return generator.normal(size=(332, 8)).astype(np.float32), labels


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    features, labels = arrays()
    np.savez(tmp_path / "x.npz", features=features, labels=labels)
    return tmp_path / "x.npz"


def test_prints_and_saves_what_to_collect(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert semscale(["advise", "features=x.npz", *SETTINGS, "budget=45"]) == 0
    printed = capsys.readouterr().out
    assert "dog [x]" in printed
    (folder,) = Path("runs/advise").glob("x-*")
    assert f"Saved under {folder}" in printed
    rows = {row["name"]: row for row in csv.DictReader((folder / "advice.csv").read_text().splitlines())}
    assert (rows["cat"]["stop"], rows["dog [x]"]["stop"], rows["emu"]["stop"]) == ("True", "False", "False")
    assert rows["emu"]["increment"] == ""
    record = json.loads((folder / "advice.json").read_text())
    assert record["classes"][2]["increment"] is None
    assert sum(entry["grant"] for entry in record["classes"]) + record["unspent"] == 45
    assert record["classes"][0]["grant"] == 0
    assert printed.index("emu") < printed.index("dog") < printed.index("cat")


def test_labels_may_lie_in_a_file_of_their_own(file: Path) -> None:
    features, labels = arrays()
    np.save("f.npy", features)
    np.save("l.npy", labels)
    assert main(["features=f.npy", "labels=l.npy", *SETTINGS, "out=there"]) == 0
    assert main(["features=x.npz", *SETTINGS, "out=here"]) == 0
    there, here = (json.loads(Path(folder, "advice.json").read_text())["classes"] for folder in ("there", "here"))
    assert there == here


def test_the_unit_of_the_features_is_taken_out(file: Path) -> None:
    features, labels = arrays()
    np.savez("large.npz", features=1000.0 * features, labels=labels)
    for name in ("x", "large"):
        assert main([f"features={name}.npz", *SETTINGS, "feature_norm=rms", f"out={name}"]) == 0
    small, large = (json.loads(Path(name, "advice.json").read_text())["classes"] for name in ("x", "large"))
    assert [entry["scale"] for entry in small] == pytest.approx([entry["scale"] for entry in large], rel=1e-4)


def test_the_pixels_of_a_dataset_are_features(file: Path) -> None:
    assert main(["dataset=digits_lt", "imbalance_factor=10", "image_size=8", *SETTINGS]) == 0
    (folder,) = Path("runs/advise").glob("digits_lt-*")
    record = json.loads((folder / "advice.json").read_text())
    counts = [entry["count"] for entry in record["classes"]]
    assert counts[0] > 9 * counts[9]
    increments = [entry["increment"] for entry in record["classes"]]
    assert increments[8] > increments[0]
    assert record["settings"]["overrides"] == ["imbalance_factor=10"]


def test_a_folder_of_images_is_advised_on_as_measure_measures_it(file: Path) -> None:
    generator = np.random.default_rng(0)
    for name, count in (("ant", 12), ("bee", 5)):
        Path("images", name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 255, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(Path("images", name, f"{number:02}.png"))
    how = ["images=images", "image_size=4", "feature_norm=rms"]
    assert main([*how, "batch=4", "threshold=0.02", "orders=2"]) == 0
    assert semscale(["measure", *how, "report=false", "figures=false"]) == 0
    (advised,) = Path("runs/advise").glob("images-*/advice.json")
    (found,) = Path("runs/measure").glob("images-*/scales.json")
    advice, measured = (json.loads(path.read_text()) for path in (advised, found))
    assert [(entry["name"], entry["count"]) for entry in advice["classes"]] == [("ant", 12), ("bee", 5)]
    assert [entry["scale"] for entry in advice["classes"]] == pytest.approx(measured["scales"], rel=1e-3)
    assert (advice["settings"]["images"], advice["settings"]["image_size"]) == ("images", 4)


def test_a_call_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("a,b\n1,2\n", encoding="utf-8")
    call = checked(
        COMMAND.parse([f"features={file}", "batch=5", "threshold=3%", "budget=7", "num_features=4", "seed=2"])
    )
    assert (call.batch, call.threshold, call.features) == (5, 0.03, file)
    assert (call.budget, call.num_features, call.seed) == (7, 4, 2)
    assert (call.dataset, call.images, call.ckpt, call.source_name) == (None, None, None, "mine")
    assert (call.labels, call.orders, call.feature_norm, call.out, call.overrides) == (None, 20, "none", None, ())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["batch=5", "threshold=0.1"],
            "Expected one of features=FILE, dataset=NAME and images=FOLDER, but got none of",
        ),
        (["features=x.npz", "dataset=digits", *SETTINGS], "but got features and dataset."),
        (["images=.", "dataset=digits", *SETTINGS], "but got images and dataset."),
        (["images=x.npz", *SETTINGS], "to be a folder, but 'x.npz' is a file. Name the folder that holds it."),
        (["images=nowhere", *SETTINGS], "Expected `images` to be a folder, but there is none at 'nowhere'."),
        (["features=x.npz", "ckpt=x.npz", *SETTINGS], "Expected `ckpt` only with dataset=NAME or images=FOLDER"),
        (["images=.", "backbone=resnet18", *SETTINGS], "Expected pretrained=true with `backbone`"),
        (
            ["dataset=digits", "labels=x.npz", *SETTINGS],
            "Expected `labels` only with features=FILE, but got it with dataset=",
        ),
        (["dataset=digit", *SETTINGS], "Unknown option `digit` of `dataset`. Did you mean `digits`?"),
        (["dataset=digits", "dataset.rot=here", *SETTINGS], "Unknown key `dataset.rot`"),
        (["dataset=digits", "image_size=0", *SETTINGS], "Expected `image_size`"),
        (["features=x.npz", "threshold=0.1"], "Expected `batch`. Pass batch=20"),
        (["features=x.npz", "batch=5"], "Expected `threshold`. Pass threshold=0.02"),
        (["features=none.npz", *SETTINGS], "Expected `features` to be a file, but there is none at 'none.npz'."),
        (["features=x.npz", "labels=none.npy", *SETTINGS], "Expected `labels` to be a file"),
        (["features=x.npz", "x.npz", *SETTINGS], "Expected KEY=VALUE, but got 'x.npz'"),
        (["features=x.npz", "treshold=1", *SETTINGS], "Unknown setting `treshold`. Did you mean `threshold`?"),
        (["features=x.npz", "batch=0", "threshold=0.1"], "Expected `batch` to be an integer of at least 1"),
        (["features=x.npz", "batch=2.5", "threshold=0.1"], "but got 2.5"),
        (["features=x.npz", "batch=5", "threshold=0"], "Expected `threshold` to be a share above 0"),
        (["features=x.npz", "batch=5", "threshold=2"], "such as 0.02 or 2%, but got '2'"),
        (["features=x.npz", "batch=5", "threshold=nan"], "Expected `threshold` to be a share above 0"),
        (["features=x.npz", "batch=5", "threshold=little"], "but got 'little'"),
        (["features=x.npz", *SETTINGS, "budget=-1"], "Expected `budget` to be an integer of at least 0"),
        (["features=x.npz", *SETTINGS, "orders=1"], "Expected `orders` to be an integer of at least 2"),
        (["features=x.npz", *SETTINGS, "feature_norm=l3"], "Expected `feature_norm` to be one of none, l2, rms"),
        (["features=x.npz", *SETTINGS, "num_features=0"], "Expected `num_features`"),
    ],
)
def test_wrong_calls_get_one_line(
    file: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def save_nan(path: Path) -> None:
    features, labels = arrays()
    features[3, 2] = np.nan
    np.savez(path, features=features, labels=labels)


def save_objects(path: Path) -> None:
    np.savez(path, features=np.array([[None]]), labels=np.array([0]))


def save_no_labels(path: Path) -> None:
    np.savez(path, features=arrays()[0])


def save_few_labels(path: Path) -> None:
    np.savez(path, features=arrays()[0], labels=arrays()[1][:5])


def save_rubbish(path: Path) -> None:
    path.write_bytes(b"no archive")


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (save_nan, "1 NaN and 0 infinite entries in 1 of"),
        (save_objects, "Python objects"),
        (save_no_labels, "labels"),
        (save_few_labels, "one label for each"),
        (save_rubbish, "bad.npz"),
    ],
)
def test_files_that_cannot_be_used_get_one_line(
    file: Path, capsys: pytest.CaptureFixture[str], save: object, message: str
) -> None:
    save(Path("bad.npz"))  # type: ignore[operator]
    assert main(["features=bad.npz", *SETTINGS]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("runs").exists()


def test_too_large_files_are_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("semscale_pl.features.prepared.MOST_BYTES", 1000)
    assert main(["features=x.npz", *SETTINGS]) == 2
    assert "Take a random part of every class" in capsys.readouterr().err


def test_wrong_calls_are_answered_before_torch_is_imported(file: Path) -> None:
    code = (
        "import sys; from semscale_pl.cli.main import main; main(['advise', 'features=x.npz', 'batch=0']); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_help_and_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "threshold" in capsys.readouterr().out
    assert main([]) == 2
