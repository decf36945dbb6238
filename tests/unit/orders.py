"""An order with a field of every usual type, and a small one for each kind of record class."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel

from runnel.record import Record


class Size(Enum):
    SMALL = 1
    LARGE = 2


class Item(Record):
    sku: str
    amount: int = 1


class Order(Record):
    order_id: int
    at: datetime
    price: Decimal
    key: UUID
    size: Size
    raw: bytes
    item: Item
    items: list[Item] = []
    by_size: dict[int, Item] = {}
    note: str | None = None


class Model(BaseModel):
    order_id: int
    at: datetime
    price: Decimal
    raw: bytes


@dataclasses.dataclass
class Data:
    order_id: int
    at: datetime
    price: Decimal
    raw: bytes


class Struct(msgspec.Struct):
    order_id: int
    at: datetime
    price: Decimal
    raw: bytes


NOW = datetime(2024, 1, 2, 3, 4, 5, 600, tzinfo=UTC)
KINDS: list[type[Any]] = [Model, Data, Struct]
kinds = pytest.mark.parametrize("kind", KINDS)


def order(**changes: Any) -> Order:
    values = {
        "order_id": 1,
        "at": NOW,
        "price": Decimal("1.10"),
        "key": UUID(int=1),
        "size": Size.LARGE,
        "raw": b"\xff",
        "item": Item(sku="a"),
    }
    return Order(**{**values, **changes})
