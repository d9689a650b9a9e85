"""A network with the weights of a file: a state dict, a checkpoint of any framework around one, or safetensors."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from semscale_pl.models.backbone import Backbone
from semscale_pl.models.inputs import InputSpec

# Names that a message lists at most.
_LISTED = 4


class FileBackbone(Backbone):
    """The network of another backbone with weights of a file.

    Every tensor of the network has to be in the file; what the file holds besides, such as a classifier, is passed
    over and named in :attr:`passed_over`. Position embeddings of a vision transformer that saw images of another size
    are resampled as timm does.

    Args:
        architecture: the network, any backbone; its parameters are replaced.
        weights: the file; None leaves the network as it is, as for a checkpoint that brings the weights itself.
        name: of the network, for messages and for the input of torchvision's networks.
        expected: fields of :class:`InputSpec`, the images of the file's training; None asks timm and torchvision what
            they hold for the network's usual input.

    Attributes:
        passed_over: names of the file's tensors that the network has no place for.
        resampled: what became of position embeddings, in words, and how to take them as they are; None where nothing.

    Raises:
        ValueError: the file is not there or holds no weights, or other ones than those of the network.
    """

    def __init__(
        self,
        architecture: Any | None,
        weights: str | None = None,
        name: str | None = None,
        expected: Mapping[str, Any] | None = None,
    ) -> None:
        if architecture is None:
            raise ValueError("Expected the network that the weights are of. Set backbone.name.")
        self.passed_over: list[str] = []
        self.resampled: str | None = None
        spec = _usual_input(architecture, name)
        if expected is not None:
            mean, std = (tuple(expected[key]) for key in ("mean", "std"))
            spec = InputSpec(**{**expected, "mean": mean, "std": std})
        super().__init__(
            getattr(architecture, "trunk", architecture),
            architecture.num_features,
            architecture.in_channels,
            getattr(architecture, "min_size", 1),
            getattr(architecture, "channels_last", False),
            input_spec=None if weights is None else spec,
            only_size=getattr(architecture, "only_size", None),
        )
        if weights is not None:
            tensors = read_tensors(weights)
            self.resampled = resample_positions(self.trunk, tensors)
            self.passed_over = load(self.trunk, tensors, str(weights), name)


def load(network: nn.Module, tensors: Mapping[str, Tensor], file: str, name: str | None = None) -> list[str]:
    """Copy tensors into a network; what stands before the network's own names, such as ``module.``, does not matter.

    Args:
        network: whose state has to be among the tensors, but for the counts of batch norms.
        tensors: by name.
        file: where they are from, for the message.
        name: of the network, for the message.

    Returns:
        The names of tensors that the network has no place for.

    Raises:
        ValueError: a tensor of the network is missing or has another shape; nothing is copied then.

    Example:
        >>> load(nn.Linear(1, 1, bias=False), {"module.weight": torch.ones(1, 1), "fc": torch.ones(1)}, "x.pt")
        ['fc']
    """
    wanted = network.state_dict()
    given = {key.replace("_orig_mod.", ""): value for key, value in tensors.items()}  # torch.compile's
    prefix = _prefix(wanted, given)
    found = {key: given[prefix + key] for key in wanted if prefix + key in given}
    missing = [key for key in wanted if key not in found and not key.endswith("num_batches_tracked")]
    other = [
        f"{key} {tuple(value.shape)} instead of {tuple(wanted[key].shape)}"
        for key, value in found.items()
        if value.shape != wanted[key].shape
    ]
    if missing or other:
        problem = f"it has no {listed(missing)}" if missing else f"it has {listed(other)}"
        raise ValueError(
            f"Expected {file} to hold the weights of {name or 'the network'}, but {problem}. Set backbone.name to the "
            "network that they are of, and dataset.channels and dataset.image_size to those of its images."
        )
    network.load_state_dict(found, strict=False)
    return [key for key in given if not (key.startswith(prefix) and key.removeprefix(prefix) in found)]


def resample_positions(network: nn.Module, tensors: dict[str, Tensor]) -> str | None:
    """Bring the position embeddings of a timm vision transformer to the patches of its images, in place.

    Bicubic with antialiasing, those of class and register tokens as they are, as in timm's own loading.

    Args:
        network: whose ``pos_embed`` is (1, prefix + rows * columns, D).
        tensors: by name, with any prefix; what is no square of patches of the same width stays.

    Returns:
        What was done, in words; None where nothing was to do.
    """
    from timm.layers import resample_abs_pos_embed

    key = next((name for name in tensors if name.rpartition(".")[2] == "pos_embed"), None)
    wanted: Any = getattr(network, "pos_embed", None)
    patches: Any = getattr(network, "patch_embed", None)
    if key is None or not isinstance(wanted, Tensor) or not hasattr(patches, "grid_size"):
        return None
    given = tensors[key]
    prefix = 0 if getattr(network, "no_embed_class", False) else int(getattr(network, "num_prefix_tokens", 0))
    side = math.isqrt(max(given.shape[1] - prefix, 0)) if given.ndim == 3 else 0
    if given.shape == wanted.shape or not side or given.shape != (1, prefix + side * side, wanted.shape[-1]):
        return None
    new = tuple(int(count) for count in patches.grid_size)
    tensors[key] = resample_abs_pos_embed(given, list(new), [side, side], prefix, "bicubic", True)
    return (
        f"position embeddings resampled from {side} x {side} to {new[0]} x {new[1]} patches; "
        f"dataset.image_size={side * int(patches.patch_size[0])} takes them as they are"
    )


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read the weights in a file, without running any code in it: the largest mapping of names to tensors.

    Raises:
        ValueError: there is no such file, or no such mapping in it.
    """
    content = read_content(path)
    best = max(_mappings(content), key=len, default={})
    if not best:
        raise ValueError(f"Expected {path} to hold weights by name, but it has none. Save a state_dict().")
    return best


