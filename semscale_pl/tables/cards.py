"""Where worker processes compute: one thread each on the CPU, or side by side on GPUs with a share of the memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from semscale_pl.tables.cache import CellRun
from semscale_pl.tables.cell_training import THREAD_VARIABLES

# What CUDA and its libraries take of a card for each process beside the tensors.
CONTEXT_BYTES = 640 * 2**20
# More threads than this do nothing for a cell whose work is on the card.
_MOST_THREADS = 8


@dataclass(frozen=True)
class Seat:
    """The place of one worker process.

    Args:
        environment: variables that it is started with.
        sharers: processes on its card, itself included; 0 where it has none.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    sharers: int = 0


def seats_for(runs: Sequence[CellRun], jobs: int) -> list[Seat]:
    """Return a seat for each of so many processes: on cards where a cell asks for one, spread over all there are.

    Raises:
        ValueError: a cell asks for a GPU, and there is none.
    """
    if not any(run.on_card for run in runs):
        return [Seat(dict.fromkeys(THREAD_VARIABLES, "1"))] * jobs
    return spread(visible_cards(), jobs, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None)


def spread(cards: Sequence[str], jobs: int, cores: int | None = None) -> list[Seat]:
    """Spread processes over cards, and the cores over processes.

    Args:
        cards: as ``CUDA_VISIBLE_DEVICES`` names them; none where an accelerator of another kind takes the cells.
        cores: that the processes may use together; None for all.

    Example:
        >>> [(seat.environment["CUDA_VISIBLE_DEVICES"], seat.sharers) for seat in spread(["0", "1"], 3, 16)]
        [('0', 2), ('1', 1), ('0', 2)]
    """
    threads = max(1, min((cores or os.cpu_count() or 1) // jobs, _MOST_THREADS))
    shared = dict.fromkeys(THREAD_VARIABLES, str(threads))
    if not cards:
        return [Seat(shared)] * jobs
    taken = [number % len(cards) for number in range(jobs)]
    return [Seat({**shared, "CUDA_VISIBLE_DEVICES": cards[card]}, taken.count(card)) for card in taken]


def visible_cards() -> list[str]:
    """Return the cards that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them.

    Raises:
        ValueError: there is neither a CUDA device nor another GPU.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0 and not torch.backends.mps.is_available():
        raise ValueError(
            "Expected a GPU for trainer=gpu, but torch sees none. Give trainer=cpu, or look at the driver."
        )
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return (named or [str(number) for number in range(count)])[:count]


def memory_share(total_bytes: int, sharers: int) -> float:
    """Return the fraction of a card that the tensors of one of its processes may take.

    Example:
        >>> round(memory_share(80 * 2**30, 8), 4)
        0.1172
    """
    return max(1 / sharers - CONTEXT_BYTES / total_bytes, 0.5 / sharers)


def take_share(sharers: int) -> None:
    """Keep this process to its share of the card, so that one cell cannot take another's memory."""
    if sharers < 2:
        return
    import torch

    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(memory_share(total, sharers), 0)
