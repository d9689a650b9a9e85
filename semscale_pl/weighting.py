"""The slot between features and loss: what a re-weighting is handed in every training step and what it may answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from semscale_pl.distributed import global_row_count, world_size


@dataclass(frozen=True)
class StepInputs:
    """What a training step knows after the classifier and before the loss.

    Args:
        features: (B, D) input of the classifier; the normalised vector for a cosine head.
        logits: (B, C).
        labels: (B,) integers in [0, C); under mixup or cutmix the labels of the first image of each pair.
        indices: (B,) position of each sample in the training split, 0..N-1; an indexed pool needs them.
        mixed_labels: (B,) labels of the second image of each pair, or None where nothing was mixed.
        lam: share of the first image in the mixture, in [0, 1].
        mixed_indices: (B,) position of the second image of each pair, or None where nothing was mixed.
        images: (B, ...) the clean, unmixed images, only where something was mixed.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor
    indices: Tensor | None = None
    mixed_labels: Tensor | None = None
    lam: float = 1.0
    mixed_indices: Tensor | None = None
    images: Tensor | None = None


@dataclass(frozen=True)
class StepTerms:
    """What a re-weighting asks of the loss; None leaves that part of the loss as it is.

    Args:
        class_weights: (C,) factor of a sample's loss by its label.
        log_prior: (C,) added to the logits before the loss.
        sample_weights: (B,) factor of a sample's loss.
        margins: (C,) taken off the logit of a sample's own class before the loss.
    """

    class_weights: Tensor | None = None
    log_prior: Tensor | None = None
    sample_weights: Tensor | None = None
    margins: Tensor | None = None


# Of the plain baseline.
NO_TERMS = StepTerms()


@dataclass(frozen=True)
class WeightingReport:
    """What a re-weighting reports of its present state to a recorder.

    Args:
        per_class: name to (C,) values, for example ``{"weight": ..., "scale": ...}``; NaN where undefined.
        scalars: name to number, for example how many classes were floored.
    """

    per_class: dict[str, Tensor] = field(default_factory=dict)
    scalars: dict[str, float] = field(default_factory=dict)


@runtime_checkable
class Weighting(Protocol):
    """A re-weighting: called once in each training step, and asked for a report at the end of each epoch."""

    def __call__(self, inputs: StepInputs) -> StepTerms:
        """Return the terms of this step's loss."""

    def report(self) -> WeightingReport:
        """Return the present per-class state for the records."""


def terms_of(weighting: Weighting | None, inputs: StepInputs) -> StepTerms:
    """Ask the slot for its terms; an empty slot is the plain baseline."""
    return NO_TERMS if weighting is None else weighting(inputs)


def adjusted_logits(logits: Tensor, terms: StepTerms, labels: Tensor | None = None) -> Tensor:
    """Add the log prior to the logits (B, C) and take the margins off those of the labels (B,), where there are any.

    Raises:
        ValueError: there are margins, but no labels.
    """
    if terms.log_prior is not None:
        logits = logits + terms.log_prior.to(logits)
    if terms.margins is None:
        return logits
    if labels is None:
        raise ValueError("Expected `labels` of the samples whose logits margins are taken off, but got None.")
    taken = terms.margins.to(logits).index_select(0, labels)
    return logits.scatter_add(1, labels[:, None], -taken[:, None])


def weighted_mean(
    per_sample: Tensor, labels: Tensor, terms: StepTerms | None = None, num_rows: int | None = None
) -> Tensor:
    """Reduce per-sample losses to the scalar that a rank has to differentiate.

    The sum of the weighted losses is divided by the number of samples, never by the sum of the weights, so that the
    gradient of a sample does not depend on its neighbours in the batch. Over several ranks the divisor is the mean
    number of rows of a rank: DDP's average over ranks then equals one process on the global batch, also where the
    ranks hold different numbers of rows, or none.

    Args:
        per_sample: (B,) losses.
        labels: (B,) integers in [0, C).
        terms: the weights; None for the plain mean.
        num_rows: samples of all ranks together, where that is known already; otherwise the ranks exchange it.

    Returns:
        () loss.

    Example:
        >>> import torch
        >>> weighted_mean(torch.tensor([1.0, 3.0]), torch.tensor([0, 1]), StepTerms(torch.tensor([0.5, 1.0])))
        tensor(1.7500)
    """
    return _mean(_weighted(per_sample, labels, terms), num_rows)


def mixed_mean(
    first: Tensor, second: Tensor, inputs: StepInputs, terms: StepTerms, num_rows: int | None = None
) -> Tensor:
    """Reduce the losses of mixed images: ``lam w[y_a] L(y_a) + (1 - lam) w[y_b] L(y_b)``, averaged over the batch.

    One reduction, as for images that are not mixed: the ranks exchange the same in every step.

    Args:
        first, second: (B,) losses against the labels of the first and the second images.
        inputs: with ``mixed_labels`` and ``lam``.
        terms: the weights.
        num_rows: see :func:`weighted_mean`.

    Raises:
        ValueError: nothing was mixed in this step.
    """
    if inputs.mixed_labels is None:
        raise ValueError("Expected the labels of the second images in `inputs.mixed_labels`, but got None.")
    ours, theirs = _weighted(first, inputs.labels, terms), _weighted(second, inputs.mixed_labels, terms)
    return _mean(inputs.lam * ours + (1.0 - inputs.lam) * theirs, num_rows)


def _weighted(per_sample: Tensor, labels: Tensor, terms: StepTerms | None) -> Tensor:
    if terms is not None and terms.class_weights is not None:
        per_sample = per_sample * terms.class_weights.to(per_sample).index_select(0, labels)
    if terms is not None and terms.sample_weights is not None:
        per_sample = per_sample * terms.sample_weights.to(per_sample)
    return per_sample


def _mean(per_sample: Tensor, num_rows: int | None) -> Tensor:
    ranks = world_size()
    if ranks == 1:
        return per_sample.mean()
    return per_sample.sum() * ranks / (global_row_count(per_sample) if num_rows is None else num_rows)
