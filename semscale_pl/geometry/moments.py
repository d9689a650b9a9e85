"""Moments of classes (counts, means, scatter): kept while rows come and go, or merged set by set; they give S'."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from semscale_pl.geometry.classes import scales_from_moments
from semscale_pl.geometry.volumes import Ratio, num_lines
from semscale_pl.options import check

_CLASSES_AT_ONCE = 64  # 2 MiB of covariances at d = 64, which stay in a CPU's cache
_ROWS_AT_ONCE = 16384


class ClassMoments(nn.Module):
    """Keep the count, sum and second-moment matrix of each class while rows come and go.

    The moments of a class are taken about its own reference point, the first row that it saw since it was last empty,
    so that a large offset of the features does not cancel away their spread. A class whose count falls to 0 is set to
    exact zeros. Log-determinants are cached: only the classes touched since the last call are computed again. All sums
    run in an order fixed by the input, so that equal inputs give equal moments on all ranks.

    On an accelerator all shapes depend on the sizes of the input alone, so that nothing waits for the device to tell
    which classes a batch holds. On the CPU, where waiting costs nothing, only the classes of the batch are computed.

    Args:
        num_classes: C.
        num_features: d.
        fixed_shapes: whether shapes must not depend on values; None for everywhere but on the CPU.

    Attributes:
        counts: (C,) int64.
        shift: (C, d) float64, the reference points.
        sums: (C, d) float64, sums of ``z - shift``.
        second: (C, d, d) float64, sums of the outer products of ``z - shift``.

    Raises:
        ValueError: a size is below 1.

    Example:
        >>> moments = ClassMoments(num_classes=2, num_features=1)
        >>> moments.add(torch.tensor([[0.0], [2.0]]), torch.tensor([0, 0]))
        >>> moments.scales()
        tensor([0.5000,    nan], dtype=torch.float64)

    Reference: Ma et al. (ICLR 2023), equation of the semantic scale (section 3) and section 4.2.
    """

    counts: Tensor
    shift: Tensor
    sums: Tensor
    second: Tensor
    _bits: Tensor

    def __init__(self, num_classes: int, num_features: int, *, fixed_shapes: bool | None = None) -> None:
        super().__init__()
        check(num_classes=num_classes, num_features=num_features)
        float64 = torch.float64
        self._fixed_shapes = fixed_shapes
        self.register_buffer("counts", torch.zeros(num_classes, dtype=torch.int64))
        self.register_buffer("shift", torch.zeros(num_classes, num_features, dtype=float64))
        self.register_buffer("sums", torch.zeros(num_classes, num_features, dtype=float64))
        self.register_buffer("second", torch.zeros(num_classes, num_features, num_features, dtype=float64))
        # Derived from the moments, so a checkpoint does not carry them.
        self.register_buffer("_bits", torch.full((num_classes,), torch.nan, dtype=float64), persistent=False)
        self._stale: list[Tensor] | None = None  # the classes touched since the bits were computed; None for all
        self._bounds: Tensor | None = None  # 0..C on the device of the moments
        self._cached_for: tuple[Any, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return self.second.shape[0]

    @property
    def num_features(self) -> int:
        """Width d of the features."""
        return self.second.shape[1]

    @property
    def fixed_shapes(self) -> bool:
        """Whether shapes depend on the sizes of the input alone."""
        return self.counts.device.type != "cpu" if self._fixed_shapes is None else self._fixed_shapes

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Take rows in: features (B, d) of any floating dtype, and labels (B,) int64 in [0, C)."""
        self._update(features.double(), labels, torch.ones_like(labels))

    def remove(self, features: Tensor, labels: Tensor) -> None:
        """Take rows out; they must have been added with the same values."""
        self._update(features.double(), labels, -torch.ones_like(labels))

    def replace(self, old_features: Tensor, old_labels: Tensor, features: Tensor, labels: Tensor) -> None:
        """Take the old rows out and the new ones in, in one pass over the touched classes."""
        signs = torch.cat([-torch.ones_like(old_labels), torch.ones_like(labels)])
        self._update(torch.cat([old_features.double(), features.double()]), torch.cat([old_labels, labels]), signs)

    def exchange(self, features: Tensor, labels: Tensor, signs: Tensor) -> None:
        """Take rows in and out at once.

        Args:
            features: (B, d) of any floating dtype.
            labels: (B,) int64 in [0, C).
            signs: (B,) int64, 1 for a row that comes, -1 for one that goes, 0 for one that does not count; a class
                without rows needs one that comes before any that does not count, unless that one is among its features.
        """
        self._update(features.double(), labels, signs)

    def reset(self) -> None:
        """Forget all rows."""
        for buffer in (self.counts, self.shift, self.sums, self.second):
            buffer.zero_()
        self._stale = None

    def refill(self, features: Tensor, labels: Tensor) -> None:
        """Forget all rows and take these, class by class so that a large set needs little extra memory."""
        self.reset()
        for rows in torch.argsort(labels, stable=True).split(_ROWS_AT_ONCE):
            self.add(features[rows], labels[rows])

    def centres(self) -> Tensor:
        """Return the class means, (C, d) float64, NaN rows where a class is empty."""
        return self.shift + self.sums / self.counts.unsqueeze(1)  # 0 / 0 is the NaN of an empty class

    def scatter(self, classes: Tensor | None = None) -> Tensor:
        """Return the sums of centred outer products, (K, d, d) float64; exact zeros for classes of at most one row.

        Args:
            classes: (K,) int64, which classes; all by default.
        """
        counts, scatter = self._scatter(classes)
        return scatter.masked_fill_((counts <= 1)[:, None, None], 0.0)

    def _scatter(self, classes: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the counts of classes and their scatter, that of a single row up to rounding."""
        moments = (self.counts, self.sums, self.second)
        counts, sums, second = moments if classes is None else (buffer[classes] for buffer in moments)
        scaled = sums / counts.clamp_min(1).unsqueeze(1)
        return counts, torch.baddbmm(second, sums.unsqueeze(2), scaled.unsqueeze(1), alpha=-1.0)

    def variances(self) -> Tensor:
        """Return the sum of squared deviations from the class mean for each feature, (C, d) float64."""
        squares = self.second.diagonal(dim1=1, dim2=2)
        return (squares - self.sums.square() / self.counts.clamp_min(1).unsqueeze(1)).clamp_min(0.0)

    @torch.no_grad()
    def scales(self, estimator: str = "plain", ratio: Ratio = "dim", unit: float | Tensor = 1.0) -> Tensor:
        """Return the semantic scale of each class; only classes touched since the last call cost anything.

        Args:
            estimator, ratio, unit: see :func:`semscale_pl.geometry.volumes.volume`; others than the last time, or a
                unit that is a () tensor, compute all classes anew.

        Returns:
            (C,) float64 bits, NaN for an empty class, 0 for a class of one row.
        """
        settings = (estimator, ratio, None if isinstance(unit, Tensor) else unit)
        if isinstance(unit, Tensor) or self._cached_for != settings:
            self._stale = None
        self._cached_for = settings
        computed = partial(
            scales_from_moments, unit=unit, ratio=ratio, estimator=estimator, fixed_shapes=self.fixed_shapes
        )
        if self.fixed_shapes and self._stale is None:  # at once: on a card launches are what costs
            self._bits = computed(*self._scatter(None))
        else:
            for classes in self._stale_classes().split(_CLASSES_AT_ONCE):
                self._bits[classes] = computed(*self._scatter(classes))
        self._stale = []
        return self._bits.clone()

    def _stale_classes(self) -> Tensor:
        if self._stale is None:
            return torch.arange(self.num_classes, device=self.counts.device)
        touched = torch.cat(self._stale) if self._stale else self.counts.new_empty(0)
        # Repeated ones are computed again, to the same bits: how many different ones there are only the device knows.
        return touched if self.fixed_shapes else touched.unique()

    def _touch(self, classes: Tensor) -> None:
        limit = self.num_classes if self.fixed_shapes else self.num_classes * 2
        if self._stale is None or sum(map(len, self._stale)) + len(classes) >= limit:
            self._stale = None
        else:
            self._stale.append(classes)

    @torch.no_grad()
    def _update(self, features: Tensor, labels: Tensor, signs: Tensor) -> None:
        if labels.numel() == 0:
            return
        if not self.fixed_shapes:
            order = torch.argsort(labels, stable=True)
            self._update_present(features[order], labels[order], signs[order])
            return
        labels, order = labels.sort(stable=True)
        size = num_lines(self.num_features**2)
        pieces = [(order, labels)] if len(labels) <= size else zip(order.split(size), labels.split(size), strict=True)
        for rows, classes in pieces:
            self._update_all(features[rows], classes, signs[rows])
        self._touch(labels)

    def _update_present(self, rows: Tensor, labels: Tensor, signs: Tensor) -> None:
        """Take in rows sorted by class, classes of like size together."""
        classes, sizes = torch.unique_consecutive(labels, return_counts=True)
        starts = sizes.cumsum(0) - sizes
        shift = self._referenced(classes, rows[starts])
        rows = rows - shift.repeat_interleave(sizes, dim=0, output_size=len(rows))
        for members, block, weights in _padded(rows, signs, starts, sizes):
            self._accumulate(classes[members], block, weights)
        self._touch(classes)
        # What rounding has left of a class that lost its last row.
        vanished = classes[self.counts[classes] == 0]
        self.sums[vanished] = 0.0
        self.second[vanished] = 0.0

    def _referenced(self, classes: Tensor, first_rows: Tensor) -> Tensor:
        """Return the reference points (K, d) of classes; one that was empty gets the first of its rows."""
        # A class that was empty has only rows that enter, so the first of them can serve as its reference point.
        empty = (self.counts[classes] == 0).unsqueeze(1)
        shift = torch.where(empty, first_rows, self.shift[classes])
        self.shift[classes] = shift
        return shift

    def _accumulate(self, classes: Tensor, block: Tensor, weights: Tensor) -> None:
        """Add weighted rows, block (K, L, d) and weights (K, L), to K different classes."""
        signed = block * weights.unsqueeze(2)
        self.counts.index_add_(0, classes, weights.sum(1).to(torch.int64))
        self.sums.index_add_(0, classes, signed.sum(1))
        self.second.index_add_(0, classes, signed.mT @ block)

    def _update_all(self, rows: Tensor, labels: Tensor, signs: Tensor) -> None:
        """Take in rows sorted by class; every class is written, those without rows as they were.

        As few operations as do it: on a card each costs its launch, whatever it computes.
        """
        bounds = torch.searchsorted(labels, self._class_bounds())
        first_rows = rows[bounds[:-1].clamp_max(len(rows) - 1)]  # of a class without rows any: it stays empty
        torch.where((self.counts == 0).unsqueeze(1), first_rows, self.shift, out=self.shift)
        rows = rows - self.shift[labels]
        signed = rows * signs.unsqueeze(1)
        outer = signed.unsqueeze(2) * rows.unsqueeze(1)
        self.counts.index_add_(0, labels, signs)  # whole numbers: the same in any order
        gone = (self.counts == 0).unsqueeze(1)  # what rounding has left of a class that lost its last row
        self.sums.add_(_segment_sums(signed, bounds)).masked_fill_(gone, 0.0)
        self.second.add_(_segment_sums(outer, bounds)).masked_fill_(gone.unsqueeze(2), 0.0)

    def _class_bounds(self) -> Tensor:
        if self._bounds is None or self._bounds.device != self.counts.device:
            self._bounds = torch.arange(self.num_classes + 1, device=self.counts.device)
        return self._bounds

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._stale = None


@dataclass(frozen=True, eq=False)
class Moments:
    """The finished moments of K sets of samples, which can be merged into larger sets.

    Args:
        counts: (K,) samples.
        means: (K, d) float64.
        scatter: (K, d, d) float64 sums of the outer products of the centred samples.
    """

    counts: Tensor
    means: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, num_classes: int) -> Moments:
        """Compute the moments of each class of features (N, d) with labels (N,).

        Raises:
            ValueError: a class has no sample.
        """
        counts = torch.bincount(labels, minlength=num_classes)
        if int(counts.min()) == 0:
            raise ValueError(f"Expected samples of every class, but class {int(counts.argmin())} has none.")
        parts = [features[labels == label].double() for label in range(num_classes)]
        means = torch.stack([part.mean(0) for part in parts])
        centred = [part - mean for part, mean in zip(parts, means, strict=True)]
        return cls(counts, means, torch.stack([part.T @ part for part in centred]))

    def grouped(self, groups: Tensor) -> Moments:
        """Merge sets into G larger ones; groups (G, K) is True where a set belongs to one, each of which needs some."""
        weights = groups.double() * self.counts
        counts = weights.sum(1)
        means = weights @ self.means / counts[:, None]
        # A group's scatter is that within its sets and that of their means, each counted once a sample.
        within = torch.einsum("gk,kij->gij", groups.double(), self.scatter)
        shifts = self.means[None] - means[:, None]
        return Moments(counts, means, within + torch.einsum("gk,gki,gkj->gij", weights, shifts, shifts))

    def joined(self, other: Moments) -> Moments:
        """Add to each set that of a single other set, or one of as many others."""
        counts = self.counts + other.counts
        share = other.counts / counts
        shifts = other.means - self.means
        cross = (self.counts * share)[:, None, None] * shifts[:, :, None] * shifts[:, None, :]
        means = self.means + share[:, None] * shifts
        return Moments(counts, means, self.scatter + other.scatter + cross)

    def take(self, rows: Tensor | list[int]) -> Moments:
        """Return some of the sets."""
        return Moments(self.counts[rows], self.means[rows], self.scatter[rows])

    def scales(self) -> Tensor:
        """Return S' of each set, (K,) bits."""
        return scales_from_moments(self.counts, self.scatter)


def _segment_sums(rows: Tensor, bounds: Tensor) -> Tensor:
    """Sum consecutive rows (B, ...) in their order between bounds (K + 1,): (K, ...); 0 for a segment of no rows."""
    return torch.segment_reduce(rows, "sum", offsets=bounds, unsafe=True, initial=0.0)


def _padded(rows: Tensor, signs: Tensor, starts: Tensor, sizes: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Cut rows sorted by class into blocks of equal height, classes of like size together so that padding stays small.

    Yields:
        indices (k,) into the K classes, rows (k, L, d) and their signs (k, L), 0 where padded.
    """
    levels = torch.log2(sizes.double()).div(2).ceil()
    for level in levels.unique().tolist():
        members = (levels == level).nonzero().squeeze(1)
        heights = sizes[members].unsqueeze(1)
        offsets = torch.arange(int(heights.max()), device=rows.device).unsqueeze(0)
        inside = offsets < heights
        slots = torch.where(inside, starts[members].unsqueeze(1) + offsets, 0)
        yield members, rows[slots], signs[slots].to(rows.dtype) * inside
