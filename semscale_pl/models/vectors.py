"""Backbones of features that come from elsewhere: none at all, or a small network of fully connected layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from semscale_pl.options import check

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class Identity(nn.Module):
    """Hand features on as they are: the classifier alone is trained.

    Args:
        in_features: D, width of the features.

    Attributes:
        is_constant: True: the output for a sample never changes.

    Raises:
        ValueError: the width is not given.

    Example:
        >>> import torch
        >>> Identity(in_features=3)(torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """

    is_constant = True

    def __init__(self, in_features: int) -> None:
        super().__init__()
        _check_width(in_features)
        self.in_features = self.num_features = in_features

    def forward(self, features: Tensor) -> Tensor:
        """Return features (B, in_features)."""
        check_vectors(features, self.in_features)
        return features


class MLP(nn.Module):
    """Map features to as many as the last hidden layer has units: linear, norm, activation, dropout for each layer.

    Args:
        in_features: D, width of the features.
        hidden: units of each layer, one number or several.
        dropout: share of a layer's outputs that is dropped in training.
        activation: ``relu``, ``gelu``, ``silu`` or ``tanh``.
        norm: ``none``, ``batch`` or ``layer``, before the activation.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> import torch
        >>> MLP(in_features=3, hidden=[8, 4])(torch.ones(2, 3)).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        in_features: int,
        hidden: int | Sequence[int] = 512,
        dropout: float = 0.0,
        activation: str = "relu",
        norm: str = "none",
    ) -> None:
        super().__init__()
        _check_width(in_features)
        check("MLP", hidden=hidden, dropout=dropout, activation=activation, norm=norm)
        widths = [hidden] if isinstance(hidden, int) else list(hidden)
        layers: list[nn.Module] = []
        for before, width in zip([in_features, *widths], widths, strict=False):
            layers.append(nn.Linear(before, width))
            layers += [NORMS[norm](width)] if norm != "none" else []
            layers.append(ACTIVATIONS[activation]())
            layers += [nn.Dropout(dropout)] if dropout else []
        self.trunk = nn.Sequential(*layers)
        self.in_features, self.num_features = in_features, widths[-1]

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, in_features) to (B, num_features)."""
        check_vectors(features, self.in_features)
        return self.trunk(features)


def _check_width(in_features: int | None) -> None:
    if in_features is None:
        raise ValueError("Expected `in_features`, the width of the features, but got None. Use dataset=features.")
    check(in_features=in_features)


def check_vectors(features: Tensor, width: int) -> None:
    """Raise ValueError for features that are not (B, width)."""
    if features.ndim != 2 or features.shape[1] != width:
        raise ValueError(f"Expected `features` to be (B, {width}), but got {tuple(features.shape)}.")
