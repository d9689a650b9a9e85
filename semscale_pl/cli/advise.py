"""`semscale advise`: what to collect next, class by class, from a file of features, a dataset or a folder of images."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semscale_pl.cli.command import FILE_SETTINGS, PREPARATION, Call, Command, Setting, new_folder
from semscale_pl.cli.sources import IMAGE_SETTINGS, image_features, reading, with_source
from semscale_pl.config.errors import OK
from semscale_pl.progress import Progress

if TYPE_CHECKING:
    from semscale_pl.features.prepared import LoadedFeatures
    from semscale_pl.features.source import Taken

_THRESHOLD = "stop where the last batch has added less than this share of S'; 2% is the same"
COMMAND = Command(
    name="advise",
    usage=[
        "features=FILE batch=m threshold=t [KEY=VALUE ...]              a file of features",
        "dataset=NAME|images=FOLDER batch=m threshold=t [KEY=VALUE ...] pixels; with ckpt= or backbone= features",
    ],
    settings={
        "what": [*FILE_SETTINGS, *IMAGE_SETTINGS],
        "how": [
            Setting("batch", "samples of a class that are collected at a time", shown="20"),
            Setting("threshold", _THRESHOLD, shown="0.02"),
            Setting("budget", "new samples in all, to be spread over the classes", 0),
            Setting("orders", "random orders of the samples behind each interval", 20),
            *PREPARATION,
            Setting("seed", "of the orders", 0),
            Setting(
                "out", "of advice.json and advice.csv; runs/advise/NAME unless given", None, "FOLDER", new_folder, True
            ),
        ],
    },
    takes_overrides=True,
)
# Settings that advice.json holds besides those that are in the advice itself.
RECORDED = (
    *(setting.key for setting in (*FILE_SETTINGS, *PREPARATION)),
    *(setting.key for setting in IMAGE_SETTINGS if isinstance(setting, Setting)),
    *("orders", "seed", "dataset"),
)


def main(argv: Sequence[str]) -> int:
    """Advise on a collection: 0 done, 2 wrong call or file, 130 interrupted."""
    return COMMAND.run(argv, lambda call: execute(checked(call)))


def checked(call: Call) -> Call:
    """Check what goes together, and add what :func:`semscale_pl.cli.sources.with_source` does.

    Raises:
        ValueError: a setting is missing or does not go with another.
    """
    with_source(call, COMMAND)
    for key in ("batch", "threshold"):
        if key not in call.given:
            raise ValueError(f"Expected `{key}`. Pass {COMMAND.keys[key].left}; {COMMAND.see.replace('See', 'see')}")
    return call


def execute(call: Call) -> int:
    """Read the features, save the advice and print it; ValueError where the file cannot be used."""
    from semscale_pl.advice.advice import advise
    from semscale_pl.advice.text import csv_of, print_advice
    from semscale_pl.files import staged, write_json, write_text

    (features, labels, names), taken = _load(call)
    settings = {key: getattr(call, key) for key in ("batch", "threshold", "budget", "orders", "seed")}
    with Progress("class {}") as progress:
        advice = advise(features, labels, names, **settings, progress=progress)
    folder = call.out or Path("runs/advise") / call.source_folder
    recorded = {key: getattr(call, key) for key in RECORDED}
    recorded["overrides"] = [override for override in call.overrides if not override.startswith("dataset=")]
    with staged(folder) as place:
        write_text(place / "advice.csv", csv_of(advice))
        found = {"taken": dataclasses.asdict(taken)} if taken else {}
        write_json(place / "advice.json", {**advice.as_dict(), **found, "settings": recorded})
    if taken:
        sys.stdout.write(f"{taken.line()}\n")
    print_advice(advice)
    sys.stdout.write(f"Saved under {folder}\n")
    return OK


def _load(call: Call) -> tuple[LoadedFeatures, Taken | None]:
    from semscale_pl.features.opening import open_features
    from semscale_pl.features.prepared import load_features

    how = {"feature_norm": call.feature_norm, "num_features": call.num_features}
    if call.features is not None:
        source = open_features(call.features, **reading(call))
        return load_features(source, **how), source.taken
    images = image_features(call)
    with tempfile.TemporaryDirectory(prefix="semscale-") as folder, Progress("image {}") as progress:
        return load_features(images.store(Path(folder) / "rows", call.source_name, progress), **how), None
