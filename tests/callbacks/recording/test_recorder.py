"""The recorder against hand-counted accuracies, across a kill and resume, over two ranks, and into each logger."""

from __future__ import annotations

import csv
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from offline_wandb import listen_for_calls, read_finished
from pytorch_lightning.callbacks import ModelCheckpoint, StochasticWeightAveraging
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from semscale_pl.callbacks.recording.recorder import RunRecorder
from semscale_pl.weighting import WeightingReport

NUM_CLASSES = 3
NAMES = ["cat", "dog", "emu"]


class ReportingWeighting:
    """Reports the epoch as every class's scale; NaN for the last class; a new key from epoch 2 on."""

    def __init__(self, trainer: pl.Trainer) -> None:
        self.trainer = trainer

    def report(self) -> WeightingReport:
        epoch = float(self.trainer.current_epoch)
        per_class = {"scale": torch.tensor([epoch, 2 * epoch, torch.nan])}
        if epoch >= 2:
            per_class["novel"] = torch.ones(NUM_CLASSES)
        return WeightingReport(per_class, {"num_floored": 1.0, "stage": 2.0})


class TinyModule(pl.LightningModule):
    """A linear classifier that keeps what it answered, so that a test can count for itself."""

    def __init__(self, fails_in_epoch: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, NUM_CLASSES)
        self.num_classes, self.class_names, self.class_counts = NUM_CLASSES, NAMES, [20, 9, 3]
        self.weighting: Any = None
        self.last_val_results: dict[str, Any] | None = None
        self.answers: dict[int, list[tuple[int, int]]] = {}
        self.fails_in_epoch = fails_in_epoch

    def on_fit_start(self) -> None:
        self.weighting = ReportingWeighting(self.trainer)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> dict[str, Tensor]:
        if self.current_epoch == self.fails_in_epoch and batch_idx == 1:
            raise RuntimeError("killed")
        logits = self.layer(batch[0])
        pairs = zip(batch[1].tolist(), logits.argmax(1).tolist())
        self.answers.setdefault(self.current_epoch, []).extend(pairs)
        return {"loss": nn.functional.cross_entropy(logits, batch[1]), "logits": logits.detach(), "labels": batch[1]}

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        pass

    def on_validation_epoch_end(self) -> None:
        accuracy = [0.25, None, self.current_epoch / 10]
        self.last_val_results = {"per_class": {"accuracy": accuracy}}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.5)


def _data() -> DataLoader:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(32, 4, generator=generator)
    labels = torch.tensor([0] * 20 + [1] * 9 + [2] * 3)
    return DataLoader(TensorDataset(images, labels), batch_size=8)


def _fit(folder: Path, module: TinyModule, recorder: RunRecorder, **arguments: Any) -> pl.Trainer:
    settings: dict[str, Any] = {
        "max_epochs": 4,
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "num_sanity_val_steps": 0,
    }
    callbacks = [recorder, *arguments.pop("callbacks", [])]
    validation, ckpt_path = arguments.pop("validation", None), arguments.pop("ckpt_path", None)
    trainer = pl.Trainer(default_root_dir=folder, callbacks=callbacks, **{**settings, **arguments})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers")
        warnings.filterwarnings("ignore", ".*lower value for log_every_n_steps")
        warnings.filterwarnings("ignore", ".*The dirpath has changed from")
        warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty")
        warnings.filterwarnings("ignore", ".*no `val_dataloader`|.*you defined a `validation_step` but have no")
        trainer.fit(module, _data(), validation, ckpt_path=ckpt_path)
    return trainer


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "scales.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_training_accuracy_is_that_of_the_answers_given(tmp_path: Path) -> None:
    module = TinyModule()
    trainer = _fit(tmp_path, module, RunRecorder(tmp_path))
    rows = _rows(tmp_path)
    assert len(rows) == 4 * NUM_CLASSES
    for row in rows:
        answers = [right for label, right in module.answers[int(row["epoch"])] if label == int(row["class_index"])]
        expected = sum(right == int(row["class_index"]) for right in answers) / len(answers)
        assert float(row["train_accuracy"]) == pytest.approx(expected, abs=1e-9)
    assert [row["class_name"] for row in rows[:3]] == NAMES
    assert [row["n"] for row in rows[:3]] == ["20", "9", "3"]
    assert [row["scale"] for row in rows[6:9]] == ["2", "4", ""]
    assert [row["novel"] for row in rows[3:9]] == ["", "", "", "1", "1", "1"]
    last = [float(row["train_accuracy"]) for row in rows[-3:]]
    metrics = trainer.callback_metrics
    assert float(metrics["train/balanced_accuracy"]) == pytest.approx(sum(last) / 3, abs=1e-6)
    assert float(metrics["train/top1"]) == pytest.approx((20 * last[0] + 9 * last[1] + 3 * last[2]) / 32, abs=1e-6)
    assert float(metrics["weighting/num_floored"]) == 1.0


