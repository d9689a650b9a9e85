"""What the page of a measurement shows, as plain data: provenance, columns, key figures, spectra, neighbours."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from semscale_pl.measuring.measurement import Measurement, Notice

# A report is read, not computed with: scales.json has the full precision.
SIGNIFICANT_DIGITS = 5
MOST_PAIRS = 12
# A page holds at most so many classes, those of smallest S, and so many eigenvalues, so that it stays below 5 MB.
MOST_CLASSES = 12_000
MOST_EIGENVALUES = 64_000
# Leaves of a measurement's source to the words of the page's head, in its order.
_ABOUT = {
    "dataset": "dataset",
    "images": "images",
    "features": "file",
    "path": "path",
    "measured": "measured",
    "image_size": "image size",
    "skipped_images": "images left out, broken",
    "taken.columns": "feature columns",
    "taken.left_out": "columns left out",
    "overrides": "settings of the dataset",
}


def page_data(measurement: Measurement) -> dict[str, Any]:
    """Return everything that the page's scripts draw, as plain data and arrays; undefined numbers are NaN or None."""
    return {
        "title": title_of(measurement),
        "about": about(measurement),
        "classes": list(measurement.class_names),
        "columns": columns(measurement),
        "figures": key_figures(measurement),
        "intervals": None if measurement.intervals is None else rounded(measurement.intervals),
        "spectra": [
            [value for value in row if value is not None]
            for row in rounded(measurement.spectra[:, : max(2, MOST_EIGENVALUES // measurement.num_classes)])
        ],
        "band": spectrum_band(measurement.spectra),
        "nearest": measurement.nearest,
        "distances": rounded(measurement.distances),
        "pairs": closest_pairs(measurement.nearest, measurement.distances),
        "notices": [{"code": n.code, "text": n.text, "classes": list(n.classes)} for n in measurement.notices],
        "source": [[key, _shown(value)] for key, value in flat(measurement.source)],
    }


def title_of(measurement: Measurement) -> str:
    """Return the report's title: what was measured, as far as the measurement says."""
    for key in ("title", "dataset", "features", "name", "images", "path"):
        value = measurement.source.get(key)
        if isinstance(value, str) and value:
            return f"Semantic scales of {value}"
    return "Semantic scales"


def about(measurement: Measurement) -> list[list[str]]:
    """Return pairs of label and text that say what was measured: from where, how much, of which size, and how."""
    source = dict(measurement.source)
    settings = source.pop("settings", None) or {}
    source["overrides"] = [text for text in source.get("overrides", []) if not text.startswith("dataset=")]
    leaves = dict(flat(source))
    found = [[label, _shown(leaves[key])] for key, label in _ABOUT.items() if leaves.get(key)]
    found.append(["samples", f"{int(measurement.counts.sum()):,} in {measurement.num_classes:,} classes"])
    if source.get("num_features"):
        found.append(["dimensions", f"{source['num_features']:,}"])
    if settings:
        found.append(["settings", ", ".join(f"{key} {_shown(value)}" for key, value in settings.items())])
    return found


def shown_part(measurement: Measurement) -> Measurement:
    """Return the classes of a measurement that a page holds: all, or :data:`MOST_CLASSES` of smallest S, and a note."""
    if measurement.num_classes <= MOST_CLASSES:
        return measurement
    kept = np.sort(measurement.order()[:MOST_CLASSES])
    new = np.full(measurement.num_classes + 1, -1)  # the last one for "no class"
    new[kept] = np.arange(len(kept))
    parts: dict[str, Any] = {
        name: value[kept] for name, value in vars(measurement).items() if isinstance(value, np.ndarray)
    }
    nearest = new[parts["nearest"]]
    parts["distances"] = np.where(nearest < 0, np.nan, parts["distances"])
    text = f"This page has the {MOST_CLASSES:,} classes of smallest S of {measurement.num_classes:,}; scales.csv all."
    notices = [
        n._replace(classes=tuple(int(new[label]) for label in n.classes if new[label] >= 0))
        for n in measurement.notices
    ]
    samples = measurement.samples and dataclasses.replace(
        measurement.samples,
        typical=tuple(measurement.samples.typical[label] for label in kept),
        distant=tuple(measurement.samples.distant[label] for label in kept),
        pairs=tuple(
            pair._replace(classes=(int(new[pair.classes[0]]), int(new[pair.classes[1]])))
            for pair in measurement.samples.pairs
            if min(new[list(pair.classes)]) >= 0
        ),
    )
    return dataclasses.replace(
        measurement,
        **{**parts, "nearest": nearest},
        class_names=tuple(measurement.class_names[label] for label in kept),
        controlled={name: values[kept] for name, values in measurement.controlled.items()},
        notices=(Notice("part_of_classes", text), *notices),
        samples=samples,
    )


def columns(measurement: Measurement) -> list[dict[str, Any]]:
    """Return the numeric columns of the table, each with its label, what it means, its decimals and its values."""
    return [
        {
            "key": column.key,
            "name": column.name,
            "label": _typeset(column.head.removesuffix(" (bits)")),
            "meaning": _typeset(column.meaning),
            "digits": column.digits,
            # Counts stay exact: people compare them with what they know of their data.
            "values": column.values if column.key == "count" else rounded(column.values.astype(np.float64)),
        }
        for column in measurement.columns()
    ]


def key_figures(measurement: Measurement) -> list[list[str]]:
    """Return triples of label, value and detail for the head of the page."""
    counts, scales = np.asarray(measurement.counts, dtype=np.float64), measurement.scales
    figures = [
        ["classes", f"{measurement.num_classes:,}", ""],
        ["samples", f"{int(counts.sum()):,}", ""],
        ["largest / smallest n", _ratio(counts), ""],
        ["largest / smallest S′", _ratio(scales), "of those above 0" if (scales == 0).any() else ""],
    ]
    if np.isfinite(measurement.imbalance).any():
        least = int(np.nanargmin(measurement.imbalance))
        figures.append(["smallest S", f"{measurement.imbalance[least]:.3f}", measurement.class_names[least]])
    return figures


def spectrum_band(spectra: np.ndarray) -> list[list[float | None]]:
    """Return the 10 %, 50 % and 90 % quantiles over the classes of the first, second, ... eigenvalue.

    Args:
        spectra: (C, k), NaN-padded; no variance lies beyond the last; a class without any is left out.

    Returns:
        k triples; a position that no class reaches ends the list.

    Example:
        >>> spectrum_band(np.array([[4.0, 1.0], [2.0, np.nan]]))
        [[2.2, 3.0, 3.8], [0.1, 0.5, 0.9]]
    """
    finite = np.isfinite(spectra)
    reached, present = finite.any(0), finite.any(1)
    values = np.nan_to_num(spectra[present][:, reached], nan=0.0)
    return rounded(np.quantile(values, [0.1, 0.5, 0.9], axis=0).T) if values.size else []


def closest_pairs(nearest: np.ndarray, distances: np.ndarray) -> list[list[Any]]:
    """Return the pairs of classes whose centres lie closest together: number, number, distance.

    Example:
        >>> closest_pairs(np.array([[1], [0], [-1]]), np.array([[0.5], [0.5], [np.nan]]))
        [[0, 1, 0.5]]
    """
    found: dict[tuple[int, int], float] = {}
    for one, (others, lengths) in enumerate(zip(nearest.tolist(), distances.tolist(), strict=True)):
        for other, length in zip(others, lengths, strict=True):
            if other >= 0 and np.isfinite(length):
                found[min(one, other), max(one, other)] = length
    closest = sorted(found.items(), key=lambda entry: entry[1])[:MOST_PAIRS]
    return [[one, other, rounded(length)] for (one, other), length in closest]


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings under dotted names.

    Example:
        >>> list(flat({"seed": 0, "versions": {"torch": "2.13"}}))
        [('seed', 0), ('versions.torch', '2.13')]
    """
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def rounded(values: Any) -> Any:
    """Return numbers, nested as they are, with five significant digits; what is not finite becomes None.

    Example:
        >>> rounded([1.23456789, float("nan"), 12345678])
        [1.2346, None, 12346000.0]
    """
    if isinstance(values, np.ndarray | np.generic):
        values = values.tolist()
    if isinstance(values, list):
        return [rounded(value) for value in values]
    return float(f"{values:.{SIGNIFICANT_DIGITS}g}") if np.isfinite(values) else None


def _typeset(text: str) -> str:
    return text.replace("S'", "S′").replace("E_n", "Eₙ")


def _ratio(values: np.ndarray) -> str:
    positive = values[np.isfinite(values) & (values > 0)]
    return f"{positive.max() / positive.min():,.1f}" if len(positive) else "n/a"


def _shown(value: Any) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
