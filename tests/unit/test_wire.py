"""The lines between a worker and its handler process."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from runnel.errors import HandlerError
from runnel.sidecar.wire import (
    Emit,
    Result,
    Write,
    answered,
    from_json,
    read_result,
    request,
    shown,
    to_json,
)


@pytest.mark.parametrize(
    "value",
    [
        {"a": b"\xff\x00", "b": [1, 2.5, None, True, "ü"]},
        b"",
        {"$bytes": "text"},
        {"$$bytes": {"$bytes": 1}},
        {"$bytes": b"x"},
        {"$bytes": 1, "more": 2},
        {"n": 2**64 - 1, "deep": [{"x": [b"y"]}]},
    ],
)
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    line = json.dumps(to_json(value))
    assert from_json(json.loads(line)) == value


def test_what_json_does_not_have_becomes_text() -> None:
    found = to_json({1: float("nan"), "i": float("inf"), "m": -float("inf")})
    assert found == {"1": "NaN", "i": "Infinity", "m": "-Infinity"}


def test_a_request_is_one_line_of_utf_8() -> None:
    line = request({"id": 1, "record": {"text": "a\nb\u2028ü"}})
    assert line == '{"id":1,"record":{"text":"a\\nb\u2028ü"}}\n'.encode()
    half = request({"id": 2, "record": {"text": "\ud800"}})
    assert half.count(b"\n") == 1
    assert json.loads(half.decode())["record"] == {"text": "\ud800"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"hello", "what is no result: 'hello'"),
        (b"", "what is no result: ''"),
        (b"[1]", "no result"),
        (b"17", "no result"),
        (b'{"id":1', "no result"),
        (b'{"id":1,"result":"\xff"}', r"\\xff"),
        (b"[" * 100_000, "no result"),
        (b"{}", "without the id"),
        (b'{"id":"1"}', "without the id"),
        (b'{"id":true}', "without the id"),
        (b'{"id":1.0}', "without the id"),
    ],
)
def test_a_line_that_answers_nothing_is_garbage(line: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        answered(line)
    assert len(str(caught.value)) < 500


def test_a_line_that_answers_names_its_request() -> None:
    assert answered(b' {"id": 7, "result": "ok"}\r') == (7, {"id": 7, "result": "ok"})


def test_a_result_is_read() -> None:
    assert read_result({"id": 1, "result": "ok"}) == Result("ok")
    assert read_result({"id": 1, "result": "retry", "reason": "x"}) == Result("retry", "x")
    assert read_result({"id": 1, "result": "dead"}) == Result("dead")
    full = {
        "id": 1,
        "result": "ok",
        "write": [{"table": "t", "value": [1]}, {"table": "t", "key": 7, "value": None}],
        "emit": [{"stream": "s", "key": "k", "record": {"$bytes": "eA=="}, "headers": {"h": "v"}}],
    }
    assert read_result(full) == Result(
        "ok",
        "",
        (Write("t", [1]), Write("t", None, 7)),
        (Emit("s", b"x", "k", {"h": "v"}),),
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, 'must be "ok", "retry" or "dead", not null'),
        ({"result": "OK"}, 'not "OK"'),
        ({"result": ["ok"]}, "must be"),
        ({"result": "ok", "emits": []}, "unknown field 'emits'"),
        ({"result": "ok", "reason": 5}, "reason must be text"),
        ({"result": "ok", "write": {}}, "write must be a list of objects"),
        ({"result": "ok", "emit": [1]}, "emit must be a list of objects"),
        ({"result": "retry", "emit": [{"stream": "s", "record": 1}]}, 'go with the result "ok"'),
        ({"result": "dead", "write": [{"table": "t", "value": 1}]}, 'go with the result "ok"'),
        ({"result": "ok", "write": [{"table": "t"}]}, "has no value; null removes the key"),
        ({"result": "ok", "write": [{"value": 1}]}, "table must be text"),
        ({"result": "ok", "write": [{"table": "t", "value": 1, "k": 1}]}, "unknown field 'k'"),
        ({"result": "ok", "write": [{"table": "t", "value": 1, "key": 1.5}]}, "a key must be"),
        ({"result": "ok", "write": [{"table": "t", "value": 1, "key": True}]}, "a key must be"),
        ({"result": "ok", "emit": [{"stream": "s"}]}, "has no record"),
        ({"result": "ok", "emit": [{"record": 1}]}, "stream must be text"),
        ({"result": "ok", "emit": [{"stream": "s", "record": 1, "headers": [1]}]}, "headers must"),
        (
            {"result": "ok", "emit": [{"stream": "s", "record": 1, "headers": {"a": 1}}]},
            "headers must",
        ),
        ({"result": "ok", "emit": [{"stream": "s", "record": {"$bytes": "!"}}]}, "base64"),
        ({"result": "ok", "emit": [{"stream": "s", "record": {"$bytes": 5}}]}, "base64"),
    ],
)
def test_a_result_that_says_something_impossible_names_the_field(
    fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(HandlerError) as caught:
        read_result({"id": 1, **fields})
    assert says in str(caught.value)


def test_only_the_beginning_of_a_long_value_is_shown() -> None:
    assert len(shown({"x": "y" * 10_000})) < 210
    assert len(shown(b"y" * 10_000)) < 210
    assert shown(b"short") == "'short'"
