"""Store many records that are mostly alike: what all share once, and of each only what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Content = Mapping[str, Any]


def shared_part(records: Sequence[Content]) -> dict[str, Any]:
    """Return what all records have in common, mappings compared entry by entry and lists as a whole.

    Args:
        records: nested mappings.

    Returns:
        The common entries.

    Example:
        >>> shared_part([{"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 2, "d": 4}}])
        {'a': 1, 'b': {'c': 2}}
    """
    first, *others = records
    common: dict[str, Any] = {}
    for key, value in first.items():
        if not all(key in other for other in others):
            continue
        if all(_same(other[key], value) for other in others):
            common[key] = value
        elif isinstance(value, Mapping) and all(isinstance(other[key], Mapping) for other in others):
            common[key] = shared_part([value, *(other[key] for other in others)])
    return {key: value for key, value in common.items() if value != {} or first[key] == {}}


def own_part(record: Content, shared: Content) -> dict[str, Any]:
    """Return what a record has beyond the shared part; :func:`joined` puts the two together again.

    Args:
        record: one of the records.
        shared: their :func:`shared_part`.
    """
    own: dict[str, Any] = {}
    for key, value in record.items():
        if key not in shared:
            own[key] = value
        elif not _same(shared[key], value):
            own[key] = own_part(value, shared[key])
    return own


def joined(own: Content, shared: Content) -> dict[str, Any]:
    """Put a record together again.

    Args:
        own: see :func:`own_part`.
        shared: see :func:`shared_part`.

    Returns:
        The record.

    Example:
        >>> joined({"b": {"d": 4}}, {"a": 1, "b": {"c": 2}})
        {'a': 1, 'b': {'c': 2, 'd': 4}}
    """
    merged = dict(shared)
    for key, value in own.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = joined(value, merged[key]) if both else value
    return merged


def _same(first: Any, second: Any) -> bool:
    # 1, 1.0 and True are equal in Python and different in a file.
    return first is second or json.dumps(first, default=str) == json.dumps(second, default=str)
