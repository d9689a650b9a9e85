"""The best score, and its file, go along when a run is resumed in another folder; a save leaves one file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from semscale_pl.training.checkpoints import AtomicCheckpointIO, BestCheckpoint, checkpoint_callbacks


def best(folder: Path) -> BestCheckpoint:
    callback = checkpoint_callbacks(folder, has_validation=True)[0]
    assert isinstance(callback, BestCheckpoint)
    return callback


def state(folder: Path) -> dict[str, object]:
    """Return what a run in `folder` left after an epoch of 0.9."""
    callback, path = best(folder), folder / "checkpoints" / "best.ckpt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"epoch 3")
    callback.best_model_path = callback.kth_best_model_path = str(path)
    callback.best_model_score = callback.kth_value = torch.tensor(0.9)
    callback.best_k_models = {str(path): torch.tensor(0.9)}
    return callback.state_dict()


@pytest.mark.parametrize("name", ["old", "new"])
def test_a_worse_epoch_is_not_the_best_after_a_resume(name: str, tmp_path: Path) -> None:
    stored, callback = state(tmp_path / "old"), best(tmp_path / name)
    callback.load_state_dict(stored)
    path = tmp_path / name / "checkpoints" / "best.ckpt"
    assert path.read_bytes() == b"epoch 3"
    assert float(callback.best_model_score) == pytest.approx(0.9)
    assert callback.best_k_models == {str(path): torch.tensor(0.9)}
    assert callback.best_model_path == callback.kth_best_model_path == str(path)
    assert not callback.check_monitor_top_k(_OneRank(), torch.tensor(0.8))
    assert callback.check_monitor_top_k(_OneRank(), torch.tensor(0.95))
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["best.ckpt"]


def test_a_best_file_that_is_gone_is_forgotten(tmp_path: Path) -> None:
    stored, callback = state(tmp_path / "old"), best(tmp_path / "new")
    (tmp_path / "old" / "checkpoints" / "best.ckpt").unlink()
    with pytest.warns(UserWarning, match="dirpath has changed"), pytest.warns(UserWarning, match=r"best\.ckpt is gone"):
        callback.load_state_dict(stored)
    assert callback.best_k_models == {}
    assert callback.check_monitor_top_k(_OneRank(), torch.tensor(0.1))


def test_a_save_removes_what_a_kill_left_of_an_earlier_one(tmp_path: Path) -> None:
    for name in (".last.ckpt.0123abcd.partial", ".best.ckpt.0123abcd.partial"):
        (tmp_path / name).write_bytes(b"ha")
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, tmp_path / "last.ckpt")
    assert torch.load(tmp_path / "last.ckpt") == {"epoch": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == [".best.ckpt.0123abcd.partial", "last.ckpt"]


class _OneRank:
    """What the comparison asks of a trainer."""

    class strategy:  # noqa: N801
        @staticmethod
        def reduce_boolean_decision(decision: bool) -> bool:
            return bool(decision)
