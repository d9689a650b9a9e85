"""Fails where code would wait for an accelerator, on a machine that has none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_aten = torch.ops.aten
# Their result is a number on the host, or has a shape that only the values tell.
_WAITS = {
    _aten._local_scalar_dense.default,
    _aten.is_nonzero.default,
    _aten.equal.default,
    _aten.allclose.default,
    _aten.nonzero.default,
    _aten.masked_select.default,
    _aten._unique2.default,
    _aten.unique_consecutive.default,
    _aten.unique_dim.default,
    _aten.bincount.default,
    _aten.repeat_interleave.Tensor,
    _aten._linalg_check_errors.default,
    _aten.multinomial.default,
}
_INDEXING = {_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default}
_TO_HOST = {Tensor.tolist, Tensor.numpy, Tensor.cpu, Tensor.__array__, Tensor.item}
# With a device the first fill a tensor there, whichever it is here; the others copy values of the host, and wait.
_FILLED = {torch.zeros, torch.ones, torch.full, torch.empty, torch.arange, torch.eye, torch.linspace}
_COPIED = {torch.tensor, torch.as_tensor}


class WaitedError(AssertionError):
    """Code asked for a value that an accelerator has still to compute."""


@contextmanager
def on_device(*tensors: Tensor) -> Iterator[None]:
    """Treat these tensors, and all that is computed from them, as if they were on an accelerator.

    All others are the host's. On the CPU every device is the same, so a copy to the accelerator is known by its call:
    it names a device, or a tensor that lies on it.

    Raises:
        WaitedError: one of them, or what came of them, is asked for its value, gives another tensor its shape, or takes
            values from the host's memory.
    """
    known = {_storage(tensor): tensor.untyped_storage() for tensor in tensors}
    filled: dict[int, Any] = {}
    with _PythonCalls(known, filled), _Operators(known, filled):
        yield


def moved_by_the_epoch(weighting: Any) -> list[Tensor]:
    """Return what a re-weighting has put on the device before the first step of an epoch."""
    split = getattr(weighting, "_split", None)
    parts = (getattr(weighting, "weights", None), getattr(split, "counts", None), getattr(split, "frequencies", None))
    made = getattr(weighting, "_made", None)  # the terms of weights that stay the same
    return [part for part in (*parts, made and made[2].class_weights) if part is not None]


class _PythonCalls(TorchFunctionMode):
    def __init__(self, known: dict[int, Any], filled: dict[int, Any]) -> None:
        super().__init__()
        self.known, self.filled = known, filled

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # By name alone: the device of another tensor is the CPU only here.
        names = [leaf for leaf in tree_leaves((args[1:], kwargs)) if isinstance(leaf, str)]
        moves = func is Tensor.to and "cpu" in names
        to_host = func in _TO_HOST or moves
        if to_host and isinstance(args[0], Tensor) and _storage(args[0]) in self.known:
            raise WaitedError(f"{func.__name__} of a tensor on the device")
        if self._copies_to_device(func, args, kwargs or {}):
            raise WaitedError(f"{func.__name__} of the host's memory to the device")
        result = func(*args, **(kwargs or {}))
        if func in _FILLED and isinstance((kwargs or {}).get("device"), torch.device):
            self.filled[_storage(result)] = result.untyped_storage()
        return result

    def _copies_to_device(self, func: Any, args: Any, kwargs: dict[str, Any]) -> bool:
        if not _called_by_the_project():
            return False
        if func in _COPIED:
            return isinstance(kwargs.get("device"), torch.device) and not self._on_device(args[0])
        if func not in (Tensor.to, Tensor.cuda) or self._on_device(args[0]) or _storage(args[0]) in self.filled:
            return False
        return func is Tensor.cuda or any(
            isinstance(target, torch.device) or self._on_device(target) for target in (*args[1:], *kwargs.values())
        )

    def _on_device(self, value: Any) -> bool:
        return isinstance(value, Tensor) and _storage(value) in self.known


class _Operators(TorchDispatchMode):
    def __init__(self, known: dict[int, Any], filled: dict[int, Any]) -> None:
        super().__init__()
        self.known, self.filled = known, filled

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        ours = any(_storage(tensor) in self.known for tensor in _tensors((args, kwargs)))
        if ours:
            if func in _WAITS and not (
                func is _aten.repeat_interleave.Tensor and kwargs.get("output_size") is not None
            ):
                raise WaitedError(str(func))
            if func in _INDEXING and any(index is not None and index.dtype == torch.bool for index in args[1]):
                raise WaitedError(f"{func} by a mask")
            if func is _aten.copy_.default and _called_by_the_project():
                target, values = map(_storage, args[:2])
                if target in self.known and values not in self.known and values not in self.filled:
                    raise WaitedError("copy of the host's memory to the device")
        result = func(*args, **kwargs)
        if ours:
            self.known.update((_storage(tensor), tensor.untyped_storage()) for tensor in _tensors(result))
        return result


def _called_by_the_project() -> bool:
    """Tell whether neither torch nor Lightning made this call: on a card their own steps wait for nothing."""
    frame = sys._getframe(1)
    while frame.f_globals["__name__"].partition(".")[0] in ("torch", __name__) and frame.f_back is not None:
        frame = frame.f_back
    return "lightning" not in frame.f_globals["__name__"]


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
