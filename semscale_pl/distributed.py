"""Exchange between the ranks of a process group; every function is a no-op where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
_ALONE = ContextVar("_ALONE", default=False)
# The process group that a host group stands beside, and that group; the former may end and another one begin.
_HOSTS: list[tuple[Any, Any]] = []


def world_size() -> int:
    """Return the number of ranks, 1 without a process group."""
    return dist.get_world_size() if _in_group() else 1


def rank() -> int:
    """Return this process's rank, 0 without a process group."""
    return dist.get_rank() if _in_group() else 0


@contextmanager
def alone() -> Iterator[None]:
    """Let a block that one rank runs for itself see all of the data and wait for nobody, as without a process group."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def from_all_ranks(value: Any) -> list[Any]:
    """Return a plain Python value of each rank, in rank order."""
    found = [value] * world_size()
    if len(found) > 1:
        dist.all_gather_object(found, value)
    return found


def row_counts(rows: Tensor) -> list[int]:
    """Return how many rows each rank holds, in rank order; of this rank's rows (B, ...) only B matters.

    The numbers go from host to host: an exchange on the devices would make every step wait for them.
    """
    if world_size() == 1:
        return [rows.shape[0]]
    mine = torch.tensor([rows.shape[0]])
    counts = [torch.zeros_like(mine) for _ in range(world_size())]
    dist.all_gather(counts, mine, group=_host_group())
    return [int(count) for count in counts]


def global_row_count(rows: Tensor) -> int:
    """Return the number of rows of all ranks together."""
    return sum(row_counts(rows))


def from_first_rank(value: T) -> T:
    """Return the first rank's value on all ranks, where they could differ, such as whether a file is there."""
    answers: list[T] = [value]
    if world_size() > 1:
        dist.broadcast_object_list(answers)
    return answers[0]


def true_everywhere(flag: Tensor) -> Tensor:
    """Tell whether a flag () is true on every rank, as a tensor that is equal on all of them; no rank waits for it."""
    if world_size() == 1:
        return flag
    agreed = flag.to(torch.int32)
    dist.all_reduce(agreed, dist.ReduceOp.MIN)
    return agreed.bool()


@torch.no_grad()
def gather_rows(*tensors: Tensor, counts: list[int] | None = None) -> tuple[Tensor, ...]:
    """Concatenate the rows of all ranks, in rank order, to tensors (sum of all B, ...) that are equal on all ranks.

    Every rank has to call it, with as many tensors as the others, also where it has no rows.

    Args:
        tensors: each (B, ...) with the same B on this rank; B may differ between ranks, and be 0. Detached.
        counts: what :func:`row_counts` returned, where that is known already.
    """
    tensors = tuple(tensor.detach() if tensor.requires_grad else tensor for tensor in tensors)
    if world_size() == 1:
        return tensors
    counts = row_counts(tensors[0]) if counts is None else counts
    return tuple(_gather_padded(tensor, counts) for tensor in tensors)


def _gather_padded(tensor: Tensor, counts: list[int]) -> Tensor:
    largest = max(counts)
    padded = tensor.new_zeros((largest, *tensor.shape[1:]))
    if padded.numel() == 0:  # on all ranks alike
        return tensor.new_zeros((sum(counts), *tensor.shape[1:]))
    padded[: tensor.shape[0]] = tensor
    parts = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(parts, padded.contiguous())
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def _host_group() -> Any:
    """Return a group of all ranks that exchanges tensors of the host; made by the first call, which all ranks make."""
    group = dist.group.WORLD
    if _reaches_hosts():
        return group
    if not _HOSTS or _HOSTS[0][0] is not group:
        _HOSTS[:] = [(group, dist.new_group(backend="gloo"))]
    return _HOSTS[0][1]


def _reaches_hosts() -> bool:
    return "gloo" in dist.get_backend_config()


def _in_group() -> bool:
    return dist.is_available() and dist.is_initialized() and not _ALONE.get()