def test_validation_accuracy_stands_only_where_a_pass_ran(tmp_path: Path) -> None:
    arguments = {"validation": _data(), "check_val_every_n_epoch": 2, "num_sanity_val_steps": 1}
    _fit(tmp_path, TinyModule(), RunRecorder(tmp_path, class_names=["x", "y", "z"]), **arguments)
    rows = _rows(tmp_path)
    assert [row["val_accuracy"] for row in rows] == ["", "", "", "0.25", "", "0.1", "", "", "", "0.25", "", "0.3"]
    assert rows[0]["class_name"] == "x"


def _checkpoints(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder / "checkpoints", save_last=True, save_top_k=1, save_on_train_epoch_end=True)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_killed_and_resumed_leaves_the_same_file(tmp_path: Path, elsewhere: bool) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    _fit(unbroken, TinyModule(), RunRecorder(unbroken))
    with pytest.raises(RuntimeError, match="killed"):
        _fit(broken, TinyModule(3), RunRecorder(broken), callbacks=[_checkpoints(broken)], enable_checkpointing=True)
    # As if the kill had come after the row of epoch 3 began and before its checkpoint.
    with (broken / "scales.csv").open("a") as file:
        file.write("3,0,cat,20,3\n3,1,do")
    target = tmp_path / "elsewhere" if elsewhere else broken
    more = {"callbacks": [_checkpoints(target)], "enable_checkpointing": True}
    _fit(target, TinyModule(), RunRecorder(target), ckpt_path=str(broken / "checkpoints" / "last.ckpt"), **more)
    assert (target / "scales.csv").read_bytes() == (unbroken / "scales.csv").read_bytes()


def test_a_new_run_in_an_old_folder_starts_afresh(tmp_path: Path) -> None:
    _fit(tmp_path, TinyModule(), RunRecorder(tmp_path))
    _fit(tmp_path, TinyModule(), RunRecorder(tmp_path), max_epochs=2)
    assert {row["epoch"] for row in _rows(tmp_path)} == {"0", "1"}


def test_the_extra_pass_of_weight_averaging_is_no_epoch(tmp_path: Path) -> None:
    module = TinyModule()
    module.layer = nn.Sequential(nn.Linear(4, NUM_CLASSES), nn.BatchNorm1d(NUM_CLASSES))  # type: ignore[assignment]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*`scheduler.step.epoch.`|.*Swapping scheduler|.*lr_scheduler.step")
        _fit(tmp_path, module, RunRecorder(tmp_path), callbacks=[StochasticWeightAveraging(0.1, swa_epoch_start=2)])
    assert {row["epoch"] for row in _rows(tmp_path)} == {"0", "1", "2", "3"}


def test_a_module_that_tells_nothing_still_trains(tmp_path: Path) -> None:
    class Silent(TinyModule):
        def on_fit_start(self) -> None:
            del self.weighting, self.class_names, self.class_counts

        def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:  # type: ignore[override]
            return super().training_step(batch, batch_idx)["loss"]

    _fit(tmp_path, Silent(), RunRecorder(tmp_path), max_epochs=1)
    assert _rows(tmp_path) == [
        {"epoch": "0", "class_index": str(index), "class_name": str(index), "n": ""} for index in range(3)
    ]


@pytest.mark.parametrize("every", [-1, 1.5, True])
def test_a_bad_argument_is_refused(every: Any) -> None:
    with pytest.raises(ValueError, match="Expected `pictures_every_n_epochs`"):
        RunRecorder("run", pictures_every_n_epochs=every)


def test_pictures_come_every_nth_epoch_and_at_the_end(tmp_path: Path) -> None:
    recorder = RunRecorder(tmp_path, pictures_every_n_epochs=3)
    assert [epoch for epoch in range(4) if _drawn(recorder, epoch)] == [2, 3]
    logger = TensorBoardLogger(tmp_path, name="", version="")
    _fit(tmp_path, TinyModule(), recorder, logger=logger)
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert names == {"bars", "heatmap_scale", "heatmap_novel", "heatmap_train_accuracy"}
    _check_tensorboard(tmp_path)


