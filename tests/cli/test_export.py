"""`semscale export`: the file gives the module's own logits, and a file that does not is not kept."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tensor, nn

from semscale_pl.cli import export
from semscale_pl.cli.main import main
from semscale_pl.config.composing import config_dir
from semscale_pl.training import export as exporting
from semscale_pl.training.run import TrainResult, train

FORMATS = [
    pytest.param("onnx", marks=pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in export.PACKAGES["onnx"]), reason="optional packages"
    )),
    "torchscript",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=["trainer.max_epochs=2", "loss=ldam", "classifier=cosine"])
    return train(cfg, tmp_path_factory.mktemp("run"))


@pytest.fixture
def ckpt(trained: TrainResult) -> str:
    return f"ckpt={trained.run_dir}/checkpoints/last.ckpt"


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")


def reader(path: Path) -> Callable[[Tensor], Tensor]:
    if path.suffix == ".pt":
        return torch.jit.load(str(path))
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.parametrize("kind", FORMATS)
def test_the_file_gives_the_logits_of_the_module_at_any_batch_size(
    kind: str, trained: TrainResult, ckpt: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", ckpt, f"format={kind}", "hydra.run.dir=out"]) == 0
    captured = capfd.readouterr()
    printed = re.search(r"largest difference from the model's logits (\S+) ", captured.out)
    assert printed is not None
    assert len(captured.out.strip().splitlines()) == 2
    assert captured.err == ""
    path = Path("out") / export.FILES[kind]
    assert {file.name for file in Path("out").iterdir()} == {path.name, "model.json"}
    run_file = reader(path)
    for batch in (1, 2, 7):
        images = torch.randn(batch, 1, 8, 8)
        with torch.no_grad():
            cosines = trained.module.eval()(images)
            # LDAM's probabilities are the softmax of 30 times the cosines: a float32 step there is 30 times larger.
            assert (run_file(images) / 30 - cosines).abs().max() < 1e-5
    described = json.loads((Path("out") / "model.json").read_text())
    assert described["input"]["shape"] == ["batch", 1, 8, 8]
    assert (described["input"]["mean"], described["input"]["std"]) == ([0.305], [0.376])
    assert described["class_names"] == [str(label) for label in range(10)]
    assert described["largest_difference"] == pytest.approx(float(printed.group(1)), rel=1e-2)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_file_that_differs_is_a_failure_and_is_not_kept(
    ckpt: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = exporting._write_torchscript

    def write_another(*args: Any) -> Callable[[Tensor], Tensor]:
        run_file = written(*args)
        return lambda images: run_file(images) + 0.01

    monkeypatch.setattr(exporting, "_write_torchscript", write_another)
    assert main(["export", ckpt, "format=torchscript", "hydra.run.dir=out"]) == 1
    assert "logits 0.01 " in capsys.readouterr().out
    assert [file.name for file in Path("out").iterdir()] == []


@pytest.mark.parametrize(
    ("run_file", "expected"),
    [
        (lambda images: images.flatten(1), 0.0),
        (lambda images: images.flatten(1) + 2e-5, 2e-5),
        (lambda images: images.flatten(1)[:2], float("inf")),
        (lambda images: images.flatten(1) * float("nan"), float("nan")),
    ],
)
def test_compare(run_file: Callable[[Tensor], Tensor], expected: float) -> None:
    found, allowed = exporting.compare(run_file, nn.Flatten(), (1, 2, 2))
    assert found == pytest.approx(expected, rel=0.05, nan_ok=True)
    assert (found <= allowed) == (expected == 0.0)


def test_the_image_size_must_come_from_somewhere(
    trained: TrainResult, ckpt: str, capfd: pytest.CaptureFixture[str]
) -> None:
    content = torch.load(ckpt.removeprefix("ckpt="), weights_only=True)
    content["hyper_parameters"]["config"]["dataset"]["image_size"] = None
    torch.save(content, "free.ckpt")
    assert main(["export", "ckpt=free.ckpt", "format=torchscript"]) == 2
    assert "Pass image_size=" in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_another_image_size(ckpt: str) -> None:
    assert main(["export", ckpt, "format=torchscript", "image_size=12", "hydra.run.dir=out"]) == 0
    assert json.loads(Path("out/model.json").read_text())["input"]["shape"] == ["batch", 1, 12, 12]
    assert reader(Path("out/model.pt"))(torch.zeros(4, 1, 12, 12)).shape == (4, 10)


def test_missing_packages_are_named_in_one_line(
    ckpt: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    hidden = ("onnxscript", "onnxruntime")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in hidden else found(name, *rest))
    assert main(["export", ckpt, "format=onnx"]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "found no onnxscript, onnxruntime. Run: pip install 'semscale-pl[export]'" in lines[0]
