"""Which classes have a primitive form, and how it writes and reads their fields."""

from __future__ import annotations

import enum
import types
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest
from pydantic import Field

from runnel.errors import ConfigError, EncodeError
from runnel.record import Record, adapt
from runnel.record.primitive import PrimitiveForm, primitive_bytes
from tests.unit.one_field import there_and_back, with_field


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Confusing(enum.Enum):
    NUMBER = 1
    TEXT = "1"


class Pair(enum.Enum):
    BOTH = (1, 2)


class Maybe(enum.Enum):
    NO = None
    YES = 1


class Truth(enum.Enum):
    YES = True
    WORD = "true"


T = TypeVar("T")


class Level(enum.IntEnum):
    LOW = 1


class Item(Record):
    sku: str
    amount: int = 1


class Flat(Record, primitive=True):
    a: int
    b: str | None
    c: Annotated[float, Field(gt=0)] = 1.0
    d: Size = Size.SMALL
    e: Literal["x", "y"] = "x"
    f: Level | None = None


def test_a_primitive_record_describes_its_fields() -> None:
    record_type = adapt(Flat)
    assert record_type.primitive
    assert record_type.primitive_form.optional == {"b", "f"}
    assert record_type.primitive_form.enums == {"d": Size, "f": Level}


@pytest.mark.parametrize(
    "annotation",
    [Item, list[int], dict[str, int], Any, int | str, tuple[int, ...], Literal[1], None],
)
def test_a_primitive_record_refuses_a_field_that_is_not_flat(annotation: Any) -> None:
    with pytest.raises(ConfigError, match=r"primitive record Bad, field nested: .*not flat"):
        types.new_class(
            "Bad",
            (Record,),
            {"primitive": True},
            lambda body: body.update(__annotations__={"nested": annotation}),
        )


def test_a_subclass_of_a_primitive_record_is_primitive_and_checked() -> None:
    class More(Flat):
        g: int = 1

    assert adapt(More).primitive
    with pytest.raises(ConfigError, match="field nested"):

        class Nested(Flat):
            nested: list[int]


def test_a_primitive_record_refuses_a_default_that_hides_none() -> None:
    with pytest.raises(ConfigError, match="field a: None is stored by leaving it out"):

        class Hidden(Record, primitive=True):
            a: str | None = "x"


def test_a_primitive_record_refuses_a_default_that_may_hide_none() -> None:
    with pytest.raises(ConfigError, match="field it: None is stored by leaving it out"):
        with_field((int | None, Field(default_factory=int)), primitive=True)


def test_a_primitive_record_refuses_fields_that_it_does_not_declare() -> None:
    with pytest.raises(ConfigError, match="primitive record Made: fields that it does not declare"):
        with_field(int, primitive=True, extra="allow")


def test_a_primitive_record_refuses_the_name_of_a_header() -> None:
    with pytest.raises(ConfigError, match="starts with @"):

        class Header(Record, primitive=True):
            a: str = Field(alias="@a")


def test_a_generic_primitive_record_is_checked_with_its_types() -> None:
    class Box(Record, Generic[T], primitive=True):
        value: T

    assert adapt(Box[int]).primitive
    with pytest.raises(ConfigError, match="field value"):
        Box[list[int]]


@pytest.mark.parametrize("annotation", [Confusing, Confusing | None, Annotated[Confusing, "x"]])
def test_members_that_are_stored_as_the_same_text_are_refused_by_name(annotation: Any) -> None:
    with pytest.raises(
        ConfigError,
        match=r"primitive record Made, field it: Confusing\.NUMBER and Confusing\.TEXT are "
        r"both stored as b'1', so one would be read as the other; give them values that differ",
    ):
        with_field(
            (annotation, None) if annotation == Confusing | None else annotation, primitive=True
        )


def test_a_truth_and_its_word_are_the_same_text_too() -> None:
    with pytest.raises(ConfigError, match=r"Truth\.YES and Truth\.WORD are both stored as"):
        with_field(Truth, primitive=True)


@pytest.mark.parametrize("kind", [Pair, Maybe])
def test_a_member_whose_value_is_not_flat_is_refused_in_a_primitive_record(
    kind: type[enum.Enum],
) -> None:
    member = next(iter(kind))
    with pytest.raises(ConfigError, match=rf"field it: the value of {member} is .* not flat"):
        with_field(kind, primitive=True)


@pytest.mark.parametrize("member", list(Size))
def test_a_field_with_another_name_has_its_members_too(member: Size) -> None:
    made = with_field((Size, Field(alias="other")), primitive=True)
    assert there_and_back(made(other=member)).it is member


@pytest.mark.parametrize("primitive", [True, False])
@pytest.mark.parametrize("flag", [*Access, Access(0), Access(3), *Rights, Rights(0), Rights(3)])
def test_flags_come_back_alone_and_together(flag: enum.Flag, primitive: bool) -> None:
    assert there_and_back(with_field(type(flag), primitive)(it=flag)).it is flag


FORM = PrimitiveForm(frozenset(("note",)), {"size": Size, "access": Access})


def test_fields_are_written_in_turn_and_none_is_left_out() -> None:
    assert FORM.write({"a": "ż", "note": None, "b": 1}) == [b"a", "ż".encode(), b"b", b"1"]


def test_fields_are_read_as_text_where_they_are_text_and_headers_are_left_out() -> None:
    fields = [b"a", b"1", b"raw", b"\xff", b"@trace", b"x", b"size", b"2", b"access", b"3"]
    assert FORM.read(fields) == {"note": None, "a": "1", "raw": b"\xff", "size": 2, "access": 3}
    assert FORM.read([b"size", b"9", b"access", b"x", b"note", b"n"]) == {
        "size": "9",
        "access": "x",
        "note": "n",
    }


@pytest.mark.parametrize("fields", [[b"a"], ["a", "b"], [b"\xff", b"a"], [b"a", None]])
def test_fields_that_are_not_bytes_in_pairs_are_not_read(fields: Any) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        FORM.read(fields)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (True, b"true"),
        (False, b"false"),
        (-7, b"-7"),
        (Level.LOW, b"1"),
        (0.1, b"0.1"),
        (1e300, b"1e+300"),
        ("a", b"a"),
        (b"\x00", b"\x00"),
    ],
)
def test_a_plain_value_has_these_bytes(value: Any, data: bytes) -> None:
    assert primitive_bytes("a", value) == data


@pytest.mark.parametrize("value", [[1], {"a": 1}, None])
def test_a_value_that_is_not_flat_has_none(value: Any) -> None:
    with pytest.raises(EncodeError, match=rf"^a: a {type(value).__name__} cannot be a field"):
        primitive_bytes("a", value)
