"""What counts as the same record, and how a difference is reported."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from pydantic import BaseModel

from runnel.record import Record
from runnel.record.difference import difference, parts, unset_difference

BERLIN = ZoneInfo("Europe/Berlin")
SUMMER = timezone(timedelta(hours=2))
NAN = float("nan")


class Size(Enum):
    SMALL = 1
    LARGE = 2


class Level(IntEnum):
    LOW = 1


class Item(Record, extra="allow"):
    a: Any = None


class Special(Item):
    pass


@dataclasses.dataclass(eq=False, slots=True)
class Data:
    a: Any


class Struct(msgspec.Struct, eq=False):
    a: Any


class Bare:
    def __init__(self, a: Any) -> None:
        self.a = a


class Nowhere(tzinfo):
    """A zone without an offset."""

    def utcoffset(self, _: datetime | None) -> timedelta | None:
        return None

    def dst(self, _: datetime | None) -> timedelta | None:
        return None

    def tzname(self, _: datetime | None) -> str | None:
        return None


NOWHERE = datetime(2024, 1, 2, tzinfo=Nowhere())


@pytest.mark.parametrize(
    ("sent", "back"),
    [
        (1, 1.0),
        (Level.LOW, 1),
        (NAN, math.nan * 1),
        ([NAN, {"a": (NAN,)}], [-NAN, {"a": (math.nan,)}]),
        (Decimal("NaN"), Decimal("NaN")),
        (
            datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN),
            datetime(2024, 10, 27, 2, 30, tzinfo=SUMMER),
        ),
        (time(1, tzinfo=UTC), time(1, tzinfo=timezone(timedelta()))),
        (deque([1]), deque([1])),
        (Item(a=[NAN]), Item(a=[NAN])),
        (Data(Struct(Bare(1))), Data(Struct(Bare(1)))),
        (Size.SMALL, Size.SMALL),
    ],
)
def test_these_are_the_same(sent: Any, back: Any) -> None:
    assert difference(sent, back, "Order") is None


@pytest.mark.parametrize(
    ("sent", "back", "says"),
    [
        ("1", 1, "Order: '1' would come back as 1"),
        (Size.SMALL, 1, "Order: <Size.SMALL: 1> would come back as 1"),
        (Size.SMALL, Size.LARGE, "Order: <Size.SMALL: 1> would come back as <Size.LARGE: 2>"),
        ((1,), [1], "Order: (1,) would come back as [1]"),
        ([1, {"a": 2}], [1, {"a": 3}], "Order[1].a: 2 would come back as 3"),
        ([1], [1, 2], "Order: [1] would come back as [1, 2]"),
        ({1: 2}, {"1": 2}, "Order: {1: 2} would come back as {'1': 2}"),
        (
            datetime(2024, 1, 2),
            datetime(2024, 1, 3),
            "Order: datetime.datetime(2024, 1, 2, 0, 0) w",
        ),
        (time(1, tzinfo=UTC), time(1), "Order: datetime.time(1, 0, tzinfo=datetime.timezone.utc)"),
        (NAN, 0.0, "Order: nan would come back as 0.0"),
        (
            datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1),
            datetime(2024, 10, 27, 2, 30, tzinfo=SUMMER),
            "Order: datetime.datetime(2024, 10, 27, 2, 30, fold=1",
        ),
        (Item(a=1), Item(a=2), "Order.a: 1 would come back as 2"),
        (Item(a=1, b=2), Item(a=1), "Order.b: 2 would come back as nothing"),  # type: ignore[call-arg]
        (Item(a=1), Item(a=1, b=2), "Order.b: nothing would come back as 2"),  # type: ignore[call-arg]
        (time(1, tzinfo=BERLIN), time(1), "Order: datetime.time(1, 0, tzinfo=zoneinfo.Z"),
        ([time(1, tzinfo=BERLIN)], [time(1)], "Order[0]: datetime.time(1, 0, tzinfo="),
        ({"a b": time(1, tzinfo=BERLIN)}, {"a b": time(1)}, "Order['a b']: datetime.time(1, "),
        ({time(1, tzinfo=BERLIN): 1}, {time(1): 1}, "Order: {datetime.time(1, 0, tzinfo="),
        ({time(1, tzinfo=BERLIN)}, {time(1)}, "Order: {datetime.time(1, 0, tzinfo="),
        (Item(a=deque([time(1, tzinfo=BERLIN)])), Item(a=deque([time(1)])), "Order.a[0]: datetime"),
        ((NOWHERE,), (NOWHERE.replace(tzinfo=None),), "Order[0]: datetime.datetime(2024"),
        ({1: 2.0}, {1: 3}, "Order[1]: 2.0 would come back as 3"),
        (Special(), Item(), "Order: Special(a=None) would come back as Item(a=None)"),
        (Data(1), Data(2), "Order.a: 1 would come back as 2"),
        (Struct(1), Struct(2), "Order.a: 1 would come back as 2"),
        (Bare(1), Bare(2), "Order.a: 1 would come back as 2"),
        (Data(1), {"a": 1}, "Order: "),
        ("x" * 999, "y", "Order: 'xxx"),
    ],
)
def test_a_difference_is_reported_with_its_path(sent: Any, back: Any, says: str) -> None:
    found = difference(sent, back, "Order")
    assert found is not None
    assert found.startswith(says)
    assert len(found) < 250


class Patch(BaseModel):
    a: int = 0
    inner: list[Patch] = []


def test_a_fix_is_named_where_the_values_show_it() -> None:
    found = difference([time(1, tzinfo=BERLIN)], [time(1)], "Order")
    assert found is not None
    assert found.endswith("; the offset of this zone depends on the day: send a datetime")
    found = difference(Data(1), Item(a=1), "Order")
    assert found is not None
    assert found.endswith("; give the union of their classes a discriminator")
    found = difference(Special(), Item(), "Order")
    assert found is not None
    assert found.endswith("; declare it as Special, or give a value of type Item")
    found = difference([(1, 2)], [[1, 2]], "Order")
    assert found is not None
    assert found.endswith("as [1, 2]; declare it as tuple, or give a value of type list")
    for sent, back in ((1, 2), (Item(a=1, b=2), Item(a=1))):  # type: ignore[call-arg]
        found = difference(sent, back, "Order")
        assert found is not None
        assert "declare" not in found


def test_values_that_look_the_same_are_told_to_be_others() -> None:
    class One:
        def __repr__(self) -> str:
            return "one"

    class Other(One):
        pass

    found = difference(One(), Other(), "Order")
    assert found is not None
    assert found.startswith("Order: one would come back as another value; declare it as One, or")


def test_values_too_deep_to_be_compared_are_left_to_the_caller() -> None:
    sent: list[Any] = []
    back: list[Any] = [sent]
    sent.append(back)
    other: list[Any] = []
    other.append([other])
    with pytest.raises(RecursionError):
        difference(sent, other, "Order")


@pytest.mark.parametrize(
    ("sent", "back", "says"),
    [
        (Patch(), Patch(), None),
        (Patch(a=0), Patch(a=1), None),
        (Patch(a=0), Patch(), "Order.a: it is set and would come back unset"),
        (Patch(), Patch(a=0), "Order.a: it is unset and would come back set"),
        (
            Patch(inner=[Patch(), Patch(a=0)]),
            Patch(inner=[Patch(), Patch()]),
            "Order.inner[1].a: it is set and would come back unset",
        ),
        ({"b": Patch(a=0)}, {"b": Patch()}, "Order.b.a: it is set and would come back unset"),
    ],
)
def test_a_field_that_does_not_stay_set_or_unset_is_named(
    sent: Any, back: Any, says: str | None
) -> None:
    assert unset_difference(sent, back, "Order") == says


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ([5], {0: 5}),
        ((5,), {0: 5}),
        (deque([5]), {0: 5}),
        ({"a": 5}, {"a": 5}),
        (Item(a=5, b=6), {"a": 5, "b": 6}),  # type: ignore[call-arg]
        (Data(5), {"a": 5}),
        (Struct(5), {"a": 5}),
        (Bare(5), {"a": 5}),
        (Size.SMALL, None),
        (Item, None),
        ("text", None),
        (object(), None),
    ],
)
def test_a_value_has_these_parts(value: Any, found: Any) -> None:
    assert parts(value) == found
