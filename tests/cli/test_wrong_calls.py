"""Every wrong call is answered by exit code 2 and one line that says what to do, before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from semscale_pl.cli.main import main

# Arguments, and what the line has to contain.
CALLS: dict[str, tuple[str, ...]] = {
    "trian": ("Unknown command `trian`", "Did you mean `train`"),
    "frobnicate": ("Unknown command `frobnicate`", "semscale help"),
    "train seeed=1": ("Unknown key `seeed`", "Did you mean `seed`"),
    "train optimizer.lrr=0.1": ("Unknown key `optimizer.lrr`", "Did you mean `optimizer.lr`"),
    "train optimzer=sgd": ("Unknown key `optimzer`", "Did you mean `optimizer`"),
    "train max_epochs=3": ("Unknown key `max_epochs`", "Did you mean `trainer.max_epochs`"),
    "train dataset=hf dataset.path=x": ("Unknown key `dataset.path`", "Did you mean `dataset.source.path`"),
    "train dataset=hf dataset.label_column=x": ("these have: features", "Did you mean `dataset.source.label_column`"),
    "train +foo=1": ("Unknown key `foo`",),
    "train ~foo": ("Unknown key `foo`",),
    "train +seed=1": ("`seed` exists already",),
    "train loss=focall": ("Unknown option `focall` of `loss`", "Did you mean `focal`", "balanced_softmax"),
    "train dataset=qqq": ("Unknown option `qqq` of `dataset`", "digits_lt"),
    "train trainer=tpu": ("Unknown option `tpu` of `trainer`", "ddp_cpu"),
    "train reweighting.alpha=2": ("Unknown key `reweighting.alpha`", "semantic_scale"),
    "train seed=-1": ("`seed`", "-1"),
    "train seed=abc": ("`seed`", "'abc'"),
    "train seed=[1": ("no viable alternative",),
    "train seed": ("missing EQUAL",),
    "train --frob": ("Unknown option `--frob`",),
    "train imbalance_factor=0.5": ("`imbalance_factor` to be a number of at least 1", "0.5"),
    "train imbalance=none imbalance_factor=10": ("`imbalance_factor` to be 1 with imbalance=none",),
    "train dataset.batch_size=0": ("`dataset.batch_size`", "at least 1"),
    "train dataset.num_workers=-1": ("`dataset.num_workers`", "at least 0"),
    "train optimizer.lr=0": ("`optimizer.lr` to be a number above 0",),
    "train optimizer.lr=fast": ("`optimizer.lr`", "'fast'"),
    "train trainer.max_epochs=0": ("`trainer.max_epochs`", "at least 1"),
    "train trainer.max_epochs=1.5": ("`trainer.max_epochs` to be an integer", "1.5"),
    "train trainer.max_epochs=5,6": ("Ambiguous value",),
    "train trainer.devices=0": ("`trainer.devices`", '"auto"'),
    "train trainer.precision=fp17": ("`trainer.precision`", "bf16-mixed"),
    "train trainer.precision=16-mixed": ("`trainer.precision` to be one that a CPU has",),
    "train ckpt_path=nowhere.ckpt": ("`ckpt_path`", "nowhere.ckpt"),
    "train reweighting=semantic_scale trainer.max_epochs=5": ("`reweighting.start_epoch` to be below", "5 epochs"),
    "train reweighting=semantic_scale reweighting.alpha=0.5": ("`reweighting.alpha`", "at least 1"),
    "train reweighting=semantic_scale reweighting.floor=0": ("`reweighting.floor`", "(0, 1]"),
    "train reweighting=semantic_scale reweighting.pool=lifo": ("`reweighting.pool`", "indexed, fifo"),
    "train reweighting=semantic_scale reweighting.normalization=sum": ("`reweighting.normalization`", "sample"),
    "train reweighting=class_balanced reweighting.beta=1": ("`reweighting.beta`", "[0, 1)"),
    "train reweighting=semantic_scale reweighting.start_epoch=1.5": ("integer of at least 0, or a share", "got 1.5"),
    "train reweighting=cdb reweighting.tau=often": ("`reweighting.tau`", '"dynamic"', "'often'"),
    "train recipe=tau_norm classifier=cosine": ("recipe=crt, lws or ncm",),
    "train recipe=crt classifier=ncm": ("recipe=crt", "trains nothing"),
    "train recipe=crt classifier=gaussian": ("classifier=gaussian trains nothing",),
    "train classifier=gaussian loss=focal": ("Expected loss=ce with classifier=gaussian", "Leave loss out"),
    "train classifier=gaussian reweighting=semantic_scale": ("reweighting=none with classifier=gaussian",),
    "train classifier=gaussian finetune=lora": ("got adapters",),
    "train classifier=gaussian classifier.choose=cv": ("`classifier.choose`", "leave_one_out, fixed"),
    "train classifier=gaussian classifier.prior=[0,1]": ("`classifier.prior`", "a number above 0 for each class"),
    "train recipe=logit_adjustment loss=balanced_softmax": ("come off twice", "recipe.prior=semantic_scale"),
    "train recipe=ncm recipe.metric=l1": ("`recipe.metric` to be one of euclidean, cosine or null", "'l1'"),
    "train classifier.init=means": ("`classifier.init`", "random, class_means, text"),
    "train classifier.template=photo": ("`classifier.template`", "{}"),
    "train loss=ldam classifier=cosine classifier.learn_scale=true": ("`classifier.learn_scale` to be false",),
    "head": ("Pass ckpt=RUN",),
    "head ckpt=nowhere.ckpt": ("`ckpt` to be a checkpoint or the folder of a run", "nowhere.ckpt"),
    "head ckpt=x.npz recipe=none": ("crt, lws, tau_norm, ncm, logit_adjustment, gaussian or fused",),
    "head ckpt=x.npz recipe=fused recipe.weight=-1": ("`recipe.weight` to be a number of at least 0 or null",),
    "train also=[gauss]": ("`also` to be a list of some of gaussian, fused",),
    "train also=[fused] classifier=ncm": ("Expected a classifier that was trained for also=[fused]",),
    "train recipe=fused classifier=ncm": ("recipe=fused", "trains nothing"),
    "head ckpt=x.npz recipe=ctr": ("Unknown option `ctr` of `recipe`", "Did you mean `crt`"),
    "head ckpt=x.npz recipe=tau_norm recipe.tau_grid=[]": ("`recipe.tau_grid` to be a list", "[]"),
    "head ckpt=x.npz recipe.lr=0": ("`recipe.lr` to be a number above 0",),
    "head ckpt=x.npz recipe.tau=1": ("Unknown key `recipe.tau`",),
    "train reweighting=mean_score reweighting.momentum=1": ("`reweighting.momentum`", "[0, 1)"),
    "train reweighting=mean_score reweighting.initial_score=0": ("`reweighting.initial_score`", "(0, 1]"),
    "train reweighting=effective_area reweighting.batch_size=0": ("`reweighting.batch_size`", "at least 1"),
    "train reweighting=effective_area reweighting.bounded=3": ("`reweighting.bounded`", "true or false"),
    "train reweighting=effective_area reweighting.seed=-1": ("`reweighting.seed`", "4294967295"),
    "train reweighting=sample_volume reweighting.image_size=0": ("`reweighting.image_size`", "at least 1"),
    "train trainer.limit_train_batches=0": ("`trainer.limit_train_batches`", "at least 1, or a share"),
    "train trainer.precision=transformer-engine": ("`trainer.precision`", "bf16-mixed"),
    "train trainer.precision=16-true optimizer=adamw": ("`optimizer.eps` of at least 1e-7", "+optimizer.eps=1e-4"),
    "train trainer.max_steps=0": ("`trainer.max_steps`", "-1 for no limit"),
    "train trainer.max_time=10": ("`trainer.max_time` to be days:hours:minutes:seconds",),
    "train trainer.fast_dev_run=0": ("`trainer.fast_dev_run`", "at least 1"),
    "train trainer.limit_test_batches=0": ("`trainer.limit_test_batches`", "at least 1, or a share"),
    "train trainer.limit_val_batches=-1": ("`trainer.limit_val_batches`", "at least 1, or a share"),
    "train trainer.overfit_batches=1.5": ("`trainer.overfit_batches`", "[0, 1]"),
    "train trainer.val_check_interval=0": ("`trainer.val_check_interval`", "(0, 1]"),
    "train trainer.min_epochs=31": ("`trainer.min_epochs` to be at most `trainer.max_epochs`, 30",),
    "train trainer.gradient_clip_algorithm=l2": ("`trainer.gradient_clip_algorithm`", "norm, value"),
    "train trainer.profiler=fast": ("`trainer.profiler`", "simple, advanced, pytorch"),
    "train on_nonfinite=ignore": ("`on_nonfinite` to be one of raise, skip",),
    "train trainer.limit_train_batches=1.5": ("`trainer.limit_train_batches`", "(0, 1]"),
    "train dataset.check_images=all": ("`dataset.check_images`", "decode, exist, none"),
    "train loss=ldam classifier=cosine classifier.scale=16": ("`classifier.scale` to be 1", "loss.scale"),
    "train reweighting=semantic_scale reweighting.mixed=skip mixing=mixup": ("`mixing.probability` below 1",),
    "train loss=ldam": ("classifier=cosine with loss=ldam", "LinearClassifier", "Add classifier=cosine"),
    "train -m loss=ldam classifier=linear seed=0,1": ("classifier=cosine with loss=ldam",),
    "train reweighting=cdb": ("validation part for reweighting=cdb", "dataset.validation_per_class=N"),
    "train reweighting=cdb dataset=cifar10_lt": ("validation part for reweighting=cdb",),
    "train callbacks=early_stopping": ("validation part for `callbacks.early_stopping`", "val/balanced_accuracy"),
    "train callbacks=early_stopping callbacks.early_stopping.patience=0": ("`callbacks.early_stopping.patience`",),
    "train dataset.validation_per_class=-1": ("`dataset.validation_per_class`", "at least 0"),
    "train dataset.validation_fraction=1": ("`dataset.validation_fraction`", "[0, 1)"),
    "train lr_reference_batch=0": ("`lr_reference_batch`", "at least 1 or null"),
    "train loss=focal loss.gamma=-1": ("`loss.gamma`", "at least 0"),
    "train -m loss=ce,focall": ("Unknown option `focall` of `loss`",),
    "train -m seed=-2,-1": ("`seed`", "-2"),
    "train subset_seed=${sed}": ("sed",),
    "train hydra/launcher=qqq": ("Unknown option `qqq` of `hydra/launcher`", "joblib"),
    "evaluate": ("Pass ckpt=",),
    "evaluate ckpt=nowhere.ckpt": ("`ckpt`", "nowhere.ckpt"),
    "evaluate ckpt_path=x": ("Unknown key `ckpt_path`", "Did you mean"),
}


@pytest.mark.parametrize("call", CALLS)
def test_one_line_and_exit_code_2(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    assert main(call.split()) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    for part in CALLS[call]:
        assert part in lines[0]


def test_a_file_that_is_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    assert main(["evaluate", "ckpt=text.ckpt"]) == 2
    assert "cannot read text.ckpt" in capfd.readouterr().err


def test_answers_before_torch_is_imported(tmp_path: Path) -> None:
    np.savez(tmp_path / "short.npz", features=np.zeros((3, 2)), labels=np.zeros(2))
    np.save(tmp_path / "bare.npy", np.zeros((3, 2)))
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04")
    files = ["short.npz", "bare.npy", "damaged.npz", "short.npz label_column=x"]
    calls = [*CALLS, *(f"measure features={file}" for file in files)]
    script = (
        "import json, sys; from semscale_pl.cli.main import main\n"
        "for call in json.loads(sys.argv[1]):\n"
        "    assert main(call.split()) == 2, call\n"
        "heavy = sorted({'torch', 'pytorch_lightning', 'wandb'} & set(sys.modules))\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(calls)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == ""
