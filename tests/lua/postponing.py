"""Steps that tests of postponed events share."""

from __future__ import annotations

from typing import Any

from tests.lua.conftest import LOG, META, NONCE, PARKED, POSTPONED, STATE, Raw
from tests.lua.parking import COUNTS, EVENTS, entries_of, entry
from tests.lua.steps import ready

FAILURE = "7-0 4 ValueError no such account"


def key_of(event: str, key: str = "alice") -> str:
    """The parked key of a postponed event."""
    return f"\0{event}\0{key}"


async def postpone(raw: Raw, epoch: int, prev: str, event: str, ms: int | str, **kw: Any) -> Any:
    """This event, the next one, is finished, and postponed."""
    step = ("printer", epoch, kw.get("nonce", NONCE), prev, event, 1, 0)
    effect = ("postpone", ms, kw.get("size", 100), 1, *entry(key_of(event), event))
    names = [LOG, META, STATE, *kw.get("keys", [EVENTS, COUNTS, POSTPONED])]
    return await raw.call("transact", names, *step, *effect)


async def postponed(raw: Raw, ms: int) -> tuple[int, list[str], list[str]]:
    """The first two of five events are postponed: the epoch, the ids of the log, and those of the
    parked events."""
    epoch, ids = await ready(raw)
    assert await postpone(raw, epoch, "0-0", ids[0], ms) == [1, 0]
    assert await postpone(raw, epoch, ids[0], ids[1], ms) == [1, 0]
    return epoch, ids, await entries_of(raw)


async def due(raw: Raw, limit: int | str = 10) -> tuple[int, int, list[tuple[str, str, list[str]]]]:
    """What `due` replies: the wait, how many are gone, and each entry with its value and fields."""
    reply = await raw.call("due", [STATE, *PARKED[:2], POSTPONED], limit)
    found, at = [], 2
    while at < len(reply):
        number = int(reply[at + 2])
        found.append((reply[at], reply[at + 1], reply[at + 3 : at + 3 + number]))
        at += 3 + number
    return reply[0], reply[1], found
