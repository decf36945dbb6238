"""Where a record is certain to come back, it does, whatever its values; else it is looked at."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, Field, field_serializer, field_validator, model_serializer

from runnel.entry import EntryCodec
from runnel.record import Record, adapt
from runnel.record.same import difference
from runnel.serializers import MsgpackSerializer


class Plain(Record):
    number: int = 1
    share: float = 0.5
    good: bool = True
    name: str = "a"
    day: date = date(2024, 1, 2)
    at: datetime = datetime(2024, 1, 2, tzinfo=UTC)
    key: UUID = UUID(int=1)
    other: int | None = Field(default=None, alias="another")


def certain(record: Any) -> bool:
    surely = adapt(type(record)).surely_comes_back
    return surely is not None and surely(record)


VALUES: st.SearchStrategy[Any] = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.booleans(),
    st.text(),
    st.dates(),
    st.datetimes(timezones=st.sampled_from([None, UTC, timezone(timedelta(seconds=90))])),
    st.uuids(),
    st.none(),
    st.binary(),
)
FIELDS = sorted(Plain.model_fields)
PLAIN = adapt(Plain)


@given(
    st.dictionaries(st.sampled_from([*FIELDS, "stray"]), VALUES), st.sets(st.sampled_from(FIELDS))
)
def test_what_is_certain_to_come_back_does(changes: dict[str, Any], gone: set[str]) -> None:
    record = Plain()
    record.__dict__.update(changes)
    for name in gone:
        record.__dict__.pop(name)
    assert PLAIN.surely_comes_back is not None
    if PLAIN.surely_comes_back(record):
        assert difference(record, PLAIN.load(PLAIN.dump(record)), "record") is None


@given(
    st.builds(
        Plain,
        number=st.integers(-(2**63), 2**64 - 1),
        share=st.floats(),
        name=st.text(),
        day=st.dates(),
        at=st.datetimes(timezones=st.sampled_from([None, UTC])),
        key=st.uuids(),
        another=st.none() | st.integers(),
    )
)
def test_a_record_of_plain_fields_is_certain_whatever_they_hold(record: Plain) -> None:
    assert certain(record)
    assert difference(record, PLAIN.load(PLAIN.dump(record)), "record") is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", "1"),
        ("number", None),
        ("number", True),
        ("share", 1),
        ("at", datetime(2024, 1, 2, tzinfo=ZoneInfo("Europe/Berlin"))),
        ("at", date(2024, 1, 2)),
        ("day", datetime(2024, 1, 2)),
    ],
)
def test_a_value_of_another_type_is_looked_at(name: str, value: Any) -> None:
    record = Plain()
    record.__dict__[name] = value
    assert not certain(record)


def test_a_field_that_is_missing_or_strange_is_looked_at() -> None:
    record = Plain()
    del record.__dict__["name"]
    assert not certain(record)
    record.__dict__["stray"] = "a"
    assert not certain(record)


class Limited(Record):
    number: int = Field(default=1, gt=0)


class Short(Record):
    model_config = ConfigDict(str_max_length=1)
    name: str = "a"


class Open(Record):
    model_config = ConfigDict(extra="allow")
    name: str = "a"


class Validated(Record):
    name: str = "a"

    @field_validator("name")
    @classmethod
    def lower(cls, name: str) -> str:
        return name.lower()


class Serialized(Record):
    name: str = "a"

    @field_serializer("name")
    def upper(self, name: str) -> str:
        return name.upper()


class Reshaped(Record):
    name: str = "a"

    @model_serializer
    def reshape(self) -> dict[str, str]:
        return {"name": "b"}


class Hooked(Record):
    name: str = "a"

    def model_post_init(self, _: Any) -> None:
        self.name += "!"


class Initialised(Record):
    name: str = "a"

    def __init__(self, **values: Any) -> None:
        super().__init__(**{**values, "name": "b"})


class Nested(Record):
    plain: Plain = Plain()


class Choice(Record):
    value: int | str = 1


@pytest.mark.parametrize(
    "kind",
    [
        *(Limited, Short, Open, Validated, Serialized, Reshaped, Hooked, Initialised),
        *(Nested, Choice),
    ],
)
def test_a_class_that_may_change_or_refuse_values_is_looked_at(kind: type[Record]) -> None:
    assert not certain(kind())


def test_only_what_is_certain_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = EntryCodec(adapt(Plain), MsgpackSerializer())
    looked: list[Any] = []
    monkeypatch.setattr(codec.record_type, "check", lambda sent, _: looked.append(sent))
    codec.encode(Plain())
    codec.encode(careful := Plain(at=datetime(2024, 1, 2, tzinfo=ZoneInfo("Europe/Berlin"))))
    assert looked == [careful]
