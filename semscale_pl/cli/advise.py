"""`semscale advise features=FILE|dataset=NAME batch=m threshold=t [budget=B]`: what to collect next, class by class."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semscale_pl.cli.command import Call, Command, Setting, existing_file, new_folder, read_text
from semscale_pl.config.errors import OK
from semscale_pl.progress import Progress

if TYPE_CHECKING:
    from semscale_pl.advice.advice import Advice
    from semscale_pl.features.prepared import LoadedFeatures

NORMS = "l2: every sample divided by its length; rms: all by their root-mean-square deviation"
COMMAND = Command(
    name="advise",
    usage=["features=FILE batch=m threshold=t [KEY=VALUE ...]", "dataset=NAME batch=m threshold=t [KEY=VALUE ...]"],
    settings={
        "": [
            Setting(
                "features", ".npz, .npy, .pt, .parquet or .csv, as for `semscale measure`", None, "FILE", existing_file
            ),
            Setting("labels", "where the labels are not in the same file", None, "FILE", existing_file),
            Setting("label_column", "of a .parquet or .csv table", None, "NAME", read_text),
            Setting(
                "dataset",
                "instead of a file: the pixels of a training set, with any other override of `semscale train`",
                shown="NAME",
                read=read_text,
            ),
            Setting("image_size", "side of the resized images of a dataset", 16),
            Setting("batch", "samples of a class that are collected at a time", shown="20"),
            Setting(
                "threshold",
                "stop where the last batch has added less than this share of S'; 2% is the same",
                shown="0.02",
            ),
            Setting("budget", "new samples in all, to be spread over the classes", 0),
            Setting("orders", "random orders of the samples behind each interval", 20),
            Setting("feature_norm", NORMS, "none"),
            Setting("num_features", "wider features are averaged down to D", shown="D"),
            Setting("seed", "of the orders", 0),
            Setting(
                "out", "where advice.json and advice.csv go; runs/advise/NAME unless given", None, "FOLDER", new_folder
            ),
        ]
    },
    takes_overrides=True,
)
_FILE_KEYS = ("features", "labels", "label_column", "feature_norm", "num_features")
# Settings that advice.json holds besides those that are in the advice itself.
RECORDED = (
    "features", "labels", "label_column", "orders", "feature_norm", "num_features", "seed", "dataset", "image_size",
    "overrides",
)  # fmt: skip


def main(argv: Sequence[str]) -> int:
    """Advise on a collection.

    Args:
        argv: settings, see ``semscale advise --help``.

    Returns:
        0 done, 2 wrong call or file, 130 interrupted.
    """
    return COMMAND.run(argv, lambda call: execute(checked(call)))


def checked(call: Call) -> Call:
    """Refuse settings that are missing, or that fit neither a file nor a dataset, or the other of the two.

    Args:
        call: its settings, each checked by itself.

    Raises:
        ValueError: one line says which.
    """
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
    """Read the features, print the advice and save it.

    Args:
        call: the settings.

    Returns:
        0.

    Raises:
        ValueError: the file cannot be used; one line says why.
    """
    from semscale_pl.advice.advice import advise
    from semscale_pl.advice.text import csv_of, print_advice
    from semscale_pl.files import write_json, write_text

    features, labels, names = _load(call)
    with Progress("class {}") as progress:
        advice = advise(
            features,
            labels,
            names,
            batch=call.batch,
            threshold=call.threshold,
            budget=call.budget,
            orders=call.orders,
            seed=call.seed,
            progress=progress,
        )
    print_advice(advice)
    name = call.dataset or call.features.stem
    folder = call.out or Path("runs/advise") / name
    write_text(folder / "advice.csv", csv_of(advice))
    write_json(folder / "advice.json", _record(call, advice))
    sys.stdout.write(f"Saved under {folder}\n")
    return OK


def _load(call: Call) -> LoadedFeatures:
    if call.dataset is not None:
        from semscale_pl.training.image_features import Images

        overrides = [f"dataset={call.dataset}", *call.overrides, f"seed={call.seed}"]
        with Progress("image {}") as progress:
            return Images(overrides).pixels(call.image_size).load(progress)
    from semscale_pl.features.prepared import load_features

    return load_features(
        Path(str(call.features)),
        call.labels,
        label_column=call.label_column,
        feature_norm=call.feature_norm,
        num_features=call.num_features,
    )


def _record(call: Call, advice: Advice) -> dict[str, Any]:
    """Return the advice with the settings that are not in it already."""
    return {**advice.as_dict(), "settings": {key: getattr(call, key) for key in RECORDED}}
