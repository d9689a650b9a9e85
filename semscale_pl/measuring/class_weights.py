"""Class weights of a measurement under each scheme, as files that other trainers read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from semscale_pl.files import csv_text, strict
from semscale_pl.imbalance import (
    DEFAULT_BETA,
    class_balanced_weights,
    inverse_weights,
    normalize_weights,
    scales_to_weights,
    sqrt_inverse_weights,
)
from semscale_pl.measuring.measurement import Measurement

# "sample" of `normalize_weights`: the learning rate then means what it does without weights.
NORMALIZATION = "sample"
_FORMAT = 1


class Scheme(NamedTuple):
    """Weights (C,) of the classes in the order of their numbers, and where they come from in words."""

    what: str
    weights: np.ndarray


def schemes(measurement: Measurement) -> dict[str, Scheme]:
    """Compute the weights of all schemes, of mean 1 over the samples; an absent class has the mean weight.

    The names are those of `semscale train reweighting=NAME`, with the same defaults.

    Example:
        >>> from semscale_pl import measure
        >>> found = schemes(measure(np.array([[0.0], [2.0], [5.0]]), ["a", "a", "b"]))
        >>> found["inverse_frequency"].weights.tolist()
        [0.75, 1.5]
    """
    counts = torch.from_numpy(measurement.counts)

    def of_counts(raw: Tensor) -> np.ndarray:
        return normalize_weights(raw, counts, NORMALIZATION).numpy()

    balanced = of_counts(class_balanced_weights(counts, DEFAULT_BETA))
    return {
        "semantic_scale": Scheme(
            "1/S of the semantic scale imbalance S (S' where S is undefined)", measurement.suggested
        ),
        "scale_only": Scheme("1/S' of the semantic scale", scales_to_weights(measurement.scales, counts).numpy()),
        "inverse_frequency": Scheme("1/n", of_counts(inverse_weights(counts))),
        "sqrt_inverse_frequency": Scheme("1/sqrt(n)", of_counts(sqrt_inverse_weights(counts))),
        "class_balanced": Scheme(f"1/E_n of the effective number, beta {DEFAULT_BETA}", balanced),
    }


def weights_json(measurement: Measurement) -> dict[str, Any]:
    """Return what weights.json holds: classes with their numbers of samples, and the weights of each scheme.

    Lists are in the order of the class numbers, as loss functions expect weights.
    """
    found = schemes(measurement)
    content = {
        "format": _FORMAT,
        "normalization": f"{NORMALIZATION}: the mean weight of the samples is 1",
        "source": measurement.source,
        "classes": [
            {
                "number": number,
                "name": name,
                "n": int(count),
                "weights": {key: one.weights[number] for key, one in found.items()},
            }
            for number, (name, count) in enumerate(zip(measurement.class_names, measurement.counts, strict=True))
        ],
        "schemes": {key: {"what": one.what, "weights": one.weights} for key, one in found.items()},
    }
    return dict(strict(content))


def weights_csv(measurement: Measurement) -> str:
    """Return the same as CSV, a row for each class in the order of the class numbers."""
    found = schemes(measurement)
    columns = zip(measurement.class_names, measurement.counts, *(one.weights for one in found.values()), strict=True)
    return csv_text([["class", "n", *found], *columns])


def class_weights(path: str | Path, scheme: str = "semantic_scale", class_names: Sequence[str] | None = None) -> Tensor:
    """Read the class weights of a scheme from a weights.json of `semscale measure`.

    Args:
        path: the file, or the folder that holds it.
        scheme: one of those in the file.
        class_names: C names in the order of the model's outputs; None for that of the file. They have to be the file's.

    Returns:
        (C,) float32 weights, for the ``weight`` of a loss function; their mean over the measured samples is 1.

    Raises:
        ValueError: there is no such file or scheme, or the classes are others.
    """
    content = _content(Path(path))
    known = content["schemes"]
    if scheme not in known:
        raise ValueError(f"Expected `scheme` to be one of {', '.join(known)}, but got {scheme!r}.")
    names = [one["name"] for one in content["classes"]]
    order = names if class_names is None else [str(name) for name in class_names]
    _check_same(order, names)
    weights = torch.tensor(known[scheme]["weights"], dtype=torch.float32)
    places = {name: number for number, name in enumerate(names)}
    return weights[[places[name] for name in order]]


def _check_same(asked: list[str], measured: list[str]) -> None:
    if differing := sorted(set(asked) ^ set(measured)):
        raise ValueError(
            f"Expected `class_names` to be the {len(measured)} classes that were measured, but {len(differing)} are in "
            f"one of them only ({', '.join(differing[:3])}). Measure the data that the model is trained on."
        )
    if len(asked) != len(measured):
        raise ValueError(
            f"Expected {len(measured)} different `class_names`, but got {len(asked)}. Name each class once."
        )


def _content(path: Path) -> dict[str, Any]:
    file = path / "weights.json" if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"Expected a weights.json of `semscale measure`, but there is none at {str(file)!r}."
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(
            f"Expected {str(file)!r} to be a weights.json, but got: {' '.join(str(error).split())}"
        ) from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(
            f"Expected {str(file)!r} to be a weights.json of `semscale measure`, but it is none. Measure anew."
        )
    return content
