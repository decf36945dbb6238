"""Plain values to bytes and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runnel.codec import serializers
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer
from runnel.errors import EncodeError

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
        monkeypatch.setattr(serializers, "_orjson", lambda: None)
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


def with_and_without_orjson(method: str, given: Any) -> list[str]:
    """The outcome on each path: the `repr` of a value, or a refusal."""
    outcomes = []
    for writer in (serializers._orjson, lambda: None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(serializers, "_orjson", writer)
            try:
                outcomes.append(repr(getattr(JSONSerializer(), method)(given)))
            except (ValueError, EncodeError):
                outcomes.append("refused")
    return outcomes


def test_there_are_two_paths() -> None:
    assert serializers._orjson() is not None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e999", "refused"),
        ("-1e999", "refused"),
        ("1E+400", "refused"),
        ("1" * 310 + ".0", "refused"),
        ("1" * 215 + "e99", "refused"),
        ("1.7976931348623159e308", "refused"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("1e100", "1e+100"),
        ('"1e999"', "'1e999'"),
        ("1e-999", "0.0"),
        (r'"\ud800"', "refused"),
        (r'"\udc00\ud800"', "refused"),
        (r'"\ud83d\ude00"', "'😀'"),
        (r'{"\ud800":1}', "refused"),
        (r'{"a":"\ud800","a":1}', "refused"),
        ('{"a":1,"a":2}', "{'a': 2}"),
        ("NaN", "refused"),
        ("[Infinity]", "refused"),
        ("-Infinity", "refused"),
        ("18446744073709551616", "18446744073709551616"),
        ("-9223372036854775809", "-9223372036854775809"),
        ("9" * 4300, "9" * 4300),
        ("9" * 4301, "refused"),
        ("-0", "0"),
        ("-0.0", "-0.0"),
        ("0.1", "0.1"),
        ("01", "refused"),
        ("1.", "refused"),
        ("\ufeff1", "refused"),
        ("1\x00", "refused"),
        ('"\x1f"', "refused"),
        ('"\x7f"', r"'\x7f'"),
        ("[1,]", "refused"),
        ("1 1", "refused"),
        ("", "refused"),
        (b'"\xff"', "refused"),
        (b'"\xed\xa0\x80"', "refused"),
        ("[" * 200 + "]" * 200, "[" * 200 + "]" * 200),
        ("[" * 1000 + "]" * 1000, "refused"),
        ('{"a":' * 300 + "1" + "}" * 300, "refused"),
    ],
    ids=lambda each: str(each)[:12],
)
def test_json_is_read_the_same_whatever_is_installed(text: str | bytes, value: str) -> None:
    data = text.encode() if isinstance(text, str) else text
    assert with_and_without_orjson("loads", data) == [value, value]


SNIPPETS = st.sampled_from(
    [
        *(
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            " ",
            "\n",
            '"',
            '"a"',
            '"b":',
            '{"a":',
            "null",
            "true",
            "-",
        ),
        *(
            "-",
            "0",
            "1",
            ".5",
            "e",
            "E+",
            "1e999",
            "1e-400",
            "NaN",
            "Infinity",
            "9" * 19,
            "9" * 310,
        ),
        *(r"\u0000", r"\ud800", r"\udc00", r"\n", "\\", "\ufeff", "é", "\x00", "\ud800"),
    ]
)
DOCUMENTS = st.lists(SNIPPETS, max_size=12).map("".join) | JSON_MAPS.map(json.dumps)


@given(DOCUMENTS.map(lambda text: text.encode(errors="surrogatepass")) | st.binary(max_size=9))
def test_any_json_is_read_the_same_or_refused_on_both_paths(data: bytes) -> None:
    with_orjson, without = with_and_without_orjson("loads", data)
    assert with_orjson == without
    if without != "refused":
        assert without == repr(json.loads(data))


ODD = st.sampled_from([1e16, 1e-5, 1e22, 5e-324, float("nan"), float("inf"), -0.0, 2**64, 10**400])
ANYTHING = maps(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | ODD
    | st.text(alphabet=st.characters(exclude_categories=()), max_size=4)
    | st.sampled_from(["null", "1e5", "0.00001", "\ud800", "\u2028", "\x7f"])
    | st.binary(max_size=2)
    | st.just((1, "a"))
    | st.sampled_from([{1}, Decimal("1"), datetime(2024, 1, 2), object])
)


@given(ANYTHING)
def test_any_value_is_written_as_the_same_bytes_or_refused_on_both_paths(
    value: dict[str, Any],
) -> None:
    with_orjson, without = with_and_without_orjson("dumps", value)
    assert with_orjson == without


@given(ANYTHING)
def test_what_json_writes_it_reads(value: dict[str, Any]) -> None:
    try:
        data = JSONSerializer().dumps(value)
    except EncodeError:
        return
    assert repr(JSONSerializer().loads(data)) == repr(_lists(value))


def _lists(value: Any) -> Any:
    """JSON has no tuples."""
    if isinstance(value, dict):
        return {key: _lists(each) for key, each in value.items()}
    return [_lists(each) for each in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("depth", [200, 210, 260, 1100])
@pytest.mark.parametrize("wrap", [lambda each: [each], lambda each: {"a": each}])
def test_what_is_nested_too_deep_to_be_read_is_not_written_on_either_path(
    depth: int, wrap: Callable[[Any], Any]
) -> None:
    value: Any = "bottom"
    for _ in range(depth - 1):
        value = wrap(value)
    first, second = with_and_without_orjson("dumps", {"a": value})
    assert first == second
    assert (first == "refused") == (depth > 200)


def test_what_could_not_be_packed_leaves_nothing_behind() -> None:
    serializer = MsgpackSerializer()
    for bad in ({"a": "x" * 100, "b": object()}, {"a": 2**64}, {"a": "\ud800"}):
        with pytest.raises(EncodeError):
            serializer.dumps(bad)
        assert serializer.dumps({"a": 1}) == msgpack.packb({"a": 1})


def test_threads_pack_side_by_side() -> None:
    value = {str(number): "x" * number for number in range(50)}
    expected = msgpack.packb(value)
    with ThreadPoolExecutor(8) as threads:
        packed = threads.map(lambda _: MsgpackSerializer().dumps(value), range(400))
        assert all(each == expected for each in packed)


def test_json_is_the_same_bytes_with_and_without_orjson(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"a": 'ż"\n/', "b": [1, None, True, {"c": -(2**62)}], "e": ""}
    fast = JSONSerializer().dumps(values)
    monkeypatch.setattr("runnel.codec.serializers._orjson", lambda: None)
    assert JSONSerializer().dumps(values) == fast


@pytest.mark.parametrize("value", [float("nan"), float("inf"), b"bytes"])
def test_json_refuses_bytes_and_numbers_that_it_has_no_form_for(value: Any) -> None:
    with pytest.raises(EncodeError):
        JSONSerializer().dumps({"a": value})


def test_msgpack_refuses_an_integer_over_64_bits() -> None:
    with pytest.raises(EncodeError):
        MsgpackSerializer().dumps({"a": 2**64})
