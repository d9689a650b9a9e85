"""The contract of a loss: one value per sample; frequencies come by `setup`, state changes in `update` alone."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class PerSampleLoss(nn.Module):
    """One loss per sample; the reduction, with or without weights, is `semscale_pl.weighting.weighted_mean`.

    A subclass writes `forward`. One that needs the class frequencies reads them with `require_frequencies`, and one
    with a state keeps it in buffers and changes it in `update`, never in `forward`: evaluation, an extra clean pass
    and a second call for the partners of a mixed batch must leave it alone.

    Attributes:
        class_frequencies: (C,) float64 with sum 1, the probability that the sampler draws each class, or its share of
            the training images (`from_counts`); None before `setup`. It travels in the state dict, so that a checkpoint
            evaluates without the training data.
        from_counts: whether `setup` takes the classes' counts instead. False is for a prior that undoes what the
            sampler shows; True for a measure of how rare a class is, which a sampler does not change.
    """

    class_frequencies: Tensor | None
    from_counts: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("class_frequencies", None)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each sample.

        Args:
            logits: (B, C).
            labels: (B,) integers in [0, C).

        Returns:
            (B,) losses in nats, in float32 at least.
        """
        raise TypeError(
            f"Expected a subclass of `PerSampleLoss` with its own `forward`, but got {type(self).__name__}."
        )

    def setup(self, class_frequencies: Tensor) -> None:
        """Keep the class frequencies; a repeated call replaces them.

        Args:
            class_frequencies: (C,) probabilities or counts, not negative, not all 0. A class with 0 is allowed.

        Raises:
            ValueError: wrong shape, negative or not finite values, or nothing but zeros.
        """
        values = torch.as_tensor(class_frequencies).detach().to(torch.float64)
        if values.ndim != 1 or not bool(torch.isfinite(values).all()) or bool((values < 0).any()) or values.sum() == 0:
            raise ValueError(
                f"Expected `class_frequencies` to be (C,) finite, not negative and not all 0, but got shape "
                f"{tuple(values.shape)}. Pass the counts or sampling probabilities of all classes."
            )
        if self.class_frequencies is not None:
            values = values.to(self.class_frequencies.device)
        self.class_frequencies = values / values.sum()

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Change the state after a training step, from all ranks' rows; nothing to do for a loss without state."""

    def evaluation_logits(self, logits: Tensor) -> Tensor:
        """Return the logits (B, C) whose softmax is the model's probability; the given ones unless overridden."""
        return logits

    def initial_bias(self, num_classes: int) -> float | None:
        """Return the value to start the head's bias with, or None where the loss does not care."""
        return None

    def require_frequencies(self, logits: Tensor) -> Tensor:
        """Return the frequencies (C,) on the device of the logits.

        Raises:
            ValueError: `setup` was not called, or the logits have another number of classes.
        """
        frequencies = self.class_frequencies
        if frequencies is None:
            raise ValueError(
                f"Expected {type(self).__name__} to know the class frequencies, but got none. "
                "Call `setup(class_frequencies)` before the first batch."
            )
        if frequencies.shape[0] != logits.shape[-1]:
            raise ValueError(
                f"Expected `logits` to have {frequencies.shape[0]} classes, as in `setup`, but got {logits.shape[-1]}. "
                f"Set up the loss with the frequencies of this classifier's classes."
            )
        return frequencies.to(logits.device)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        # A buffer that is still None has no shape to load into: take the shape of the stored one.
        for name, buffer in self._buffers.items():
            stored = state_dict.get(prefix + name)
            if buffer is None and stored is not None:
                self._buffers[name] = torch.empty_like(stored)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class BatchLoss(PerSampleLoss):
    """A loss of a whole batch, whose elements are not samples; its elements' class weights enter in `batch_loss`.

    A subclass writes `batch_loss`; it takes no weights of single samples and no mixed images.
    """

    def batch_loss(self, logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
        """Return the loss of the batches of all ranks together.

        Args:
            logits: (B, C).
            labels: (B,) integers in [0, C).
            class_weights: (C,); None weighs all classes alike.

        Returns:
            () loss in nats, equal on all ranks, with a gradient whose mean over the ranks is that of one process.
        """
        raise TypeError(f"Expected a subclass of `BatchLoss` with its own `batch_loss`, but got {type(self).__name__}.")

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the batch for each of its samples (B,): their mean is the loss."""
        return self.batch_loss(logits, labels).expand(len(labels))
