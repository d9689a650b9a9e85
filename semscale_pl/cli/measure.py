"""`semscale measure`: how diverse each class is, from features, images or what a network makes of them."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semscale_pl import __version__
from semscale_pl.cli.command import (
    FILE_SETTINGS,
    PREPARATION,
    Call,
    Command,
    Setting,
    new_folder,
    read_list,
)
from semscale_pl.cli.sources import IMAGE_SETTINGS, image_features, reading, with_source
from semscale_pl.config.errors import OK
from semscale_pl.memory import left_of, parse_bytes, resident
from semscale_pl.options import RULES
from semscale_pl.progress import Progress

if TYPE_CHECKING:
    from semscale_pl.measuring.measurement import Measurement

# What the help says in more words than a line has.
_CONTROLLED = "also scales that depend less on n: matched, oas, ledoit_wolf, extrapolated"
_MEMORY = "for the whole process; in a larger one, for what the call adds"
_OUT = "scales.json, scales.csv, weights.json, weights.csv, report.html and figures; runs/measure/NAME unless given"
HOW = (
    Setting("alpha", "of the inter-class weights W, at least 1: the larger, the weaker", 1.0),
    Setting("ratio", "d/m as in the paper; a number r for r/m", "dim"),
    Setting("unit", "unit of length, in the unit of the features", 1.0),
    *PREPARATION,
    Setting("controlled", _CONTROLLED, (), "NAMES", read_list(RULES["controlled"])),
    Setting("intervals", "an interval of every S', by a jackknife over samples", False),
    Setting("level", "of the intervals", 0.95),
    Setting("spectrum", "eigenvalues of each class to keep, up to 64; 64 unless that would take minutes", shown="K"),
    Setting("seed", "of every random choice", 0),
)
COMMAND = Command(
    name="measure",
    usage=[
        "features=FILE [KEY=VALUE ...]                      a file of features",
        "dataset=NAME [KEY=VALUE ...]                       the pixels of a training set",
        "images=FOLDER [KEY=VALUE ...]                      the pixels of a folder of class folders",
        "dataset=NAME|images=FOLDER ckpt=FILE               features of a trained model",
        "dataset=NAME|images=FOLDER backbone=NAME pretrained=true",
    ],
    settings={
        "what": [
            *FILE_SETTINGS,
            *IMAGE_SETTINGS,
        ],
        "how": [*HOW, Setting("max_memory", _MEMORY, 2**30, "1GiB", lambda _, text: parse_bytes(text))],
        "result": [
            Setting("out", _OUT, None, "FOLDER", new_folder, may_be_empty=True),
            Setting("top", "rows to print, the smallest S first", 60),
            Setting("report", "write report.html", True),
            Setting("figures", "draw", True),
        ],
    },
    takes_overrides=True,
)
# What a measurement may leave in its folder.
FILES = (
    *("scales.csv", "scales.json", "weights.csv", "weights.json", "report.html"),
    *("scale_against_count.png", "radar.png", "spectra.png"),
)
# Typical and distant samples of each class that the report shows, at most.
SAMPLES = 4
# Bytes that readers and libraries take beside what is measured with, as blocks are decoded, and a bare interpreter.
READING = 64 * 2**20


def main(argv: Sequence[str]) -> int:
    """Measure the classes of a dataset: 0 done, 2 wrong call, file or image, 130 interrupted."""
    return COMMAND.run(argv, lambda call: execute(checked(call)))


def checked(call: Call) -> Call:
    """Check what goes together, and add what follows from it.

    Returns:
        The call, with ``dataset``, ``backbone``, ``out``, ``settings`` (of
        :class:`semscale_pl.measuring.measuring.Settings`), and ``training_overrides``: what `semscale train` would be
        called with for the same images and network; ``shown_images`` is filled when they are read, and ``places``
        with the numbers of the rows that are measured in a file of several parts.

    Raises:
        ValueError: a setting is missing or does not go with another.
    """
    with_source(call, COMMAND)
    call.out = call.out or new_folder("out", f"runs/measure/{call.source_folder}")
    call.settings = {setting.key: getattr(call, setting.key) for setting in HOW}
    call.shown_images = call.places = None
    return call


def execute(call: Call) -> int:
    """Measure, save everything and print the table; ValueError where features or images cannot be measured."""
    from semscale_pl.files import claimed

    with claimed(call.out):
        return _execute(call)


def _execute(call: Call) -> int:
    from semscale_pl.files import staged, write_json, write_text

    measurement = measured(call, resident())
    # After the features were opened: a wrong file is answered before torch is imported.
    from semscale_pl.measuring.class_weights import weights_csv, weights_json
    from semscale_pl.measuring.text import csv_of, print_measurement

    with staged(call.out, FILES) as folder:
        write_text(folder / "scales.csv", csv_of(measurement))
        write_json(folder / "scales.json", measurement.as_dict())
        write_text(folder / "weights.csv", weights_csv(measurement))
        write_json(folder / "weights.json", weights_json(measurement))
        if call.report:
            _write_report(measurement, call, folder / "report.html")
        if call.figures:
            from semscale_pl.measuring.pictures import save_pictures

            save_pictures(measurement, folder)
    print_measurement(measurement, call.top)
    sys.stdout.write(f"Saved under {call.out}\n")
    return OK


def measured(call: Call, before: int = 0) -> Measurement:
    """Read what a call names, piece by piece, and measure it.

    Args:
        call: checked.
        before: bytes that the process held already when it was called, not counted against `max_memory`.

    Returns:
        One row a class; `source` says where the features came from.

    Raises:
        ValueError: features or images cannot be measured.
    """
    if call.features is not None:
        from semscale_pl.features.opening import open_features

        source = open_features(call.features, **reading(call))
        call.places = getattr(source.matrix, "places", None)
        taken = {} if source.taken is None else {"taken": dataclasses.asdict(source.taken)}
        origin = {"features": call.features.name, "path": str(call.features.resolve()), **taken}
        return _of(source, call, origin, before)
    images = image_features(call)
    name = call.dataset or str(call.out.name if call.images is None else call.images.resolve().name)
    call.shown_images = images
    with tempfile.TemporaryDirectory(prefix="semscale-") as folder:
        with Progress("image {}") as progress:
            rows = images.store(Path(folder) / "rows", name, progress)
        key = "dataset" if call.dataset else "images"
        place = {} if call.images is None else {"path": str(call.images.resolve())}
        read = {"exif_rotation": images.exif_rotation, "skipped_images": images.skipped}
        origin = {
            key: name,
            **place,
            **images.origin,
            "measured": images.what,
            "overrides": list(call.overrides),
            **read,
        }
        return _of(rows, call, origin, before)


def _write_report(measurement: Measurement, call: Call, path: Path) -> None:
    from semscale_pl.features.row_names import names_of_rows
    from semscale_pl.measuring.report import rows_to_name, write_report

    rows, shown = rows_to_name(measurement), call.shown_images
    names = shown.names_of_rows(rows) if shown else names_of_rows(call.features, rows, call.part, call.places)
    about = {"date": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}", "version": f"semscale_pl {__version__}"}
    write_report(measurement, path, picture=shown.picture if shown else None, names=names, about=about)


def _of(source: Any, call: Call, origin: dict[str, Any], before: int) -> Measurement:
    from semscale_pl.measuring.measuring import Settings, measure_source

    left = left_of(call.max_memory, before) - READING
    shown = SAMPLES if call.report else 0
    with Progress("class {}") as progress:
        found = measure_source(source, Settings(**call.settings), max_memory=left, progress=progress, samples=shown)
    return dataclasses.replace(found, source={**origin, **found.source})
