"""Names that stored configurations give to classes, and where those classes live since they moved."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

_RECORDING = "semscale_pl.callbacks.recording"
_REWEIGHTING = "semscale_pl.callbacks.reweighting"

# Old module to new module, for every module whose classes a configuration may name. Checkpoints, the YAML of tables
# and the experiment files of users keep the old names for good, so an entry is never taken out: where a module moves
# again, its old entries follow it.
MOVED: dict[str, str] = {
    "semscale_pl.callbacks.csv_log": f"{_RECORDING}.csv_log",
    "semscale_pl.callbacks.drift": f"{_RECORDING}.drift",
    "semscale_pl.callbacks.progress": f"{_RECORDING}.progress",
    "semscale_pl.callbacks.recorder": f"{_RECORDING}.recorder",
    "semscale_pl.callbacks.difficulty": f"{_REWEIGHTING}.difficulty",
    "semscale_pl.callbacks.effective_area": f"{_REWEIGHTING}.effective_area",
    "semscale_pl.callbacks.frequency": f"{_REWEIGHTING}.frequency",
    "semscale_pl.callbacks.sample_volume": f"{_REWEIGHTING}.sample_volume",
    "semscale_pl.callbacks.scale_prior": f"{_REWEIGHTING}.semantic_scale",
    "semscale_pl.callbacks.score": f"{_REWEIGHTING}.score",
    "semscale_pl.callbacks.semantic_scale": f"{_REWEIGHTING}.semantic_scale",
    "semscale_pl.callbacks.slot": f"{_REWEIGHTING}.slot",
    "semscale_pl.cli.train": "semscale_pl.training.run",
    "semscale_pl.data.batching": "semscale_pl.data.samplers",
    "semscale_pl.data.digits": "semscale_pl.data.vision",
    "semscale_pl.data.subsets": "semscale_pl.data.longtail",
    "semscale_pl.data.superclasses": "semscale_pl.data.vision",
    "semscale_pl.losses.sigmoid_focal": "semscale_pl.losses",
    "semscale_pl.modules.learning_rate": "semscale_pl.modules.schedules",
}


def current_name(path: str) -> str:
    """Return where a class or function is now, given as ``module.Name`` or ``module:name``.

    Example:
        >>> current_name("semscale_pl.data.digits.Digits"), current_name("torch.optim.SGD")
        ('semscale_pl.data.vision.Digits', 'torch.optim.SGD')
    """
    found = re.fullmatch(r"(.+)([.:])(\w+)", path)
    return path if found is None else MOVED.get(found[1], found[1]) + found[2] + found[3]


def with_current_names(config: DictConfig) -> DictConfig:
    """Return a copy whose every ``_target_`` is where its class is now.

    Interpolations stay: what they refer to is renamed where it stands.
    """
    renamed = config.copy()
    _rename(renamed)
    return renamed


def _rename(node: Any) -> None:
    keys = list(node) if isinstance(node, DictConfig) else range(len(node)) if isinstance(node, ListConfig) else []
    for key in keys:
        if OmegaConf.is_interpolation(node, key) or OmegaConf.is_missing(node, key):
            continue
        value = node[key]
        if key == "_target_" and isinstance(value, str):
            node[key] = current_name(value)
        elif isinstance(value, DictConfig | ListConfig):
            _rename(value)
