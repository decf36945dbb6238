"""Records of several classes in one stream, of a RootModel, and under a name."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec
import pytest
from pydantic import BaseModel, Discriminator, Field, RootModel, Tag, create_model
from typing_extensions import TypeAliasType

from runnel import App
from runnel.codec.compressors import LZ4
from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer
from runnel.errors import ConfigError, EncodeError, RecordError
from runnel.record import Record, adapt


class Created(Record):
    kind: Literal["created"] = "created"
    user: int
    at: datetime


class Renamed(BaseModel):
    kind: Literal["renamed"] = "renamed"
    user: int
    name: str


@dataclasses.dataclass
class Charged:
    user: int
    amount: Decimal
    kind: Literal["charged"] = "charged"


class Missing(Record):
    kind: Literal["gone"] = "gone"


class Opened(msgspec.Struct, tag="opened"):
    user: int


class Closed(msgspec.Struct, tag="closed"):
    user: int
    why: str = ""


class Deposit(Record):
    user: int
    amount: int


class Refund(Record):
    user: int
    amount: int


class Note(Record):
    user: int
    text: str


Tagged = Annotated[Created | Renamed | Charged, Field(discriminator="kind")]
Named = TypeAliasType("Named", Tagged)


class Wrapped(RootModel[Tagged]):
    pass


class Words(RootModel[list[str]]):
    pass


CREATED = Created(user=1, at=datetime(2024, 1, 2))
RENAMED = Renamed(user=1, name="a")
CHARGED = Charged(1, Decimal("1.10"))


def codec(form: Any, **options: Any) -> EntryCodec[Any]:
    return EntryCodec(adapt(form), options.pop("serializer", MsgpackSerializer()), **options)


def tag_of(value: Any) -> str:
    return "note" if isinstance(value, Note) or "text" in value else "deposit"


@pytest.mark.parametrize(
    ("form", "records"),
    [
        (Tagged, [CREATED, RENAMED, CHARGED]),
        (Named, [CREATED, RENAMED, CHARGED]),
        (Annotated[Tagged, "more"], [CREATED, RENAMED, CHARGED]),
        (Created | Renamed, [CREATED, RENAMED]),
        (Deposit | Note, [Deposit(user=1, amount=2), Note(user=1, text="a")]),
        (
            Annotated[
                Annotated[Deposit, Tag("deposit")] | Annotated[Note, Tag("note")],
                Discriminator(tag_of),
            ],
            [Note(user=1, text="a")],
        ),
        (Wrapped, [Wrapped(CREATED), Wrapped(RENAMED)]),
        (Words, [Words(["a", "b"]), Words([])]),
        (RootModel[dict[str, int]], [RootModel[dict[str, int]]({"a": 1})]),
        (Opened | Closed, [Opened(1), Closed(2, "b")]),
        (Annotated[Note, "text"], [Note(user=1, text="a")]),
    ],
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"serializer": JSONSerializer()},
        {"compressor": LZ4(), "compress_over": 0},
    ],
    ids=["msgpack", "json", "lz4"],
)
def test_each_comes_back_as_what_it_was(
    form: Any, records: list[Any], options: dict[str, Any]
) -> None:
    chosen = codec(form, **options)
    for record in records:
        back = codec(form).decode(chosen.encode(record))
        assert (type(back), back) == (type(record), record)


def test_it_travels_as_the_fields_of_its_class() -> None:
    assert codec(Tagged).encode(RENAMED) == codec(Renamed).encode(RENAMED)
    assert codec(Tagged).decode(codec(Renamed).encode(RENAMED)) == RENAMED


def test_one_that_would_come_back_as_another_class_asks_for_a_discriminator() -> None:
    with pytest.raises(
        EncodeError,
        match=r"Deposit \| Refund: Refund\(.*\) would come back as Deposit\(.*\); "
        r"give the union of their classes a discriminator",
    ):
        codec(Deposit | Refund).encode(Refund(user=1, amount=2))


class Special(Note):
    pass


@pytest.mark.parametrize(
    ("form", "record", "says"),
    [
        (Deposit | Note, CREATED, r"carries Deposit \| Note records, not Created: "),
        (Deposit | Note, Special(user=1, text="a"), r"this Special .* send it as Note"),
        (Deposit | Note, None, r"not NoneType: None"),
        (Deposit | Note, {"user": 1, "amount": 2}, r"not dict"),
    ],
)
def test_a_record_of_another_class_is_refused(form: Any, record: Any, says: str) -> None:
    with pytest.raises(EncodeError, match=says):
        codec(form).encode(record)


def test_from_json_makes_the_right_one() -> None:
    record_type = adapt(Tagged)
    assert record_type.from_json('{"kind": "renamed", "user": 1, "name": "a"}') == RENAMED
    with pytest.raises(RecordError, match=r"^renamed\.nmae: no such field"):
        record_type.from_json('{"kind": "renamed", "user": 1, "name": "a", "nmae": "b"}')
    assert adapt(Opened | Closed).from_json('{"type": "closed", "user": 1}') == Closed(1)


class Flat(Record, primitive=True):
    user: int


@pytest.mark.parametrize(
    ("form", "says"),
    [
        (Note | int, "int.* is not a record class"),
        (Note | None, "NoneType.* is not a record class"),
        (dict[str, Note], "not a record class"),
        (list[Note], "not a record class"),
        (BaseModel, "not a record class"),
        ("Note", "not a record class"),
        (Flat | Note, r"^Flat \| Note: an entry of a primitive record does not say its class"),
        (Note | Opened, r"^Note \| Opened: Structs and other classes cannot share"),
        (Opened | create_model("Plain"), "cannot share"),
        (Deposit | create_model("Bad", call=(type, ...)), r"^Bad\.call: its values"),
    ],
)
def test_classes_that_cannot_be_distinguished_or_stored_are_refused_when_declared(
    form: Any, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        adapt(form)


def test_the_key_is_a_field_of_every_one() -> None:
    app = App("union")
    stream = app.stream("users", record=Tagged, partition_by="user", partition_count=4)
    assert len({stream.spec.partition(each) for each in (CREATED, RENAMED, CHARGED)}) == 1
    with pytest.raises(
        ConfigError, match=r"partition_by names 'user', which is no field of Missing;"
    ):
        app.stream("bad", record=Created | Missing, partition_by="user")
    with pytest.raises(ConfigError, match=r"'user', .* no field of Wrapped; .* function of the"):
        app.stream("bad", record=Wrapped, partition_by="user")
    app.stream("wrapped", record=Wrapped, partition_by=lambda each: each.root.user)
