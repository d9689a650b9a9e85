"""The storage pool Q of historical features: one slot for each training sample, or the paper's queue."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from semscale_pl.geometry.classes import ClassGeometry
from semscale_pl.geometry.moments import ClassMoments
from semscale_pl.geometry.volumes import Ratio
from semscale_pl.options import RULES, check
from semscale_pl.validation import check_floating

_STORAGE_DTYPES = {name: getattr(torch, name) for name in ("float32", "float16", "bfloat16", "float64")}
_WARN_ABOVE_BYTES = 4 * 2**30
# Where shapes are fixed: rows whose indices are compared with each other, and pushes whose checks are put off.
_ROWS_AT_ONCE, _PUSHES_AT_ONCE = 1024, 64


class NonFiniteFeaturesError(ValueError):
    """Features with NaN or infinity came to a pool.

    Attributes:
        label: class of the first of them.
        index: of the sample, its position in the training split; None in a queue.
    """

    def __init__(self, message: str, label: int, index: int | None) -> None:
        super().__init__(message)
        self.label, self.index = label, index


class FeaturePool(nn.Module):
    """Hold the newest features of the training samples, and their class moments, in step.

    ``indexed`` keeps one slot for each training index: always the newest feature of every sample, and no class can
    vanish. ``fifo`` is the paper's queue: the newest ``capacity`` rows, in which a rare class can go missing a while.
    What leaves is subtracted from the moments exactly as it was stored, what enters is added as stored, after rounding
    to the storage dtype; the cost of a push does not depend on the capacity. Rounding in the moments does not pile up:
    they are summed anew from the contents every ``rebuild_every`` passes.

    The pool must not be a submodule of a module under DDP, which would broadcast it before each forward.

    Args:
        capacity: number of slots, in ``indexed`` mode the number N of training samples.
        num_features: width d of the features.
        num_classes: C.
        mode: ``indexed`` or ``fifo``.
        storage_dtype: ``float32``, ``float16``, ``bfloat16`` or ``float64``, as a dtype or its name.
        validate_args: whether to check the values of features, labels and indices. On an accelerator, where each look
            at a value waits for the device, those of the first push at once and all later ones by :meth:`verify`.
        rebuild_every: rows pushed, in multiples of ``capacity``, between two rebuilds of the moments; 0 for never.
        fixed_labels: whether an index keeps its label: another one is refused, unless ``validate_args`` is off.
            Otherwise the row moves to its new class. Without effect in ``fifo`` mode.
        fixed_shapes: see :class:`~semscale_pl.geometry.moments.ClassMoments`; a push then waits for no value.

    Attributes:
        features: (capacity, d) in the storage dtype.
        labels: (capacity,) int64, -1 until written.
        num_pushed: () int64, rows offered so far; in ``fifo`` mode also the cursor.
        moments: the :class:`~semscale_pl.geometry.moments.ClassMoments` of the written rows.

    Raises:
        ValueError: an argument is out of range or not one of the choices.

    Example:
        >>> pool = FeaturePool(capacity=3, num_features=1, num_classes=2)
        >>> pool.push(torch.tensor([[0.0], [2.0]]), torch.tensor([0, 0]), torch.tensor([2, 0]))
        >>> pool.class_counts(), pool.is_full
        (tensor([2, 0]), False)

    Reference: Ma et al. (ICLR 2023), section 4.2 and Algorithm 2.
    """

    features: Tensor
    labels: Tensor
    num_pushed: Tensor

    def __init__(
        self,
        capacity: int,
        num_features: int,
        num_classes: int,
        mode: str = "indexed",
        storage_dtype: torch.dtype | str = torch.float32,
        *,
        validate_args: bool = True,
        rebuild_every: int = 10,
        fixed_labels: bool = False,
        fixed_shapes: bool | None = None,
    ) -> None:
        super().__init__()
        RULES["pool"].check("mode", mode)
        check(capacity=capacity)
        if rebuild_every < 0:
            raise ValueError(f"Expected `rebuild_every` to be at least 0, but got {rebuild_every}.")
        self.mode, self.validate_args, self.rebuild_every = mode, validate_args, rebuild_every
        self.fixed_labels = fixed_labels
        self.moments = ClassMoments(num_classes, num_features, fixed_shapes=fixed_shapes)
        dtype = _storage_dtype(storage_dtype)
        self.register_buffer("features", torch.zeros(capacity, num_features, dtype=dtype))
        self.register_buffer("labels", torch.full((capacity,), -1, dtype=torch.int64))
        self.register_buffer("num_pushed", torch.zeros((), dtype=torch.int64))
        self._first_wrong: Tensor | None = None  # found, finite, label and index of the first wrong row not looked at
        self._unchecked: list[tuple[Tensor, ...]] = []  # of each push: labels, stored and last ones, sums, indices
        self._rows_pushed: int | None = 0  # `num_pushed` on the host; None where it has to be read
        if self.memory_bytes > _WARN_ABOVE_BYTES:
            warnings.warn(f"This feature pool takes {self.memory_bytes / 2**30:.1f} GiB per process.", stacklevel=2)

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self.features.shape[0]

    @property
    def is_full(self) -> bool:
        """Whether every slot has been written."""
        return int(self.moments.counts.sum()) == self.capacity

    @property
    def memory_bytes(self) -> int:
        """Bytes of all buffers, those of the moments included."""
        return sum(buffer.numel() * buffer.element_size() for buffer in self.buffers())

    @torch.no_grad()
    def push(self, features: Tensor, labels: Tensor, indices: Tensor | None = None) -> None:
        """Take a batch in; of rows with the same index the last one wins, an oversized batch keeps its newest rows.

        Args:
            features: (B, d) floating point, any dtype; rounded to the storage dtype.
            labels: (B,) integers in [0, C).
            indices: (B,) integers in [0, capacity), the position of each sample in the training split; needed in
                ``indexed`` mode and ignored in ``fifo`` mode.

        Raises:
            TypeError: a dtype is wrong.
            ValueError: a shape or value is wrong, ``indices`` are missing, or one of them comes with two labels.
        """
        if self.mode == "fifo":
            indices = None
        self._check_shapes(features, labels, indices)
        features = features.to(self.features)
        labels = labels.to(self.labels)
        if self.validate_args:
            self._validate(features, labels, indices)
        indices = None if indices is None else indices.to(self.labels)
        before = self._pushed()
        with full_precision(self.features.device):
            if self.moments.fixed_shapes:
                looked_at = not self.validate_args or not before
                for part in _pieces(features, labels, indices):
                    self._write_all(*part, looked_at)
                    self.num_pushed += len(part[1])
            else:
                rows, slots = self._queue_slots(len(labels)) if indices is None else _last_rows(indices)
                self._write(slots, features[rows], labels[rows])
                self.num_pushed += len(labels)
            self._count(before, len(labels))

    def scales(self, estimator: str = "plain", ratio: Ratio = "dim", unit: float | Tensor = 1.0) -> Tensor:
        """Return the semantic scale of each class, (C,) bits, see :meth:`ClassMoments.scales`."""
        with full_precision(self.features.device):
            return self.moments.scales(estimator, ratio, unit)

    def centres(self) -> Tensor:
        """Return the class means, (C, d) float64, NaN rows where absent."""
        return self.moments.centres()

    def geometry(
        self, alpha: float | None = 1.0, *, estimator: str = "plain", ratio: Ratio = "dim", unit: float | Tensor = 1.0
    ) -> ClassGeometry:
        """Return the counts, scales S', centres, inter-class weights W (of alpha) and imbalance S of the classes."""
        return ClassGeometry.of(self.class_counts(), self.scales(estimator, ratio, unit), self.centres(), alpha)

    def class_counts(self) -> Tensor:
        """Return the number of rows of each class in the pool, (C,) int64."""
        return self.moments.counts.clone()

    def rms_deviation(self) -> Tensor:
        """Return the root mean square deviation from the mean over all rows and features, () float64; 0 if empty."""
        counts = self.moments.counts.to(torch.float64)
        total = counts.sum().clamp_min(1.0)
        centres = self.centres().nan_to_num(0.0)
        between = (centres - counts @ centres / total).square() * counts.unsqueeze(1)
        return ((self.moments.variances().sum() + between.sum()) / (total * self.moments.num_features)).sqrt()

    def contents(self) -> tuple[Tensor, Tensor]:
        """Return the written rows, features (n, d) and labels (n,): by slot if indexed, oldest first in a queue."""
        if self.mode == "indexed":
            written = (self.labels >= 0).nonzero().squeeze(1)
        else:
            pushed = self._pushed()
            kept = min(pushed, self.capacity)
            written = torch.arange(pushed - kept, pushed, device=self.labels.device) % self.capacity
        return self.features[written], self.labels[written]

    @torch.no_grad()
    def rebuild(self) -> None:
        """Sum the moments anew from the contents."""
        self.moments.refill(*self.contents())

    @torch.no_grad()
    def check(self) -> float:
        """Compare the moments with a rebuild from the contents, which changes nothing.

        Returns:
            The largest absolute deviation among counts, class means and covariances (1/m); infinite where a class
            is present in only one of the two.
        """
        fresh = ClassMoments(self.moments.num_classes, self.moments.num_features).to(self.features.device)
        fresh.refill(*self.contents())
        pairs = zip(_summary(self.moments), _summary(fresh), strict=True)
        return max(float((kept - rebuilt).abs().max().nan_to_num(torch.inf)) for kept, rebuilt in pairs)

    def get_extra_state(self) -> dict[str, str]:
        """Return what a checkpoint must agree on besides the sizes."""
        return {"mode": self.mode, "storage_dtype": str(self.features.dtype)}

    def set_extra_state(self, state: dict[str, str]) -> None:
        """Refuse a checkpoint of a pool of another kind, whose moments would not fit its contents."""
        if state != self.get_extra_state():
            raise ValueError(
                f"Expected the state of a pool with {self.get_extra_state()}, but got {state}. "
                "Resume with the settings of the first run."
            )

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._rows_pushed = None

    def _queue_slots(self, num_rows: int) -> tuple[Tensor, Tensor]:
        kept = min(num_rows, self.capacity)
        rows = torch.arange(num_rows - kept, num_rows, device=self.labels.device)
        return rows, (self.num_pushed + rows) % self.capacity

    def _write(self, slots: Tensor, features: Tensor, labels: Tensor) -> None:
        old_features, old_labels = self.features[slots], self.labels[slots]
        written = old_labels >= 0
        self.moments.replace(old_features[written], old_labels[written], features, labels)
        self.features[slots] = features
        self.labels[slots] = labels

    def _write_all(self, features: Tensor, labels: Tensor, indices: Tensor | None, looked_at: bool) -> None:
        """Write rows, repeated ones as often as they come, to the values of the last of them; only that one counts."""
        given, num_rows = labels, len(labels)
        if indices is None:
            rows, slots = self._queue_slots(num_rows)
            counted = torch.ones_like(rows, dtype=torch.bool)
            if len(rows) < num_rows:
                features, labels, given = features[rows], labels[rows], labels[rows]
        else:
            slots, positions = indices, torch.arange(num_rows, device=indices.device)
            last = ((indices.unsqueeze(1) == indices) * positions).amax(1)
            features, labels, counted = features[last], labels[last], last == positions
        old_features, old_labels = self.features[slots], self.labels[slots]
        if not looked_at:
            self._put_off(given, old_labels, labels, features.sum(1, dtype=torch.float64), slots)
        leaves = (old_labels >= 0) & counted
        # Where no row leaves, the new one stands in for it, without a sign.
        old_features = torch.where(leaves.unsqueeze(1), old_features, features)
        old_labels = torch.where(leaves, old_labels, labels)
        signs = torch.cat([leaves * -1, counted])
        self.moments.exchange(torch.cat([old_features, features]), torch.cat([old_labels, labels]), signs)
        self.features[slots] = features
        self.labels[slots] = labels

    def _pushed(self) -> int:
        if self._rows_pushed is None:
            self._rows_pushed = int(self.num_pushed)
        return self._rows_pushed

    def _count(self, before: int, num_rows: int) -> None:
        self._rows_pushed = before + num_rows
        period = self.rebuild_every * self.capacity
        if period and (before + num_rows) // period > before // period:
            self.rebuild()

    def _check_shapes(self, features: Tensor, labels: Tensor, indices: Tensor | None) -> None:
        width = self.moments.num_features
        if features.ndim != 2 or features.shape[1] != width:
            raise ValueError(f"Expected `features` to be of shape (B, {width}), but got {tuple(features.shape)}.")
        check_floating(features, "features")
        if indices is None and self.mode == "indexed":
            raise ValueError("Expected `indices` in an indexed pool, but got None. Pass them, or use `mode='fifo'`.")
        for name, values in (("labels", labels), ("indices", indices)):
            if values is None:
                continue
            if values.shape != features.shape[:1]:
                shape = tuple(values.shape)
                raise ValueError(f"Expected `{name}` to be of shape ({features.shape[0]},), but got {shape}.")
            if values.dtype == torch.bool or values.is_floating_point() or values.is_complex():
                raise TypeError(f"Expected `{name}` to be integers, but got {values.dtype}.")

    def verify(self) -> None:
        """Refuse values that were pushed on an accelerator since the last call; nothing to do where each was looked at.

        Raises:
            NonFiniteFeaturesError: a feature was not finite.
            ValueError: a label or an index was out of range, or an index had two labels.
        """
        self._check_put_off()
        first, self._first_wrong = self._first_wrong, None
        if first is None:
            return
        found, finite, label, index = first.tolist()
        if found:
            which = f"class {label}" + ("" if index < 0 else f" and index {index}")
            if not finite:
                message = f"Expected `features` to be finite, but got NaN or infinity, first of {which}."
                raise NonFiniteFeaturesError(f"{message} Look for divergence.", label, None if index < 0 else index)
            raise ValueError(
                f"Expected labels and indices in their range, and one label for each index, but got others: {which}. "
                "Pass each sample's position in the training split."
            )

    def _validate(self, features: Tensor, labels: Tensor, indices: Tensor | None) -> None:
        if labels.numel() == 0:
            return
        if self.moments.fixed_shapes and self._pushed():
            return
        wrong = self._violations(features, labels, indices)
        if bool(wrong.any()):  # one look for all checks: each waits for the device
            self._refuse(wrong.any(1).tolist(), features, labels, indices)

    def _violations(self, features: Tensor, labels: Tensor, indices: Tensor | None) -> Tensor:
        """Return (4, B) whether a row's label is out of range, its features are not finite, its index is out of range,
        and its index has another label.
        """
        wrong = [_outside(labels, self.moments.num_classes), ~features.isfinite().all(dim=1)]
        if indices is not None:
            wrong.append(_outside(indices, self.capacity))
            if self.fixed_labels:
                wrong.append(self._contradictions(labels, indices))
        return torch.stack(wrong)

    def _put_off(self, *rows: Tensor) -> None:
        """Keep what the checks of a push need: those of many pushes cost as many operations as those of one."""
        self._unchecked.append(rows)
        if len(self._unchecked) == _PUSHES_AT_ONCE:
            self._check_put_off()

    def _check_put_off(self) -> None:
        """Keep the first wrong row on the device, to be told by :meth:`verify`."""
        pushes, self._unchecked = self._unchecked, []
        if not pushes:
            return
        labels, stored, last, sums, indices = (torch.cat(parts) for parts in zip(*pushes, strict=True))
        finite = sums.isfinite()
        wrong = ~finite | _outside(labels, self.moments.num_classes)
        if self.mode == "indexed":
            wrong |= _outside(indices, self.capacity)
            if self.fixed_labels:
                wrong |= (labels != last) | ((stored >= 0) & (stored != labels))
        else:
            indices = torch.full_like(indices, -1)
        row = wrong.long().argmax(0, keepdim=True)  # of one dimension: a bare number as an index is read at once
        first = torch.cat([wrong[row].long(), finite[row].long(), labels[row], indices[row]])
        if self._first_wrong is not None:
            first = torch.where(self._first_wrong[0] > 0, self._first_wrong, first)
        self._first_wrong = first

    def _refuse(self, wrong: list[bool], features: Tensor, labels: Tensor, indices: Tensor | None) -> None:
        if wrong[0]:
            raise ValueError(_range_refusal("labels", labels, self.moments.num_classes))
        if wrong[1]:
            raise _non_finite(features, labels, indices)
        assert indices is not None
        if wrong[2]:
            raise ValueError(_range_refusal("indices", indices, self.capacity))
        raise ValueError(self._contradiction(labels, indices))

    def _contradictions(self, labels: Tensor, indices: Tensor) -> Tensor:
        """Return for each row (B,) whether its index has another label in the pool or in an earlier row."""
        stored = self.labels[indices.clamp(0, self.capacity - 1)]
        # Rows sorted by index, in their order: a label that changes within an index is seen between neighbours.
        order = torch.argsort(indices, stable=True)
        changed = (indices[order].diff() == 0) & (labels[order].diff() != 0)
        found = (stored >= 0) & (stored != labels)
        found[order[1:]] |= changed
        return found

    def _contradiction(self, labels: Tensor, indices: Tensor) -> str:
        row = int(self._contradictions(labels, indices).nonzero()[0])
        index, stored = int(indices[row]), int(self.labels[indices[row]])
        before = stored if stored >= 0 else int(labels[:row][indices[:row] == index][-1])
        return (
            f"Expected one label for each index, but index {index} came with labels {before} and {int(labels[row])}. "
            "Pass each sample's position in the training split, not in the batch, or use a queue (`pool=fifo`)."
        )


