"""`semscale advise features=FILE|dataset=NAME batch=m threshold=t [budget=B]`: what to collect next, class by class."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semscale_pl.cli.command import FILE_SETTINGS, PREPARATION, Call, Command, Setting, new_folder, read_text
from semscale_pl.config.errors import OK
from semscale_pl.progress import Progress

if TYPE_CHECKING:
    from semscale_pl.features.prepared import LoadedFeatures
    from semscale_pl.features.source import Taken

_DATASET = "instead of a file: the pixels of a training set, with any other override of `semscale train`"
_THRESHOLD = "stop where the last batch has added less than this share of S'; 2% is the same"
COMMAND = Command(
    name="advise",
    usage=["features=FILE batch=m threshold=t [KEY=VALUE ...]", "dataset=NAME batch=m threshold=t [KEY=VALUE ...]"],
    settings={
        "": [
            *FILE_SETTINGS,
            Setting("dataset", _DATASET, None, "NAME", read_text),
            Setting("image_size", "side of the resized images of a dataset", 16),
            Setting("batch", "samples of a class that are collected at a time", shown="20"),
            Setting("threshold", _THRESHOLD, shown="0.02"),
            Setting("budget", "new samples in all, to be spread over the classes", 0),
            Setting("orders", "random orders of the samples behind each interval", 20),
            *PREPARATION,
            Setting("seed", "of the orders", 0),
            Setting(
                "out", "of advice.json and advice.csv; runs/advise/NAME unless given", None, "FOLDER", new_folder, True
            ),
        ]
    },
    takes_overrides=True,
)
_FILE_KEYS = tuple(setting.key for setting in (*FILE_SETTINGS, *PREPARATION))
# Settings that advice.json holds besides those that are in the advice itself.
RECORDED = (*_FILE_KEYS, "orders", "seed", "dataset", "image_size", "overrides")


def main(argv: Sequence[str]) -> int:
    """Advise on a collection: 0 done, 2 wrong call or file, 130 interrupted."""
    return COMMAND.run(argv, lambda call: execute(checked(call)))


def checked(call: Call) -> Call:
    """Raise ValueError for settings that are missing, or that fit neither a file nor a dataset, or the other one."""
    if bool(call.features) == bool(call.dataset):
        raise ValueError("Expected either `features` or `dataset`. Pass features=FILE or dataset=NAME.")
    foreign = [key for key in _FILE_KEYS if key in call.given] if call.dataset else []
    if foreign:
        raise ValueError(f"Expected `{foreign[0]}` only with features=FILE, but got it with dataset=.")
    if call.overrides and not call.dataset:
        raise COMMAND.unknown(call.overrides[0].partition("=")[0])
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
    folder = call.out or Path("runs/advise") / (call.dataset or call.features.stem)
    recorded = {key: getattr(call, key) for key in RECORDED}
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
    if call.dataset is not None:
        from semscale_pl.training.image_features import Images

        overrides = [f"dataset={call.dataset}", *call.overrides, f"seed={call.seed}"]
        with Progress("image {}") as progress:
            return Images(overrides).pixels(call.image_size).load(progress), None
    from semscale_pl.features.opening import open_features
    from semscale_pl.features.prepared import load_features

    source = open_features(call.features, call.labels, call.label_column, call.feature_columns, call.feature_key)
    return load_features(source, feature_norm=call.feature_norm, num_features=call.num_features), source.taken
