"""What the page shows of single samples: strips of typical and distant ones, and pairs that are nearly equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semscale_pl.measuring.measurement import Measurement
from semscale_pl.measuring.report.thumbnails import Gallery
from semscale_pl.measuring.samples import NEARLY_EQUAL, Samples

# Pictures to read, at most: those of the strips.
MOST_PICTURES = 1200
# Classes with row numbers in place of pictures.
_MOST_NUMBERED = 2000


def samples_data(
    measurement: Measurement, gallery: Gallery | None, names: Mapping[int, str], budget: int
) -> dict[str, Any] | None:
    """Return what the page's scripts need to show samples; None where none were looked for.

    Args:
        measurement: of which the classes of smallest S are shown first.
        gallery: gives pictures; None shows row numbers.
        names: of rows, such as the path of a file.
        budget: bytes for the pictures.
    """
    found = measurement.samples
    if found is None:
        return None
    most = max(map(len, found.typical), default=0)
    order = [label for label in measurement.order() if found.typical[label]]
    if gallery is not None:
        most = max(1, min(most, MOST_PICTURES // max(1, 2 * len(order))))
        order = order[: MOST_PICTURES // (2 * most)]
    else:
        order = order[:_MOST_NUMBERED]
    strips = {label: [found.typical[label][:most], found.distant[label][:most]] for label in order}
    pairs = [row for pair in found.pairs for row in pair.rows]
    pictures: dict[int, str] = {}
    if gallery is not None:
        groups = [pairs, *([row for part in strips[label] for row in part] for label in order)]
        pictures, shown = gallery.fitting(groups, budget)
        order = order[: max(0, shown - 1)]
    used = {*pairs, *(row for label in order for part in strips[label] for row in part)}
    return {
        "strips": [[label, *map(list, strips[label])] for label in order],
        "classes": sum(map(bool, found.typical)),
        "pictures": {str(row): address for row, address in pictures.items()},
        "names": {str(row): names[row] for row in sorted(used) if row in names},
        "pairs": [[*pair.rows, *pair.classes, float(f"{pair.distance:.3g}")] for pair in found.pairs],
        "equal": sentence(found, int(measurement.counts.sum())),
    }


def rows_to_name(measurement: Measurement) -> list[int]:
    """Return the ascending row numbers that a report may show."""
    found = measurement.samples
    if found is None:
        return []
    strips = {row for part in (found.typical, found.distant) for rows in part for row in rows}
    return sorted(strips | {row for pair in found.pairs for row in pair.rows})


def sentence(found: Samples, total: int) -> str:
    """Say how many pairs are nearly equal, among how many samples, and what that means.

    Example:
        >>> one = Samples(typical=(), distant=(), threshold=0.5, compared=9, within=2, across=0, copies=1, pairs=())
        >>> sentence(one, 9)[:92]
        'Nearly equal, at most 0.5 apart: 2 pairs of one class and 0 pairs across classes; 1 of these'
    """
    among = (
        f"all {total:,} samples" if found.compared == total else f"{found.compared:,} random ones of {total:,} samples"
    )
    counted = f"{_pairs(found.within)} of one class and {_pairs(found.across)} across classes"
    copies = f"; {found.copies:,} of these {'is' if found.copies == 1 else 'are'} exact copies" if found.copies else ""
    return (
        f"Nearly equal, at most {found.threshold:.3g} apart: {counted}{copies}. Compared in the measured features, "
        f"among {among}; the threshold is {NEARLY_EQUAL:.0%} of the usual distance between two samples of one class."
    )


def _pairs(number: int) -> str:
    return f"{number:,} pair{'' if number == 1 else 's'}"
