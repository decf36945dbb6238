"""Plain values to bytes and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runnel import serializers
from runnel.errors import EncodeError
from runnel.serializers import JSONSerializer, MsgpackSerializer, plain

FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def maps(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.text(max_size=4)
    nested = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=4,
    )
    return st.dictionaries(names, nested, max_size=3)


SIXTY_FOUR = st.integers(-(2**63), 2**64 - 1)
MSGPACK_MAPS = maps(
    st.none() | st.booleans() | SIXTY_FOUR | FLOATS | st.text(max_size=9) | st.binary(max_size=9)
)
JSON_MAPS = maps(st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=9))


@pytest.fixture(params=["orjson", "standard library"])
def json_serializer(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> JSONSerializer:
    if request.param == "standard library":
        monkeypatch.setattr(serializers, "orjson", None)
    return JSONSerializer()


@given(MSGPACK_MAPS)
def test_msgpack_brings_every_value_back(value: dict[str, Any]) -> None:
    assert MsgpackSerializer().loads(MsgpackSerializer().dumps(value)) == value


def test_msgpack_writes_bytes_as_bin() -> None:
    assert MsgpackSerializer().dumps({"a": b"\xff"}) == b"\x81\xa1a\xc4\x01\xff"


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1])
def test_msgpack_refuses_integers_over_64_bits(number: int) -> None:
    with pytest.raises(EncodeError, match=r"64 bits.*Decimal"):
        MsgpackSerializer().dumps({"a": number})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON_MAPS)
def test_json_brings_every_value_back(
    json_serializer: JSONSerializer, value: dict[str, Any]
) -> None:
    assert json_serializer.loads(json_serializer.dumps(value)) == value


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON_MAPS)
def test_json_bytes_do_not_depend_on_what_is_installed(
    json_serializer: JSONSerializer, value: dict[str, Any]
) -> None:
    expected = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    assert json_serializer.dumps(value) == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(value=FLOATS)
def test_json_numbers_do_not_depend_on_what_is_installed(
    json_serializer: JSONSerializer, value: float
) -> None:
    assert json_serializer.dumps({"a": value}) == b'{"a":%s}' % repr(value).encode()


@pytest.mark.parametrize("value", [1e16, 1e-5, -1e-5, 1e-7, 1.5e300, 0.00012, 1e15, -0.0, 123e20])
def test_json_writes_a_number_as_python_does(json_serializer: JSONSerializer, value: float) -> None:
    assert json_serializer.dumps({"a": value}) == b'{"a":%s}' % repr(value).encode()


def test_json_keeps_text_readable_and_says_null(json_serializer: JSONSerializer) -> None:
    data = json_serializer.dumps({"a": "zażółć", "b": None})
    assert data == '{"a":"zażółć","b":null}'.encode()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"x", "msgpack serializer, or base64"),
        ([{"b": b"x"}], "msgpack serializer, or base64"),
        (float("nan"), "JSON"),
        (float("inf"), "JSON"),
        ("\ud800", "surrogates"),
        ({1, 2}, "no type for set"),
    ],
)
def test_json_refuses_what_it_cannot_hold(
    json_serializer: JSONSerializer, value: Any, reason: str
) -> None:
    with pytest.raises(EncodeError, match=reason):
        json_serializer.dumps({"a": value})


@pytest.mark.parametrize("data", [b"", b"{", b'{"a":NaN}', b"\xff", b"{} {}", b"{\0}\0"])
def test_json_refuses_bytes_that_are_not_json(json_serializer: JSONSerializer, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        json_serializer.loads(data)


@pytest.mark.parametrize("number", [2**64 + 1, 2**64, 2**64 - 1, -(2**63), -(2**63) - 1])
def test_json_reads_every_digit_of_a_long_integer(
    json_serializer: JSONSerializer, number: int
) -> None:
    read = json_serializer.loads(json_serializer.dumps({"a": number}))["a"]
    assert (read, type(read)) == (number, int)


def test_serializers_read_memory_views(json_serializer: JSONSerializer) -> None:
    for each in (json_serializer, MsgpackSerializer()):
        assert each.loads(memoryview(each.dumps({"a": 1}))) == {"a": 1}


class Size(Enum):
    SMALL = "s"


@pytest.mark.parametrize(
    ("value", "canonical"),
    [
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2024, 1, 2, 3, 4, 5), "2024-01-02T03:04:05"),
        (datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC), "2024-01-02T03:04:05Z"),
        (Size.SMALL, "s"),
        ((1, Size.SMALL), [1, "s"]),
        ({1: 2, Size.SMALL: 3, UUID(int=1): 4}, {"1": 2, "s": 3, str(UUID(int=1)): 4}),
        (bytearray(b"x"), b"x"),
    ],
)
def test_a_value_without_a_plain_type_becomes_its_text(value: Any, canonical: Any) -> None:
    assert plain(value) == canonical
