"""Structs are records like any other: read, checked and refused by the names of their fields."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest

from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import MsgpackSerializer, Serializer
from runnel.errors import ConfigError, DecodeError, EncodeError, RecordError
from runnel.record import adapt
from tests.unit.one_field import there_and_back


class Raw(msgspec.Struct):
    a: int
    raw: bytes = b""


class ArrayLike(msgspec.Struct, array_like=True):
    a: int


class StructOfTwoTexts(msgspec.Struct):
    a: datetime | str


def sent(record: Any, serializer: Serializer | None = None, **options: Any) -> Any:
    """The record that a reader gets."""
    codec = EntryCodec(adapt(type(record)), serializer or MsgpackSerializer(), **options)
    return EntryCodec(adapt(type(record)), MsgpackSerializer()).decode(codec.encode(record))


class Struct(msgspec.Struct, rename="camel", omit_defaults=True):
    order_id: int = 0
    inner: list[Struct] = []
    by: dict[str, Struct] = {}
    data: dict[str, int] = {}


class Needy(msgspec.Struct):
    a: int


class StructRow(msgspec.Struct):
    items: list[Any] = []
    by: dict[str, int] = {}
    rows: list[dict[str, int]] = []
    deep: dict[str, list[dict[str, Struct]]] = {}
    numbered: dict[int, int] = {}
    needs: list[Needy] = []


class Opened(msgspec.Struct, tag="opened"):
    user: int


class Closed(msgspec.Struct, tag="closed"):
    user: int
    why: str = ""


def test_a_struct_travels_as_any_other_record() -> None:
    codec = EntryCodec(adapt(Raw), MsgpackSerializer())
    assert codec.decode(codec.encode(Raw(1, b"\xff"))) == Raw(1, b"\xff")
    with pytest.raises(DecodeError, match=r"Raw\.a: missing"):
        codec.decode([b"msgpack", b"\x80"])


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (StructOfTwoTexts, r"^StructOfTwoTexts\.a: it cannot be stored: Type unions"),
        (ArrayLike, "array_like"),
    ],
)
def test_a_struct_that_cannot_be_stored_is_refused(cls: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        adapt(cls)


def test_untagged_structs_are_refused() -> None:
    class Other(msgspec.Struct):
        user: int

    with pytest.raises(ConfigError, match=r"^Opened \| Other cannot be stored: .*tagged"):
        adapt(Opened | Other)


def test_an_entry_of_tagged_structs_names_the_field() -> None:
    for values, says in (
        ({"type": "opened", "user": "x"}, r'^Opened \| Closed\.user: expected int, got "x"$'),
        ({"type": "opened"}, r"^Opened \| Closed\.user: missing$"),
        ({"type": "lost"}, r"^Opened \| Closed\.type: invalid value 'lost'"),
        ([1], r"^Opened \| Closed: "),
    ):
        with pytest.raises(DecodeError, match=says):
            adapt(Opened | Closed).load(values)


def test_a_default_that_would_not_come_back_is_refused() -> None:
    class Struct(msgspec.Struct):
        it: str = None  # type: ignore[assignment]

    class Right(msgspec.Struct):
        it: str | None = None
        many: list[int] = []
        when: datetime | msgspec.UnsetType = msgspec.UNSET

    with pytest.raises(ConfigError, match=r"^Struct\.it: its default None "):
        adapt(Struct)
    assert there_and_back(Right()) == Right()


def test_a_struct_with_its_own_equality_is_compared_by_its_fields() -> None:
    class Same(msgspec.Struct):
        a: Any

        def __eq__(self, other: object) -> bool:
            return True

    assert sent(Same(1)).a == 1
    with pytest.raises(EncodeError, match=r"Same\.a: \(1,\) would come back as \[1\]"):
        sent(Same((1,)))


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"by": {"a": 1, "b": "x"}}, "StructRow.by.b: expected int"),
        ({"rows": [{}, {"a": "x"}]}, 'StructRow.rows[1].a: expected int, got "x"'),
        (
            {"deep": {"k": [{}, {"a": {}}], "l": [{"b": {}, "c": {"orderId": "x"}}]}},
            'StructRow.deep.l[0].c.orderId: expected int, got "x"',
        ),
        (
            {"deep": {"k": [{"a b": 1}]}},
            "StructRow.deep.k[0]['a b']: expected",
        ),
        ({"numbered": {"1": 1, "x": 2}}, "StructRow.numbered: expected int as key"),
        ({"needs": [{"a": 1}, {}]}, "StructRow.needs[1].a: missing"),
    ],
)
def test_the_wrong_part_of_a_struct_is_named_with_its_path(values: Any, path: str) -> None:
    with pytest.raises(RecordError) as caught:
        adapt(StructRow).load(values)
    assert str(caught.value).startswith(path)


def test_stored_fields_that_a_struct_does_not_declare_are_left_out() -> None:
    values = {"orderId": 1, "new": 2, "inner": [{"new": 3}]}
    assert "new" not in repr(adapt(Struct).load(values))


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ('{"orderId": 1, "order_id": 2}', ["Struct.order_id"]),
        (
            '{"inner": [{}, {"x": 1}], "by": {"k": {"y": 1}}, "data": {"z": 1}}',
            ["Struct.inner[1].x", "Struct.by.k.y"],
        ),
    ],
)
def test_json_with_fields_that_a_struct_does_not_declare_is_refused_by_name(
    text: str, paths: list[str]
) -> None:
    with pytest.raises(RecordError) as caught:
        adapt(Struct).from_json(text)
    reported = str(caught.value).split("; ")
    assert sorted(reported) == sorted(f"{path}: no such field" for path in paths)
    adapt(Struct).from_json(text, ignore_unknown=True)


def test_json_with_the_names_of_a_struct_is_taken() -> None:
    adapt(Struct).from_json('{"orderId": 0, "inner": [], "by": {"k": {}}, "data": {"anything": 1}}')
