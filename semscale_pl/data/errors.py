"""What is wrong with a dataset, as errors whose message is one line for the user; without torch."""

from __future__ import annotations


class DatasetNotFound(FileNotFoundError):  # noqa: N818
    """A dataset is not where it was looked for; the message says what to download and where to put it."""


class DataError(ValueError):
    """A dataset is there but wrong; the message says what is wrong, where, and what to do."""
