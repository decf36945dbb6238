"""Steps that several tests of the scripts share."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest
from redis.exceptions import ResponseError

from tests.lua.conftest import LOG, META, NONCE, OUTBOX, STATE, Raw

SINK_LOG, SINK_META = (
    LOG.replace(":orders:log", ":dead:log"),
    META.replace(":orders:meta", ":dead:meta"),
)


async def refused(raw: Raw, word: str, call: Awaitable[Any]) -> str:
    """The call is refused with this word and has written nothing. Returns the whole refusal."""
    before = await raw.dump()
    with pytest.raises(ResponseError, match=f"^{word}( |$)") as caught:
        await call
    assert await raw.dump() == before
    return str(caught.value)


async def repeated(raw: Raw, script: str, keys: list[str], *args: str | int) -> tuple[Any, Any]:
    """The replies to a call and to its repeat, which has written nothing."""
    first = await raw.call(script, keys, *args)
    before = await raw.dump()
    second = await raw.call(script, keys, *args)
    assert await raw.dump() == before
    return first, second


async def ready(raw: Raw, events: int = 5) -> tuple[int, list[str]]:
    """A claimed partition with events: its epoch and their ids."""
    await raw.register()
    await raw.append(1, events)
    return (await raw.claim(10))["epoch"], await raw.ids()


async def emit(raw: Raw, epoch: int, prev: str, next_id: str, **kw: Any) -> Any:
    """One event is finished and, by default, one dead letter written."""
    letters = ("derived", kw.get("size", 100), kw.get("when_full", "refuse"), kw.get("number", 1))
    entries = kw.get("entries", (2, "msgpack", "dead"))
    step = (epoch, prev, next_id, kw.get("release", 0), kw.get("nonce", NONCE))
    return await transact(raw, *step, keys=(SINK_LOG, SINK_META), effects=(*letters, *entries))


async def emitted(raw: Raw, epoch: int, prev: str, next_id: str, **kw: Any) -> Any:
    """One event is finished, and entries for streams in other slots go to the outbox."""
    number, entry = kw.get("number", 1), (4, "to", "alerts 0 4 xxh64 100", "msgpack", "x")
    entries = kw["entries"] if "entries" in kw else entry * number
    effects = ("outbox", kw.get("size", 100), number, *entries)
    step = (epoch, prev, next_id, kw.get("release", 0), kw.get("nonce", NONCE))
    return await transact(raw, *step, keys=(kw.get("key", OUTBOX),), effects=effects)


async def transact(
    raw: Raw,
    epoch: int,
    prev: str,
    next_id: str,
    release: int = 0,
    nonce: str = NONCE,
    *,
    keys: tuple[str, ...],
    effects: tuple[str | int, ...],
) -> Any:
    """One event is finished and has these effects."""
    step = ("printer", epoch, nonce, prev, next_id, 1, release)
    return await raw.call("transact", [LOG, META, STATE, *keys], *step, *effects)


async def described(raw: Raw, processor: str = "printer") -> dict[str, str]:
    """The reply of `describe`, by name."""
    flat = await raw.call("describe", [LOG, META, STATE], processor)
    return dict(zip(flat[::2], flat[1::2], strict=True))


async def lag_of(raw: Raw, processor: str) -> int:
    """The lag of a processor's consumer group, as Redis counts it."""
    groups: Any = await raw.redis.xinfo_groups(LOG)
    (lag,) = [each["lag"] for each in groups if each["name"] == processor.encode()]
    return int(lag)


def held(grants: dict[int, tuple[int, int]]) -> list[tuple[int, int]]:
    """What a member holds that has claimed all it was granted and released what it must."""
    return [(partition, grant) for partition, (grant, keep) in grants.items() if keep]


async def bodies(raw: Raw) -> list[str]:
    """What the events in the log carry."""
    entries: Any = await raw.redis.xrange(LOG)
    return [fields[b"msgpack"].decode() for _, fields in entries]
