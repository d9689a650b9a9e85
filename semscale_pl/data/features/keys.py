"""Which of several named arrays or columns are the features, and which the labels."""

from __future__ import annotations

from collections.abc import Iterable

FEATURE_KEYS = ("features", "embeddings", "x", "X", "feats", "data")
LABEL_KEYS = ("labels", "label", "y", "targets", "target", "class", "class_name")


def choose_key(keys: Iterable[str], name: str, labels: bool = False) -> str:
    """Return the name under which features or labels stand.

    Args:
        keys: that there are.
        name: of the file, for messages.
        labels: whether to look for labels.

    Returns:
        The first known name; for labels an empty string where there is none. A lone array that is not known as labels
        is the features, whatever its name.

    Raises:
        ValueError: there are no features.

    Example:
        >>> choose_key(["x", "y"], "a.npz"), choose_key(["x", "y"], "a.npz", labels=True)
        ('x', 'y')
    """
    there = list(keys)
    known = [key for key in (LABEL_KEYS if labels else FEATURE_KEYS) if key in there]
    if known or labels:
        return known[0] if known else ""
    others = [key for key in there if key not in LABEL_KEYS]
    if len(others) == 1:
        return others[0]
    found = ", ".join(there[:8]) if there else "nothing"
    raise ValueError(f"Expected features under the name `features` in {name}, but found {found}. Rename the array.")
