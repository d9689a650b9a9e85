"""Lets torchvision's Python parts load beside a torch build that its compiled operators do not match."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_DETECTION_OPERATORS = ("nms", "qnms")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
# Keeps the registrations alive: torch drops them with the Library object.
_libraries: list[object] = []


def register_missing_operators() -> list[str]:
    """Declare the detection operators that torchvision's compiled part would have brought, where they are missing.

    The wheels of torchvision are built against CUDA builds of torch. Beside a CPU-only torch their compiled library
    does not load, and ``import torchvision`` fails on an operator without a schema. Nothing here calls these operators.

    Returns:
        The names declared by this call; empty where torchvision's own library works.
    """
    import torch

    try:
        from importlib.util import find_spec

        spec = find_spec("torchvision")
        if spec is not None and spec.submodule_search_locations:
            _load_compiled_part(spec.submodule_search_locations[0])
    except OSError:
        pass  # the very case this file is for: the library is there but does not fit this torch
    missing = [name for name in _DETECTION_OPERATORS if not hasattr(torch.ops.torchvision, name)]
    if missing:
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in missing:
            library.define(name + _SIGNATURE)
        _libraries.append(library)
    return missing


def _load_compiled_part(folder: str) -> None:
    from pathlib import Path

    import torch

    for library in sorted(Path(folder).glob("_C*")):
        torch.ops.load_library(str(library))


class _BeforeTorchvision(MetaPathFinder):
    """Registers the operators right before torchvision is first imported: the package itself imports no torch."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            register_missing_operators()
        return None


def install() -> None:
    """Arrange for :func:`register_missing_operators` to run before torchvision's first import, once per process."""
    installed = any(isinstance(finder, _BeforeTorchvision) for finder in sys.meta_path)
    if "torchvision" not in sys.modules and not installed:
        sys.meta_path.insert(0, _BeforeTorchvision())
