"""Names that stored configurations give to classes, and where those classes live since they moved."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

_PACKAGE = "semscale_pl"
_RECORDING = f"{_PACKAGE}.callbacks.recording"
_REWEIGHTING = f"{_PACKAGE}.callbacks.reweighting"

# Old module to new module, for every module whose classes a configuration may name. Checkpoints, the YAML of tables
# and the experiment files of users keep the old names for good, so an entry is never taken out: where a module moves
# again, its old entries follow it.
MOVED: dict[str, str] = {
    f"{_PACKAGE}.callbacks.csv_log": f"{_RECORDING}.csv_log",
    f"{_PACKAGE}.callbacks.drift": f"{_RECORDING}.drift",
    f"{_PACKAGE}.callbacks.progress": f"{_RECORDING}.progress",
    f"{_PACKAGE}.callbacks.recorder": f"{_RECORDING}.recorder",
    f"{_PACKAGE}.callbacks.difficulty": f"{_REWEIGHTING}.difficulty",
    f"{_PACKAGE}.callbacks.effective_area": f"{_REWEIGHTING}.effective_area",
    f"{_PACKAGE}.callbacks.frequency": f"{_REWEIGHTING}.frequency",
    f"{_PACKAGE}.callbacks.sample_volume": f"{_REWEIGHTING}.sample_volume",
    f"{_PACKAGE}.callbacks.scale_prior": f"{_REWEIGHTING}.semantic_scale",
    f"{_PACKAGE}.callbacks.score": f"{_REWEIGHTING}.score",
    f"{_PACKAGE}.callbacks.semantic_scale": f"{_REWEIGHTING}.semantic_scale",
    f"{_PACKAGE}.callbacks.slot": f"{_REWEIGHTING}.slot",
    f"{_PACKAGE}.cli.train": f"{_PACKAGE}.training.run",
    f"{_PACKAGE}.data.batching": f"{_PACKAGE}.data.samplers",
    f"{_PACKAGE}.data.digits": f"{_PACKAGE}.data.vision",
    f"{_PACKAGE}.data.subsets": f"{_PACKAGE}.data.longtail",
    f"{_PACKAGE}.data.superclasses": f"{_PACKAGE}.data.vision",
    f"{_PACKAGE}.losses.sigmoid_focal": f"{_PACKAGE}.losses",
    f"{_PACKAGE}.modules.learning_rate": f"{_PACKAGE}.modules.schedules",
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
