"""Which part of a backbone is trained, and at which learning rates."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import nn
from torch.optim import Optimizer

from semscale_pl.models.blocks import blocks_of, frozen_modules, is_norm
from semscale_pl.options import check

_Block = TypeVar("_Block")


class FineTuning:
    """Train all of a backbone, its last blocks or nothing of it, with learning rates of its own.

    What is not trained is frozen: no gradients are computed for it, and it stays in evaluation mode, so that dropout is
    off and batch norms use and keep the statistics that they came with. The defaults change nothing.

    Args:
        train_last: blocks nearest to the features that are trained; None trains all, 0 none. See
            :func:`semscale_pl.models.blocks.blocks_of`.
        backbone_lr: learning rate of the block nearest to the features where ``layer_decay`` is 1; None is the head's.
        layer_decay: factor of the learning rate from the head to the last block, and from each block to the one before
            it (Clark et al. 2020, section 3.4; Bao et al. 2022); 1 is none.
        update_statistics: let the batch norms of frozen parts normalize by the batch and follow the training images.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> from semscale_pl.models.resnet_cifar import ResNetCifar
        >>> network = ResNetCifar(depth=8)
        >>> FineTuning(train_last=1).prepare(network)
        >>> {name.partition(".")[0] for name, one in network.named_parameters() if one.requires_grad}
        {'stage3'}
    """

    def __init__(
        self,
        train_last: int | None = None,
        backbone_lr: float | None = None,
        layer_decay: float = 1.0,
        update_statistics: bool = False,
    ) -> None:
        check(type(self).__name__, train_last=train_last, backbone_lr=backbone_lr)
        check(type(self).__name__, layer_decay=layer_decay, update_statistics=update_statistics)
        self.train_last, self.backbone_lr = train_last, backbone_lr
        self.layer_decay, self.update_statistics = layer_decay, update_statistics

    @property
    def has_rates(self) -> bool:
        """Whether the backbone learns at other rates than the head."""
        return self.backbone_lr is not None or self.layer_decay != 1.0

    @property
    def freezes(self) -> bool:
        """Whether any of the backbone stays as it is."""
        return self.train_last is not None

    def prepare(self, backbone: nn.Module) -> None:
        """Freeze what is not to be trained, in place; before the optimizer is built.

        Raises:
            ValueError: the backbone has fewer blocks than are to be trained.
        """
        if not self.freezes:
            return
        blocks = blocks_of(backbone)
        trained = {name for block in self.last(blocks) for name in block.parameters}
        for name, parameter in backbone.named_parameters():
            parameter.requires_grad_(name in trained)
        self.settle(backbone)

    def settle(self, backbone: nn.Module) -> None:
        """Put the frozen parts of a backbone in training mode into evaluation mode."""
        for frozen in frozen_modules(backbone) if self.freezes else ():
            frozen.eval()
            for module in frozen.modules() if self.update_statistics else ():
                if is_norm(module):
                    module.train()

    def groups(self, backbone: nn.Module) -> list[dict[str, Any]]:
        """Return the backbone's parameters to train as groups of an optimizer, the block nearest to the images first.

        Each has ``params``, a ``name`` and ``lr_factor``, see :meth:`set_rates`. Without a decay there is one group.
        """
        trained = {name: one for name, one in backbone.named_parameters() if one.requires_grad}
        if not trained:
            return []
        if self.layer_decay == 1.0:
            return [{"params": list(trained.values()), "name": "backbone", "lr_factor": 1.0}]
        blocks = blocks_of(backbone)
        rated = zip(blocks, range(len(blocks), 0, -1), strict=True)
        groups: list[dict[str, Any]] = [
            {
                "params": [trained[name] for name in block.parameters if name in trained],
                "name": f"backbone.{block.name}",
                "lr_factor": self.layer_decay**distance,
            }
            for block, distance in rated
        ]
        return [group for group in groups if group["params"]]

    def set_rates(self, optimizer: Optimizer) -> None:
        """Give the groups of :meth:`groups` their learning rates, before a scheduler takes them up."""
        for group in optimizer.param_groups:
            if (factor := group.pop("lr_factor", None)) is not None:
                group["lr"] = factor * (group["lr"] if self.backbone_lr is None else self.backbone_lr)

    def last(self, blocks: list[_Block]) -> list[_Block]:
        """Return those of a backbone's blocks that are to be trained.

        Raises:
            ValueError: there are fewer.
        """
        count = len(blocks) if self.train_last is None else self.train_last
        if count > len(blocks):
            raise ValueError(
                f"Expected `train_last` to be at most {len(blocks)}, the blocks of the backbone, but got {count}. "
                "Use null to train all of it."
            )
        return blocks[len(blocks) - count :]
