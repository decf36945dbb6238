"""Tables of which some fields are known, and what their commits write."""

from __future__ import annotations

import json
from typing import Any

from runnel.core.pending_effects import PendingEffects
from runnel.core.table_state import Field
from runnel.errors import EncodeError
from runnel.protocol import PartitionKeys, TableWrites

PREFIX = "runnel:{shop:orders:3}:orders"
A, B, C = ("t", b"a"), ("t", b"b"), ("t", b"c")


def known(*fields: Field, value: bytes | None = b"0") -> PendingEffects:
    """Two tables of which these fields were read."""
    it = PendingEffects(PartitionKeys(PREFIX, "work"), ["t", "u"])
    for field in fields:
        it.tables.learn(field, value)
    return it


def written(it: PendingEffects) -> dict[Field, bytes | None]:
    """What the commit in flight writes."""
    found: dict[Field, bytes | None] = {}
    for each in it.in_flight:
        assert isinstance(each, TableWrites)
        found |= {(each.name, key): value for key, value in each.sets}
        found |= {(each.name, key): None for key in each.deletes}
    return found


class Lists:
    """Compares lists by their JSON."""

    def changed(self, value: Any, since: bytes) -> bytes | None:
        data = json.dumps(value).encode()
        if b"bad" in data:
            raise EncodeError("bad")
        return None if data == since else data
