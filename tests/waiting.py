"""Fails where code would wait for an accelerator, on a machine that has none."""

from __future__ import annotations

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


class WaitedError(AssertionError):
    """Code asked for a value that an accelerator has still to compute."""


@contextmanager
def on_device(*tensors: Tensor) -> Iterator[None]:
    """Treat these tensors, and all that is computed from them, as if they were on an accelerator.

    Raises:
        WaitedError: one of them, or what came of them, is asked for its value or gives another tensor its shape.
    """
    known = {_storage(tensor): tensor.untyped_storage() for tensor in tensors}
    with _PythonCalls(known), _Operators(known):
        yield


class _PythonCalls(TorchFunctionMode):
    def __init__(self, known: dict[int, Any]) -> None:
        super().__init__()
        self.known = known

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # By name alone: the device of another tensor is the CPU only here.
        names = [leaf for leaf in tree_leaves((args[1:], kwargs)) if isinstance(leaf, str)]
        moves = func is Tensor.to and "cpu" in names
        to_host = func in _TO_HOST or moves
        if to_host and isinstance(args[0], Tensor) and _storage(args[0]) in self.known:
            raise WaitedError(f"{func.__name__} of a tensor on the device")
        return func(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):
    def __init__(self, known: dict[int, Any]) -> None:
        super().__init__()
        self.known = known

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
        result = func(*args, **kwargs)
        if ours:
            self.known.update((_storage(tensor), tensor.untyped_storage()) for tensor in _tensors(result))
        return result


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
