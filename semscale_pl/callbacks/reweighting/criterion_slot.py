"""The slot for a LightningModule that knows nothing of it: hooks on a named layer and on the loss module."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from semscale_pl.weighting import StepInputs, StepTerms, Weighting, adjusted_logits, terms_of, weighted_mean

_REDUCTIONS = ("mean", "sum", "none")


class CriterionSlot(pl.Callback):
    """Let any re-weighting work in a LightningModule as it is, without a line changed in it.

    While a model trains, what enters ``layer`` is taken as the features, what enters the loss module as logits and
    labels. Where the re-weighting has terms for a step, the loss module's result is replaced by its weighted one: with
    ``reduction="mean"`` the sum of the weighted losses over the number of samples of all ranks (never over the sum of
    the weights, as ``CrossEntropyLoss(weight=...)`` has it), with ``"sum"`` their sum, with ``"none"`` the weighted
    losses of the samples. Steps without terms, validation and test keep the module's own result bit by bit.

    It stands before the re-weighting in the Trainer's list of callbacks.

    Args:
        layer: dotted name of the classifier in the LightningModule, such as ``fc`` or ``model.head``; its input
            (B, D) are the features that a pool stores.
        criterion: dotted name of the loss module, such as ``criterion``; None for the only one with a ``reduction``.

    Raises:
        MisconfigurationException: when training begins, there is no such layer or loss module, or it cannot be
            weighted: class weights of its own, a ``reduction`` that is none of mean, sum and none. In a step: features
            that are no vectors, labels that are no class numbers, a layer or loss module that is called twice or not
            at all. The message says which, and what to do.

    Example:
        >>> callbacks = [CriterionSlot(layer="fc")]  # and after it, for example,
        >>> # SemanticScaleReweighting(pool="fifo", num_classes=100, capacity=10_847)
    """

    def __init__(self, layer: str, criterion: str | None = None) -> None:
        self.layer, self.criterion = layer, criterion
        self._features: Tensor | None = None
        self._calls = 0
        self._hooks: list[RemovableHandle] = []
        self._added: list[str] = []
        self._module: pl.LightningModule | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Find layer and loss module, and give the module the slot, before a re-weighting looks for it."""
        if stage != "fit":
            return
        layer, criterion = self._parts(pl_module)
        self._lend(pl_module, "weighting", None)
        width = getattr(layer, "out_features", None)
        if isinstance(width, int):
            self._lend(pl_module, "num_classes", width)
        self._module, self._hooks = (
            pl_module,
            [
                layer.register_forward_pre_hook(self._take_features),
                criterion.register_forward_hook(self._weigh),
            ],
        )

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Forget the step before."""
        self._features, self._calls = None, 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Refuse a step that never came to the loss module."""
        skipped = outputs is None or (isinstance(outputs, dict) and not outputs)  # training_step returned None
        if self._calls == 0 and not skipped and not pl_module.training:
            raise MisconfigurationException(
                f"Expected {type(pl_module).__name__} to be in training mode in a training step, but it is in "
                "evaluation mode, as for validation. Put only the parts that stay frozen into it, not the whole module."
            )
        if self._calls == 0 and not skipped:
            raise MisconfigurationException(
                f"Expected {type(pl_module).__name__}.training_step to call its loss module, but it did not. Use a "
                "loss module such as self.criterion = nn.CrossEntropyLoss() there, as a function cannot be hooked."
            )
        self._features = None

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Remove the hooks and the slot: the module is as it was."""
        for hook in self._hooks:
            hook.remove()
        for name in self._added:
            if hasattr(pl_module, name):
                delattr(pl_module, name)
        self._hooks, self._added, self._module, self._features = [], [], None, None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Remove them also where a fit ends early."""
        self.teardown(trainer, pl_module, "fit")

    def _lend(self, pl_module: pl.LightningModule, name: str, value: Any) -> None:
        if not hasattr(pl_module, name):
            setattr(pl_module, name, value)
            self._added.append(name)

    def _parts(self, pl_module: pl.LightningModule) -> tuple[nn.Module, nn.Module]:
        # Once under each of its names: a layer that is shared may be named by any of them.
        parts = {name: part for name, part in pl_module.named_modules(remove_duplicate=False) if name}
        if self.layer not in parts:
            raise MisconfigurationException(
                f"Expected `layer` to be a part of {type(pl_module).__name__}, but it has no {self.layer!r}. Its last "
                f"parts are {', '.join(list(parts)[-6:]) or 'none'}."
            )
        own = {name: part for name, part in pl_module.named_modules() if name}
        losses = {name: part for name, part in own.items() if isinstance(getattr(part, "reduction", None), str)}
        name = self.criterion or next(iter(losses), "")
        if (self.criterion is None and len(losses) != 1) or name not in parts:
            found = f"found {', '.join(losses)}" if losses else "found none with a `reduction`"
            cure = (
                "Name one with criterion=NAME"
                if losses
                else "Make it a part, as self.criterion = nn.CrossEntropyLoss()"
            )
            raise MisconfigurationException(
                f"Expected {'one loss module' if self.criterion is None else repr(self.criterion)} in "
                f"{type(pl_module).__name__}, but {found}. {cure}."
            )
        _check_weighable(name, parts[name])
        return parts[self.layer], parts[name]

    def _active(self) -> bool:
        module = self._module
        return module is not None and module.training and bool(module.trainer.training)

    def _take_features(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not self._active():
            return
        features = inputs[0] if inputs else None
        if not isinstance(features, Tensor) or features.ndim != 2:
            shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise MisconfigurationException(
                f"Expected features (B, D) to enter `layer` {self.layer!r}, but got {shape}. Name the classifier, "
                "behind all pooling and flattening."
            )
        if self._features is not None:
            raise MisconfigurationException(
                f"Expected one call of `layer` {self.layer!r} in a training step, but it is called again: which "
                "features belong to the labels is not known. Name a layer that sees each sample once."
            )
        self._features = features.detach()

    def _weigh(self, criterion: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor | None:
        if not self._active():
            return None
        logits, labels = self._checked(inputs)
        assert self._features is not None
        assert self._module is not None
        weighting: Weighting | None = self._module.weighting  # type: ignore[assignment]
        terms = terms_of(weighting, StepInputs(self._features, logits.detach(), labels))
        asked = (terms.class_weights, terms.log_prior, terms.sample_weights, terms.margins)
        if all(part is None for part in asked):
            return None
        losses = _per_sample(criterion, adjusted_logits(logits, terms, labels), labels)
        if criterion.reduction == "mean":
            return weighted_mean(losses, labels, terms)
        # The sum of a rank: what is made of the sums of several ranks is the module's own affair.
        weighted = losses * _factors(labels, terms, losses)
        return weighted.sum() if criterion.reduction == "sum" else weighted

    def _checked(self, inputs: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
        self._calls += 1
        if self._calls > 1:
            raise MisconfigurationException(
                "Expected one call of the loss module in a training step, but it is called again. Give every further "
                "loss a module of its own, and name the one to weight with criterion=NAME."
            )
        if len(inputs) != 2 or not all(isinstance(one, Tensor) for one in inputs):
            raise MisconfigurationException(
                "Expected the loss module to be called with logits and labels by position, but got "
                f"{len(inputs)} of them. Call it as self.criterion(logits, labels)."
            )
        assert self._module is not None
        logits, labels = inputs
        if labels.ndim != 1 or labels.is_floating_point() or logits.ndim != 2:
            raise MisconfigurationException(
                f"Expected logits (B, C) and class numbers (B,) at the loss module, but got {tuple(logits.shape)} and "
                f"{labels.dtype} {tuple(labels.shape)}. Mixed or soft labels have no one class to weight by; "
                "semscale_pl.ImbalancedClassifier mixes images itself."
            )
        if bool((labels < 0).any()):
            raise MisconfigurationException(
                f"Expected labels of at least 0 at the loss module, but got {int(labels.min())}: a sample that is to "
                "be ignored has no class to weight by. Leave such samples out of the batch."
            )
        if self._features is None or len(self._features) != len(labels):
            rows = "none" if self._features is None else f"{len(self._features)} rows"
            compiled = self._features is None and any(hasattr(part, "_orig_mod") for part in self._module.modules())
            cure = " Code that was compiled and ran before passes hooks by: call torch.compiler.reset() before fit."
            raise MisconfigurationException(
                f"Expected the features of these {len(labels)} samples at `layer` {self.layer!r} before the loss, but "
                f"got {rows}. Name the layer that makes the logits.{cure if compiled else ''}"
            )
        return logits, labels


def _check_weighable(name: str, criterion: nn.Module) -> None:
    reduction = getattr(criterion, "reduction", None)
    if reduction not in _REDUCTIONS:
        got = "it has none" if reduction is None else f"got {reduction!r}"
        raise MisconfigurationException(
            f"Expected `reduction` of {name} to be one of {', '.join(_REDUCTIONS)}, but {got}: without it the losses "
            f"of single samples are not known. Use a loss module such as nn.CrossEntropyLoss in place of "
            f"{type(criterion).__name__}."
        )
    if isinstance(getattr(criterion, "weight", None), Tensor):
        raise MisconfigurationException(
            f"Expected {name} to have no class weights of its own, but it has `weight`: classes would be weighted "
            "twice. Leave it out."
        )


def _per_sample(criterion: nn.Module, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the losses (B,) that the loss module reduces."""
    reduction = criterion.reduction
    setattr(criterion, "reduction", "none")  # noqa: B010, which a type checker takes for a parameter otherwise
    try:
        losses = criterion.forward(logits, labels)  # not the hooked call
    finally:
        setattr(criterion, "reduction", reduction)  # noqa: B010
    if losses.shape != labels.shape:
        raise MisconfigurationException(
            f"Expected one loss for each of {len(labels)} samples from {type(criterion).__name__} with "
            f"reduction='none', but got {tuple(losses.shape)}. Use a loss over classes, such as nn.CrossEntropyLoss."
        )
    return losses


def _factors(labels: Tensor, terms: StepTerms, losses: Tensor) -> Tensor:
    classes = losses.new_ones(()) if terms.class_weights is None else terms.class_weights.to(losses)[labels]
    return classes if terms.sample_weights is None else classes * terms.sample_weights.to(losses)
