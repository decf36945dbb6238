"""Steps that tests of parked events share."""

from __future__ import annotations

from typing import Any

from tests.lua.conftest import LOG, META, NONCE, PARKED, STATE, Raw
from tests.lua.steps import ready

EVENTS, COUNTS, REPLAY = PARKED


def entry(key: str, event: str, payload: str = "x") -> list[str | int]:
    """An entry of the parked events as an argument, with its length before it."""
    head = ["key", key, "event", event, "attempts", "3", "error_type", "E", "error_message", "m"]
    return [12, *head, "msgpack", payload]


async def park(
    raw: Raw, epoch: int, prev: str, next_id: str, *entries: list[str | int], **kw: Any
) -> Any:
    """Events up to `next_id` are finished, and these of them parked."""
    flat = [each for several in entries for each in several]
    step = ("printer", epoch, kw.get("nonce", NONCE), prev, next_id, len(entries), 0)
    effect = ("park", kw.get("size", 100), kw.get("count", len(entries)), *flat)
    return await raw.call("transact", [LOG, META, STATE, EVENTS, COUNTS], *step, *effect)


async def replayed(raw: Raw, epoch: int, checkpoint: str, *ids: str, **kw: Any) -> Any:
    """The parked events with these ids are finished, with further effects."""
    step = ("printer", epoch, kw.get("nonce", NONCE), checkpoint, kw.get("to", checkpoint), 0, 0)
    more_keys, more = kw.get("more", ([], []))
    names = [LOG, META, STATE, *PARKED, *more_keys]
    return await raw.call("transact", names, *step, "replayed", len(ids), *ids, *more)


async def parked(raw: Raw) -> tuple[int, list[str], list[str]]:
    """Of three events, two of alice and one of bob in between are parked: the epoch, the ids of
    the log, and those of the parked events."""
    epoch, ids = await ready(raw)
    keys = ("alice", "bob", "alice")
    entries = [entry(key, event) for key, event in zip(keys, ids, strict=False)]
    assert await park(raw, epoch, "0-0", ids[2], *entries) == [1, 0]
    return epoch, ids, await entries_of(raw)


async def entries_of(raw: Raw) -> list[str]:
    """The ids of the parked events."""
    found: Any = await raw.redis.xrange(EVENTS)
    return [each.decode() for each, _ in found]


async def counts(raw: Raw) -> tuple[Any, ...]:
    """What the hashes and the state say of it: they agree with each other and with the events."""
    of_keys: Any = await raw.redis.hgetall(COUNTS)
    marks: Any = await raw.redis.hkeys(REPLAY)
    stored = await raw.redis.hmget(STATE, ["parked", "parked_keys", "replay"])
    events = sum(int(each.split()[0]) for each in of_keys.values())
    assert [int(each or 0) for each in stored] == [events, len(of_keys), len(marks)]
    assert await raw.redis.xlen(EVENTS) == events
    return {key.decode(): each.decode() for key, each in of_keys.items()}, set(marks)
