"""A device that is not there is one line; TF32 and compilation are what the configuration says."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import nn

from semscale_pl.config.checks import check_train
from semscale_pl.config.composing import config_dir
from semscale_pl.config.errors import WrongCallError
from semscale_pl.models.resnet_cifar import ResNetCifar
from semscale_pl.training.device import check_accelerator, compile_backbone, lying_on, planned_device, prepare_device
from semscale_pl.training.evaluation import evaluate
from semscale_pl.training.restoring import restore
from semscale_pl.training.run import train


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("train", overrides=list(overrides))


@pytest.fixture
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture(autouse=True)
def _own_products() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.usefixtures("_no_gpu")
@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (["trainer=gpu"], ("a GPU for accelerator=gpu", "Use trainer=cpu")),
        (["trainer.accelerator=auto", "trainer.precision=16-mixed"], ("16-mixed", "bf16-mixed")),
    ],
)
def test_a_gpu_that_is_not_there(overrides: list[str], parts: tuple[str, ...]) -> None:
    with pytest.raises(WrongCallError) as raised:
        prepare_device(composed(*overrides))
    assert all(part in str(raised.value) for part in parts)


def test_more_gpus_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_accelerator("gpu", 2)
    check_accelerator("gpu", "auto")
    with pytest.raises(WrongCallError, match=r"`trainer\.devices` to be at most 2, the GPUs, but got 3"):
        check_accelerator("gpu", 3)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert planned_device(composed("trainer=ddp")) == torch.device("cuda", 1)
    assert planned_device(composed()) == torch.device("cpu")


@pytest.mark.usefixtures("_no_gpu")
def test_an_evaluation_on_a_gpu_that_is_not_there() -> None:
    with pytest.raises(WrongCallError, match="Use accelerator=cpu"):
        evaluate("run/checkpoints/last.ckpt", accelerator="gpu")


def test_what_does_not_go_together() -> None:
    with pytest.raises(WrongCallError, match="`tf32` to be false on a CPU"):
        check_train(composed("tf32=true"))
    check_train(composed("tf32=true", "trainer=gpu", "trainer.precision=16-mixed", "compile=true"))


def test_gpus_train_in_full_float32_unless_asked() -> None:
    cfg = composed("trainer=gpu")
    assert (cfg.trainer.precision, cfg.tf32, cfg.compile) == ("32-true", False, False)


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_that_of_the_run_not_of_the_one_before(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not allowed
    prepare_device(composed("trainer.accelerator=auto", f"tf32={str(allowed).lower()}"))
    assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is allowed


def test_what_cannot_be_compiled_says_so_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_compiler(*_: Any, **__: Any) -> Any:
        raise RuntimeError("No working C++ compiler found.\n  in a long list of places")

    monkeypatch.setattr(torch, "compile", without_compiler)
    backbone = nn.Linear(2, 2)
    with pytest.raises(WrongCallError) as raised:
        compile_backbone(backbone, torch.device("cpu"))
    assert "compile=true, but: No working C++ compiler found. It needs a C++ compiler" in str(raised.value)
    assert backbone._compiled_call_impl is None


class Moved(nn.Linear):
    """Notes where it is moved to, and stays where it is."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.places: list[str] = []

    def to(self, device: torch.device) -> Any:
        self.places.append(device.type)
        return self


def test_a_module_is_measured_on_its_device_and_put_back() -> None:
    module = Moved()
    with lying_on(module, torch.device("meta")):
        assert module.places == ["meta"]
    assert module.places == ["meta", "cpu"]


def test_a_run_goes_on_in_another_precision_and_memory_format(tmp_path: Path) -> None:
    own = ["backbone.width=4", "reweighting=semantic_scale", "reweighting.start_epoch=1"]
    ways = ["trainer.precision=bf16-mixed", "backbone.channels_last=true"], ["backbone.channels_last=false"]
    ckpt = tmp_path / "0/checkpoints/last.ckpt"
    for number, (way, start) in enumerate(zip(ways, ([], [f"ckpt_path={ckpt}"]), strict=True)):
        train(composed(*own, *way, *start, f"trainer.max_epochs={2 + number}"), tmp_path / str(number))
    assert json.loads((tmp_path / "1/metrics.json").read_text())["completed_epochs"] == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the compiler warns of its own parts
def test_a_compiled_run_resumes_uncompiled_and_the_other_way_round(tmp_path: Path) -> None:
    def trained(folder: str, compiled: bool, epochs: int, ckpt: str | None = None) -> dict[str, Any]:
        start = [] if ckpt is None else [f"ckpt_path={tmp_path}/{ckpt}/checkpoints/last.ckpt"]
        settings = ["backbone.width=4", "reweighting=semantic_scale", "reweighting.start_epoch=1", *start]
        limits = [f"compile={str(compiled).lower()}", f"trainer.max_epochs={epochs}"]
        train(composed(*settings, *limits), tmp_path / folder)
        assert json.loads((tmp_path / folder / "metrics.json").read_text())["completed_epochs"] == epochs
        return restore(tmp_path / folder / "checkpoints/last.ckpt").module.state_dict()

    pairs = [(trained("compiled", True, 2), trained("plain", False, 2))]
    pairs.append((trained("from_plain", True, 3, "plain"), trained("from_compiled", False, 3, "compiled")))
    for compiled, plain in pairs:
        assert list(compiled) == list(plain)
        for name, value in plain.items():
            # A step is the same to rounding, which grows with every step.
            torch.testing.assert_close(compiled[name], value, rtol=0.02, atol=5e-3)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_compiled_backbone_gives_the_features_and_gradients_of_the_plain_one() -> None:
    torch.manual_seed(0)
    plain = ResNetCifar(8, channels_last=True)
    compiled = copy.deepcopy(plain)
    compile_backbone(compiled, torch.device("cpu"))
    images = torch.randn(4, 3, 32, 32)
    for network in (plain, compiled):
        network(images).square().sum().backward()
    for one, other in zip(compiled.parameters(), plain.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert float((one.grad - other.grad).norm() / other.grad.norm()) < 1e-4
    torch.testing.assert_close(compiled.eval()(images[:3]), plain.eval()(images[:3]), rtol=1e-4, atol=1e-5)