def test_pictures_of_the_last_epoch_come_also_where_it_comes_early(tmp_path: Path) -> None:
    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            trainer.should_stop = trainer.current_epoch == 1

    _fit(tmp_path, TinyModule(), RunRecorder(tmp_path, pictures_every_n_epochs=100), callbacks=[Stop()])
    assert (tmp_path / "figures" / "bars.png").is_file()


def _drawn(recorder: RunRecorder, epoch: int) -> bool:
    recorder._last_epoch = 3
    return recorder._draws(epoch)


def _check_tensorboard(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(folder), size_guidance={"images": 0, "tensors": 0, "scalars": 0})
        events.Reload()
    assert len(events.Images("classes/bars")) == 2
    assert len(events.Images("classes/heatmap_scale")) == 2
    assert len(events.Scalars("train/balanced_accuracy")) == 4
    texts = events.Tensors("classes/table/text_summary")
    assert len(texts) == 4
    assert "| 2 | emu | 3 | n/a |" in texts[0].tensor_proto.string_val[0].decode()


def test_the_csv_logger_gets_the_scalars(tmp_path: Path) -> None:
    _fit(tmp_path, TinyModule(), RunRecorder(tmp_path), logger=CSVLogger(tmp_path, name="", version="csv"))
    with (tmp_path / "csv" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert all(row["train/balanced_accuracy"] and row["weighting/stage"] == "2.0" for row in rows)


def test_an_offline_wandb_run_holds_scalars_tables_and_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DATA_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    listener = listen_for_calls(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pytorch_lightning.loggers import WandbLogger

        logger = WandbLogger(save_dir=str(tmp_path), offline=True, project="test")
        _fit(tmp_path, TinyModule(), RunRecorder(tmp_path, pictures_every_n_epochs=4), logger=logger)
        logger.experiment.finish()
    with listener, pytest.raises(BlockingIOError):
        listener.accept()
    (run,) = read_finished(tmp_path, 1)
    keys = {key.split("/_")[0].split("/size")[0] for row in run.history for key in row if key.startswith("classes/")}
    assert not [key for key in keys if any(name in key for name in NAMES)]  # no series for each class
    history = json.loads(next(tmp_path.rglob("classes/history*.table.json")).read_text())
    columns = [history["columns"].index(name) for name in ("epoch", "class_name", "scale")]
    assert [[row[column] for column in columns] for row in history["data"]] == [
        [epoch, name, value]
        for epoch in range(4)
        for name, value in zip(NAMES, (float(epoch), 2.0 * epoch, None), strict=True)
    ]
    assert sum(row.get("classes/history/_type") == "table-file" for row in run.history) == 1
    assert sum(row.get("classes/heatmaps/_type") == "image-file" for row in run.history) == 1
    assert sum("train/balanced_accuracy" in row for row in run.history) == 4
    assert sum(row.get("classes/table/_type") == "table-file" for row in run.history) == 4
    pictures = [row for row in run.history if row.get("classes/bars/_type") == "image-file"]
    assert [row["epoch"] for row in pictures] == [3]
    assert any(row.get("classes/heatmap_scale/_type") == "image-file" for row in run.history)
    assert run.axes["classes/*"] == "epoch"


class TwoRanks(TinyModule):
    """Keeps a copy of what this rank answered, for the sum over both; the second rank counts in epoch 0 alone."""

    def training_step(self, batch: list[Tensor], batch_idx: int) -> dict[str, Tensor]:
        output = super().training_step(batch, batch_idx)
        if self.current_epoch == 1 and self.global_rank == 1:
            self.answers[1] = []
            return {"loss": output["loss"]}
        return output

    def on_train_epoch_end(self) -> None:
        right = torch.zeros(2, NUM_CLASSES, dtype=torch.int64)
        for label, answer in self.answers[self.current_epoch]:
            right[0, label] += label == answer
            right[1, label] += 1
        torch.distributed.all_reduce(right)
        if self.global_rank == 0:
            torch.save(right, Path(self.trainer.default_root_dir) / f"epoch{self.current_epoch}.pt")


def test_two_ranks_count_together_and_one_writes(tmp_path: Path) -> None:
    _fit(tmp_path, TwoRanks(), RunRecorder(tmp_path), strategy="ddp_fork", devices=2, max_epochs=2)
    rows = _rows(tmp_path)
    assert len(rows) == 2 * NUM_CLASSES
    for epoch in range(2):
        right, seen = torch.load(tmp_path / f"epoch{epoch}.pt", weights_only=True).double()
        assert int(seen.sum()) == (32, 16)[epoch]
        written = [float(row["train_accuracy"]) for row in rows if row["epoch"] == str(epoch)]
        assert written == pytest.approx((right / seen).tolist(), abs=1e-9)
