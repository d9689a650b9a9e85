"""A head on a store larger than memory should have to be: a million features in half precision, read batch by batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from semscale_pl.features.store import part_entry, write_manifest, write_rows_of

ROWS, WIDTH, CLASSES = 1_000_000, 1280, 100
# Trains one epoch and says, in MiB, how much memory of its own the process had before and at most.
PROGRAM = """
import json, resource, sys, threading, time
from pathlib import Path
from semscale_pl.config.checks import composed
from semscale_pl.training.run import train

def own():
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024

def watch():
    while True:
        peak[0] = max(peak[0], own())
        time.sleep(0.02)

before, peak, started = own(), [0.0], time.monotonic()
threading.Thread(target=watch, daemon=True).start()
train(composed(sys.argv[2:]), Path(sys.argv[1]))
resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"before": before, "peak": peak[0], "resident": resident, "seconds": time.monotonic() - started}))
"""


def sparse_store(folder: Path) -> None:
    """Write a store whose features are zeros that take no room on the disk."""
    names = [f"class {label}" for label in range(CLASSES)]
    entries = {}
    for part, rows in (("train", ROWS), ("test", CLASSES)):
        labels = np.arange(rows) % CLASSES
        write_rows_of(folder, part, labels, np.arange(rows), None, names)
        entries[part] = part_entry(labels, names, 0)
        with (folder / f"{part}.npy").open("wb") as file:
            header = {"descr": "<f2", "fortran_order": False, "shape": (rows, WIDTH)}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + 2 * rows * WIDTH)
    write_manifest(folder, "sparse", "float16", WIDTH, names, entries, {})


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory of a process's own is read from /proc")
def test_a_million_features_train_a_head_in_bounded_memory(tmp_path: Path) -> None:
    sparse_store(tmp_path)
    options = ["dataset=features", f"dataset.store={tmp_path}", "dataset.batch_size=4096", "trainer.max_epochs=1"]
    line = [sys.executable, "-c", PROGRAM, str(tmp_path / "run"), *options]
    done = subprocess.run(line, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    whole = ROWS * WIDTH * 2 / 2**20
    assert found["peak"] - found["before"] < whole / 4, found
    assert (tmp_path / "run" / "metrics.json").is_file()
