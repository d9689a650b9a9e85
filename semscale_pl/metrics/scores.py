"""The scores of every evaluated row against every class, exact, in bounded memory: what does not fit lies in files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from semscale_pl.files import CannotWriteError

# Bytes of logits that wait in memory, and of a block of scores that is read; more lies in files without a name.
IN_MEMORY = 32 * 2**20


# Bytes of a piece of a batch in float64. Large temporaries between small tensors that stay tear holes into the heap,
# which grew by the size of all logits.
_PIECE = 2**21


def log_sums_of(logits: Tensor) -> Tensor:
    """Return float64 ``log sum exp(logit - largest logit)`` (B,) of rows (B, C): minus the log of the confidence.

    Example:
        >>> import torch
        >>> log_sums_of(torch.tensor([[2.0, 2.0], [200.0, 0.0]])).exp()
        tensor([2., 1.], dtype=torch.float64)
    """
    pieces = logits.detach().split(max(1, _PIECE // (8 * logits.shape[1])))
    return torch.cat([-piece.double().log_softmax(dim=1).amax(dim=1) for piece in pieces])


class Scores:
    """Keep the logits of rows as they come, and give back their float64 log-probabilities class by class.

    Logits are kept in float32 (float64 where they come so): the last ones in memory, those before in files of the
    system's folder for temporary files, which vanish with the process however it ends. Beside ``IN_MEMORY`` bytes for
    rows and as many for the block that is read, it takes 32 bytes a row.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.clear()

    def clear(self) -> None:
        """Forget all rows and give back their files."""
        self._files: list[Tensor] = []
        self._buffer: Tensor | None = None
        self._filled = 0
        # Of each row, so that a score is `logit - maximum - log_sum`, as torch's log-softmax computes it.
        self._maxima: list[Tensor] = []
        self._log_sums: list[Tensor] = []

    def add(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Keep a batch of logits (B, C); return the float64 log-probabilities (B,) of its labels (B,)."""
        logits = logits.detach()
        logits = logits if logits.dtype in (torch.float32, torch.float64) else logits.float()
        maxima, log_sums = logits.amax(dim=1).double(), log_sums_of(logits)
        self._maxima.append(maxima.cpu())
        self._log_sums.append(log_sums.cpu())
        self._keep(logits)
        return logits.gather(1, labels[:, None]).squeeze(1).double() - maxima - log_sums

    def by_class(self) -> Iterator[tuple[int, Tensor]]:
        """Yield each class with its log-probabilities (N,) in float64, read in blocks of classes."""
        parts = [*self._files, *([] if self._buffer is None else [self._buffer[: self._filled]])]
        if not parts:
            return
        maxima, log_sums = torch.cat(self._maxima), torch.cat(self._log_sums)
        width = max(1, min(self.num_classes, IN_MEMORY // (8 * len(maxima) or 1)))
        for first in range(0, self.num_classes, width):
            block = torch.empty(min(width, self.num_classes - first), len(maxima), dtype=torch.float64)
            for part, rows in zip(parts, block.split([len(part) for part in parts], dim=1), strict=True):
                rows.copy_(part[:, first : first + width].t())
            yield from enumerate(block.sub_(maxima).sub_(log_sums), start=first)

    def _keep(self, logits: Tensor) -> None:
        if self._buffer is not None and self._buffer.dtype != logits.dtype:
            self._to_file()
            self._buffer = None
        while len(logits) > 0:
            if self._buffer is None:
                size = max(1, IN_MEMORY // (logits.element_size() * self.num_classes))
                self._buffer = torch.empty(size, self.num_classes, dtype=logits.dtype)
            taken = logits[: len(self._buffer) - self._filled]
            self._buffer[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            logits = logits[len(taken) :]
            if self._filled == len(self._buffer):
                self._to_file()

    def _to_file(self) -> None:
        """Move the rows that wait in memory to a file of their own.

        Raises:
            CannotWriteError: the file cannot be written.
        """
        assert self._buffer is not None
        rows = self._buffer[: self._filled].numpy()
        folder = "the folder for temporary files"
        try:
            folder = tempfile.gettempdir()
            with tempfile.TemporaryFile() as file:
                file.write(rows.data)
                file.flush()
                # Copy on write, since torch wants memory that it may write to.
                self._files.append(torch.from_numpy(np.memmap(file, rows.dtype, "c", shape=rows.shape)))
        except OSError as error:
            raise CannotWriteError(
                f"Expected room for {rows.nbytes / 2**20:,.0f} MiB of scores in {folder}, but got: "
                f"{error.strerror or error}. Free some, or set TMPDIR to a folder that has it."
            ) from error
        self._filled = 0
