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

from runnel.record import Record
from runnel.record.difference import difference

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
