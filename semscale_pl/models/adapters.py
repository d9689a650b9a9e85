"""Adapters: small trained parts in the blocks of a frozen vision transformer, which start as nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from semscale_pl.extras import require
from semscale_pl.models.finetuning import FineTuning
from semscale_pl.models.stems import replace_module
from semscale_pl.options import check

# Blocks that are x + MLP(LN(x)) in ``mlp`` and the norm named here, up to a scale and stochastic depth.
_BLOCKS = {
    "timm.models.vision_transformer.Block": "norm2",
    "timm.models.beit.Block": "norm2",
    "timm.models.eva.EvaBlock": "norm2",
    "open_clip.transformer.ResidualAttentionBlock": "ln_2",
}


class Adapters(FineTuning):
    """Freeze a backbone and train what :meth:`insert` puts into its blocks.

    A checkpoint holds the adapters beside the frozen weights, under their names in the network.
    """

    @property
    def freezes(self) -> bool:
        """Return True: the backbone's own parameters stay."""
        return True

    def prepare(self, backbone: nn.Module) -> None:
        """Freeze the backbone and put adapters into its last ``train_last`` transformer blocks, or all, in place.

        Raises:
            ValueError: it is no vision transformer of timm or open_clip, or has fewer blocks.
        """
        adapted = self.last(_transformer_blocks(backbone))
        backbone.requires_grad_(False)
        self.insert(backbone, adapted)
        self.settle(backbone)

    def insert(self, backbone: nn.Module, names: Sequence[str]) -> None:
        """Put new parameters into the transformer blocks of these names."""
        raise TypeError(f"Expected a kind of adapters, but got {type(self).__name__}. Use AdaptFormer or LoRA.")


class AdaptFormer(Adapters):
    """Train a bottleneck beside the MLP of each transformer block: x + MLP(LN(x)) + s * ReLU(LN(x) D) U.

    The down-projection D (num_features, dim) starts from Kaiming's distribution, the up-projection U and both biases
    from zero, so that the network is unchanged at first. Where a block scales its MLP (DINOv2's layer scale), the
    branch passes the same scale.

    Args:
        dim: width of the bottleneck.
        scale: s, or "learned": a parameter that starts from 1 (LIFT).
        own_norm: give the branch a layer norm of its own instead of the MLP's frozen one (LIFT).
        train_last: last transformer blocks that get one; None is all.
        backbone_lr, layer_decay, update_statistics: see :class:`semscale_pl.models.finetuning.FineTuning`.

    Raises:
        ValueError: an argument is out of range.

    Reference: Chen et al., AdaptFormer (NeurIPS 2022), section 3.2, eq. 4 and 5; Shi et al., Long-Tail Learning with
    Foundation Model: Heavy Fine-Tuning Hurts (ICML 2024), for LIFT.
    """

    def __init__(
        self,
        dim: int = 64,
        scale: float | str = 0.1,
        own_norm: bool = False,
        train_last: int | None = None,
        backbone_lr: float | None = None,
        layer_decay: float = 1.0,
        update_statistics: bool = False,
    ) -> None:
        super().__init__(train_last, backbone_lr, layer_decay, update_statistics)
        check("AdaptFormer", dim=dim, scale=scale, own_norm=own_norm)
        self.dim, self.scale, self.own_norm = dim, scale, own_norm

    def insert(self, backbone: nn.Module, names: Sequence[str]) -> None:
        """Replace norm and MLP of each block by both with the branch beside the MLP."""
        for name in names:
            block = backbone.get_submodule(name)
            norm_name = _BLOCKS[_kind(block)]
            norm, mlp = block.get_submodule(norm_name), block.get_submodule("mlp")
            replace_module(block, norm_name, nn.Identity())
            replace_module(block, "mlp", ParallelBranch(norm, mlp, self.dim, self.scale, self.own_norm))


