"""The blocks of a backbone in the order of its forward pass, and which of its modules are frozen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Block:
    """A stretch of a network that is trained or frozen as a whole.

    Args:
        name: of its first module, such as "trunk.layer4.1", or of its first parameter.
        parameters: names of its parameters in the backbone.
    """

    name: str
    parameters: tuple[str, ...]


def blocks_of(backbone: nn.Module) -> list[Block]:
    """Return the blocks of a backbone, from the images to the features; together they hold every parameter once.

    A timm network says itself which of its layers belong together (``group_matcher``). Elsewhere a block is a module
    that is no mere container, such as a residual block, an inception or a convolution, with the norms that follow it;
    parameters of the network itself, such as a position embedding, count as its first block.

    Example:
        >>> from semscale_pl.models.resnet_cifar import ResNetCifar
        >>> [block.name for block in blocks_of(ResNetCifar(depth=8))]
        ['conv', 'stage1.0', 'stage2.0', 'stage3.0']
    """
    found = _of_timm(backbone)
    return _of_modules(backbone) if found is None else found


def frozen_modules(network: nn.Module) -> Iterator[nn.Module]:
    """Yield the largest modules that have parameters of which none is trained."""
    wanted = [parameter.requires_grad for parameter in network.parameters()]
    if wanted and not any(wanted):
        yield network
        return
    for child in network.children():
        yield from frozen_modules(child)


def is_norm(module: nn.Module) -> bool:
    """Tell a normalization layer, of torch or of timm, from everything else."""
    return "norm" in type(module).__name__.lower() and not list(module.children())


def _of_timm(backbone: nn.Module) -> list[Block] | None:
    """Group the parameters as timm does it; None where the network does not say how."""
    network, prefix = getattr(backbone, "trunk", backbone), "trunk." if hasattr(backbone, "trunk") else ""
    matcher = getattr(network, "group_matcher", None)
    if matcher is None:
        return None
    from timm.models import group_parameters

    groups = group_parameters(network, matcher(coarse=False))
    parts = [[prefix + name for name in groups[depth]] for depth in sorted(groups)]
    return [Block(_shared(names), tuple(names)) for names in parts]


def _of_modules(backbone: nn.Module) -> list[Block]:
    found: list[Block] = []
    for path, module in _units(backbone):
        inside = module.named_parameters(prefix=path, recurse=bool(path) and not _is_outer(path))
        names = tuple(name for name, _ in inside)
        if names and found and is_norm(module):
            found[-1] = Block(found[-1].name, found[-1].parameters + names)
        elif names:
            found.append(Block(names[0] if not path or _is_outer(path) else path, names))
    return found


def _units(network: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that make blocks with their paths; the network and its trunk for parameters of their own."""
    if not path or _is_outer(path):
        yield path, network
    for name, child in network.named_children():
        inner = f"{path}.{name}" if path else name
        if _is_container(child) or _is_outer(inner):
            yield from _units(child, inner)
        else:
            yield inner, child


def _is_outer(path: str) -> bool:
    return path == "trunk"


def _is_container(module: nn.Module) -> bool:
    """Tell a mere list of modules, or a module with nothing else in it, from one that makes a block."""
    if type(module) in (nn.Sequential, nn.ModuleList):
        return True
    inside = [child for child in module.children() if any(True for _ in child.parameters())]
    return len(inside) == 1 and type(inside[0]) in (nn.Sequential, nn.ModuleList)


def _shared(parameters: list[str]) -> str:
    """Return the longest path of the first parameter's modules that at least half of the parameters share."""
    first = parameters[0].split(".")[:-1]
    for length in range(len(first), 1, -1):
        path = ".".join(first[:length])
        if 2 * sum(name.startswith(f"{path}.") for name in parameters) >= len(parameters):
            return path
    return parameters[0]
