"""What the schema of a class says of its values: their form, their names and their equality."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from runnel.record import adapt
from runnel.record.plain import plain
from tests.unit.every_kind import RECORDS, Camel, Data, Native, Nested, Scalars, Tree, Unions

few = settings(max_examples=25)


@few
@given(data=st.data())
@pytest.mark.parametrize("kind", [Scalars, Nested, Unions, Camel, Tree, Data, Native])
def test_the_fast_way_to_plain_values_is_the_slow_way(kind: type[Any], data: st.DataObject) -> None:
    record = data.draw(RECORDS[kind])
    adapter = TypeAdapter(kind)
    slow = plain(adapter.dump_python(record, by_alias=True, round_trip=True, warnings=False))
    assert without_order(adapt(kind).dump(record)) == without_order(slow)


def without_order(value: Any) -> Any:
    """A set is dumped in whatever order it has at the time."""
    if isinstance(value, dict):
        return {key: without_order(each) for key, each in value.items()}
    if isinstance(value, list):
        return sorted(map(without_order, value), key=repr)
    return value
