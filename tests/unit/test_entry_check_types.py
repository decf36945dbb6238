"""A value that looks like one of another declared type comes back as it was, or is refused."""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BeforeValidator, Field, PlainSerializer

from runnel.errors import EncodeError
from runnel.record import Record, adapt
from tests.unit.one_field import there_and_back, with_field


class Colour(enum.Enum):
    RED = "red"


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2


class Confusing(enum.Enum):
    NUMBER = 1
    TEXT = "1"


class Pair(enum.Enum):
    BOTH = (1, 2)


class Connection:
    pass


def _pair_of_name(value: Any) -> Any:
    return Pair[value] if isinstance(value, str) else value


class Cat(Record):
    name: str


class Dog(Record):
    name: str


class Bird(Record):
    kind: Literal["bird"] = "bird"
    name: str


class Fish(Record):
    kind: Literal["fish"] = "fish"
    name: str


def test_outside_a_primitive_record_a_number_and_its_text_are_two_things() -> None:
    made = with_field(Confusing)
    for member in Confusing:
        assert there_and_back(made(it=member)).it is member


def test_an_enum_that_is_read_by_its_name_is_left_alone() -> None:
    class Named(enum.Enum):
        ONE = (1,)

        @classmethod
        def _missing_(cls, value: object) -> Any:
            return cls.__members__.get(value) if isinstance(value, str) else None

    by_name = Annotated[Named, PlainSerializer(lambda each: each.name)]
    assert there_and_back(with_field(by_name)(it=Named.ONE)).it is Named.ONE


def test_an_enum_with_a_form_of_its_own_is_left_alone() -> None:
    by_name = Annotated[
        Pair, PlainSerializer(lambda each: each.name), BeforeValidator(_pair_of_name)
    ]
    assert there_and_back(with_field(by_name)(it=Pair.BOTH)).it is Pair.BOTH


class TestKeys:
    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            (dict[Size, int], {Size.SMALL: 1}),
            (dict[int | None, int], {None: 1}),
            (dict[tuple[int, int], int], {(1, 1): 1}),
            (dict[Literal[1], int], {1: 1}),
            (dict[int | str, int], {1: 1}),
            (list[dict[Access, int]], [{Access.READ: 1}]),
        ],
    )
    def test_keys_that_cannot_be_distinguished_from_their_text_are_refused_when_they_are_sent(
        self, annotation: Any, value: Any
    ) -> None:
        with pytest.raises(EncodeError, match=r"Made\.it"):
            there_and_back(with_field(annotation)(it=value))

    @pytest.mark.parametrize(
        ("kind", "key"),
        [
            (str, "a"),
            (int, -1),
            (bool, False),
            (float, 1.5),
            (Decimal, Decimal("1.10")),
            (UUID, UUID(int=1)),
            (date, date(2024, 1, 2)),
            (Colour, Colour.RED),
            (Literal["a", "b"], "b"),
        ],
    )
    def test_other_keys_come_back(self, kind: Any, key: Any) -> None:
        record = with_field(dict[kind, int])(it={key: 1})
        assert there_and_back(record) == record


class TestUnions:
    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            (datetime | str, datetime(2024, 1, 2)),
            (datetime | date, date(2024, 1, 2)),
            (Decimal | str, Decimal(2)),
            (UUID | str, UUID(int=1)),
            (Colour | str, Colour.RED),
            (list[int] | set[int], {1}),
            (Cat | Dog, Dog(name="a")),
            (list[str | time], [time(3)]),
        ],
    )
    def test_a_part_that_looks_like_another_is_refused_when_it_is_sent(
        self, annotation: Any, value: Any
    ) -> None:
        with pytest.raises(EncodeError, match=r"Made\.it.* would come back as"):
            there_and_back(with_field(annotation)(it=value))

    def test_a_part_that_is_another_class_asks_for_a_discriminator(self) -> None:
        with pytest.raises(EncodeError, match=r"Cat\(name='a'\); give the union .* discriminator"):
            there_and_back(with_field(Cat | Dog)(it=Dog(name="a")))

    @pytest.mark.parametrize(
        "annotation", [str | Connection, int | type[int], Callable[[], int] | list[int]]
    )
    def test_a_part_that_holds_no_data_is_refused_when_it_is_sent(self, annotation: Any) -> None:
        made = with_field(annotation, arbitrary_types_allowed=True)
        adapt(made)
        for value in (Connection(), int, dict):
            with pytest.raises(EncodeError, match=r"Made\.it"):
                there_and_back(made.model_construct(it=value))

    @pytest.mark.parametrize(
        ("annotation", "values"),
        [
            (int | str, [1, "1"]),
            (bool | int | float | None, [True, 1, 1.5, None]),
            (Decimal | float, [Decimal("1.5"), 1.5]),
            (datetime | int, [datetime(2024, 1, 2), 3]),
            (bytes | str, [b"a", "a"]),
            (Annotated[Colour | str, Field(union_mode="left_to_right")], [Colour.RED, "blue"]),
            (Cat | Bird, [Cat(name="a"), Bird(name="a")]),
            (Annotated[Bird | Fish, Field(discriminator="kind")], [Bird(name="a"), Fish(name="a")]),
        ],
    )
    def test_parts_that_can_be_distinguished_come_back(self, annotation: Any, values: Any) -> None:
        for value in values:
            back = there_and_back(with_field(annotation)(it=value)).it
            assert (back, type(back)) == (value, type(value))

    def test_a_discriminator_is_read_by_the_name_it_is_written_with(self) -> None:
        class Plane(Record):
            kind: Literal["plane"] = Field("plane", alias="Kind")

        class Ship(Record):
            kind: Literal["ship"] = Field("ship", alias="Kind")

        made = with_field(Annotated[Plane | Ship, Field(discriminator="kind")])
        record = made(it=Ship(Kind="ship"))
        assert there_and_back(record) == record

    def test_a_literal_of_an_enum_is_refused_when_it_is_sent(self) -> None:
        with pytest.raises(EncodeError, match=r"Made\.it: expected"):
            there_and_back(with_field(Literal[Size.SMALL])(it=Size.SMALL))
