"""The device of a run: whether there is one, how it multiplies, whether it compiles, where a model is measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from semscale_pl.config.errors import WrongCallError


def prepare_device(cfg: DictConfig) -> None:
    """Refuse a device that is not there, and set how the run multiplies on it.

    Args:
        cfg: of a training run.

    Raises:
        WrongCallError: there is no such device, or it lacks the precision.
    """
    check_accelerator(str(cfg.trainer.accelerator), cfg.trainer.get("devices", 1), "trainer=cpu")
    if cfg.trainer.accelerator == "auto" and str(cfg.trainer.precision) == "16-mixed" and not has_gpu():
        raise WrongCallError(
            "Expected a GPU for trainer.precision=16-mixed, but torch finds none. Use trainer.precision=bf16-mixed."
        )
    allow_tf32(bool(OmegaConf.select(cfg, "tf32", default=False)))
    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()  # of an earlier run in this process


def check_accelerator(
    accelerator: str, devices: Any = 1, instead: str = "accelerator=cpu", key: str = "accelerator"
) -> None:
    """Raise WrongCallError where a GPU, or that many, are asked for by a setting and torch finds none, or fewer."""
    if accelerator not in ("gpu", "cuda", "mps"):
        return
    if not has_gpu():
        raise WrongCallError(
            f"Expected a GPU for {key}={accelerator}, but torch finds none. Use {instead}, or a torch that was "
            "built for the GPU."
        )
    found = torch.cuda.device_count()
    if isinstance(devices, int) and devices > max(found, 1):
        raise WrongCallError(f"Expected `trainer.devices` to be at most {max(found, 1)}, the GPUs, but got {devices}.")


def planned_device(cfg: DictConfig) -> torch.device:
    """Return where this rank of a run will train, as far as it can be told before there is a trainer."""
    if cfg.trainer.accelerator == "cpu" or not has_gpu():
        return torch.device("cpu")
    if not torch.cuda.is_available():
        return torch.device("mps")
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    return torch.device("cuda", rank if rank < torch.cuda.device_count() else 0)


def has_gpu() -> bool:
    """Tell whether torch finds a GPU."""
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def allow_tf32(allowed: bool) -> None:
    """Let NVIDIA GPUs round the factors of float32 products to 10 bits of mantissa, or not, for this process.

    Torch's own setting is mixed: convolutions do, matrix products do not.
    """
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def compile_backbone(backbone: nn.Module, device: torch.device) -> None:
    """Compile a backbone in place, so that the names in checkpoints stay, once a trial has shown that it can be.

    Raises:
        WrongCallError: torch.compile does not work on the device.
    """
    try:
        torch.compile(_trial)(torch.ones(2, device=device))
    except Exception as error:  # a compiler that is missing, another one, a GPU that is too old: whatever comes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise WrongCallError(
            f"Expected torch.compile to work on {device.type} for compile=true, but: {reason}. It needs a C++ compiler "
            "(g++, or that of CXX), on a GPU Triton besides. Install what is missing, or use compile=false."
        ) from error
    backbone.compile()


def _trial(values: torch.Tensor) -> torch.Tensor:
    return values.exp() + 1.0


def chosen_device(accelerator: str, key: str = "accelerator") -> torch.device:
    """Return the device that auto, cpu, gpu or cuda means here.

    Args:
        accelerator: its kind.
        key: of the setting that says so, for the message.

    Raises:
        WrongCallError: there is none of that kind.
    """
    check_accelerator(accelerator, instead=f"{key}=cpu", key=key)
    if accelerator == "cpu" or not has_gpu():
        return torch.device("cpu")
    return torch.device("cuda" if torch.cuda.is_available() else "mps")


@contextmanager
def lying_on(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Move a module to a device for the time of a block: Lightning leaves it on the CPU when it has finished."""
    before = next((parameter.device for parameter in module.parameters()), device)
    module.to(device)
    try:
        yield
    finally:
        module.to(before)
