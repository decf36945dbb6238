"""A record class with a field that could never be read back is refused when it is declared; a value
that could not, when it is sent."""

from __future__ import annotations

import dataclasses
import enum
import functools
import operator
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

import msgspec
import pytest
from pydantic import (
    AfterValidator,
    AliasChoices,
    AliasGenerator,
    AliasPath,
    BaseModel,
    BeforeValidator,
    Field,
    PlainSerializer,
    Secret,
    SecretBytes,
    SecretStr,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel, to_pascal
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer
from runnel.errors import ConfigError, EncodeError
from runnel.record import Record, adapt, checks

T = TypeVar("T")


def there_and_back(record: Any) -> Any:
    codec = EntryCodec(adapt(type(record)), MsgpackSerializer())
    return codec.decode(codec.encode(record))


def with_field(field: Any, primitive: bool = False, **config: Any) -> type[Any]:
    """A record class `Made` with one field, `it`: an annotation, or one with its default."""
    return create_model(
        "Made",
        __base__=Record,
        __cls_kwargs__={"primitive": primitive, **config},
        it=field if isinstance(field, tuple) else (field, ...),
    )


class Colour(enum.Enum):
    RED = "red"


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


class Day(enum.Enum):
    FIRST = date(2024, 1, 1)


class Maybe(enum.Enum):
    NO = None
    YES = 1


class Truth(enum.Enum):
    YES = True
    WORD = "true"


class Connection:
    pass


class TestEnums:
    @pytest.mark.parametrize("annotation", [Confusing, Confusing | None, Annotated[Confusing, "x"]])
    def test_members_that_are_stored_as_the_same_text_are_refused_by_name(
        self, annotation: Any
    ) -> None:
        with pytest.raises(
            ConfigError,
            match=r"primitive record Made, field it: Confusing\.NUMBER and Confusing\.TEXT are "
            r"both stored as b'1', so one would be read as the other; give them values that differ",
        ):
            with_field(
                (annotation, None) if annotation == Confusing | None else annotation, primitive=True
            )

    def test_a_truth_and_its_word_are_the_same_text_too(self) -> None:
        with pytest.raises(ConfigError, match=r"Truth\.YES and Truth\.WORD are both stored as"):
            with_field(Truth, primitive=True)

    @pytest.mark.parametrize("member", list(Size))
    def test_a_field_with_another_name_has_its_members_too(self, member: Size) -> None:
        made = with_field((Size, Field(alias="other")), primitive=True)
        assert there_and_back(made(other=member)).it is member

    def test_outside_a_primitive_record_a_number_and_its_text_are_two_things(self) -> None:
        made = with_field(Confusing)
        for member in Confusing:
            assert there_and_back(made(it=member)).it is member

    @pytest.mark.parametrize("kind", [Pair, Maybe])
    def test_a_member_whose_value_is_not_flat_is_refused_in_a_primitive_record(
        self, kind: type[enum.Enum]
    ) -> None:
        member = next(iter(kind))
        with pytest.raises(ConfigError, match=rf"field it: the value of {member} is .* not flat"):
            with_field(kind, primitive=True)

    @pytest.mark.parametrize("primitive", [True, False])
    @pytest.mark.parametrize("flag", [*Access, Access(0), Access(3), *Rights, Rights(0), Rights(3)])
    def test_flags_come_back_alone_and_together(self, flag: enum.Flag, primitive: bool) -> None:
        assert there_and_back(with_field(type(flag), primitive)(it=flag)).it is flag

    def test_an_enum_that_is_read_by_its_name_is_left_alone(self) -> None:
        class Named(enum.Enum):
            ONE = (1,)

            @classmethod
            def _missing_(cls, value: object) -> Any:
                return cls.__members__.get(value) if isinstance(value, str) else None

        by_name = Annotated[Named, PlainSerializer(lambda each: each.name)]
        assert there_and_back(with_field(by_name)(it=Named.ONE)).it is Named.ONE

    def test_an_enum_with_a_form_of_its_own_is_left_alone(self) -> None:
        by_name = Annotated[
            Pair, PlainSerializer(lambda each: each.name), BeforeValidator(_pair_of_name)
        ]
        assert there_and_back(with_field(by_name)(it=Pair.BOTH)).it is Pair.BOTH


def _pair_of_name(value: Any) -> Any:
    return Pair[value] if isinstance(value, str) else value


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


class TestDefaults:
    @pytest.mark.parametrize(
        ("annotation", "default"),
        [
            (str, None),
            (Colour, "red"),
            (datetime, "2024-01-01"),
            (int, "1"),
            (list[str], ()),
            (Decimal, "1"),
            (dict[str, int], [("a", 1)]),
            (Cat, {"name": "a"}),
            (list[Cat], [{"name": "a"}]),
            (Cat | Bird, {"name": "a"}),
            (Literal[Size.SMALL], Size.SMALL),
            (Pair, Pair.BOTH),
            (Path, "/a"),
            (date | str, date(2024, 1, 2)),
            (Annotated[int, Field(gt=0)], 0),
            (str, object()),
        ],
    )
    def test_one_that_would_not_come_back_is_refused(self, annotation: Any, default: Any) -> None:
        made = with_field((annotation, default))
        for cls in (made, create_model("Outer", inner=(list[made], ...))):  # type: ignore[valid-type]
            with pytest.raises(ConfigError, match=r"^Made\.it: its default .*; d"):
                adapt(cls)

    @pytest.mark.parametrize(
        ("annotation", "default"),
        [
            (str | None, None),
            (Any, None),
            (Decimal, 0),
            (float, 1),
            (Size, Size.LARGE),
            (list[Cat], [Cat(name="a")]),
            (Cat | Bird | None, Bird(name="a")),
            (Literal["a"], "a"),
            (Path, Path("/a")),
        ],
    )
    def test_one_that_comes_back_is_fine(self, annotation: Any, default: Any) -> None:
        assert there_and_back(with_field((annotation, default))()).it == default

    @pytest.mark.parametrize(
        "field",
        [
            Field(None, validate_default=True),
            Field(None, exclude=True),
            Field(default_factory=lambda: None),
        ],
    )
    def test_one_that_is_checked_later_or_not_written_is_left_alone(self, field: Any) -> None:
        adapt(with_field((str, field)))

    def test_dataclasses_and_structs_are_checked(self) -> None:
        @dataclasses.dataclass
        class Data:
            it: str = None  # type: ignore[assignment]

        class Struct(msgspec.Struct):
            it: str = None  # type: ignore[assignment]

        class Right(msgspec.Struct):
            it: str | None = None
            many: list[int] = []
            when: datetime | msgspec.UnsetType = msgspec.UNSET

        for cls in (Data, Struct):
            with pytest.raises(ConfigError, match=rf"^{cls.__name__}\.it: its default None "):
                adapt(cls)
        assert there_and_back(Right()) == Right()

    def test_a_literal_of_an_enum_is_refused_with_what_helps(self) -> None:
        with pytest.raises(
            ConfigError, match=r"Made\.it: its default .*; derive the enum from Str"
        ):
            adapt(with_field((Literal[Colour.RED], Colour.RED)))

        class Tint(enum.StrEnum):
            RED = "red"

        made = with_field((Literal[Tint.RED], Tint.RED))
        assert there_and_back(made()).it is Tint.RED

    def test_values_of_enums_in_place_of_members_are_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"Made\.it: its default <Colour.RED: 'red'> is wri"):
            adapt(with_field((Colour, Colour.RED), use_enum_values=True))


