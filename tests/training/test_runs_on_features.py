"""Runs on features: a bare loop of the same arithmetic, short steps against Lightning's, resumed runs, two ranks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from sklearn.datasets import load_digits
from torch import Tensor, nn

from semscale_pl.callbacks.reweighting.semantic_scale import SemanticScaleReweighting
from semscale_pl.callbacks.training_data import training_features
from semscale_pl.config.composing import composed_from
from semscale_pl.config.errors import WrongCallError
from semscale_pl.heads.gaussian import GaussianHead
from semscale_pl.pool import FeaturePool
from semscale_pl.seeding import derive_seed
from semscale_pl.training import short_steps
from semscale_pl.training.evaluation import evaluate
from semscale_pl.training.export import export
from semscale_pl.training.run import TrainResult, train

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
DIGITS = load_digits()


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Return the overrides for 300 training and 300 test samples."""
    X = (DIGITS.data / 16).astype(np.float32)
    for name, part in (("train", slice(300)), ("test", slice(300, 600))):
        np.savez(tmp_path / name, features=X[part], labels=DIGITS.target[part])
    return ["dataset=features", *(f"dataset.{name}={tmp_path / name}.npz" for name in ("train", "test"))]


def run(folder: Path, files: list[str], *overrides: str) -> TrainResult:
    return train(
        composed_from("train", [*files, "dataset.batch_size=64", "callbacks.progress=null", *overrides]), folder
    )


def parameters(result: TrainResult) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in result.module.state_dict().items()}


def checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def equal(one: Any, other: Any) -> bool:
    """Tell whether nested containers hold the same, tensors bitwise."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def test_a_linear_head_is_that_of_a_bare_loop(files: list[str], tmp_path: Path) -> None:
    result = run(tmp_path / "run", files, "trainer.precision=64-true", "trainer.max_epochs=3", "scheduler=none")
    torch.manual_seed(0)
    head = nn.Linear(64, 10).double()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    X = torch.from_numpy((DIGITS.data[:300] / 16).astype(np.float32)).double()
    Y = torch.from_numpy(DIGITS.target[:300])
    for epoch in range(3):
        generator = torch.Generator().manual_seed(derive_seed(derive_seed(0, 0), epoch))
        for rows in torch.randperm(300, generator=generator).split(64):
            loss = nn.functional.cross_entropy(head(X[rows]), Y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    found = result.module.classifier.linear
    torch.testing.assert_close(found.weight, head.weight, rtol=0, atol=1e-10)  # type: ignore[union-attr]
    torch.testing.assert_close(found.bias, head.bias, rtol=0, atol=1e-10)  # type: ignore[union-attr]
    assert (float(found.weight.detach().abs().max()), result.last["top1"]) > (0.1, 0.5)  # type: ignore[union-attr, operator]


# Five batches an epoch, the first and the last by Lightning; a limit of eight steps leaves three of the second one.
@pytest.mark.parametrize(
    ("overrides", "num_short"),
    [
        ([], 3 * 3),
        (["reweighting=semantic_scale", "reweighting.start_epoch=1", "dataset.validation_per_class=2"], 3 * 3),
        (["backbone=mlp", "backbone.hidden=16", "backbone.dropout=0.2", "mixing=mixup", "optimizer=adamw"], 3 * 3),
        (["trainer.max_steps=8", "reweighting=semantic_scale_prior", "reweighting.start_epoch=1"], 3 + 2),
    ],
)
def test_short_steps_leave_what_those_of_lightning_leave(
    overrides: list[str], num_short: int, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    step = short_steps.ShortSteps._step
    monkeypatch.setattr(short_steps.ShortSteps, "_step", lambda self, batch: (taken.append(1), step(self, batch)))
    short = run(tmp_path / "short", files, "trainer.max_epochs=3", *overrides)
    assert len(taken) == num_short
    monkeypatch.setattr(short_steps.ShortSteps, "_may_be_short", lambda self: False)
    ordinary = run(tmp_path / "ordinary", files, "trainer.max_epochs=3", *overrides)
    assert len(taken) == num_short
    ours, theirs = (checkpoint(tmp_path / name) for name in ("short", "ordinary"))
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step", "epoch"):
        assert equal(ours[key], theirs[key]), key
    name = "SemanticScaleReweighting"
    assert equal(ours["callbacks"].get(name), theirs["callbacks"].get(name))
    for file in ("csv/metrics.csv", "scales.csv"):
        assert (tmp_path / "short" / file).read_text() == (tmp_path / "ordinary" / file).read_text()
    assert equal(parameters(short), parameters(ordinary))


@pytest.mark.parametrize("sampler", ["instance", "progressive"])
def test_scales_of_features_that_never_change_are_computed_once(
    sampler: str, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: list[int] = []
    push = FeaturePool.push
    monkeypatch.setattr(FeaturePool, "push", lambda self, *rows: (pushed.append(len(rows[1])), push(self, *rows)))
    options = ["reweighting=semantic_scale", "reweighting.start_epoch=0", "trainer.max_epochs=5"]
    options += [f"sampler={sampler}", "trainer.precision=64-true", "callbacks.recorder=null"]
    once = run(tmp_path / "once", files, *options)
    first = sum(pushed)
    assert first == 300 if sampler == "instance" else first > 300
    monkeypatch.setattr(SemanticScaleReweighting, "_settles", lambda *_: False)
    always = run(tmp_path / "always", files, *options)
    assert sum(pushed) == first + 5 * 300
    for name, value in parameters(always).items():
        torch.testing.assert_close(parameters(once)[name], value, rtol=0, atol=1e-9, check_dtype=False)
    moving = run(tmp_path / "mlp", [*files, "backbone=mlp", "backbone.hidden=8"], *options)
    found = [one for one in moving.trainer.callbacks if isinstance(one, SemanticScaleReweighting)]  # type: ignore[attr-defined]
    assert [one._settled for one in found] == [None]


def test_a_resumed_run_is_an_unbroken_one(files: list[str], tmp_path: Path) -> None:
    options = ["backbone=mlp", "backbone.dropout=0.2", "reweighting=semantic_scale", "reweighting.start_epoch=1"]
    options += ["scheduler=none", "mixing=mixup"]
    whole = run(tmp_path / "whole", files, "trainer.max_epochs=4", *options)
    run(tmp_path / "first", files, "trainer.max_epochs=2", *options)
    last = tmp_path / "first" / "checkpoints" / "last.ckpt"
    resumed = run(tmp_path / "second", files, "trainer.max_epochs=4", f"ckpt_path={last}", *options)
    assert equal(parameters(whole), parameters(resumed))


def test_a_head_is_exported_and_evaluated(files: list[str], tmp_path: Path) -> None:
    result = run(tmp_path / "run", files, "trainer.max_epochs=1", "backbone=mlp", "backbone.hidden=8")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    difference, allowed = export(last, tmp_path / "model.pt", "torchscript")
    assert difference <= allowed
    described = json.loads((tmp_path / "model.json").read_text())
    assert described["input"] == {"name": "features", "shape": ["batch", 64]}
    assert evaluate(last)["confusion_matrix"] == result.last["confusion_matrix"]  # type: ignore[index]
    with pytest.raises(WrongCallError, match="image_size"):
        export(last, tmp_path / "other.pt", "torchscript", image_size=8)


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [[], ["reweighting=semantic_scale", "reweighting.start_epoch=0"]])
def test_class_means_stand_where_nothing_trains(overrides: list[str], files: list[str], tmp_path: Path) -> None:
    result = run(tmp_path, files, "classifier=ncm", "trainer.max_epochs=2", *overrides)
    X, Y = DIGITS.data[:300] / 16, DIGITS.target[:300]
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    means = np.stack([X[k == Y].mean(axis=0) for k in range(10)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    found = result.module.classifier.affine().weight  # type: ignore[operator]
    torch.testing.assert_close(found, 16.0 * torch.from_numpy(means).float(), rtol=0, atol=1e-4)
    assert result.last["top1"] > 0.7  # type: ignore[index, operator]


def test_a_gaussian_head_takes_one_pass_and_leaves_a_whole_run(files: list[str], tmp_path: Path) -> None:
    options = ["classifier=gaussian", "trainer.max_epochs=9", "dataset.validation_per_class=3"]
    result = run(tmp_path / "run", files, *options)
    head = GaussianHead().fit(*training_features(result.trainer, result.module))
    right = head.predict((DIGITS.data[300:600] / 16).astype(np.float32)) == DIGITS.target[300:600]
    assert result.last["top1"] == pytest.approx(right.mean(), abs=1e-9)  # type: ignore[index]
    record = json.loads((tmp_path / "run" / "metrics.json").read_text())
    chosen = record["classifier"]["chosen"]
    assert chosen == pytest.approx({name: getattr(head.settings_, name) for name in ("shrinkage", "k", "temperature")})
    assert (record["completed_epochs"], record["interrupted"]) == (1, False)
    assert record["objective"]["name"] == "val/balanced_accuracy"
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert evaluate(last)["confusion_matrix"] == result.last["confusion_matrix"]  # type: ignore[index]
    difference, allowed = export(last, tmp_path / "model.pt", "torchscript")
    assert difference <= allowed


def test_two_ranks_are_one_process(files: list[str], tmp_path: Path) -> None:
    options = ["trainer.max_epochs=2", "trainer.precision=64-true", "reweighting=semantic_scale"]
    options += ["reweighting.start_epoch=1", "mixing=mixup"]
    alone = run(tmp_path / "alone", files, *options)
    line = [sys.executable, "-m", "semscale_pl", "train", *files, "dataset.batch_size=64", *options]
    line += ["trainer=ddp_cpu", "trainer.devices=2", f"hydra.run.dir={tmp_path / 'both'}"]
    done = subprocess.run(line, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    found = checkpoint(tmp_path / "both")["state_dict"]
    for name, value in parameters(alone).items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-10, check_dtype=False)


@pytest.mark.parametrize("changed", ["release", "parts", "loop"])
def test_another_lightning_takes_its_own_steps(
    changed: str, files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if changed == "release":
        monkeypatch.setattr(pl, "__version__", "2.9.0")
    elif changed == "parts":
        monkeypatch.setattr(short_steps, "_PRIVATE", (*short_steps._PRIVATE, "fit_loop.epoch_loop.of_another_release"))
    else:
        monkeypatch.setattr(short_steps, "_TrainingEpochLoop", object)
    result = run(tmp_path / "run", files, "trainer.max_epochs=1")
    assert type(result.trainer.fit_loop.epoch_loop) is _TrainingEpochLoop
    named = {"release": "pytorch-lightning 2.6.*", "parts": "fit_loop.epoch_loop.of_another_release"}
    assert short_steps.lacking(result.trainer) == [named.get(changed, "_TrainingEpochLoop")]
