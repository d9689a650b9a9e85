"""A backbone with a linear embedding behind it: a backbone of fewer features, whose last layer is new."""

from __future__ import annotations

from torch import Tensor, nn

from semscale_pl.options import check


class Embedded(nn.Module):
    """Map images to embeddings; the head brings them to unit length.

    Args:
        backbone: images (B, ...) to pooled features (B, num_features), with the attribute ``num_features``.
        dim: width of the embeddings.

    Attributes:
        embedding: the linear layer, which starts uniform in ``[-1, 1] / sqrt(num_features)``, offsets included.
        num_features: the width of the embeddings.

    Raises:
        ValueError: a width below 1.

    Example:
        >>> import torch
        >>> from semscale_pl.models.vectors import Identity
        >>> Embedded(Identity(in_features=6), dim=4)(torch.ones(2, 6)).shape
        torch.Size([2, 4])
    """

    def __init__(self, backbone: nn.Module, dim: int = 64) -> None:
        super().__init__()
        check(dim=dim)
        self.backbone = backbone
        self.embedding = nn.Linear(int(backbone.num_features), dim)  # type: ignore[arg-type]
        self.num_features = dim
        for name in ("in_channels", "input", "only_size"):  # what a dataset and an export ask of a backbone
            if hasattr(backbone, name):
                setattr(self, name, getattr(backbone, name))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, ...) to embeddings (B, dim), of any length."""
        return self.embedding(self.backbone(images))
