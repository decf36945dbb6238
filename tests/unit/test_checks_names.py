"""A field that is written by one name and read by another is refused when its class is declared."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import pytest
from pydantic import AliasChoices, AliasGenerator, AliasPath, BaseModel, Field, model_validator
from pydantic.alias_generators import to_camel, to_pascal
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from runnel.errors import ConfigError
from runnel.record import Record, adapt
from tests.unit.one_field import there_and_back, with_field


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
