"""What is odd about measured classes, in sentences: too few samples, near-duplicates, features of unlike size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from semscale_pl.measuring.measurement import Notice

# A class with fewer different samples than this share has duplicates worth a word.
DISTINCT_SHARE = 0.9
# Rank below this share of min(m - 1, d): the samples repeat one another, or the features do.
RANK_SHARE = 0.5
# A rank says nothing of fewer samples than this.
FEWEST_FOR_RANK = 4
# Share of all samples in one class, of at least three, or share of two.
DOMINANT_SHARE = 0.5
DOMINANT_SHARE_OF_TWO = 0.9
# Largest over smallest size between the classes, relative to which S' measures size more than diversity.
NORM_FACTOR = 5.0
# Largest over median standard deviation between the features.
FEATURE_FACTOR = 100.0
_SHOWN = 5


def notices_of(
    counts: ArrayLike,
    num_features: int,
    class_names: Sequence[str] | None = None,
    *,
    ranks: ArrayLike | None = None,
    distinct: ArrayLike | None = None,
    norms: ArrayLike | None = None,
    deviations: ArrayLike | None = None,
    feature_deviations: ArrayLike | None = None,
    constant_features: ArrayLike | None = None,
) -> tuple[Notice, ...]:
    """Put into words what makes the scales of a dataset doubtful.

    Only counts and dimension are needed; each further statistic allows one further check.

    Args:
        counts: (C,) samples m of each class, 0 where absent.
        num_features: d.
        class_names: C names; the class numbers unless given.
        ranks: (C,) numerical ranks of the centred features of each class; -1 where not computed.
        distinct: (C,) samples that differ from one another; -1 where not compared.
        norms: (C,) typical lengths of a class's features, such as the root mean square; NaN where absent.
        deviations: (C,) typical distances from the class centre, the root of the summed variances; NaN where absent.
        feature_deviations: (d,) standard deviations of the features over all samples, or within the classes.
        constant_features: numbers of the features that have one value in all samples.

    Returns:
        Notices with the codes ``single_class``, ``absent``, ``single_sample``, ``few_samples``, ``duplicates``,
        ``low_rank``, ``constant_features``, ``dominant_class``, ``uneven_norms``, ``uneven_spread`` and
        ``uneven_features``, in this order; at most one of each.

    Raises:
        ValueError: an array has another length than there are classes.

    Example:
        >>> [notice.text for notice in notices_of([40, 1], 8, ["cat", "dog"])][0]
        'dog has a single sample: its scale is 0 bits, whatever the class is like. Collect more.'
    """
    sizes = np.asarray(counts, dtype=np.int64)

    def one_a_class(name: str, values: Any, unknown: Any) -> np.ndarray:
        values = np.broadcast_to(unknown, len(sizes)) if values is None else np.asarray(values)
        if values.shape != sizes.shape:
            raise ValueError(f"Expected `{name}` of shape ({len(sizes)},), one a class, but got {values.shape}.")
        return values

    names = [str(name) for name in one_a_class("class_names", class_names, np.arange(len(sizes)))]
    lengths, spreads = one_a_class("norms", norms, np.nan), one_a_class("deviations", deviations, np.nan)
    constants = np.asarray([] if constant_features is None else constant_features, dtype=np.int64).tolist()
    return (
        *_of_counts(sizes, num_features, names),
        *_of_duplicates(sizes, one_a_class("distinct", distinct, -1), names),
        *_of_ranks(sizes, one_a_class("ranks", ranks, -1), num_features, names),
        *(_of_constants(constants, num_features) if sizes.sum() > 1 else ()),
        *_of_shares(sizes, names),
        *_of_spreads("uneven_norms", "length", lengths, names),
        *_of_spreads("uneven_spread", "distance from the class centre", spreads, names),
        *_of_features(np.asarray([] if feature_deviations is None else feature_deviations, dtype=np.float64)),
    )


def _of_counts(counts: np.ndarray, dim: int, names: Sequence[str]) -> Iterator[Notice]:
    present = counts > 0
    if present.sum() == 1:
        (label,) = _where(present)
        text = f"{names[label]} is the only class with samples: W and S compare classes and are not defined."
        yield Notice("single_class", text, (label,))
    if absent := _where(~present):
        yield Notice("absent", f"{_listed(absent, names, 'has', 'have')} no samples: all scales are undefined.", absent)
    if single := _where(counts == 1):
        text = (
            f"{_listed(single, names, 'has', 'have')} a single sample: {_its(single)} scale is 0 bits, whatever the "
            f"class is like. Collect more."
        )
        yield Notice("single_sample", text, single)
    if few := _where((counts > 1) & (counts < dim)):
        text = (
            f"{_listed(few, names, 'has', 'have')} fewer samples than the {dim} feature dimensions "
            f"(the smallest {counts[list(few)].min()}): S' is below its value at many samples and grows with every "
            "one. Compare such classes by a count-controlled scale, or use fewer dimensions."
        )
        yield Notice("few_samples", text, few)


def _of_duplicates(counts: np.ndarray, distinct: np.ndarray, names: Sequence[str]) -> Iterator[Notice]:
    found = _where((distinct >= 0) & (counts > 1) & (distinct < DISTINCT_SHARE * counts))
    if found:
        worst = min(found, key=lambda label: distinct[label] / counts[label])
        yield Notice(
            "duplicates",
            f"{_listed(found, names, 'repeats', 'repeat')} samples: of the {counts[worst]:,} of {names[worst]} only "
            f"{int(distinct[worst]):,} differ. Repeated samples shrink S'; leave them out.",
            found,
        )


def _of_ranks(counts: np.ndarray, ranks: np.ndarray, dim: int, names: Sequence[str]) -> Iterator[Notice]:
    possible = np.minimum(counts - 1, dim)
    found = _where((ranks >= 0) & (counts >= FEWEST_FOR_RANK) & (ranks < RANK_SHARE * possible))
    if found:
        worst = min(found, key=lambda label: ranks[label] / possible[label])
        yield Notice(
            "low_rank",
            f"{_listed(found, names, 'spans', 'span')} far fewer dimensions than {_its(found)} samples allow "
            f"({names[worst]}: {int(ranks[worst])} of {possible[worst]}). Look for near-duplicates, or for features "
            "that are functions of one another.",
            found,
        )


def _of_constants(numbers: list[int], dim: int) -> Iterator[Notice]:
    if len(numbers) == dim:
        yield Notice("constant_features", "All samples are the same: every scale is 0 bits. Check their source.")
    elif numbers:
        shown = ", ".join(str(number) for number in numbers[:_SHOWN]) + (", ..." if len(numbers) > _SHOWN else "")
        text = (
            f"{len(numbers)} of {dim} feature dimensions have one value in all samples (number {shown}): they add no "
            "volume, but raise d in d/m. Leave them out."
        )
        yield Notice("constant_features", text)


def _of_shares(counts: np.ndarray, names: Sequence[str]) -> Iterator[Notice]:
    num_present, total = int((counts > 0).sum()), int(counts.sum())
    limit = DOMINANT_SHARE_OF_TWO if num_present == 2 else DOMINANT_SHARE
    label = int(counts.argmax()) if len(counts) else 0
    if num_present > 1 and counts[label] > limit * total:
        text = f"{names[label]} holds {100 * counts[label] / total:.0f} % of all {total:,} samples."
        yield Notice("dominant_class", text, (label,))


def _of_spreads(code: str, quantity: str, sizes: np.ndarray, names: Sequence[str]) -> Iterator[Notice]:
    """Compare a length between the classes, of those where it is above 0."""
    known = np.flatnonzero(sizes > 0.0)
    if len(known) < 2:
        return
    low, high = int(known[sizes[known].argmin()]), int(known[sizes[known].argmax()])
    factor = float(sizes[high] / sizes[low])
    if factor > NORM_FACTOR:
        text = (
            f"The features of {names[high]} are {factor:,.0f} times those of {names[low]} in {quantity}: S' then "
            "compares sizes as much as diversity. Normalise the features (feature_norm=l2) unless their length means "
            "something."
        )
        yield Notice(code, text, (low, high))


def _of_features(deviations: np.ndarray) -> Iterator[Notice]:
    known = deviations[deviations > 0.0]
    if len(known) > 1 and (factor := known.max() / np.median(known)) > FEATURE_FACTOR:
        text = (
            f"One feature dimension varies {factor:,.0f} times as much as the median one: the volume follows it alone. "
            "Bring the dimensions to one scale."
        )
        yield Notice("uneven_features", text)


def _where(mask: np.ndarray) -> tuple[int, ...]:
    return tuple(np.flatnonzero(mask).tolist())


def _listed(labels: Sequence[int], names: Sequence[str], one: str, many: str) -> str:
    shown = ", ".join(names[label] for label in labels[:_SHOWN])
    if len(labels) > _SHOWN:
        return f"{len(labels)} classes ({shown}, ...) {many}"
    return f"{shown} {one if len(labels) == 1 else many}"


def _its(labels: Sequence[int]) -> str:
    return "its" if len(labels) == 1 else "their"
