"""`semscale measure`: how diverse each class is, from features, images or what a network makes of them."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semscale_pl.config.composing import config_dir
from semscale_pl.config.errors import INTERRUPTED, OK, WRONG_CALL, complain, did_you_mean, message_of
from semscale_pl.config.settings import (
    choice,
    existing_file,
    existing_folder,
    flag,
    new_folder,
    number,
    split_settings,
    whole,
)
from semscale_pl.memory import left_of, parse_bytes, resident
from semscale_pl.progress import Progress

if TYPE_CHECKING:
    from semscale_pl.measuring.measurement import Measurement


USAGE = """usage: semscale measure features=FILE [KEY=VALUE ...]                      a file of features
       semscale measure dataset=NAME [KEY=VALUE ...]                       the pixels of a training set
       semscale measure images=FOLDER [KEY=VALUE ...]                      the pixels of a folder of class folders
       semscale measure dataset=NAME|images=FOLDER ckpt=FILE               features of a trained model
       semscale measure dataset=NAME|images=FOLDER backbone=NAME pretrained=true

what
  features=FILE           .npz, .npy, .pt, .parquet or .csv; read in pieces, never unpickled
  labels=FILE             .npy, .pt, .csv or .txt, where the labels are not in the same file
  label_column=NAME       of a .parquet or .csv table
  dataset=NAME            the training images, with any other override of `semscale train`
  images=FOLDER           one folder of images for each class, or these below train/
  image_size=16           side of the resized images where pixels are measured
  ckpt=FILE               of `semscale train`: measure the features that enter its classifier
  backbone=NAME           of `semscale train`, with pretrained=true: published weights

how
  alpha=1                 of the inter-class weights W, at least 1: the larger, the weaker
  ratio=dim               d/m as in the paper; a number r for r/m
  unit=1                  length of the ruler, in the unit of the features
  feature_norm=none       l2: every sample divided by its length; rms: all by their root-mean-square deviation
  num_features=D          wider features are averaged down to D
  controlled=NAMES        also scales that depend less on n: matched, oas, ledoit_wolf, extrapolated
  intervals=false         an interval of every S', by a jackknife over samples
  level=0.95              of the intervals
  spectrum=K              eigenvalues of each class to keep, up to 64; 64 unless that would take minutes
  seed=0                  of every random choice
  max_memory=1GiB         for the whole process; in a larger one, for what the call adds

result
  out=FOLDER              scales.json, scales.csv, report.html and figures; runs/measure/NAME unless given
  top=60                  rows to print, the smallest S first
  report=true figures=true