class TestSecrets:
    @pytest.mark.parametrize(
        "annotation",
        [
            SecretStr,
            SecretBytes,
            Secret[int],
            SecretStr | None,
            list[SecretStr],
            dict[str, Secret[int]],
        ],
    )
    def test_they_are_refused(self, annotation: Any) -> None:
        with pytest.raises(ConfigError, match=r"^Made\.it: a secret is written as asterisks"):
            adapt(with_field(annotation))

    def test_one_with_a_form_of_its_own_comes_back(self) -> None:
        revealed = Annotated[SecretStr, PlainSerializer(lambda each: each.get_secret_value())]
        assert there_and_back(with_field(revealed)(it="x")).it.get_secret_value() == "x"

    def test_one_in_a_union_is_refused_when_it_is_sent(self) -> None:
        made = with_field(SecretStr | int)
        assert there_and_back(made(it=1)).it == 1
        with pytest.raises(EncodeError, match=r"Made\.it"):
            there_and_back(made(it="x"))


class TestNames:
    @pytest.mark.parametrize(
        ("field", "config", "says"),
        [
            (Field(validation_alias="b"), {}, "written as 'it' and read as 'b'"),
            (Field(1, validation_alias="b"), {}, "written as 'it' and read as 'b'"),
            (Field(1, serialization_alias="b"), {}, "written as 'b' and read as 'it'"),
            (Field(alias="b", serialization_alias="c"), {}, "written as 'c' and read as 'b'"),
            (Field(validation_alias=AliasChoices("b", "c")), {}, "read as 'b' or 'c'"),
            (Field(validation_alias=AliasPath("it", 0)), {}, "read as part of another"),
            (
                Field(alias="b"),
                {"validate_by_name": True, "validate_by_alias": False},
                "written as 'b' and read as 'it'",
            ),
            (
                Field(),
                {
                    "alias_generator": AliasGenerator(
                        validation_alias=to_camel, serialization_alias=to_pascal
                    )
                },
                "written as 'It' and read as 'it'",
            ),
            (Field(exclude=True), {}, "not written, so it must have a default"),
        ],
    )
    @pytest.mark.parametrize("primitive", [True, False])
    def test_a_field_that_is_written_and_read_by_different_names_is_refused(
        self, field: Any, config: dict[str, Any], says: str, primitive: bool
    ) -> None:
        with pytest.raises(ConfigError, match=rf"^Made\.it: .*{says}"):
            adapt(with_field((int, field), primitive, **config))

    @pytest.mark.parametrize(
        ("field", "config"),
        [
            (Field(), {}),
            (Field(alias="b"), {}),
            (Field(alias="b"), {"populate_by_name": True}),
            (Field(validation_alias="b"), {"populate_by_name": True}),
            (Field(validation_alias="b"), {"validate_by_name": True}),
            (Field(validation_alias=AliasChoices("b", "it")), {}),
            (Field(alias="b", validation_alias=AliasChoices(AliasPath("c", 0), "b")), {}),
            (Field(validation_alias="b", serialization_alias="b"), {}),
            (Field(), {"alias_generator": to_pascal}),
            (Field(alias="type"), {}),
        ],
    )
    @pytest.mark.parametrize("primitive", [True, False])
    def test_a_field_with_one_name_for_both_comes_back(
        self, field: Any, config: dict[str, Any], primitive: bool
    ) -> None:
        made = with_field((int, field), primitive, **config)
        assert there_and_back(made.model_construct(it=4)).it == 4

    def test_a_nested_class_is_checked(self) -> None:
        class Inner(BaseModel):
            a: int = Field(validation_alias="b")

        with pytest.raises(ConfigError, match=r"^Inner\.a: it is written as 'a'"):
            adapt(with_field(dict[str, Inner | None]))

    def test_dataclasses_and_typed_dicts_are_checked(self) -> None:
        @dataclasses.dataclass
        class Data:
            a: Annotated[int, Field(validation_alias="b")]

        @pydantic_dataclass
        class Checked:
            a: int = Field(1, serialization_alias="b")

        class Typed(TypedDict):
            a: Annotated[int, Field(validation_alias="b")]

        for cls in (Data, Checked, with_field(Typed)):
            with pytest.raises(ConfigError, match=r"\.a: it is written as '(a|b)' and read as"):
                adapt(cls)

    def test_what_a_dataclass_takes_and_does_not_keep_must_have_a_default(self) -> None:
        @dataclasses.dataclass
        class Data:
            a: int
            b: dataclasses.InitVar[int]

        with pytest.raises(ConfigError, match=r"^Data\.b: it is not written"):
            adapt(Data)

    def test_two_fields_with_one_name_are_refused(self) -> None:
        class Twice(Record):
            a: int = Field(alias="x")
            b: int = Field(alias="x")

        with pytest.raises(ConfigError, match=r"^Twice\.b: it is written as 'x', and so is a"):
            adapt(Twice)

    def test_two_fields_may_swap_names(self) -> None:
        class Swapped(Record):
            a: int = Field(alias="b")
            b: int = Field(alias="a")

        assert there_and_back(Swapped(a=1, b=2)) == Swapped(a=1, b=2)

    def test_a_class_that_sorts_out_its_names_itself_is_left_alone(self) -> None:
        class Sorted(Record):
            a: int = Field(validation_alias="b")

            @model_validator(mode="before")
            @classmethod
            def rename(cls, values: Any) -> Any:
                return {"b": values.get("a", values.get("b"))}

        assert there_and_back(Sorted(b=3)) == Sorted(b=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("annotation", [Connection, type[int], Iterator[int], Callable[[], int]])
def test_a_field_whose_values_hold_no_data_is_refused(annotation: Any) -> None:
    class Made(Record, arbitrary_types_allowed=True):
        it: annotation | None = None

    with pytest.raises(ConfigError, match=r"Made\.it: its values cannot be written"):
        adapt(Made)


def test_a_type_of_the_users_with_a_form_of_its_own_comes_back() -> None:
    form = Annotated[
        complex, PlainSerializer(str, return_type=str), BeforeValidator(lambda each: complex(each))
    ]
    record = with_field(form, arbitrary_types_allowed=True)(it=1 + 2j)
    assert there_and_back(record) == record


class Tagged(Record):
    name: str

    @field_validator("name")
    @classmethod
    def name_it(cls, value: Any) -> Any:
        raise AssertionError("called")


def test_no_validator_of_the_users_runs_when_a_class_is_declared() -> None:
    calls = []

    def watch(value: Any = None) -> Any:
        calls.append(value)
        return value

    class Inner(Record):
        it: Annotated[Size, AfterValidator(watch)]

        def model_post_init(self, context: Any) -> None:
            watch(self)

    class Watched(Record):
        a: Annotated[Size | str, BeforeValidator(watch)]
        b: Annotated[float, AfterValidator(watch)] | int
        c: Inner | int
        d: dict[str, Inner | Tagged] = {}
        e: Annotated[dict[Size, int], PlainSerializer(watch)] = {}

    class Wrapped(Record):
        a: Size | str

        @model_validator(mode="before")
        @classmethod
        def validate_it(cls, values: Any) -> Any:
            return watch(values)

    adapt(Watched)
    adapt(Wrapped)
    assert calls == []


def test_classes_inside_themselves_are_checked_once() -> None:
    class Tree(Record):
        value: int
        children: list[Tree] = []
        parent: Tree | None = None
        named: dict[str, Tree | int] = {}

    tree = Tree(value=1, children=[Tree(value=2)], parent=Tree(value=3), named={"a": 4})
    assert there_and_back(tree) == tree

    class Bad(Record):
        below: list[Bad] = []
        call: Callable[[], int]

    with pytest.raises(ConfigError, match=r"^Bad\.call: its values"):
        adapt(Bad)


def test_a_generic_class_is_checked_with_its_types() -> None:
    class Box(Record, Generic[T]):
        value: T

    assert there_and_back(Box[date](value=date(2024, 1, 2))) == Box(value=date(2024, 1, 2))
    with pytest.raises(ConfigError, match=r"^Box\[type\]\.value: its values"):
        adapt(Box[type])


def test_a_large_class_is_declared_with_one_check_of_each_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def family(count: int) -> type[Any]:
        """A class that refers to so many others, each of which refers to the one before."""
        made: list[Any] = []
        for at in range(count):
            inner: Any = made[-1] | str | None if made else int | None
            fields: dict[str, Any] = {"kind": (Literal[str(at)], str(at)), "inner": (inner, None)}
            made.append(create_model(f"Part{at}", __base__=Record, **fields))
        many: Any = Annotated[functools.reduce(operator.or_, made), Field(discriminator="kind")]
        return create_model("Whole", __base__=Record, parts=(list[many], ...), one=(many, ...))

    visited: list[str] = []
    check_form = checks._check_form

    def watch(path: str, field: Any) -> None:
        visited.append(path)
        check_form(path, field)

    monkeypatch.setattr(checks, "_check_form", watch)
    counts = []
    for count in (20, 40):
        visited.clear()
        adapt(family(count))
        counts.append(len(visited))
        assert len(set(visited)) == len(visited)
    assert counts == [42, 82]


def test_a_primitive_record_refuses_fields_that_it_does_not_declare() -> None:
    with pytest.raises(ConfigError, match="primitive record Made: fields that it does not declare"):
        with_field(int, primitive=True, extra="allow")


def test_a_primitive_record_refuses_a_default_that_may_hide_none() -> None:
    with pytest.raises(ConfigError, match="field it: None is stored by leaving it out"):
        with_field((int | None, Field(default_factory=int)), primitive=True)


def test_json_and_bytes_are_refused_together() -> None:
    class Inner(Record):
        raw: bytes | None = None

    with pytest.raises(ConfigError, match=r"^Inner\.raw has bytes, which JSON cannot hold"):
        EntryCodec(adapt(with_field(list[Inner])), JSONSerializer())
    EntryCodec(adapt(with_field(list[Inner])), MsgpackSerializer())
    EntryCodec(adapt(with_field(bytes, primitive=True)), JSONSerializer())
