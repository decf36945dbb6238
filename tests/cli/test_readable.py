"""Every event is readable: by its record, by what the entry says, or as the fields that it has."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

from runnel import App, DeadLetter, Record
from runnel.operations.log_pages import Found
from runnel.operations.readable import Reader, json_form, time_of, with_key_text

app = App("shop")


class Item(Record):
    name: str
    data: bytes = b""


class Flat(Record, primitive=True):
    number: int


items = app.stream("items", record=Item, partition_by="name")
flats = app.stream("flats", record=Flat, partition_by="number")
dead = items.dead_letters("counter")
DECLARED = {each.name: each.spec for each in app.streams.values()}


def read(fields: list[bytes], stream: Any = items, declared: Any = DECLARED) -> dict[str, Any]:
    event = Reader(stream.spec, declared).read(Found(3, "1795961532317-0", fields))
    json.dumps(with_key_text(event), allow_nan=False)
    return event


def test_a_record_is_decoded_with_its_key_and_headers() -> None:
    event = read(items.spec.encode(Item(name="a", data=b"\xff"), {"trace": "1"}))
    assert event == {
        "stream": "items",
        "partition": 3,
        "id": "1795961532317-0",
        "at": "2026-11-29T14:12:12.317Z",
        "key": b"a",
        "headers": {"trace": "1"},
        "record": {"name": "a", "data": "\\xff"},
    }


def test_without_code_the_entry_says_how_and_the_key_is_unknown() -> None:
    event = read(items.spec.encode(Item(name="a")), declared=None)
    assert (event["record"], event["key"]) == ({"name": "a", "data": ""}, None)
    flat = read(flats.spec.encode(Flat(number=5), {"h": "1"}), flats, None)
    assert (flat["record"], flat["headers"]) == ({"number": "5"}, {"h": "1"})
    assert read(flats.spec.encode(Flat(number=5)), flats)["record"] == {"number": 5}


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ([b"name", b"a", b"data", b"b"], {"name": "a", "data": "b"}),
        ([b"msgpack", b"\xc1"], {"msgpack": "\\xc1"}),
        ([b"msgpack+lz4", b"x"], {"msgpack+lz4": "x"}),
        ([b"json", b'{"nam": 1}'], {"json": {"nam": 1}}),
        ([b"json", b"[1]", b"@h", b"1"], {"json": [1]}),
        ([b"a", b"1", b"a", b"2"], {"a": ["1", "2"]}),
        ([b"fields", b"1", b"nam", b"x"], {"fields": "1", "nam": "x"}),
        ([b"msgpack", b"\x91" * 900 + b"\x01"], None),
    ],
)
def test_what_is_no_record_is_shown_as_its_fields_with_the_reason(
    fields: list[bytes], shown: dict[str, Any] | None
) -> None:
    event = read(fields)
    assert event["unreadable"]
    assert "record" not in event
    assert event["key"] is None
    assert shown in (None, event["fields"])


def test_the_event_in_a_dead_letter_is_decoded_too() -> None:
    inner = items.spec.encode(Item(name="a"), {"h": "1"})
    letter = DeadLetter.of("items", "counter", 3, ("1-0", inner), 2, ("ValueError", "why"))
    fields = dead.spec.encode(letter)
    event = read(fields, dead)
    assert event["key"] == b"a"
    assert event["record"]["original"] == {"name": "a", "data": ""}
    assert event["record"]["error_message"] == "why"
    assert "fields" not in event["record"]
    without = read(fields, dead, None)
    assert without["record"] == event["record"]
    assert without["key"] is None


@pytest.mark.parametrize("inner", [[], [b"other", b"x"], [b"json", b"[]"]])
def test_a_dead_letter_with_an_event_that_cannot_be_decoded_keeps_its_fields(
    inner: list[bytes],
) -> None:
    letter = DeadLetter.of("items", "counter", 3, ("1-0", inner), 2, ("ValueError", "why"))
    event = read(dead.spec.encode(letter), dead)
    assert event["record"]["fields"] == [each.decode() for each in inner]


def test_a_reader_says_if_keys_are_known() -> None:
    assert Reader(items.spec, DECLARED).knows_keys
    assert Reader(dead.spec, DECLARED).knows_keys
    assert not Reader(items.spec, None).knows_keys
    assert not Reader(items.derive("other", Item).spec, DECLARED).knows_keys


def test_a_key_that_the_function_of_the_user_does_not_find_is_unknown() -> None:
    odd = app.stream("odd", record=Item, partition_by=lambda item: item.name[0])
    event = read(items.spec.encode(Item(name="")), odd)
    assert (event["key"], event["record"]["name"]) == (None, "")


def test_the_time_of_an_id_is_utc_and_an_id_without_a_time_has_none() -> None:
    assert time_of("0-1") == "1970-01-01T00:00:00.000Z"
    assert time_of("18446744073709551615-0") is None


def test_every_plain_value_has_a_form_in_json() -> None:
    values = {1: (float("nan"), float("-inf"), 1.5), b"k": msgpack.ExtType(1, b"x"), None: None}
    shown = json_form(values)
    json.dumps(shown, allow_nan=False)
    assert shown["1"] == ["nan", "-inf", 1.5]
    assert shown["None"] is None
