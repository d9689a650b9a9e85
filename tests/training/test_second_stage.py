"""Second stages on real runs: what is recorded, kept, refused, resumed, and shared between two ranks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from semscale_pl.cli.main import main
from semscale_pl.config.checks import check_train
from semscale_pl.config.composing import config_dir
from semscale_pl.heads import recipe as choosing
from semscale_pl.training.building import build_datamodule, build_module
from semscale_pl.training.evaluation import evaluate
from semscale_pl.training.run import TrainResult, train
from semscale_pl.training.second_stage import second_stage

RECIPES = ("crt", "lws", "tau_norm", "ncm", "logit_adjustment", "gaussian", "fused")
QUICK = ("trainer.max_epochs=2", "backbone.width=4", "dataset.validation_per_class=2")
FEW = ("recipe.lr_grid=[0.05,0.5]", "recipe.epochs=2")


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[*QUICK, *overrides])
    check_train(cfg)
    return cfg


def trained(run_dir: Path, *overrides: str) -> TrainResult:
    return train(composed(*overrides), run_dir)


def record(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "metrics.json").read_text())


def without_times(found: dict[str, Any]) -> dict[str, Any]:
    del found["cost"], found["recipe"]["seconds"], found["config"]["ckpt_path"]
    return found


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    trained(folder)
    return folder


@pytest.fixture(autouse=True)
def _in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")


@pytest.mark.parametrize("name", RECIPES)
def test_a_finished_run_gets_another_head(run_dir: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = FEW if name in ("crt", "lws") else ()
    assert main(["head", f"ckpt={run_dir}/checkpoints/last.ckpt", f"recipe={name}", "out=out", *more]) == 0
    assert f"as trained ┃ {name}" in " ".join(capsys.readouterr().out.split())
    found, before = record(Path("out")), record(run_dir)
    assert before["recipe"] is None
    assert found["results"]["stage1"]["confusion_matrix"] == before["results"]["last"]["confusion_matrix"]
    assert found["results"]["selected"] is None
    stage = found["recipe"]
    assert stage["name"] == name
    best = max(entry["balanced_accuracy"] for entry in stage["validation"])
    assert any({**stage["chosen"], "balanced_accuracy": best}.items() >= entry.items() for entry in stage["validation"])
    # The checkpoint holds the head that the record tested.
    again = evaluate("out/checkpoints/recipe.ckpt")
    assert again["confusion_matrix"] == found["results"]["last"]["confusion_matrix"]
    assert evaluate("out/checkpoints/recipe.ckpt", split="val")["balanced_accuracy"] == pytest.approx(best)
    assert Path("out/per_class.csv").is_file()


def test_the_end_of_a_training_does_what_the_command_does(run_dir: Path, tmp_path: Path) -> None:
    settings = ("recipe=crt", *FEW, "recipe.weights=semantic_scale")
    result = trained(tmp_path / "run", *settings)
    assert main(["head", f"ckpt={run_dir}/checkpoints/last.ckpt", "out=out", *settings]) == 0
    mine, theirs = record(tmp_path / "run"), record(Path("out"))
    assert mine["results"]["last"] == theirs["results"]["last"]
    assert mine["results"]["stage1"] == record(run_dir)["results"]["last"]
    assert mine["results"]["stage1_selected"] == record(run_dir)["results"]["selected"]
    assert mine["scales"] == record(run_dir)["scales"]
    best = max(entry["balanced_accuracy"] for entry in mine["recipe"]["validation"])
    assert mine["objective"] == {"name": "val/balanced_accuracy", "value": best}
    assert result.objective[1] == best
    assert theirs["objective"] == mine["objective"]
    for name in ("last", "best"):  # the training's own, which can be resumed
        ours, whole = (torch.load(f / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]
                       for f in (tmp_path / "run", run_dir))  # fmt: skip
        assert all(torch.equal(ours[key], whole[key]) for key in whole)


def test_a_training_also_judges_heads_of_its_features(run_dir: Path, tmp_path: Path) -> None:
    result = trained(tmp_path / "run", "also=[gaussian,fused]", "recipe=tau_norm", "recipe.tau=1")
    found = record(tmp_path / "run")
    for name in ("gaussian", "fused"):
        call = ["head", f"ckpt={run_dir}/checkpoints/last.ckpt", f"recipe={name}", f"out={name}"]
        assert main(call) == 0
        assert found["results"][name] == record(Path(name))["results"]["last"]
        assert found["also"][name]["chosen"] == record(Path(name))["recipe"]["chosen"]
        assert found["correlations"][name]
    assert found["results"]["stage1"] == record(run_dir)["results"]["last"]
    assert found["recipe"]["name"] == "tau_norm"
    scales, alone = (torch.tensor(one["scales"]["S'"]) for one in (found, record(run_dir)))
    torch.testing.assert_close(scales, alone, rtol=1e-5, atol=1e-6)
    assert result.module.classifier.linear.bias is None  # type: ignore[union-attr]
    untested = trained(tmp_path / "untested", "also=[fused]", "test=false")
    assert untested.validation is not None
    assert set(record(tmp_path / "untested")["results"]) == {"last", "selected", "validation", "fused"}


def test_a_run_killed_in_its_second_stage_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ("recipe=lws", *FEW)
    trained(tmp_path / "whole", *settings)
    right = choosing.balanced_accuracy

    def killed(*_: Any) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(choosing, "balanced_accuracy", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", *settings)
    assert not (tmp_path / "cut/metrics.json").exists()
    assert not (tmp_path / "cut/checkpoints/recipe.ckpt").exists()
    monkeypatch.setattr(choosing, "balanced_accuracy", right)
    trained(tmp_path / "cut", *settings, f"ckpt_path={tmp_path}/cut/checkpoints/last.ckpt")
    assert without_times(record(tmp_path / "cut")) == without_times(record(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("settings", "classifier"),
    [
        (("loss=ldam", "classifier=cosine", "recipe=crt", *FEW), "CosineClassifier"),
        (("loss=sigmoid_focal", "recipe=logit_adjustment"), "LinearClassifier"),
        (("classifier=ncm", "recipe=logit_adjustment", "recipe.prior=semantic_scale"), "NearestClassMean"),
    ],
)
def test_recipes_follow_other_heads_and_losses(settings: tuple[str, ...], classifier: str, tmp_path: Path) -> None:
    trained(tmp_path, *settings)
    found = record(tmp_path)
    assert found["config"]["classifier"]["_target_"].endswith(classifier)
    again = evaluate(tmp_path / "checkpoints/recipe.ckpt")
    assert again["confusion_matrix"] == found["results"]["last"]["confusion_matrix"]
    if classifier == "CosineClassifier":  # its margins' scale counts: bare cosines would learn nothing in two epochs
        assert found["recipe"]["validation"][-1]["balanced_accuracy"] > 0.2


def test_a_finished_head_is_exported(tmp_path: Path) -> None:
    trained(tmp_path / "run", "recipe=tau_norm", "recipe.tau=0.5")
    call = ["export", f"ckpt={tmp_path}/run/checkpoints/recipe.ckpt", "format=torchscript", "out=exported"]
    assert main(call) == 0
    assert Path("exported/model.pt").is_file()


def test_what_cannot_follow_is_refused_in_one_line(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ckpt = f"ckpt={run_dir}/checkpoints/last.ckpt"
    finished = Path("recipe.ckpt")
    finished.touch()
    assert main(["head", ckpt, "recipe=tau_norm", "recipe.tau=1", "out=first"]) == 0
    capsys.readouterr()
    calls = {
        (
            "head",
            "ckpt=first/checkpoints/recipe.ckpt",
            "recipe=logit_adjustment",
            "out=second",
        ): "Pass the last.ckpt of",
        ("head", ckpt, f"out={run_dir}"): "Name another folder by out=",
        ("train", f"ckpt_path={finished}"): "last.ckpt beside it",
        ("head", ckpt, "recipe=fused", "recipe.prior=[1,2]", "out=second"): "for each of the 10 classes, but got 2",
        (
            "head",
            ckpt,
            "recipe=gaussian",
            "recipe.shrinkage=0",
            "out=second",
        ): "`recipe.shrinkage` to be above 0 where leave-one-out chooses k and temperature",
        ("train", "classifier=gaussian", "classifier.prior=[1,2]"): "`classifier.prior` to have a number for each",
    }
    for call, expected in calls.items():
        assert main([*call]) == 2, call
        said = capsys.readouterr().err
        assert expected in said, said
        assert said.count("\n") == 1


def _rank(rank: int, folder: str, ranks: int) -> None:
    torch.set_num_threads(1)
    if ranks > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=ranks)
    cfg = composed("recipe=crt", *FEW, "dataset.batch_size=63")
    torch.manual_seed(0)
    datamodule = build_datamodule(cfg)
    module = build_module(cfg, datamodule.num_classes, datamodule.class_names)
    stage = second_stage(module, datamodule, cfg, torch.device("cpu"))
    assert stage is not None
    content = {"state": module.classifier.state_dict(), "chosen": stage.chosen, "tried": stage.tried}
    torch.save(content, f"{folder}/{ranks}-{rank}.pt")
    if ranks > 1:
        dist.destroy_process_group()


def test_two_ranks_end_with_the_head_of_one(tmp_path: Path) -> None:
    _rank(0, str(tmp_path), 1)
    mp.start_processes(_rank, args=(str(tmp_path), 2), nprocs=2, start_method="fork")
    alone, first, second = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    for found in (first, second):
        assert found["chosen"] == alone["chosen"]
        assert found["tried"] == alone["tried"]
        for name, value in alone["state"].items():
            torch.testing.assert_close(found["state"][name], value, rtol=0, atol=1e-5)
    assert all(torch.equal(first["state"][name], second["state"][name]) for name in first["state"])
