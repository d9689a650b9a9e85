"""The LightningModule of metric learning: a backbone, a linear embedding and centres, with the classifier's slot."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Optimizer

from semscale_pl.losses.base import PerSampleLoss
from semscale_pl.models.blocks import is_norm
from semscale_pl.models.embedding import Embedded
from semscale_pl.modules.classifier import ImbalancedClassifier
from semscale_pl.options import check


class EmbeddingModel(ImbalancedClassifier):
    """Train embeddings by their similarities to centres: an :class:`ImbalancedClassifier` of a narrow last layer.

    The slot, the pool, mixing, checkpoints and reports are the classifier's: a re-weighting sees embeddings (B, dim) of
    unit length, and the weights of a step come from a pool that holds them already. The validation and the test report
    say how often the nearest class centre is the right one.

    Args:
        backbone: (B, ...) images to pooled features (B, num_features).
        classifier: head of the embeddings, (B, dim) to similarities (B, C): proxies
            (:class:`~semscale_pl.models.classifiers.CosineClassifier` with scale 1) or several centres a class
            (:class:`~semscale_pl.models.centres.CentreClassifier`).
        loss: of similarities, from `semscale_pl.losses.metric_learning`.
        dim: width of the embeddings; the paper has 64 and 512.
        centre_lr: learning rate of the centres; None is the optimizer's. SoftTriple's authors take 100 times that of
            the backbone.
        warmup_epochs: epochs at the start in which the new layers, embedding and centres, train alone. The backbone's
            gradients are dropped there, after the ranks have exchanged them, so that its state in the optimizer begins
            with the first epoch after them.
        frozen_norms: keep the statistics of the backbone's batch norms, while their scales and offsets train.
        others: see :class:`ImbalancedClassifier`.

    Raises:
        ValueError: an argument is out of range.

    Reference: Ma et al. (ICLR 2023), section 5 and Tables 4 and 5; Qian et al. (ICCV 2019), section 4; Zhai and Wu
    (BMVC 2019), section 4, for the warm-up.
    """

    def __init__(
        self,
        backbone: nn.Module,
        classifier: nn.Module,
        loss: PerSampleLoss,
        *others: Any,
        dim: int = 64,
        centre_lr: float | None = None,
        warmup_epochs: int = 0,
        frozen_norms: bool = False,
        **named: Any,
    ) -> None:
        check("embedding", dim=dim, centre_lr=centre_lr, warmup_epochs=warmup_epochs, frozen_norms=frozen_norms)
        super().__init__(Embedded(backbone, dim), classifier, loss, *others, **named)
        self.centre_lr, self.warmup_epochs, self.frozen_norms = centre_lr, warmup_epochs, frozen_norms

    def train(self, mode: bool = True) -> EmbeddingModel:
        """Switch to training mode, in which frozen parts and norms stay in evaluation mode, or to evaluation."""
        super().train(mode)
        for module in self.pretrained.modules() if mode and self.frozen_norms else ():
            if is_norm(module):
                module.eval()
        return self

    @property
    def pretrained(self) -> nn.Module:
        """The backbone without the embedding."""
        return self.backbone.backbone  # type: ignore[return-value]

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Leave the backbone as it is during the warm-up: a parameter without a gradient is passed over."""
        if self.current_epoch < self.warmup_epochs:
            for parameter in self.pretrained.parameters():
                parameter.grad = None

    def _parameter_groups(self) -> list[dict[str, Any]]:
        new = {"params": list(self.backbone.embedding.parameters()), "name": "embedding"}  # type: ignore[union-attr]
        centres: dict[str, Any] = {"params": list(self.classifier.parameters()), "name": "centres"}
        if self.centre_lr is not None:
            centres["lr"] = self.centre_lr
        found = [*self.finetuning.groups(self.pretrained), new, centres]
        for group in found:
            group["params"] = [one for one in group["params"] if one.requires_grad]
        return [group for group in found if group["params"]]