def read_content(path: str | Path) -> Any:
    """Read what a file of torch or safetensors holds, on the CPU.

    Raises:
        ValueError: there is no such file, or it cannot be read safely.
    """
    if not Path(path).is_file():
        raise ValueError(f"Expected `backbone.weights` to be a file of weights, but there is none at {path}.")
    try:
        if Path(path).suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        # The options of the training that many published checkpoints keep.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the bytes of a foreign file lead to
        raise ValueError(
            f"Expected `backbone.weights` to be weights of torch or safetensors, but {path} cannot be read without "
            "running code in it. Save the network's state_dict() alone."
        ) from error


def listed(names: Sequence[str]) -> str:
    """Return the first few names and how many more there are."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _mappings(content: Any, depth: int = 3) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors of each mapping in nested mappings by their names."""
    if isinstance(content, Mapping) and depth:
        yield {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        for value in content.values():
            yield from _mappings(value, depth - 1)


def _prefix(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Return what stands before the most names of the network in the file, the shortest where several do."""
    places = {key[:end] for key in given for end in (0, *(i + 1 for i, letter in enumerate(key) if letter == "."))}
    return max(sorted(places, key=len), key=lambda place: sum(place + name in given for name in wanted), default="")


def _usual_input(architecture: Any, name: str | None) -> InputSpec | None:
    """Return the input that timm or torchvision hold for usual of a network; None where they do not know it."""
    from semscale_pl.models.timm_backbones import expected_input
    from semscale_pl.models.torchvision_backbones import published_input

    if hasattr(getattr(architecture, "trunk", None), "pretrained_cfg"):
        spec = expected_input(architecture.trunk)
        side = architecture.only_size
        return (spec if side is None else spec.at(side)).for_channels(architecture.in_channels)
    try:
        return published_input(str(name)).for_channels(architecture.in_channels)
    except ValueError:
        return None
