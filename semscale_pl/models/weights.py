"""The numbers of a network as one short name, by which what was computed with them can be told apart."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def weights_digest(module: nn.Module) -> str:
    """Hash the parameters and buffers of a module, with their names, types and shapes, to 16 hexadecimal digits.

    Neither the device nor the memory format matters, nor how many batches a batch norm has counted, which changes no
    output.

    Example:
        >>> zeros = nn.Linear(1, 1, bias=False)
        >>> _ = zeros.weight.data.zero_()
        >>> weights_digest(zeros)
        '23551325fa0c54ac'
    """
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if name.endswith("num_batches_tracked"):
            continue
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        # As bytes, since numpy lacks some of torch's types.
        numbers = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        found.update(numbers.numpy().tobytes())
    return found.hexdigest()[:16]
