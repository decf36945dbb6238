"""Structs are records like any other: read, checked and refused by the names of their fields."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import MsgpackSerializer
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

    assert there_and_back(Same(1)).a == 1
    with pytest.raises(EncodeError, match=r"Same\.a: \(1,\) would come back as \[1\]"):
        there_and_back(Same((1,)))


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


class Strict(msgspec.Struct, rename="camel"):
    line_no: int
    unit_price: float
    raw_data: bytes = b""
    anything: Any = None
    at: time | None = None


def test_a_struct_is_read_with_every_wrong_field_named() -> None:
    with pytest.raises(
        DecodeError,
        match=r'^Strict\.lineNo: expected int, got "x"; Strict\.unitPrice: missing$',
    ):
        adapt(Strict).load({"lineNo": "x"})


def test_json_that_is_none_is_refused() -> None:
    for text in ("{", '{"lineNo": 1, "unitPrice": NaN}'):
        with pytest.raises(RecordError, match=r"^Strict: Invalid JSON: "):
            adapt(Strict).from_json(text)


def test_json_may_have_the_tag_of_a_struct_and_no_other_undeclared_field() -> None:
    record_type = adapt(Opened)
    assert record_type.from_json('{"type": "opened", "user": 1}') == Opened(1)
    with pytest.raises(RecordError, match=r"^Opened\.kind: no such field$"):
        record_type.from_json('{"type": "opened", "user": 1, "kind": "opened"}')


def test_the_part_that_cannot_be_written_is_named() -> None:
    record = Strict(1, 1.5, anything=[1, {"a": object()}])
    with pytest.raises(EncodeError, match=r"^Strict cannot be written: Strict\.anything\[1\]\.a: "):
        adapt(Strict).dump(record)


def test_a_time_that_would_lose_its_zone_does_not_come_back_as_it_was() -> None:
    at = time(1, tzinfo=ZoneInfo("Europe/Berlin"))
    record_type = adapt(Strict)
    record_type.check(Strict(1, 1.5, at=time(1)), Strict(1, 1.5, at=time(1)))
    with pytest.raises(EncodeError, match=r"^Strict cannot be written: Strict\.at: "):
        record_type.check(Strict(1, 1.5, at=at), Strict(1, 1.5, at=at.replace(tzinfo=None)))


def test_a_struct_tells_its_fields_and_the_one_that_holds_bytes() -> None:
    assert adapt(Strict).bytes_field == "Strict.rawData"
    assert adapt(Needy).bytes_field is None
    assert adapt(Opened | Closed).without_field("why") == [Opened]


def test_a_default_that_would_come_back_as_another_value_is_refused() -> None:
    class Loose(msgspec.Struct):
        it: Any = datetime(2024, 1, 2)

    with pytest.raises(
        ConfigError,
        match=r"^Loose\.it: its default .* would not come back: .* back as '2024-01-02T",
    ):
        adapt(Loose)


def test_unset_fields_of_a_struct_are_not_an_option_of_the_stream() -> None:
    with pytest.raises(ConfigError, match=r"^Needy: .*in a Struct a field that is msgspec\.UNSET"):
        adapt(Needy, exclude_unset=True)
