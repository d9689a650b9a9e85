"""A run resumed from the end of an epoch sees what an uninterrupted run would have seen, on a real Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from semscale_pl.data.datamodule import ImbalancedDataModule
from semscale_pl.data.transforms import crop
from semscale_pl.data.vision import Digits

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed:UserWarning"),
]


class Recorder(pl.LightningModule):
    """Remembers the epoch, the indices and the image sums of every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: list[tuple[int, list[int], list[float]]] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, _, indices = batch
        self.seen.append((self.current_epoch, indices.tolist(), images.sum((1, 2, 3)).tolist()))
        return self.layer(images.mean().reshape(1, 1)).sum()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.validated = batch[2].tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def data(workers: int, persistent: bool = False, **options: Any) -> ImbalancedDataModule:
    """Return digits, whose batches are made in memory where there are no workers."""
    return ImbalancedDataModule(
        Digits(),
        imbalance="exponential",
        imbalance_factor=20,
        batch_size=64,
        num_workers=workers,
        persistent_workers=persistent,
        augmentation=crop(8),
        validation_per_class=2,
        in_memory=False if workers else "auto",
        seed=3,
        **options,
    )


def fit(folder: Path, epochs: int, datamodule: ImbalancedDataModule, resume: Path | None = None) -> Recorder:
    module = Recorder()
    # A folder of its own for each trainer: Lightning warns of one that is not empty.
    into = folder / str(len(list(folder.iterdir())))
    saver = pl.callbacks.ModelCheckpoint(into, filename="end", save_on_train_epoch_end=True)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        callbacks=[saver],
        enable_progress_bar=False,
        limit_val_batches=0,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, datamodule=datamodule, ckpt_path=resume)
    return module


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_resume_continues_batches_and_augmentation(tmp_path: Path, workers: int, persistent: bool) -> None:
    whole = fit(tmp_path, 3, data(workers, persistent))
    first = fit(tmp_path, 1, data(workers, persistent))
    second = fit(tmp_path, 3, data(workers, persistent), tmp_path / "1/end.ckpt")
    assert [epoch for epoch, _, _ in second.seen[:1]] == [1]
    assert first.seen + second.seen == whole.seen
    epochs = [sorted(i for e, batch, _ in whole.seen if e == epoch for i in batch) for epoch in range(3)]
    assert all(epoch == list(range(len(epochs[0]))) for epoch in epochs)
    orders = [[i for e, batch, _ in whole.seen if e == epoch for i in batch] for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 3


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    assert fit(tmp_path, 2, data(0)).seen == fit(tmp_path, 2, data(2)).seen


def test_resume_refuses_another_training_subset(tmp_path: Path) -> None:
    fit(tmp_path, 1, data(0))
    with pytest.raises(ValueError, match="training subset"):
        fit(tmp_path, 2, data(0, subset_seed=4), tmp_path / "0/end.ckpt")


def test_checkpoint_loads_without_unpickling_code(tmp_path: Path) -> None:
    fit(tmp_path, 1, data(2))
    state = torch.load(tmp_path / "0/end.ckpt", weights_only=True)["ImbalancedDataModule"]
    assert state["epoch"] == 1


def test_building_loaders_leaves_the_global_generator_alone() -> None:
    datamodule = data(0)
    datamodule.setup()
    before = torch.get_rng_state()
    for loader in (datamodule.train_dataloader(), datamodule.eval_train_dataloader(), datamodule.test_dataloader()):
        list(loader)
    assert torch.equal(before, torch.get_rng_state())
