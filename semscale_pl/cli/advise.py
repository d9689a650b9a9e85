"""`semscale advise features=FILE|dataset=NAME batch=m threshold=t [budget=B]`: what to collect next, class by class."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semscale_pl.config.errors import INTERRUPTED, OK, WRONG_CALL, complain, did_you_mean, message_of
from semscale_pl.config.settings import choice, existing_file, new_folder, split_settings, whole
from semscale_pl.progress import Progress

if TYPE_CHECKING:
    from semscale_pl.advice.advice import Advice
    from semscale_pl.features.prepared import LoadedFeatures

USAGE = """usage: semscale advise features=FILE batch=m threshold=t [KEY=VALUE ...]
       semscale advise dataset=NAME batch=m threshold=t [KEY=VALUE ...]

  features=FILE           .npz, .npy, .pt, .parquet or .csv, as for `semscale measure`
  labels=FILE             where the labels are not in the same file
  label_column=NAME       of a .parquet or .csv table
  dataset=NAME            instead of a file: the pixels of a training set, with any other override of `semscale train`
  image_size=16           side of the resized images of a dataset
  batch=20                samples of a class that are collected at a time
  threshold=0.02          stop where the last batch has added less than this share of S'; 2% is the same
  budget=0                new samples in all, to be spread over the classes
  orders=20               random orders of the samples behind each interval
  feature_norm=none       l2: every sample divided by its length; rms: all by their root-mean-square deviation
  num_features=D          wider features are averaged down to D
  seed=0                  of the orders
  out=FOLDER              where advice.json and advice.csv go; runs/advise/NAME unless given
"""
NORMS = ("none", "l2", "rms")
_FILE_KEYS = ("features", "labels", "label_column", "feature_norm", "num_features")
_KEYS = (*_FILE_KEYS, "dataset", "image_size", "batch", "threshold", "budget", "orders", "seed", "out")


@dataclass(frozen=True)
class AdviseCall:
    """A checked call."""

    batch: int
    threshold: float
    features: Path | None = None
    labels: Path | None = None
    label_column: str | None = None
    budget: int = 0
    orders: int = 20
    feature_norm: str = "none"
    num_features: int | None = None
    seed: int = 0
    out: Path | None = None
    dataset: str | None = None
    image_size: int = 16
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return what the results are called."""
        return self.features.stem if self.features is not None else str(self.dataset)


def main(argv: Sequence[str]) -> int:
    """Advise on a collection.

    Args:
        argv: settings, see ``semscale advise --help``.

    Returns:
        0 done, 2 wrong call or file, 130 interrupted.
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
        message = str(error) if isinstance(error, ValueError | FileNotFoundError) else message_of(error, "train")
        if message is None:
            raise
        return complain(message)


def parse(arguments: Sequence[str]) -> AdviseCall:
    """Check a call before anything heavy is imported.

    Args:
        arguments: ``KEY=VALUE`` each.

    Raises:
        ValueError: an argument is unknown, missing or out of range; one line says which.
    """
    own, overrides = split_settings(arguments, _KEYS, "advise")
    _check_together(own, overrides)
    for key, example in (("batch", "20"), ("threshold", "0.02")):
        if not own.get(key):
            raise ValueError(f"Expected `{key}`. Pass {key}={example}; see `semscale advise --help`.")
    return AdviseCall(
        batch=whole("batch", own["batch"], 1),
        threshold=_share(own["threshold"]),
        features=existing_file("features", own["features"]) if "features" in own else None,
        labels=existing_file("labels", own["labels"]) if "labels" in own else None,
        label_column=own.get("label_column"),
        budget=whole("budget", own.get("budget", "0"), 0),
        orders=whole("orders", own.get("orders", "20"), 2),
        feature_norm=choice("feature_norm", own.get("feature_norm", "none"), NORMS),
        num_features=whole("num_features", own["num_features"], 1) if "num_features" in own else None,
        seed=whole("seed", own.get("seed", "0"), 0),
        out=new_folder("out", own["out"]) if own.get("out") else None,
        dataset=own.get("dataset"),
        image_size=whole("image_size", own.get("image_size", "16"), 1),
        overrides=tuple(overrides),
    )


def execute(call: AdviseCall) -> int:
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
    folder = call.out or Path("runs/advise") / call.name
    write_text(folder / "advice.csv", csv_of(advice))
    write_json(folder / "advice.json", _record(call, advice))
    sys.stdout.write(f"Saved under {folder}\n")
    return OK


def _load(call: AdviseCall) -> LoadedFeatures:
    if call.dataset is not None:
        from semscale_pl.training.pixels import training_pixels

        overrides = [f"dataset={call.dataset}", *call.overrides, f"seed={call.seed}"]
        with Progress("batch {}") as progress:
            return training_pixels(overrides, call.image_size, progress)
    from semscale_pl.features.prepared import load_features

    return load_features(
        Path(str(call.features)),
        call.labels,
        label_column=call.label_column,
        feature_norm=call.feature_norm,
        num_features=call.num_features,
    )


def _record(call: AdviseCall, advice: Advice) -> dict[str, Any]:
    """Return the advice with the settings that are not in it already."""
    settings = {key: value for key, value in asdict(call).items() if key not in ("batch", "threshold", "budget", "out")}
    return {**advice.as_dict(), "settings": settings}


def _check_together(own: dict[str, str], overrides: Sequence[str]) -> None:
    """Refuse settings that fit neither a file nor a dataset, or the other of the two."""
    if bool(own.get("features")) == bool(own.get("dataset")):
        raise ValueError("Expected either `features` or `dataset`. Pass features=FILE or dataset=NAME.")
    foreign = [key for key in _FILE_KEYS if key in own] if "dataset" in own else []
    if foreign:
        raise ValueError(f"Expected `{foreign[0]}` only with features=FILE, but got it with dataset=.")
    if overrides and "dataset" not in own:
        key = overrides[0].partition("=")[0]
        raise ValueError(f"Unknown setting `{key}`.{did_you_mean(key, _KEYS)} See `semscale advise --help`.")


def _share(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
    except ValueError:
        value = math.nan
    # Increments may be larger, but 2 is more likely to mean 2 % than 200 %.
    if not 0.0 < value < math.inf or (value >= 1.0 and not text.endswith("%")):
        raise ValueError(f"Expected `threshold` to be a share above 0 such as 0.02 or 2%, but got {text!r}.")
    return value
