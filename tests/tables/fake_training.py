"""A training that takes no time, fails, hangs or leaves without a record, as its config says."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any


class DatasetNotFound(FileNotFoundError):  # noqa: N818  (named as the data layer's)
    """A dataset is not where it was looked for."""


def train(cfg: Any, folder: Path) -> None:
    with (folder / "calls").open("a") as file:
        file.write("x")
    print("printed by the run")
    (folder / "pid").write_text(f"{os.getpid()} {os.environ.get('OMP_NUM_THREADS')}")
    if cfg.behaviour == "fail":
        raise RuntimeError("no such\nluck")
    if cfg.behaviour == "absent":
        raise DatasetNotFound("Nowhere was not found.\nPut it there.")
    if cfg.behaviour == "stubborn":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    if cfg.behaviour in ("hang", "stubborn") or (
        cfg.behaviour == "hang_once" and (folder / "calls").read_text() == "x"
    ):
        time.sleep(60)
    if cfg.behaviour == "slow":
        time.sleep(1.0)
    if cfg.behaviour == "leave":
        raise SystemExit(2)
    if cfg.behaviour != "silent":
        content = {"seed": cfg.seed, "results": {"last": {"accuracy": cfg.level + 0.01 * cfg.seed, "tail": None}}}
        (folder / "metrics.json").write_text(json.dumps(content))
