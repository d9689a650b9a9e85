from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from semscale_pl.tables.publishing import joined, own_part, shared_part

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(0, 2)
    | st.sampled_from([0.0, 1.0, "a"])
    | st.lists(st.integers(0, 1), max_size=2)
)
KEYS = st.sampled_from("abc")
RECORDS = st.dictionaries(
    KEYS, st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=6)
)


def text(record: Any) -> str:
    """JSON tells 1 from 1.0 and from true, as Python does not."""
    return json.dumps(record, sort_keys=True)


@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_every_record_comes_back_whole(records: list[dict[str, Any]]) -> None:
    shared = shared_part(records)
    for record in records:
        assert text(joined(own_part(record, shared), shared)) == text(record)


@given(RECORDS)
def test_equal_records_leave_nothing_of_their_own(record: dict[str, Any]) -> None:
    shared = shared_part([record, dict(record)])
    assert text(shared) == text(record)
    assert own_part(record, shared) == {}
