"""The Gaussian classifier against scikit-learn's LDA: python -m semscale_pl.benchmarks.gaussian.

The features lie in half precision in a mapped file in the system's folder for temporary files. Every way starts in a
process of its own, reads the file and ends with a fitted classifier. Ours reads it in blocks; scikit-learn needs it
whole, in single precision. A way whose arrays would not fit into the memory that is free is left out, and named.
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
_SHRINKAGE, _TEST_ROWS = 0.5, 2000
# What is compared, and the bytes for each number of the file that its arrays take at their most.
WAYS = {"gaussian": 0, "gaussian, settings chosen": 0, "lda lsqr": 4, "lda eigen": 20}


def compare(rows: int, features: int, classes: int, threads: int, ways: Sequence[str] = tuple(WAYS)) -> dict[str, Any]:
    """Make the file, fit each way in a process of its own, and compare them with scikit-learn's faster solver.

    Args:
        rows, features, classes: N, D and C; classes of equal size.
        threads: of each process.
        ways: names in ``WAYS``.

    Returns:
        By name: seconds, seconds of all cores together, peak MiB, accuracy (%) on rows that were not fitted, and times
        the CPU seconds and MiB of ``lda lsqr``; or why it was left out.
    """
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="semscale-") as folder:
        _make(Path(folder), rows, features, classes)
        for way in ways:
            needed, free = WAYS[way] * rows * features, _free_bytes()
            if needed > 0.8 * free:
                found[way] = {"left_out": f"its arrays take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB were free"}
            else:
                found[way] = _in_a_process(Path(folder), way, threads)
    base = found.get("lda lsqr", {})
    for run in found.values():
        if "seconds" in base and "seconds" in run:
            run["share_of_cpu_seconds"] = run["cpu_seconds"] / base["cpu_seconds"]
            run["share_of_memory"] = run["mib"] / base["mib"]
    return found


def streamed(folder: Path, chosen: bool) -> Any:
    """Fit our classifier to the file in blocks, and return what predicts the classes of features."""
    import torch

    from semscale_pl.geometry import DiscriminantMoments, DiscriminantSettings, choose_settings, gaussian_discriminant

    labels = torch.from_numpy(np.load(folder / "labels.npy"))
    features = np.load(folder / "features.npy", mmap_mode="r")
    moments = DiscriminantMoments(int(labels.max()) + 1, features.shape[1], class_sizes=torch.bincount(labels))
    for start in range(0, len(labels), _ROWS_AT_ONCE):
        block = np.load(folder / "features.npy", mmap_mode="r")[start : start + _ROWS_AT_ONCE]
        moments.add(torch.from_numpy(np.array(block)), labels[start : start + _ROWS_AT_ONCE])
        del block  # and the mapping with it, whose pages would count as this process's memory
    settings = DiscriminantSettings(_SHRINKAGE)
    if chosen:
        mapped = torch.from_numpy(np.load(folder / "features.npy", mmap_mode="c"))
        settings = choose_settings(moments, mapped, labels, settings).settings
    found = gaussian_discriminant(moments, settings)
    return lambda rows: found.scores(torch.from_numpy(rows)).argmax(1).numpy()


def rival(folder: Path, solver: str) -> Any:
    """Fit scikit-learn's LDA with uniform priors to the whole file, and return what predicts classes of features."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    features, labels = (
        np.load(folder / "features.npy", mmap_mode="r").astype(np.float32),
        np.load(folder / "labels.npy"),
    )
    classes = int(labels.max()) + 1
    model = LinearDiscriminantAnalysis(solver, shrinkage=_SHRINKAGE, priors=np.full(classes, 1.0 / classes))
    return model.fit(features, labels).predict


def render(result: dict[str, Any]) -> str:
    """Return the result as lines of text."""
    lines = []
    for way, run in result.items():
        if "left_out" in run:
            lines.append(f"{way:<28} left out: {run['left_out']}")
            continue
        line = f"{way:<28} {run['seconds']:8.2f} s {run['cpu_seconds']:8.2f} s CPU {run['mib']:8,.0f} MiB"
        line += f"  {run['accuracy']:5.1f} % right"
        if "share_of_cpu_seconds" in run:
            line += f"  {run['share_of_cpu_seconds']:.2f} x the CPU time, {run['share_of_memory']:.2f} x the memory"
        lines.append(line)
    return "\n".join(lines)


def _make(folder: Path, rows: int, features: int, classes: int) -> None:
    rng = np.random.default_rng(0)
    means = 0.25 * rng.standard_normal((classes, features), dtype=np.float32)
    spread = np.linspace(2.0, 0.5, features, dtype=np.float32)
    for name, number in (("features", rows), ("test", min(rows, _TEST_ROWS))):
        labels = rng.permutation(np.arange(number) % classes)
        np.save(folder / f"{'labels' if name == 'features' else 'test_labels'}.npy", labels)
        array = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float16, (number, features))
        for start in range(0, number, _ROWS_AT_ONCE):
            own = labels[start : start + _ROWS_AT_ONCE]
            array[start : start + len(own)] = (
                rng.standard_normal((len(own), features), dtype=np.float32) * spread + means[own]
            )
        array.flush()


def _free_bytes() -> int:
    file = Path("/proc/meminfo")
    if not file.exists():
        return sys.maxsize
    line = next(line for line in file.read_text().splitlines() if line.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024


def _in_a_process(folder: Path, way: str, threads: int) -> dict[str, Any]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    call = [sys.executable, "-m", __spec__.name, "--child", way, "--folder", str(folder)]
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    return dict(json.loads(subprocess.run(call, env=environment, check=True, stdout=subprocess.PIPE).stdout))


def _child(way: str, folder: Path) -> None:
    import sklearn.discriminant_analysis  # noqa: F401 -- importing is not measured

    import semscale_pl.geometry  # noqa: F401

    before, cpu_before = time.perf_counter(), time.process_time()
    predict = rival(folder, way.split()[1]) if way.startswith("lda") else streamed(folder, "chosen" in way)
    seconds, cpu, mib = time.perf_counter() - before, time.process_time() - cpu_before, peak_mib()
    found = predict(np.load(folder / "test.npy").astype(np.float32))
    accuracy = 100.0 * float((found == np.load(folder / "test_labels.npy")).mean())
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "mib": mib, "accuracy": accuracy}))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison, save it with its setting and the machine where asked to, and return 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=512)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="which ways to compare")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--out", type=Path, help="file for the JSON")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    call = parser.parse_args(arguments)
    if call.child:
        _child(call.child, call.folder)
        return 0
    setting = {name: getattr(call, name) for name in ("rows", "features", "classes", "threads", "ways")}
    record = {"setting": setting, "provenance": origin(), "result": compare(**setting)}
    print(json.dumps(record, indent=2) if call.json else render(record["result"]))
    if call.out is not None:
        from semscale_pl.files import write_json

        write_json(call.out, record)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
