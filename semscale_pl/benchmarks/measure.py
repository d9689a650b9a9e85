"""Time and memory of `measure` on a file of features, against a plain loop in numpy over its classes.

`python -m semscale_pl.benchmarks.measure --out FILE.json` makes a file of 10^6 x 512 features of 1,000 classes (2 GB in
the system's folder for temporary files), measures it in a process of its own each way, and prints all and their ratios.
Every process starts with the file in the system's cache. `--rows 10000000 --without-plain` measures 20 GB, which the
loop could not load.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semscale_pl.benchmarks import origin, peak_mib

_ROWS_AT_ONCE = 20_000


def plain_loop(folder: Path) -> np.ndarray:
    """Compute the scales (C,) as one would without a library: a class at a time, the d x d covariance, slogdet."""
    features, labels = np.load(folder / "features.npy"), np.load(folder / "labels.npy")
    scales = []
    for label in range(labels.max() + 1):
        rows = features[labels == label].astype(np.float64)
        rows -= rows.mean(0)
        covariance = rows.T @ rows / len(rows)
        identity = np.eye(rows.shape[1])
        scales.append(0.5 * np.linalg.slogdet(identity + rows.shape[1] * covariance)[1] / np.log(2.0))
    return np.array(scales)


def measured(folder: Path, max_memory: int, spectrum: int) -> np.ndarray:
    """Compute the scales (C,), and what else a measurement has, from the same files."""
    from semscale_pl.features import open_features
    from semscale_pl.measuring.measuring import Settings, measure_source
    from semscale_pl.memory import left_of

    source = open_features(folder / "features.npy", folder / "labels.npy")
    return measure_source(source, Settings(spectrum=spectrum), max_memory=left_of(max_memory)).scales


def compare(
    rows: int,
    features: int,
    classes: int,
    threads: int,
    max_memory: int,
    repeats: int = 1,
    plain: bool = True,
    correlated: bool = False,
) -> dict[str, Any]:
    """Make the file, run all ways in processes of their own, and compare them.

    Args:
        rows, features, classes: N, d and C.
        threads: of each process.
        max_memory: bytes for a measuring process.
        repeats: of each way, in turn; the fastest counts.
        plain: whether to run the loops, which load the whole file.
        correlated: whether the directions of different spread are those of a random basis, not the features.

    Returns:
        By name: seconds, seconds of all cores together, peak MiB; and beside the loops the largest relative difference
        of the scales from theirs, and the ratios to the faster one of them.
    """
    ways = {title: way for title, way in _ways(threads).items() if plain or way[0] != "plain"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make(folder, rows, features, classes, correlated)
        runs: dict[str, list[dict[str, Any]]] = {title: [] for title in ways}
        # In turn, so that a busy spell of the machine meets all ways.
        for _ in range(repeats):
            for title, (way, used, spectrum) in ways.items():
                runs[title].append(_in_a_process(folder, way, used, max_memory, spectrum))
        found = {title: min(tries, key=lambda run: run["seconds"]) for title, tries in runs.items()}
    scales = {title: np.array(run.pop("scales")) for title, run in found.items()}
    if plain:
        # On a busy machine a library's own threads wait for each other: the loop is compared at its best.
        best = min((title for title in found if title.startswith("plain")), key=lambda title: found[title]["seconds"])
        for title, run in found.items():
            run["difference"] = float(np.abs(scales[title] / scales[best] - 1.0).max())
            run["faster_than_plain"] = found[best]["seconds"] / run["seconds"]
            run["share_of_plain_memory"] = run["mib"] / found[best]["mib"]
    return found


def _ways(threads: int) -> dict[str, tuple[str, int, int]]:
    """Return title to way, threads, and eigenvalues of each class."""
    used = "1 thread" if threads == 1 else f"{threads} threads"
    return {
        f"plain, {used}": ("plain", threads, 0),
        "plain, 1 thread": ("plain", 1, 0),
        f"measure, {used}": ("measure", threads, 0),
        f"measure with 64 eigenvalues, {used}": ("measure", threads, 64),
    }


def _make(folder: Path, rows: int, features: int, classes: int, correlated: bool = False) -> None:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(rows) % classes)
    np.save(folder / "labels.npy", labels)
    array = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float32, (rows, features))
    spread = np.diag(np.linspace(2.0, 0.02, features, dtype=np.float32))
    if correlated:
        spread = spread @ np.linalg.qr(rng.standard_normal((features, features), dtype=np.float32))[0]
    for start in range(0, rows, _ROWS_AT_ONCE):
        part = labels[start : start + _ROWS_AT_ONCE, None]
        noise = rng.standard_normal((len(part), features), dtype=np.float32)
        array[start : start + len(part)] = noise @ spread * (0.5 + part / classes) + part % 7
    array.flush()


def _in_a_process(folder: Path, way: str, threads: int, max_memory: int, spectrum: int) -> dict[str, Any]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    call = [sys.executable, "-m", __spec__.name, "--child", way, "--folder", str(folder)]
    call += ["--max-memory", str(max_memory), "--spectrum", str(spectrum)]
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    done = subprocess.run(call, env=environment, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


def _child(way: str, folder: Path, max_memory: int, spectrum: int) -> None:
    if way == "measure":
        import semscale_pl.measuring.measuring  # noqa: F401 -- importing is not measured
    before, cpu_before = time.perf_counter(), time.process_time()
    scales = measured(folder, max_memory, spectrum) if way == "measure" else plain_loop(folder)
    seconds, cpu = time.perf_counter() - before, time.process_time() - cpu_before
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "mib": peak_mib(), "scales": scales.tolist()}))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison with its setting and the machine as JSON, save it where asked to, and return 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--max-memory", type=int, default=500 * 2**20, help="bytes, of the whole measuring process")
    parser.add_argument("--without-plain", dest="plain", action="store_false", help="leave the loops out")
    parser.add_argument("--correlated", action="store_true", help="correlated features, which need more digits")
    parser.add_argument("--out", type=Path, help="file for the JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--spectrum", type=int, default=0, help=argparse.SUPPRESS)
    call = parser.parse_args(arguments)
    if call.child:
        _child(call.child, call.folder, call.max_memory, call.spectrum)
        return 0
    setting = {name: value for name, value in vars(call).items() if name not in ("out", "child", "folder", "spectrum")}
    record = {"setting": setting, "provenance": origin(), "result": compare(**setting)}
    print(json.dumps(record, indent=2))
    if call.out is not None:
        from semscale_pl.files import write_json

        write_json(call.out, record)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