def _pieces(features: Tensor, labels: Tensor, indices: Tensor | None) -> list[tuple[Tensor, Tensor, Tensor | None]]:
    """Cut a batch into ones whose rows can all be compared with each other; none that is small enough."""
    if len(labels) <= _ROWS_AT_ONCE:
        return [(features, labels, indices)]
    starts = range(0, len(labels), _ROWS_AT_ONCE)
    parts = (slice(start, start + _ROWS_AT_ONCE) for start in starts)
    return [(features[part], labels[part], None if indices is None else indices[part]) for part in parts]


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Keep mixed precision out of a block; where there is none that costs nothing."""
    if not torch.is_autocast_enabled(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def _storage_dtype(dtype: torch.dtype | str) -> torch.dtype:
    found = _STORAGE_DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if found is None or found not in _STORAGE_DTYPES.values():
        raise ValueError(RULES["storage_dtype"].refusal("storage_dtype", dtype))
    return found


def _non_finite(features: Tensor, labels: Tensor, indices: Tensor | None) -> NonFiniteFeaturesError:
    rows = (~features.isfinite().all(dim=1)).nonzero().squeeze(1)
    label, index = int(labels[rows[0]]), None if indices is None else int(indices[rows[0]])
    which = f"class {label}" + ("" if index is None else f" and index {index}")
    message = (
        f"Expected `features` to be finite in {features.dtype}, but got NaN or infinity in {len(rows)} of "
        f"{len(labels)} rows, first of {which}. Look for divergence, or use a wider `storage_dtype`."
    )
    return NonFiniteFeaturesError(message, label, index)


def _outside(values: Tensor, end: int) -> Tensor:
    return (values < 0) | (values >= end)


def _range_refusal(name: str, values: Tensor, end: int) -> str:
    low, high = (int(value) for value in values.aminmax())
    return f"Expected `{name}` to be in [0, {end}), but got values from {low} to {high}."


def _last_rows(indices: Tensor) -> tuple[Tensor, Tensor]:
    """Return which rows to keep, the last of each index, and their indices."""
    order = torch.argsort(indices, stable=True)
    slots = indices[order]
    last = torch.ones_like(slots, dtype=torch.bool)
    last[:-1] = slots[1:] != slots[:-1]
    return order[last], slots[last]


def _summary(moments: ClassMoments) -> tuple[Tensor, Tensor, Tensor]:
    counts = moments.counts.to(torch.float64)
    present = counts > 0
    covariances = moments.scatter() / counts.clamp_min(1.0)[:, None, None]
    return counts, torch.where(present.unsqueeze(1), moments.centres(), 0.0), covariances