class ParallelBranch(nn.Module):
    """Map x (..., D) to MLP(LN(x)) + s * ReLU(LN(x) D) U, which AdaptFormer puts in the place of MLP(LN(x)).

    Args:
        norm: LN, with ``weight`` (D,).
        mlp: (..., D) to (..., D).
        dim, scale, own_norm: see :class:`AdaptFormer`.
    """

    def __init__(self, norm: nn.Module, mlp: nn.Module, dim: int, scale: float | str, own_norm: bool) -> None:
        super().__init__()
        self.norm, self.mlp = norm, mlp
        like: Tensor = norm.weight  # type: ignore[assignment]
        width = len(like)
        self.branch_norm = nn.LayerNorm(width) if own_norm else None
        self.down, self.up = nn.Linear(width, dim), nn.Linear(dim, width)
        nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)
        self.scale = nn.Parameter(torch.ones(())) if scale == "learned" else float(scale)
        self.to(like)

    def forward(self, x: Tensor) -> Tensor:
        """Add the branch to the MLP of (B, tokens, D)."""
        normed = self.norm(x)
        entering = normed if self.branch_norm is None else self.branch_norm(x)
        return self.mlp(normed) + self.scale * self.up(torch.relu(self.down(entering)))


class LoRA(Adapters):
    """Train a product of two thin matrices beside the linear maps of each transformer block, by peft.

    The update alpha / rank * B A of a weight starts from B = 0, so that the network is unchanged at first.

    Args:
        rank: of the update.
        alpha: its factor is alpha / rank.
        dropout: of what enters A.
        targets: ends of the names of the linear maps; ``qkv`` is timm's joint projection of attention.
        train_last: last transformer blocks that get one; None is all.
        backbone_lr, layer_decay, update_statistics: see :class:`semscale_pl.models.finetuning.FineTuning`.

    Raises:
        ValueError: an argument is out of range, or peft is not installed.

    Reference: Hu et al., LoRA (ICLR 2022), section 4.1.
    """

    def __init__(
        self,
        rank: int = 8,
        alpha: float = 8.0,
        dropout: float = 0.0,
        targets: Sequence[str] = ("qkv",),
        train_last: int | None = None,
        backbone_lr: float | None = None,
        layer_decay: float = 1.0,
        update_statistics: bool = False,
    ) -> None:
        super().__init__(train_last, backbone_lr, layer_decay, update_statistics)
        check("LoRA", rank=rank, alpha=alpha, dropout=dropout)
        require("peft", "finetune=lora")
        self.rank, self.alpha, self.dropout, self.targets = rank, alpha, dropout, list(targets)

    def insert(self, backbone: nn.Module, names: Sequence[str]) -> None:
        """Let peft wrap the linear maps.

        Raises:
            ValueError: a block has none of that name.
        """
        from peft import LoraConfig, inject_adapter_in_model

        linear = {name for name, module in backbone.named_modules() if isinstance(module, nn.Linear)}
        inside = {name for name in linear if name.startswith(tuple(f"{block}." for block in names))}
        wrapped = sorted(name for name in inside if name.endswith(tuple(f".{target}" for target in self.targets)))
        missing = [target for target in self.targets if not any(name.endswith(f".{target}") for name in wrapped)]
        if missing:
            known = sorted({name.rpartition(".")[2] for name in inside})
            raise ValueError(
                f"Expected `targets` to name linear maps of the blocks, {', '.join(known)}, but got {missing[0]!r}."
            )
        alpha: Any = self.alpha  # peft takes a number, whatever its annotation says
        config = LoraConfig(target_modules=wrapped, r=self.rank, lora_alpha=alpha, lora_dropout=self.dropout)
        inject_adapter_in_model(config, backbone)


def _transformer_blocks(backbone: nn.Module) -> list[str]:
    """Return the names of a vision transformer's blocks, from the images to the features.

    Raises:
        ValueError: there are none.
    """
    found = [name for name, module in backbone.named_modules() if _kind(module) in _BLOCKS]
    if not found:
        raise ValueError(
            "Expected a vision transformer of timm or open_clip for adapters, but the backbone has no such block. "
            "Use for example backbone=timm backbone.name=vit_small_patch16_224, or finetune=whole."
        )
    return found


def _kind(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__name__}"
