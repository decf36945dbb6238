"""A moment or a time of day comes back with its offset, or is refused when it is sent."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from pydantic import AfterValidator, Field, PrivateAttr

from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import MsgpackSerializer, Serializer
from runnel.errors import EncodeError
from runnel.record import Record, adapt

BERLIN = ZoneInfo("Europe/Berlin")


#: Under a name that no field has.
Clock = time


def sent(record: Any, serializer: Serializer | None = None, **options: Any) -> Any:
    """The record that a reader gets."""
    codec = EntryCodec(adapt(type(record)), serializer or MsgpackSerializer(), **options)
    return EntryCodec(adapt(type(record)), MsgpackSerializer()).decode(codec.encode(record))


class Item(Record):
    sku: str
    amount: int = Field(default=1, gt=0)


class Order(Record):
    item: Item
    at: datetime | None = None
    price: float = 1.0
    _note: str = PrivateAttr("")


@dataclasses.dataclass
class Data:
    amount: int
    at: datetime | None = None


class Struct(msgspec.Struct):
    amount: int
    anything: Any = None


def order(**changes: Any) -> Order:
    return Order(**{"item": Item(sku="a"), **changes})


def changed(record: Any, **values: Any) -> Any:
    """pydantic does not check what is assigned later."""
    for name, value in values.items():
        setattr(record, name, value)
    return record


CLOCK = time(12, 4, tzinfo=BERLIN)


class Timed(Record):
    at: Any = None
    time: Clock | None = None
    many: list[Clock] = []
    by: dict[str, tuple[Clock, ...]] = {}
    hours: set[Clock] = set()
    keyed: dict[Clock, int] = {}
    after: Annotated[Any, AfterValidator(lambda it: time.fromisoformat(it) if it else it)] = None
    inner: Timed | None = None


@dataclasses.dataclass
class DataTimed:
    at: Clock


class StructTimed(msgspec.Struct):
    at: Clock | None = None
    many: list[Clock] = []
    by: dict[str, Clock] = {}
    inner: StructTimed | None = None
    data: DataTimed | None = None


class NativeTimed(Record, primitive=True):
    at: Clock


class TestMoments:
    @pytest.mark.parametrize("fold", [0, 1])
    def test_an_hour_that_there_is_twice_keeps_its_offset(self, fold: int) -> None:
        at = datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=fold)
        back = sent(order(at=at)).at
        assert back.utcoffset() == at.utcoffset() == timedelta(hours=2 - fold)
        assert back.replace(tzinfo=None) == at.replace(tzinfo=None)

    @pytest.mark.parametrize("kind", [order, lambda at: Data(1, at), lambda at: Struct(1)])
    def test_an_offset_with_seconds_is_refused(self, kind: Callable[..., Any]) -> None:
        odd = datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=1, seconds=3)))

        class Timed(msgspec.Struct):
            at: datetime

        record = kind(at=odd)
        record = Timed(odd) if isinstance(record, Struct) else record
        with pytest.raises(EncodeError, match=r"\.at: .*would come back as"):
            sent(record)


class TestTimesOfDay:
    @pytest.mark.parametrize(
        ("record", "path"),
        [
            (Timed(time=CLOCK), "Timed.time"),
            (Timed(many=[time(1), CLOCK]), "Timed.many[1]"),
            (Timed(by={"a": (CLOCK,)}), "Timed.by.a[0]"),
            (Timed(hours={CLOCK}), "Timed.hours"),
            (Timed(keyed={CLOCK: 1}), "Timed.keyed"),
            (Timed(inner=Timed(time=CLOCK)), "Timed.inner.time"),
            (changed(Timed(), after=CLOCK), "Timed.after"),
            (DataTimed(CLOCK), "DataTimed.at"),
            (NativeTimed(at=CLOCK), "NativeTimed.at"),
            (StructTimed(CLOCK), "StructTimed.at"),
            (StructTimed(many=[CLOCK]), "StructTimed.many[0]"),
            (StructTimed(by={"a b": CLOCK}), "StructTimed.by['a b']"),
            (StructTimed(inner=StructTimed(CLOCK)), "StructTimed.inner.at"),
            (StructTimed(data=DataTimed(CLOCK)), "StructTimed.data.at"),
        ],
    )
    def test_one_that_would_lose_its_zone_is_refused(self, record: Any, path: str) -> None:
        with pytest.raises(EncodeError, match=rf"{re.escape(path)}: .*would come back as"):
            sent(record)

    @pytest.mark.parametrize("at", [time(1), time(1, tzinfo=UTC), time(1, tzinfo=timezone.min)])
    @pytest.mark.parametrize(
        "made",
        [
            lambda at: Timed(time=at, many=[at], hours={at}, keyed={at: 1}),
            lambda at: StructTimed(at, [at]),
            DataTimed,
            lambda at: NativeTimed(at=at),
        ],
    )
    def test_one_without_or_of_a_fixed_offset_comes_back(
        self, made: Callable[..., Any], at: time
    ) -> None:
        assert sent(made(at)) == made(at)
