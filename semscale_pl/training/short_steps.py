"""Training steps of a small head without what Lightning does around each: the same arithmetic, hooks and counters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins import DoublePrecision, Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities.exceptions import SIGTERMException

try:
    from pytorch_lightning.loops.fetchers import _PrefetchDataFetcher
    from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
    from pytorch_lightning.utilities.combined_loader import _MaxSizeCycle
except ImportError:  # another version, whose own steps are taken
    _TrainingEpochLoop = object  # type: ignore[assignment, misc]

# Releases of Lightning whose steps these are; what another one does around a step may differ in anything.
RELEASES = ("2.6.",)
# What is used of a trainer besides its documented parts.
_COUNTS = "fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer"
_PRIVATE = (
    "_logger_connector._first_loop_iter", "fit_loop.epoch_loop._results", "fit_loop.epoch_loop._batches_that_stepped",
    "fit_loop.epoch_loop.batch_progress.current.ready", "fit_loop.epoch_loop.batch_progress.is_last_batch",
    "fit_loop.epoch_loop.automatic_optimization._skip_backward", f"{_COUNTS}.step.increment_completed",
    f"{_COUNTS}.zero_grad.increment_started", "fit_loop.epoch_loop.restarting", "precision_plugin.train_step_context",
)  # fmt: skip
# Their step needs no closure.
_OPTIMIZERS = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
# In the order in which Lightning calls them around a step.
_HOOKS = (
    "on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward",
    "on_before_optimizer_step", "on_train_batch_end",
)  # fmt: skip


class ShortSteps(_TrainingEpochLoop):
    """Lightning's loop over an epoch, whose steps between the first and the last are short where they may be.

    Around a step of a linear head Lightning's own work takes longer than the step: forty looks for hooks that nobody
    has, profiler contexts, a closure around the optimizer. A short step calls what there is, in Lightning's order, and
    leaves parameters, metrics, counters and checkpoints bitwise what they would be. The first and the last step of an
    epoch, where logging is set up, schedules move and validation runs, are Lightning's. So are all of a release that
    these steps are not made for.

    Args:
        of: the loop that it stands in for.
    """

    def __init__(self, of: _TrainingEpochLoop) -> None:
        super().__init__(of.trainer, of.min_steps, of.max_steps)
        self._hooks: dict[str, list[Callable[..., Any]]] | None = None
        self._sums: dict[str, EpochSum] = {}

    def advance(self, data_fetcher: Any) -> None:
        """Run one batch, or all those that are short in a row."""
        if not self._is_short(data_fetcher):
            super().advance(data_fetcher)
            return
        self._step(self._moved(self._next(data_fetcher)))
        while not self.trainer.should_stop and self._is_short(data_fetcher):
            self._count_step()
            self._step(self._moved(self._next(data_fetcher)))
        self._add_sums()  # the next step is Lightning's, or there is none

    def on_advance_end(self, data_fetcher: Any) -> None:
        """Do what follows a step; in the middle of an epoch no more than to count it and to hear a signal."""
        if self._hooks is None or self._is_outer(data_fetcher):
            super().on_advance_end(data_fetcher)
            return
        self._count_step()

    def _count_step(self) -> None:
        self._batches_that_stepped += 1
        if self.trainer.received_sigterm:
            raise SIGTERMException

    def _is_outer(self, data_fetcher: Any) -> bool:
        """Tell whether the batch that was last fetched is the first or the last of its epoch."""
        return self.batch_progress.current.ready <= 1 or bool(data_fetcher.done)

    def _is_short(self, data_fetcher: Any) -> bool:
        ready = self.batch_progress.current.ready
        if ready == 0 or self.restarting:
            self._hooks = _hooks(self.trainer) if self._may_be_short() else None
            self._sums = {}
            return False
        return self._hooks is not None and data_fetcher.length is not None and ready + 1 < data_fetcher.length

    def _may_be_short(self) -> bool:
        """Tell whether all that a short step leaves out would do nothing in this run."""
        trainer: Any = self.trainer
        module, optimizers = trainer.lightning_module, trainer.optimizers
        return (
            type(trainer.strategy) is SingleDeviceStrategy
            and type(trainer.precision_plugin) in (Precision, DoublePrecision)
            and type(trainer.profiler) is PassThroughProfiler
            and module.automatic_optimization
            and self.max_steps in (-1, None)
            and trainer.accumulate_grad_batches == 1
            and not trainer.gradient_clip_val
            and len(optimizers) == 1
            and type(optimizers[0]) in _OPTIMIZERS
            and all(config.interval == "epoch" for config in trainer.lr_scheduler_configs)
            and (not trainer.enable_validation or trainer.val_check_batch == trainer.num_training_batches)
            and trainer.num_training_batches == len(trainer.train_dataloader)
            and not self.automatic_optimization._skip_backward
        )

    def _next(self, data_fetcher: Any) -> Any:
        """Fetch a batch, of a single loader without the four iterators that pass it on."""
        cycle = getattr(data_fetcher.combined_loader, "_iterator", None)
        plain = type(data_fetcher) is _PrefetchDataFetcher and not data_fetcher.batches
        if not plain or type(cycle) is not _MaxSizeCycle or len(cycle.iterators) != 1:
            batch, _, _ = next(data_fetcher)
            return batch
        batch = next(cycle.iterators[0])
        cycle._idx += 1
        data_fetcher.fetched += 1
        return batch

    def _moved(self, batch: Any) -> Any:
        trainer = self.trainer
        if type(trainer.precision_plugin) is DoublePrecision:
            batch = trainer.precision_plugin.convert_input(batch)
        device = trainer.strategy.root_device
        return [part if part.device == device else part.to(device, non_blocking=True) for part in batch]

    def _step(self, batch: Any) -> None:
        trainer, hooks = self.trainer, self._hooks
        assert hooks is not None
        module, optimizer, batch_idx = trainer.lightning_module, trainer.optimizers[0], self.batch_idx + 1
        progress, counts = self.batch_progress, self.automatic_optimization.optim_progress.optimizer
        progress.is_last_batch = False
        progress.increment_ready()
        self._results.batch, self._results.batch_size = batch, None
        trainer._logger_connector._first_loop_iter = False
        for hook in hooks["on_train_batch_start"]:
            hook(batch, batch_idx)
        progress.increment_started()
        counts.step.increment_ready()
        outputs = self._trained(module, batch, batch_idx)
        loss = outputs["loss"]
        counts.zero_grad.increment_ready()
        for hook in hooks["on_before_zero_grad"]:
            hook(optimizer)
        counts.zero_grad.increment_started()
        for group in optimizer.param_groups:  # the optimizer's own way takes longer than to free the gradients
            for parameter in group["params"]:
                parameter.grad = None
        counts.zero_grad.increment_completed()
        for hook in hooks["on_before_backward"]:
            hook(loss)
        loss.backward()
        for hook in hooks["on_after_backward"]:
            hook()
        for hook in hooks["on_before_optimizer_step"]:
            hook(optimizer)
        optimizer.step()
        counts.step.increment_completed()
        progress.increment_processed()
        ended = {**outputs, "loss": loss.detach()}
        for hook in hooks["on_train_batch_end"]:
            hook(ended, batch, batch_idx)
        progress.increment_completed()

    def _trained(self, module: pl.LightningModule, batch: Any, batch_idx: int) -> dict[str, Any]:
        own = module.__dict__  # a module's way of setting attributes takes longer
        own["_current_fx_name"], own["log"] = "training_step", self._logged
        plugin = self.trainer.precision_plugin
        try:
            if type(plugin) is Precision:  # whose context is empty
                return module.training_step(batch, batch_idx)  # type: ignore[return-value]
            with plugin.train_step_context():
                return module.training_step(batch, batch_idx)  # type: ignore[return-value]
        finally:
            del own["log"]  # the class's own again
            own["_current_fx_name"] = None

    def _logged(self, name: str, value: Any, *, batch_size: int | None = None, **options: Any) -> None:
        """Add a value to its mean over the epoch, which the first step has set up and the last one brings to an end."""
        total = self._sums.get(name)
        if total is None and batch_size is not None:
            entry = self._results.get(f"training_step.{name}")
            if entry is not None and not entry.has_reset and _is_epoch_mean(entry, value):
                total = self._sums[name] = EpochSum(entry)
        if total is None or batch_size is None:
            pl.LightningModule.log(self.trainer.lightning_module, name, value, batch_size=batch_size, **options)
        else:
            total.add(value.detach(), batch_size)

    def _add_sums(self) -> None:
        """Give Lightning the sums of the short steps."""
        for total in self._sums.values():
            total.close()
        self._sums = {}


class EpochSum:
    """The sum of a logged value over short steps: what Lightning's metric would have added up, bitwise.

    Args:
        entry: that metric. On the CPU it is written to by :meth:`close` alone: until then the sum is a plain number,
            which takes a tenth of the time.
    """

    def __init__(self, entry: Any) -> None:
        self._entry, self._rows = entry, 0
        self._sum = entry.value.numpy()[()] if entry.value.device.type == "cpu" else None

    def add(self, value: torch.Tensor, batch_size: int) -> None:
        """Add the mean of so many rows."""
        if self._sum is None:
            self._entry.value = self._entry.value + value * batch_size
        else:
            one = value.numpy()[()]
            with np.errstate(over="ignore", invalid="ignore"):  # as torch, which warns of neither
                self._sum = self._sum + one * type(one)(batch_size)
        self._rows += batch_size

    def close(self) -> None:
        """Bring the metric up to date."""
        if self._sum is not None:
            self._entry.value = torch.from_numpy(np.asarray(self._sum))
        self._entry.cumulated_batch_size = self._entry.cumulated_batch_size + self._rows


def with_short_steps(trainer: pl.Trainer) -> None:
    """Give a trainer steps that are short where they may be, see :class:`ShortSteps`."""
    if not lacking(trainer):
        trainer.fit_loop.epoch_loop = ShortSteps(trainer.fit_loop.epoch_loop)


def lacking(trainer: Any) -> list[str]:
    """Name what short steps need and this Lightning has not: a release that they are made for, and its inner parts."""
    if not pl.__version__.startswith(RELEASES):
        return [f"pytorch-lightning {' or '.join(f'{release}*' for release in RELEASES)}"]
    known = isinstance(trainer.fit_loop.epoch_loop, _TrainingEpochLoop) and _TrainingEpochLoop is not object
    return [*([] if known else ["_TrainingEpochLoop"]), *(path for path in _PRIVATE if not _has(trainer, path))]


def _has(trainer: Any, path: str) -> bool:
    try:
        attrgetter(path)(trainer)
    except AttributeError:
        return False
    return True


def _is_epoch_mean(entry: Any, value: torch.Tensor) -> bool:
    """Tell whether a logged value is averaged over the epoch alone, in the precision that it has."""
    meta = entry.meta
    return meta.is_mean_reduction and not meta.on_step and value.dtype in (torch.float32, torch.float64)


def _hooks(trainer: pl.Trainer) -> dict[str, list[Callable[..., Any]]]:
    """Return, for every hook around a step, what callbacks and module have of it, ready to be called."""
    module = trainer.lightning_module
    found: dict[str, list[Callable[..., Any]]] = {name: [] for name in _HOOKS}
    for name, hooks in found.items():
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if getattr(type(callback), name) is not getattr(pl.Callback, name) and not _saves_by_epoch(callback):
                hooks.append(partial(getattr(callback, name), trainer, module))
        if getattr(type(module), name) is not getattr(pl.LightningModule, name):
            hooks.append(getattr(module, name))
    return found


def _saves_by_epoch(callback: pl.Callback) -> bool:
    """Tell whether a checkpoint callback has nothing to do after a step: it counts neither steps nor seconds."""
    if not isinstance(callback, ModelCheckpoint):
        return False
    own_hook = type(callback).on_train_batch_end is not ModelCheckpoint.on_train_batch_end
    triggers = (getattr(callback, name, True) for name in ("_every_n_train_steps", "_train_time_interval"))
    return not own_hook and not any(trigger is not None and trigger != 0 for trigger in triggers)
