"""A record class with a field that can never be read back is refused when it is declared."""

from __future__ import annotations

import dataclasses
import enum
import functools
import operator
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    PlainSerializer,
    RootModel,
    Secret,
    SecretBytes,
    SecretStr,
    create_model,
    field_validator,
    model_validator,
)

from runnel.errors import ConfigError, EncodeError
from runnel.record import Record, adapt, checks
from tests.unit.one_field import there_and_back, with_field

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


class Pair(enum.Enum):
    BOTH = (1, 2)


class Connection:
    pass


class Cat(Record):
    name: str


class Bird(Record):
    kind: Literal["bird"] = "bird"
    name: str


class Tagged(Record):
    name: str

    @field_validator("name")
    @classmethod
    def name_it(cls, value: Any) -> Any:
        raise AssertionError("called")


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

    def test_dataclasses_are_checked(self) -> None:
        @dataclasses.dataclass
        class Data:
            it: str = None  # type: ignore[assignment]

        with pytest.raises(ConfigError, match=r"^Data\.it: its default None "):
            adapt(Data)

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


@pytest.mark.parametrize("inner", [type[int], SecretStr])
def test_a_root_model_whose_values_cannot_be_written_is_refused(inner: Any) -> None:
    with pytest.raises(ConfigError, match=r"^RootModel\[.*: (its values|a secret)"):
        adapt(RootModel[inner])


class Chain(BaseModel):
    link: Ring | None = None
    other: Ring | None = None


class Ring(BaseModel):
    chains: list[Chain] = []
    first: Chain | None = None


class TestDefaultsThatAreLeftAlone:
    def test_one_of_a_class_that_checks_its_defaults(self) -> None:
        adapt(with_field((str, None), validate_default=True))

    def test_one_of_a_field_that_is_made_after_init(self) -> None:
        @dataclasses.dataclass
        class Data:
            a: int
            b: str = dataclasses.field(init=False, default=None)  # type: ignore[assignment]

        adapt(Data)

    def test_one_of_a_type_with_a_function_of_the_users_which_is_not_called(self) -> None:
        calls: list[Any] = []
        adapt(with_field((Annotated[str, AfterValidator(calls.append)], None)))
        assert calls == []

    def test_one_whose_class_refers_to_others_that_refer_to_it(self) -> None:
        default = Chain(link=Ring(chains=[Chain()]))
        assert there_and_back(with_field((Chain, default))()).it == default
