"""How a worker of a loader starts: not at all where its loader has just been killed, else with Lightning's seeds."""

from __future__ import annotations

import multiprocessing
import os

from lightning_fabric.utilities.seed import pl_worker_init_function


def start_worker(worker_id: int, rank: int = 0) -> None:
    """End the worker where its parent is gone; otherwise seed it as `seed_everything(workers=True)` asks for.

    Torch's own watch takes the parent's process id once the worker runs. Where the parent was killed by then, that is
    the id of whoever adopts orphans, and the worker would wait for ever.

    Args:
        worker_id: of the loader.
        rank: of the process whose loader it is.
    """
    parent = multiprocessing.parent_process()
    # A fork server stands between the two.
    if parent is not None and multiprocessing.get_start_method() != "forkserver" and os.getppid() != parent.pid:
        os._exit(1)
    if int(os.environ.get("PL_SEED_WORKERS", "0")):  # Lightning leaves it to a `worker_init_fn` where there is one
        pl_worker_init_function(worker_id, rank)
