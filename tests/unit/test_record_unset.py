"""With `exclude_unset` a record says which of its fields were set; unknown fields are reported."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from runnel import App
from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer, Serializer
from runnel.errors import ConfigError, EncodeError, RecordError
from runnel.record import Record, adapt


class Address(BaseModel):
    street: str | None = None
    city: str = "Oslo"


class Patch(Record):
    user: int
    name: str | None = None
    mail: str | None = Field(default=None, alias="eMail")
    address: Address | None = None
    others: list[Address] = []
    kind: Literal["patch"] = "patch"


class Removal(Record):
    user: int
    kind: Literal["removal"] = "removal"


def sent(record: Any, form: Any = None, serializer: Serializer | None = None) -> Any:
    codec = EntryCodec(adapt(form or type(record), True), serializer or MsgpackSerializer())
    return codec.decode(codec.encode(record))


class TestADiscriminatorThatWasNotSet:
    Either = Annotated[Patch | Removal, Field(discriminator="kind")]

    def test_it_is_named_with_what_to_do(self) -> None:
        with pytest.raises(EncodeError, match=r"'kind'.*exclude_unset=True set its discriminator"):
            sent(Removal(user=1), self.Either)

    def test_set_it_travels(self) -> None:
        assert sent(Removal(user=1, kind="removal"), self.Either) == Removal(user=1)


class TestExcludeUnset:
    @pytest.mark.parametrize("serializer", [MsgpackSerializer(), JSONSerializer()])
    @pytest.mark.parametrize(
        "record",
        [
            Patch(user=1),
            Patch(user=1, name=None),
            Patch(user=1, name="a", eMail=None),
            Patch(user=1, address=Address()),
            Patch(user=1, address=Address(street=None), others=[Address(city="Oslo"), Address()]),
        ],
    )
    def test_what_was_set_comes_back_as_set_and_the_rest_as_unset(
        self, record: Patch, serializer: Serializer
    ) -> None:
        back = sent(record, None, serializer)
        assert back == record
        assert back.model_dump(exclude_unset=True) == record.model_dump(exclude_unset=True)

    def test_unset_fields_do_not_travel(self) -> None:
        codec = EntryCodec(adapt(Patch, True), JSONSerializer())
        assert codec.encode(Patch(user=1, eMail=None)) == [b"json", b'{"user":1,"eMail":null}']

    def test_without_it_all_fields_travel_and_are_set(self) -> None:
        codec = EntryCodec(adapt(Patch), MsgpackSerializer())
        back = codec.decode(codec.encode(Patch(user=1)))
        assert back.model_fields_set == set(Patch.model_fields)

    def test_it_works_for_several_classes(self) -> None:
        form = Annotated[Patch | Removal, Field(discriminator="kind")]
        record = Patch(user=1, kind="patch", name=None)
        back = sent(record, form)
        assert back.model_fields_set == {"user", "kind", "name"}

    def test_a_tag_that_was_not_set_is_refused_when_it_is_sent(self) -> None:
        with pytest.raises(EncodeError, match="discriminator"):
            sent(Patch(user=1), Annotated[Patch | Removal, Field(discriminator="kind")])

    def test_a_default_that_is_made_again_is_refused_when_it_is_sent(self) -> None:
        class Made(Record):
            id: UUID = Field(default_factory=uuid4)

        with pytest.raises(EncodeError, match=r"Made\.id: UUID\(.*would come back as UUID"):
            sent(Made())
        assert sent(Made(id=UUID(int=1))).id == UUID(int=1)

    def test_an_unset_value_that_was_changed_is_refused(self) -> None:
        record = Patch(user=1)
        record.others.append(Address())
        with pytest.raises(EncodeError, match=r"Patch\.others: \[Address.* come back as \[\]"):
            sent(record)

    def test_a_field_that_is_set_and_not_written_is_refused(self) -> None:
        class Shy(Record):
            inner: list[Hidden]

        class Hidden(BaseModel):
            it: int = Field(default=0, exclude=True)

        Shy.model_rebuild(_types_namespace={"Hidden": Hidden})
        with pytest.raises(EncodeError, match=r"Shy\.inner\[0\]\.it: it is set and would come"):
            sent(Shy(inner=[Hidden(it=0)]))

    def test_a_validator_that_sets_a_field_is_refused(self) -> None:
        class Eager(Record):
            a: int = 1
            b: int = 1

            @model_validator(mode="after")
            def set_both(self) -> Eager:
                self.b = self.a
                return self

        record = Eager(a=1)
        record.__pydantic_fields_set__.discard("b")
        with pytest.raises(EncodeError, match=r"Eager\.b: it is unset and would come back set"):
            sent(record)

    def test_where_nothing_is_known_to_be_set_it_is_refused(self) -> None:
        @dataclasses.dataclass
        class Data:
            a: int = 1

        class Struct(msgspec.Struct):
            a: int = 1

        class Flat(Record, primitive=True):
            a: int = 1

        for cls, says in (
            (Data, "needs pydantic models"),
            (Struct, "in a Struct a field that is msgspec.UNSET"),
            (Flat, "a primitive record leaves out fields that are None"),
        ):
            with pytest.raises(ConfigError, match=says):
                adapt(cls, exclude_unset=True)

    def test_a_stream_takes_it(self) -> None:
        stream = App("patches").stream(
            "patches", record=Patch, partition_by="user", exclude_unset=True
        )
        entry = stream.spec.encode(Patch(user=1, name=None))
        assert stream.spec.codec.decode(entry).model_fields_set == {"user", "name"}


class Item(Record):
    sku: str
    note: str = ""


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")
    inner: Item | None = None
    plain: Address | None = None
    by: dict[str, Item] = {}


class Order(Record):
    items: list[Item] = []
    address: Address | None = None
    loose: Loose | None = None


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    items: list[Item] = []


class Struct(msgspec.Struct, rename="camel", omit_defaults=True):
    order_id: int = 0
    inner: list[Struct] = []
    by: dict[str, Struct] = {}
    data: dict[str, int] = {}


@dataclasses.dataclass
class Data:
    item: Item | None = None
    more: list[Data] = dataclasses.field(default_factory=list)


class Reading(Record):
    value: int

    @model_validator(mode="before")
    @classmethod
    def rename(cls, values: Any) -> Any:
        return {"value": values.get("value", values.get("old"))}


class TestUnknownFields:
    def test_a_record_refuses_them_when_it_is_made(self) -> None:
        with pytest.raises(ValidationError, match="notte"):
            Item(sku="a", notte="b")  # type: ignore[call-arg]
        with pytest.raises(ValidationError, match="notte"):
            Item.model_validate({"sku": "a", "notte": "b"})

    def test_a_class_may_say_otherwise(self) -> None:
        class Lax(Record, extra="ignore"):
            a: int = 1

        class Open(Record, extra="allow"):
            a: int = 1

        assert Lax(b=2) == Lax()  # type: ignore[call-arg]
        assert Open(b=2).model_extra == {"b": 2}  # type: ignore[call-arg]

    @pytest.mark.parametrize(
        ("cls", "values"),
        [
            (Item, {"sku": "a", "new": 1}),
            (Order, {"items": [{"sku": "a", "new": 1}], "address": {"new": 2}, "new": 3}),
            (Strict, {"items": [{"sku": "a", "new": 1}], "new": 3}),
            (Order, {"loose": {"inner": {"sku": "a", "new": 1}, "kept": 2}}),
            (Loose, {"by": {"x": {"sku": "a", "new": 1}}, "inner": {"sku": "b", "new": 2}}),
            (Struct, {"orderId": 1, "new": 2, "inner": [{"new": 3}]}),
            (Data, {"item": {"sku": "a", "new": 1}, "new": 2}),
        ],
    )
    def test_stored_ones_are_left_out_when_they_are_read(self, cls: Any, values: Any) -> None:
        assert "new" not in repr(adapt(cls).load(values))

    def test_those_that_a_class_keeps_are_kept(self) -> None:
        back = adapt(Order).load({"loose": {"inner": {"sku": "a", "new": 1}, "kept": 2}, "new": 3})
        assert back == Order(loose=Loose(inner=Item(sku="a"), kept=2))  # type: ignore[call-arg]

    def test_another_fault_is_still_reported(self) -> None:
        with pytest.raises(RecordError, match=r"^Loose\.inner\.sku: missing$"):
            adapt(Loose).load({"inner": {"new": 1}})

    @pytest.mark.parametrize(
        ("cls", "text", "paths"),
        [
            (Item, '{"sku": "a", "notte": "b"}', ["Item.notte"]),
            (Order, '{"items": [{"sku": "a", "x": 1}], "y": 1}', ["Order.items[0].x", "Order.y"]),
            (Order, '{"address": {"town": "b"}}', ["Order.address.town"]),
            (Address, '{"town": "b"}', ["Address.town"]),
            (Order, '{"loose": {"inner": {"sku": "a", "x": 1}, "y": 1}}', ["Order.loose.inner.x"]),
            (Order, '{"loose": {"plain": {"x": 1}, "y": 1}}', ["Order.loose.plain.x"]),
            (Struct, '{"orderId": 1, "order_id": 2}', ["Struct.order_id"]),
            (Struct, '{"inner": [{}, {"x": 1}], "by": {"k": {"y": 1}}, "data": {"z": 1}}',
             ["Struct.inner[1].x", "Struct.by.k.y"]),
            (Data, '{"item": {"sku": "a", "x": 1}, "more": [{"y": 1}]}',
             ["Data.item.x", "Data.more[0].y"]),
        ],
    )  # fmt: skip
    def test_json_that_has_them_is_refused_by_name(
        self, cls: Any, text: str, paths: list[str]
    ) -> None:
        with pytest.raises(RecordError) as caught:
            adapt(cls).from_json(text)
        reported = str(caught.value).split("; ")
        assert sorted(reported) == sorted(f"{path}: no such field" for path in paths)
        adapt(cls).from_json(text, ignore_unknown=True)

    @pytest.mark.parametrize(
        ("cls", "text"),
        [
            (Struct, '{"orderId": 0, "inner": [], "by": {"k": {}}, "data": {"anything": 1}}'),
            (Loose, '{"anything": 1}'),
            (Order, '{"loose": {"anything": {"at": "all"}, "by": {"k": {"sku": "a"}}}}'),
            (Reading, '{"old": 1}'),
        ],
    )
    def test_json_without_them_is_taken(self, cls: Any, text: str) -> None:
        adapt(cls).from_json(text)


class Row(Record):
    items: list[Any] = []
    by: dict[str, Any] = {}
    inner: Row | None = None
    picky: float = 0.0

    @field_validator("picky", mode="plain")
    @classmethod
    def anything(cls, value: Any) -> Any:
        return value


@dataclasses.dataclass
class DataRow:
    items: list[Any]


class Needy(msgspec.Struct):
    a: int


class StructRow(msgspec.Struct):
    items: list[Any] = []
    by: dict[str, int] = {}
    rows: list[dict[str, int]] = []
    deep: dict[str, list[dict[str, Struct]]] = {}
    numbered: dict[int, int] = {}
    needs: list[Needy] = []


class TestPaths:
    @pytest.mark.parametrize(
        ("record", "path"),
        [
            (Row(items=[1, 2, {"price": object()}]), "Row.items[2].price"),
            (Row(items=[1, 2, {"a b": [2**70]}]), "Row.items[2]['a b'][0]"),
            (Row(by={"x": {"y": "\ud800"}}), "Row.by.x.y"),
            (Row(inner=Row(inner=Row(items=[object()]))), "Row.inner.inner.items[0]"),
            (Row(inner=Row(items=[(1,)])), "Row.inner.items[0]"),
            (Row(items=[0] * 5000 + [2**70] + [0] * 5000), "Row.items[5000]"),
            (DataRow([1, {"a": object()}]), "DataRow.items[1].a"),
            (StructRow([1, {"a": object()}]), "StructRow.items[1].a"),
            (StructRow([[2**70]]), "StructRow.items[0][0]"),
            (StructRow(by={"a": "x"}), "StructRow.by.a"),  # type: ignore[dict-item]
        ],
    )
    def test_what_cannot_be_sent_is_named_with_its_path(self, record: Any, path: str) -> None:
        with pytest.raises(EncodeError) as caught:
            EntryCodec(adapt(type(record)), MsgpackSerializer()).encode(record)
        assert f"{path}: " in str(caught.value)

    def test_a_value_that_is_inside_itself_is_refused(self) -> None:
        endless: list[Any] = []
        endless.append(endless)
        for record in (Row(items=endless), StructRow(endless)):
            with pytest.raises(EncodeError, match=r"Row\.items\[0\]"):
                EntryCodec(adapt(type(record)), MsgpackSerializer()).encode(record)

    @pytest.mark.parametrize(
        ("cls", "values", "path"),
        [
            (Order, {"items": [{"sku": "a"}, {"sku": 1}]}, "Order.items[1].sku: expected a string"),
            (Loose, {"by": {"a b": {"sku": 1}}}, "Loose.by['a b'].sku: expected a string, got 1"),
            (StructRow, {"by": {"a": 1, "b": "x"}}, "StructRow.by.b: expected int"),
            (StructRow, {"rows": [{}, {"a": "x"}]}, 'StructRow.rows[1].a: expected int, got "x"'),
            (
                StructRow,
                {"deep": {"k": [{}, {"a": {}}], "l": [{"b": {}, "c": {"orderId": "x"}}]}},
                'StructRow.deep.l[0].c.orderId: expected int, got "x"',
            ),
            (
                StructRow,
                {"deep": {"k": [{"a b": 1}]}},
                "StructRow.deep.k[0]['a b']: expected",
            ),
            (StructRow, {"numbered": {"1": 1, "x": 2}}, "StructRow.numbered: expected int as key"),
            (StructRow, {"needs": [{"a": 1}, {}]}, "StructRow.needs[1].a: missing"),
        ],
    )
    def test_what_cannot_be_read_is_named_with_its_path(
        self, cls: Any, values: Any, path: str
    ) -> None:
        with pytest.raises(RecordError) as caught:
            adapt(cls).load(values)
        assert str(caught.value).startswith(path)
