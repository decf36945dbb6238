"""With `exclude_unset` a record says which of its fields were set."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import msgspec
import pytest
from pydantic import BaseModel, Field, model_validator

from runnel import App
from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer, Serializer
from runnel.errors import ConfigError, EncodeError
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


EITHER = Annotated[Patch | Removal, Field(discriminator="kind")]


class Item(Record):
    sku: str
    note: str = ""


class Struct(msgspec.Struct, rename="camel", omit_defaults=True):
    order_id: int = 0
    inner: list[Struct] = []
    by: dict[str, Struct] = {}
    data: dict[str, int] = {}


@dataclasses.dataclass
class Data:
    item: Item | None = None
    more: list[Data] = dataclasses.field(default_factory=list)


class TestADiscriminatorThatWasNotSet:
    def test_it_is_named_with_what_to_do(self) -> None:
        with pytest.raises(EncodeError, match=r"'kind'.*exclude_unset=True set its discriminator"):
            sent(Removal(user=1), EITHER)

    def test_set_it_travels(self) -> None:
        assert sent(Removal(user=1, kind="removal"), EITHER) == Removal(user=1)


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
