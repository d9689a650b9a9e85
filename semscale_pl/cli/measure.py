"""`semscale measure`: how diverse each class is, from features, images or what a network makes of them."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semscale_pl.analysis.memory import left_of, resident
from semscale_pl.cli.errors import INTERRUPTED, OK, WRONG_CALL, complain, message_of
from semscale_pl.cli.measure_call import USAGE, MeasureCall, parse
from semscale_pl.cli.progress_lines import ProgressLines

if TYPE_CHECKING:
    from semscale_pl.analysis.measurement import Measurement

# A radar plot and named bars of more classes than this are a blot; the report shows them all.
MOST_AXES, SPECTRA = 200, 8
# Bytes that readers and libraries take beside what is measured with, as blocks are decoded, and a bare interpreter.
READING = 64 * 2**20


def main(argv: Sequence[str]) -> int:
    """Measure the classes of a dataset.

    Args:
        argv: settings, see ``semscale measure --help``.

    Returns:
        0 done, 2 wrong call, file or image, 130 interrupted.
    """
    if not argv or argv[0] in ("--help", "-h", "help"):
        (sys.stdout if argv else sys.stderr).write(USAGE)
        return OK if argv else WRONG_CALL
    try:
        return execute(parse(argv))
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return INTERRUPTED
    except Exception as error:
        message = message_of(error, "train")
        if message is None and isinstance(error, ValueError | FileNotFoundError):
            message = str(error)
        if message is None:
            raise
        return complain(message)


def execute(call: MeasureCall) -> int:
    """Measure, print the table and save everything.

    Args:
        call: the settings.

    Returns:
        0.

    Raises:
        ValueError: features or images cannot be measured; one line says why.
    """
    from semscale_pl.cli.measure_table import csv_of, print_measurement
    from semscale_pl.cli.staging import staged
    from semscale_pl.cli.strict_json import write_json, write_text

    measurement = measured(call, resident())
    print_measurement(measurement, call.top)
    with staged(call.out) as folder:
        write_text(folder / "scales.csv", csv_of(measurement))
        write_json(folder / "scales.json", measurement.as_dict())
        if call.report:
            from semscale_pl.reports import write_report

            write_report(measurement, folder / "report.html")
        if call.figures:
            _draw(measurement, folder)
    sys.stdout.write(f"Saved under {call.out}\n")
    return OK


def measured(call: MeasureCall, before: int = 0) -> Measurement:
    """Read what a call names, piece by piece, and measure it.

    Args:
        call: the settings.
        before: bytes that the process held already when it was called, not counted against `max_memory`.

    Returns:
        One row a class; `source` says where the features came from.

    Raises:
        ValueError: features or images cannot be measured; one line says why.
    """
    if call.features is not None:
        from semscale_pl.data.features.opening import open_features

        source = open_features(call.features, call.labels, call.label_column)
        return _of(source, call, {"features": call.features.name}, before)
    if call.overrides:
        # Once before torch is imported, which takes seconds: a typo should not.
        from semscale_pl.cli.data import composed

        composed(call.training_overrides())
    from semscale_pl.cli.measured_images import measured_images, stored

    images = measured_images(call)
    name = call.dataset or str(call.out.name if call.images is None else call.images.resolve().name)
    with tempfile.TemporaryDirectory(prefix="semscale-") as folder:
        rows = stored(images, Path(folder) / "rows", name, ProgressLines("image"))
        key = "dataset" if call.dataset else "images"
        return _of(rows, call, {key: name, "measured": images.what, "overrides": list(call.overrides)}, before)


def _of(source: Any, call: MeasureCall, origin: dict[str, Any], before: int) -> Measurement:
    from semscale_pl.analysis.measuring import Settings, measure_source

    settings = Settings(**call.settings)
    left = left_of(call.max_memory, before) - READING
    found = measure_source(source, settings, max_memory=left, progress=ProgressLines("class"))
    return dataclasses.replace(found, source={**origin, **found.source})


def _draw(measurement: Measurement, folder: Path) -> None:
    import numpy as np

    from semscale_pl.figures.radar import radar_panels
    from semscale_pl.figures.scale_against_count import scale_against_count
    from semscale_pl.figures.spectra import spectra_against_band
    from semscale_pl.figures.style import save_figure

    names = measurement.class_names
    counts = scale_against_count(names, measurement.counts, measurement.scales, intervals=measurement.intervals)
    save_figure(counts, folder / "scale_against_count.png")
    defined = np.isfinite(measurement.imbalance)
    if 3 <= defined.sum() <= MOST_AXES:
        panel = {
            "title": str(measurement.source["name"]),
            "classes": [name for name, kept in zip(names, defined, strict=True) if kept],
            "counts": measurement.counts[defined],
            "scales": measurement.scales[defined],
            "imbalance": measurement.imbalance[defined],
        }
        save_figure(radar_panels([panel]), folder / "radar.png")
    if measurement.spectra.shape[1]:
        chosen = [label for label in measurement.order() if measurement.counts[label] > 1]
        shown = chosen if len(chosen) <= SPECTRA else chosen[: SPECTRA // 2] + chosen[-SPECTRA // 2 :]
        if shown:
            save_figure(spectra_against_band(measurement.spectra, names, shown), folder / "spectra.png")