"""
NORMS = ("none", "l2", "rms")
CONTROLLED = ("matched", "oas", "ledoit_wolf", "extrapolated")
_FILE_KEYS = ("features", "labels", "label_column")
_MODEL_KEYS = ("ckpt", "pretrained")
_HOW_KEYS = ("alpha", "ratio", "unit", "feature_norm", "num_features", "controlled", "intervals", "level", "spectrum")
_OUT_KEYS = ("seed", "max_memory", "out", "top", "report", "figures")
KEYS = (*_FILE_KEYS, "images", "image_size", *_MODEL_KEYS, *_HOW_KEYS, *_OUT_KEYS)
# Of `semscale train`, without a dot.
_PLAIN_OVERRIDES = ("imbalance_factor", "subset_seed")


@dataclass(frozen=True, kw_only=True)
class MeasureCall:
    """A checked call.

    Args:
        features: file of features, or None.
        labels: file of their labels.
        label_column: of a table.
        images: folder of class folders, or None.
        dataset: name, or None.
        ckpt: of a trained model, or None.
        backbone: with published weights, or None.
        image_size: side of the images whose pixels are measured.
        settings: of :class:`semscale_pl.measuring.measuring.Settings`.
        max_memory: bytes.
        out: folder of the results.
        top: rows to print.
        report: whether to write the HTML report.
        figures: whether to draw.
        overrides: of `semscale train`.
    """

    features: Path | None = None
    labels: Path | None = None
    label_column: str | None = None
    images: Path | None = None
    dataset: str | None = None
    ckpt: Path | None = None
    backbone: str | None = None
    image_size: int = 16
    settings: dict[str, Any] = field(default_factory=dict)
    max_memory: int = 2**30
    out: Path = Path("runs/measure")
    top: int = 60
    report: bool = True
    figures: bool = True
    overrides: tuple[str, ...] = ()

    def training_overrides(self) -> list[str]:
        """Return what `semscale train` would be called with for the same images and network."""
        folder = ["dataset=image_folder"] if self.images is not None else []
        return [*self.overrides, *folder, f"seed={self.settings['seed']}"]


def parse(arguments: Sequence[str]) -> MeasureCall:
    """Check a call.

    Args:
        arguments: ``KEY=VALUE`` each.

    Raises:
        ValueError: an argument is unknown, missing, out of range or does not go with another; one line says which.
    """
    own, overrides = split_settings(arguments, KEYS, "measure")
    given = {key: value for key, _, value in (text.partition("=") for text in overrides)}
    dataset, backbone = given.get("dataset"), given.get("backbone")
    _check_together(own, given)
    features = existing_file("features", own["features"]) if "features" in own else None
    images = existing_folder("images", own["images"]) if "images" in own else None
    name = features.stem if features else images.resolve().name if images else str(dataset)
    return MeasureCall(
        features=features,
        labels=existing_file("labels", own["labels"]) if "labels" in own else None,
        label_column=own.get("label_column"),
        images=images,
        dataset=dataset,
        ckpt=existing_file("ckpt", own["ckpt"]) if "ckpt" in own else None,
        backbone=backbone,
        image_size=whole("image_size", own.get("image_size", "16"), 1),
        settings=_settings(own),
        max_memory=parse_bytes(own.get("max_memory", "1GiB")),
        out=new_folder("out", own.get("out") or str(Path("runs/measure") / name)),
        top=whole("top", own.get("top", "60"), 1),
        report=flag("report", own.get("report", "true")),
        figures=flag("figures", own.get("figures", "true")),
        overrides=tuple(overrides),
    )


def _settings(own: dict[str, str]) -> dict[str, Any]:
    names = [name.strip() for name in own.get("controlled", "").strip("[]").split(",") if name.strip()]
    ratio = own.get("ratio", "dim")
    return {
        "alpha": number("alpha", own.get("alpha", "1"), least=1.0),
        "ratio": ratio if ratio == "dim" else number("ratio", ratio, above=0.0),
        "unit": number("unit", own.get("unit", "1"), above=0.0),
        "feature_norm": choice("feature_norm", own.get("feature_norm", "none"), NORMS),
        "num_features": whole("num_features", own["num_features"], 1) if "num_features" in own else None,
        "controlled": tuple(choice("controlled", name, CONTROLLED) for name in names),
        "intervals": flag("intervals", own.get("intervals", "false")),
        "level": number("level", own.get("level", "0.95"), above=0.0, below=1.0),
        "spectrum": whole("spectrum", own["spectrum"], 0) if "spectrum" in own else None,
        "seed": whole("seed", own.get("seed", "0"), 0),
    }


def _check_together(own: dict[str, str], given: dict[str, str]) -> None:
    sources = [key for key in ("features", "images") if key in own] + ["dataset"] * ("dataset" in given)
    _check_overrides(own, given, sources)
    if len(sources) != 1:
        what = " and ".join(sources) or "none of them"
        raise ValueError(f"Expected one of features=FILE, dataset=NAME and images=FOLDER, but got {what}.")
    model = [key for key in ("ckpt", "pretrained", "backbone") if key in own or key in given]
    foreign = [*model, *(["image_size"] if "image_size" in own else [])] if sources == ["features"] else []
    if sources != ["features"]:
        foreign = [key for key in _FILE_KEYS if key in own]
    if foreign:
        where = "features=FILE" if foreign[0] in _FILE_KEYS else "dataset=NAME or images=FOLDER"
        raise ValueError(f"Expected `{foreign[0]}` only with {where}, but got it with {sources[0]}=.")
    if model and "image_size" in own:
        raise ValueError(
            "Expected `image_size` only where pixels are measured: a model has its own. Leave it out, or set "
            "dataset.image_size."
        )
    _check_model(own, given)


def _check_model(own: dict[str, str], given: dict[str, str]) -> None:
    pretrained = flag("pretrained", own.get("pretrained", "false"))
    if "ckpt" in own and ("backbone" in given or pretrained):
        raise ValueError("Expected either `ckpt` or `backbone`, but got both: a checkpoint brings its own network.")
    if "backbone" in given and not pretrained:
        raise ValueError(
            "Expected pretrained=true with `backbone`: the features of an untrained network say little about classes. "
            "Pass pretrained=true, or ckpt=FILE of a trained one."
        )
    if pretrained and "backbone" not in given:
        raise ValueError("Expected `backbone` with pretrained=true. Pass backbone=resnet50, for example.")


def _check_overrides(own: dict[str, str], given: dict[str, str], sources: list[str]) -> None:
    groups = {path.name for path in config_dir().iterdir() if path.is_dir()}
    for key in given:
        plain = key.lstrip("+~")
        known = "." in plain or plain in groups or plain in _PLAIN_OVERRIDES
        if not known:
            close = did_you_mean(key, (*KEYS, "dataset", "backbone"))
            raise ValueError(f"Unknown setting `{key}`.{close} See `semscale measure --help`.")
        if key != "dataset" and sources and "dataset" not in sources and not (key == "backbone" and "images" in own):
            raise ValueError(f"Expected `{key}` only with dataset=NAME, but got it with {sources[0]}=.")


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
    from semscale_pl.files import staged, write_json, write_text
    from semscale_pl.measuring.text import csv_of, print_measurement

    measurement = measured(call, resident())
    print_measurement(measurement, call.top)
    with staged(call.out) as folder:
        write_text(folder / "scales.csv", csv_of(measurement))
        write_json(folder / "scales.json", measurement.as_dict())
        if call.report:
            from semscale_pl.measuring.report import write_report

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
        from semscale_pl.features.opening import open_features

        source = open_features(call.features, call.labels, call.label_column)
        return _of(source, call, {"features": call.features.name}, before)
    if call.overrides:
        # Once before torch is imported, which takes seconds: a typo should not.
        from semscale_pl.config.checks import composed

        composed(call.training_overrides())
    from semscale_pl.cli.measured_images import measured_images, stored

    images = measured_images(call)
    name = call.dataset or str(call.out.name if call.images is None else call.images.resolve().name)
    with tempfile.TemporaryDirectory(prefix="semscale-") as folder:
        with Progress("image {}") as progress:
            rows = stored(images, Path(folder) / "rows", name, progress)
        key = "dataset" if call.dataset else "images"
        return _of(rows, call, {key: name, "measured": images.what, "overrides": list(call.overrides)}, before)


def _of(source: Any, call: MeasureCall, origin: dict[str, Any], before: int) -> Measurement:
    from semscale_pl.measuring.measuring import Settings, measure_source

    settings = Settings(**call.settings)
    left = left_of(call.max_memory, before) - READING
    with Progress("class {}") as progress:
        found = measure_source(source, settings, max_memory=left, progress=progress)
    return dataclasses.replace(found, source={**origin, **found.source})


def _draw(measurement: Measurement, folder: Path) -> None:
    import numpy as np

    from semscale_pl.figures.radar import radar_panels
    from semscale_pl.figures.style import save_figure
    from semscale_pl.measuring.pictures import scale_against_count, spectra_against_band

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
