"""The folder of a run: one process at a time, no earlier run overwritten unasked, and none of its files left beside."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.command_line import in_shell, setting, shown, to_type
from semscale_pl.config.errors import WrongCallError
from semscale_pl.config.moved import with_current_names
from semscale_pl.config.stopping import Ended, as_ended, is_first_process, telling
from semscale_pl.files import claimed, strict, write_text
from semscale_pl.training.launching import typed_flags

RECORD = "metrics.json"
LAST = Path("checkpoints") / "last.ckpt"
# What a run writes, as patterns below its folder; whole folders last. Anything else in there is the user's.
WRITTEN = (
    RECORD, "per_class.csv", "scales.csv", "drift.csv", "checkpoints/last.ckpt", "checkpoints/best.ckpt",
    "checkpoints/cut.ckpt", "checkpoints/recipe.ckpt",
    "profile/*-simple.txt", "profile/*-advanced.txt", "profile/*-pytorch*",
    "csv/metrics.csv", "csv/hparams.yaml", "figures/bars.png", "figures/heatmap_*.png",
    "tensorboard/**/events.out.tfevents.*", "tensorboard/**/hparams.yaml", "**/.*.partial", "wandb/debug*.log",
    "wandb/latest-run", "wandb/run-*", "wandb/offline-run-*",
)  # fmt: skip
# Of the configuration that a run does not depend on.
_HOW_CALLED = ("ckpt_path", "overwrite")


@contextmanager
def own_folder(cfg: DictConfig, folder: Path) -> Iterator[None]:
    """Hold the folder of a training run that may begin there; of several ranks the first one sees to it.

    Raises:
        WrongCallError: the folder holds another run, and nothing says that it may go.
        FolderInUseError: another process writes there.
        Ended: a signal ended the block; the line says how to go on.
    """
    if not is_first_process():
        yield
        return
    with claimed(folder):
        refuse_to_overwrite(cfg, folder)
        started = time.time()
        try:
            with telling(lambda: _way_on(folder, started)):
                yield
        except BaseException as error:
            ended = as_ended(error)
            if ended is None:
                raise
            raise Ended(ended.number, f"{ended.what}. {_way_on(folder, started)}") from error


def resuming(overrides: Sequence[str], folder: Path) -> list[str]:
    """Return the overrides of a run that resumes in its folder from the last finished epoch."""
    kept = [one for one in overrides if one.lstrip("+").partition("=")[0] not in (*_HOW_CALLED, "hydra.run.dir")]
    return [*kept, setting("ckpt_path", shown(folder / LAST)), setting("hydra.run.dir", shown(folder))]


def refuse_to_overwrite(cfg: DictConfig, folder: Path) -> None:
    """Raise WrongCallError where a run would replace an earlier one in its folder unasked."""
    last, another = folder / LAST, _another_folder()
    if goes_on(cfg.ckpt_path, folder):
        if cfg.overwrite:
            raise WrongCallError(
                f"Expected either `ckpt_path` in {shown(folder)} or overwrite=true, which would remove it, but got "
                "both. Leave one out."
            )
        return
    if cfg.overwrite or not ((folder / RECORD).exists() or last.exists()):
        return
    go_on = f"go on with it by {in_shell(setting('ckpt_path', shown(last)))}, " if last.exists() else ""
    kind = "a finished run" if is_finished(folder) else "an unfinished run"
    raise WrongCallError(
        f"Expected a folder without a run, but {shown(folder)} holds {kind}: {go_on}replace it by overwrite=true, or "
        f"name another folder by {another}=."
    )


def is_finished(folder: Path) -> bool:
    """Tell whether the run in a folder came to its end."""
    record = read_record(folder)
    return record is not None and not record.get("interrupted")


def holds_same_run(cfg: DictConfig, folder: Path) -> bool:
    """Tell whether a folder holds a finished run of this very configuration."""
    record = read_record(folder)
    if record is None or record.get("interrupted") or not isinstance(record.get("config"), dict):
        return False
    mine = strict(OmegaConf.to_container(with_current_names(cfg), resolve=True))
    return _without(mine, _HOW_CALLED) == _without(record["config"], _HOW_CALLED)


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the content of ``metrics.json``; None where there is none, or it is damaged."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def objective_in(folder: Path) -> float | None:
    """Return what the run in a folder is to be judged by, see `TrainResult.objective`; None where it has no record."""
    found = (read_record(folder) or {}).get("objective")
    value = found.get("value") if isinstance(found, dict) else None
    return None if value is None else float(value)


def goes_on(checkpoint: str | None, folder: Path) -> bool:
    """Tell whether a run resumes from a checkpoint in its own folder, whose files it then goes on with."""
    return checkpoint is not None and Path(checkpoint).resolve().is_relative_to(folder.resolve())


def start_afresh(cfg: DictConfig, folder: Path) -> None:
    """Remove what an earlier run wrote in a folder, unless this one goes on with it, and keep the configuration there.

    What the user put there stays, as do folders that hold something of his. Called once nothing of the new run can
    fail any more for its configuration or data; of several ranks the first one does it.
    """
    if not is_first_process():
        return
    if not goes_on(cfg.ckpt_path, folder):
        clear(folder)
    keep_configuration(cfg, folder)


def clear(folder: Path) -> None:
    """Remove the files of an earlier run from its folder."""
    found = [path for pattern in WRITTEN for path in folder.glob(pattern)]
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for parent in sorted({parent for path in found for parent in path.parents}, reverse=True):
        if parent != folder and parent.is_relative_to(folder) and not any(parent.iterdir()):
            parent.rmdir()


def keep_configuration(cfg: DictConfig, folder: Path) -> None:
    """Write what Hydra composed to ``.hydra``; Hydra itself would do so before the folder is known to be free."""
    if not HydraConfig.initialized() or Path(HydraConfig.get().runtime.output_dir) != folder:
        return
    typed = HydraConfig.get().overrides.task
    content: dict[str, Any] = {"config": cfg, "hydra": HydraConfig.instance().cfg, "overrides": typed}
    for name, part in content.items():
        write_text(folder / ".hydra" / f"{name}.yaml", OmegaConf.to_yaml(part))


def _way_on(folder: Path, started: float) -> str:
    """Say how to go on with an interrupted run, by a checkpoint that it wrote or has resumed from."""
    last, typed = folder / LAST, HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    resumed = any(goes_on(one.partition("=")[2].strip("\"'"), folder) for one in typed if one.startswith("ckpt_path="))
    if last.exists() and (resumed or last.stat().st_mtime >= started):
        line = to_type("train", [*typed_flags(), *resuming(typed, folder)])
        return f"The last finished epoch is kept. To go on, type: {line}"
    again = [*typed_flags(), *typed, setting("hydra.run.dir", shown(folder))]
    return f"No epoch was finished. To start again, type: {to_type('train', again)}"


def _another_folder() -> str:
    is_sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    return "hydra.sweep.dir" if is_sweep else "hydra.run.dir"


def _without(content: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}
