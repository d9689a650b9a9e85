"""The network that a file of weights is of: named by the user, or found in a checkpoint of `semscale train`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from semscale_pl.config.composing import config_dir
from semscale_pl.config.errors import WrongCallError
from semscale_pl.config.moved import with_current_names
from semscale_pl.models.own_weights import read_content
from semscale_pl.options import INPUT_SETTINGS

# Of conf/backbone, those that need more than a name.
_NO_NAMES = ("file", "timm", "open_clip", "identity", "mlp")


def find_architecture(cfg: DictConfig) -> None:
    """Write into `cfg.backbone` which network its weights are of, and which images they were trained on where known.

    Raises:
        WrongCallError: the network is not known.
        ValueError: the file cannot be read.
    """
    node = cfg.backbone
    if "architecture" not in node or node.architecture is not None:
        return
    if node.name is not None:
        node.architecture = _named(str(node.name))
        return
    content = read_content(node.weights)
    stored = content.get("hyper_parameters") if isinstance(content, Mapping) else None
    config = stored.get("config") if isinstance(stored, Mapping) else None
    if not isinstance(config, Mapping) or "backbone" not in config:
        raise WrongCallError(
            f"Expected `backbone.name`, as {node.weights} does not say which network its weights are of. Name a "
            "backbone such as resnet50, or a network of timm."
        )
    node.architecture, node.expected = _of_run(config)


def _named(name: str) -> Any:
    """Return the configuration of a backbone by its name in conf/backbone or in timm."""
    file = config_dir() / "backbone" / f"{name}.yaml"
    if file.is_file() and name not in _NO_NAMES:
        return OmegaConf.load(file)
    plain = OmegaConf.load(config_dir() / "backbone" / "timm.yaml")
    plain.name = name
    return plain


def _of_run(config: Mapping[str, Any]) -> tuple[Any, dict[str, Any] | None]:
    """Return the configuration of a run's backbone without its weights, and the input that it was trained on."""
    backbone = without_weights(with_current_names(OmegaConf.create({"backbone": config["backbone"]})).backbone)
    shown = config.get("dataset") or {}
    expected = {key: shown[key] for key in INPUT_SETTINGS if key in shown}
    return backbone, expected if "mean" in expected else None


def without_weights(backbone: DictConfig) -> DictConfig:
    """Take out of a backbone's configuration where its weights come from, in place, and return it."""
    for key, nothing in (("pretrained", False), ("weights", None)):
        if backbone.get(key):
            backbone[key] = nothing
    return backbone
