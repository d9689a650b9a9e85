"""Fit the first layers of a network to the channels and the size of the images."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from torch import nn

from semscale_pl.models.backbone import check_positive


def check_request(in_channels: int, input_stem: str, pretrained: bool) -> None:
    """Refuse arguments of a backbone that do not go together, before anything is built or fetched.

    Raises:
        ValueError: no such stem, no channels, or published weights for a first layer that they do not fit.
    """
    check_positive("in_channels", in_channels)
    if input_stem not in ("standard", "small"):
        raise ValueError(
            f"Expected `input_stem` to be 'standard' or 'small', but got {input_stem!r}. Use 'small' for 32 x 32."
        )
    if pretrained and input_stem == "small":
        raise ValueError(
            "Expected `input_stem` to be 'standard' for pretrained weights, but got 'small'. Set `pretrained=False`."
        )
    if pretrained and in_channels not in (1, 3):
        raise ValueError(
            f"Expected `in_channels` to be 1 or 3 for pretrained weights, but got {in_channels}. Use 1 or 3."
        )


@contextmanager
def fetching(name: str, instead: str = "set pretrained=false") -> Iterator[None]:
    """Say, in a ValueError, which published weights cannot be had where the block fails to fetch or to store them.

    Args:
        name: of the network.
        instead: what else could be done, for the message.
    """
    try:
        with _without_waiting():
            yield
    except OSError as error:  # urllib's errors are among these
        reason = str(error).rstrip(".")
        raise ValueError(
            f"Expected the published weights of {name}, but they cannot be fetched: {reason}. Fetch them where there "
            f"is a network (they are kept in TORCH_HOME or HF_HOME), or {instead}."
        ) from error


@contextmanager
def _without_waiting() -> Iterator[None]:
    """Let the client of Hugging Face's hub look at stored files alone where the hub has no address.

    It would ask twelve times, for a minute.
    """
    constants: Any = sys.modules.get("huggingface_hub.constants")
    if constants is None or constants.HF_HUB_OFFLINE or getproxies() or _has_address(constants.ENDPOINT):
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


def _has_address(url: str) -> bool:
    try:
        return bool(socket.getaddrinfo(urlsplit(url).hostname, None))
    except OSError:
        return False


def fit_stem(
    trunk: nn.Module, conv: str, pool: str | None, *, in_channels: int, input_stem: str, pretrained: bool = False
) -> None:
    """Replace, in place, the first convolution where its channels or its size do not fit, and drop the first pooling.

    The small stem is a 3x3 convolution of stride 1 without the max-pooling behind it, so that a network that reduces
    224 x 224 to 7 x 7 reduces 32 x 32 to 4 x 4. A new convolution starts from He's normal distribution (fan-out);
    with published weights it takes their sum over the colours, so that a grey image gives what its three equal
    channels would have given.

    Args:
        trunk: the network.
        conv: path of its first convolution.
        pool: path of the max-pooling behind it; None where there is none.
        in_channels: channels of the images.
        input_stem: "standard" or "small".
        pretrained: whether the first convolution holds published weights.

    Example:
        >>> trunk = nn.Sequential(nn.Conv2d(3, 8, 7, stride=2, padding=3), nn.MaxPool2d(2))
        >>> fit_stem(trunk, "0", "1", in_channels=1, input_stem="small")
        >>> trunk[0].weight.shape, trunk[1]
        (torch.Size([8, 1, 3, 3]), Identity())
    """
    old = trunk.get_submodule(conv)
    if not isinstance(old, nn.Conv2d):
        raise TypeError(f"Expected `conv` to name a convolution, but got {type(old).__name__} at {conv!r}.")
    small = input_stem == "small"
    if small and pool is not None:
        replace_module(trunk, pool, nn.Identity())
    shape = (old.kernel_size[0], old.stride[0])
    kernel, stride = (3, 1) if small else shape
    if old.in_channels == in_channels and shape == (kernel, stride):
        return
    new = nn.Conv2d(in_channels, old.out_channels, kernel, stride, padding=kernel // 2, bias=old.bias is not None)
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    if pretrained:
        new.weight.data.copy_(old.weight.data.sum(dim=1, keepdim=True))
        if new.bias is not None and old.bias is not None:
            new.bias.data.copy_(old.bias.data)
    replace_module(trunk, conv, new)


def replace_module(network: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module at a dotted path of another one, such as "features.conv0", in place."""
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, module)
