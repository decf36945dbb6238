"""transact: entries for any stream, or for the outbox, land with the checkpoint or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import LOG, META, OTHER, OUTBOX, STATE, Raw
from tests.lua.steps import SINK_LOG, SINK_META, emitted, ready, refused, transact

TABLE = META.replace(":meta", ":table:balances")
ALERTS = LOG.replace("{shop:orders:3}:orders", "{shop:alerts:0}:alerts")
ALERTS_META = META.replace("{shop:orders:3}:orders", "{shop:alerts:0}:alerts")
#: The processor's own stream, whose partition is in the slot of the commit.
OWN = (LOG, META)


def to_stream(
    *entries: str | int, size: str | int = 100, when_full: str = "refuse", count: int | str = 1
) -> tuple[str | int, ...]:
    """An effect of the kind `stream`."""
    return ("stream", size, when_full, count, 1, 8, "xxh64", *(entries or (2, "msgpack", "x")))


async def test_s5_entries_for_any_stream_and_the_checkpoint_land_together(raw: Raw) -> None:
    """In a cluster the stream must be in the slot of the partition: its own one is."""
    epoch, ids = await ready(raw)
    effects = to_stream(2, "msgpack", "one", 2, "msgpack", "two", count=2)
    assert await transact(raw, epoch, "0-0", ids[0], keys=OWN, effects=effects) == [1, 0]
    assert len(await raw.ids()) == 7
    before = await raw.dump()
    assert await transact(raw, epoch, "0-0", ids[0], keys=OWN, effects=effects) == [0, 0]
    assert await raw.dump() == before
    assert await raw.lag() == 6


async def test_s5_a_stream_must_be_declared_as_the_caller_knows_it(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    keys, at = (SINK_LOG, SINK_META), ("1", "8", "xxh64")

    def step() -> Any:
        return transact(raw, epoch, "0-0", ids[0], keys=keys, effects=to_stream())

    assert await refused(raw, "MISSING", step()) == f"MISSING sink={SINK_LOG}"
    for index, (name, other) in enumerate(
        {"protocol": "2", "partitions": "9", "hash": "md5"}.items()
    ):
        stored = dict(zip(("protocol", "partitions", "hash"), at, strict=True)) | {name: other}
        await raw.redis.hset(SINK_META, mapping=stored)  # type: ignore[arg-type]
        said = await refused(raw, "MISMATCH", step())
        assert said == f"MISMATCH field={name} stored={other} given={at[index]} sink={SINK_LOG}"
    await raw.redis.delete(SINK_META)
    await raw.call("declare", [SINK_META], 1, 8, "xxh64")
    assert await step() == [1, 0]
    await raw.redis.delete(SINK_LOG, SINK_META)
    await raw.redis.hset(SINK_META, "deleted", "1")
    second = transact(raw, epoch, ids[0], ids[1], keys=keys, effects=to_stream())
    assert await refused(raw, "MISSING", second) == f"MISSING sink={SINK_LOG}"


async def test_s4_a_full_stream_is_named_and_holds_the_checkpoint(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    keys = (SINK_LOG, SINK_META)
    await raw.call("declare", [SINK_META], 1, 8, "xxh64")
    effects = to_stream(size=2)
    for prev, next_id in (("0-0", ids[0]), (ids[0], ids[1])):
        assert await transact(raw, epoch, prev, next_id, keys=keys, effects=effects) == [1, 0]
    step = transact(raw, epoch, ids[1], ids[2], keys=keys, effects=effects)
    assert await refused(raw, "FULL", step) == f"FULL processor= limit=2 sink={SINK_LOG}"


async def test_s4_a_commit_makes_room_in_the_stream_that_it_reads_and_writes(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    effects = to_stream(2, "f", "v", 2, "f", "v", size=5, count=2)
    await refused(raw, "FULL", transact(raw, epoch, "0-0", ids[0], keys=OWN, effects=effects))
    assert await transact(raw, epoch, "0-0", ids[1], keys=OWN, effects=effects) == [1, 0]
    assert (await raw.ids())[0] == ids[1], "the entry at the lowest checkpoint stays"


async def test_a_stream_in_another_slot_is_written_where_a_script_may(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    info: Any = await raw.redis.info("cluster")
    keys = (ALERTS, ALERTS_META)
    step = transact(raw, epoch, "0-0", ids[0], keys=keys, effects=to_stream())
    if info["cluster_enabled"]:
        await refused(raw, "CROSSSLOT|Keys in request", step)
        return
    await refused(raw, "MISSING", step)
    await raw.call("declare", [ALERTS_META], 1, 8, "xxh64")
    step = transact(raw, epoch, "0-0", ids[0], keys=keys, effects=to_stream())
    assert await step == [1, 0]


@pytest.mark.parametrize(
    "effects",
    [
        to_stream(size=1), to_stream(size="x"), to_stream(when_full="shed"), to_stream(count=0),
        to_stream(count=2), to_stream(count="x"), to_stream(3, "f", "v", "g"),
        to_stream(2, "f"), to_stream(1042, *["f"] * 1042), to_stream(*(2, "f", "v") * 2),
        ("stream", 100, "refuse", 1), ("stream", 100, "refuse", 1, "x", 8, "xxh64", 2, "f", "v"),
        ("stream", 100, "refuse", 1, 1, "x", "xxh64", 2, "f", "v"),
        ("stream", 100, "refuse", 1, 1, 8), ("stream", 100, "refuse", 1, 1, 8, "xxh64"),
        to_stream(*(2, "f", "v") * 201, size=1000, count=201),
        (*to_stream(), *to_stream()),
    ],
)  # fmt: skip
async def test_malformed_entries_for_streams_are_refused_and_nothing_is_written(
    raw: Raw, effects: Any
) -> None:
    epoch, ids = await ready(raw)
    await raw.call("declare", [SINK_META], 1, 8, "xxh64")
    keys = (SINK_LOG, SINK_META)
    await refused(raw, "BADARG", transact(raw, epoch, "0-0", ids[0], keys=keys, effects=effects))
    for too_few in ((), (SINK_LOG,), (*keys, SINK_LOG)):
        step = transact(raw, epoch, "0-0", ids[0], keys=too_few, effects=to_stream())
        await refused(raw, "BADARG", step)


async def outbox(raw: Raw) -> list[tuple[str, dict[bytes, bytes]]]:
    found: Any = await raw.redis.xrange(OUTBOX)
    return [(entry.decode(), fields) for entry, fields in found]


async def test_s5_entries_of_an_outbox_are_numbered_over_all_leases(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await emitted(raw, epoch, "0-0", ids[0], number=2)
    assert await emitted(raw, epoch, ids[0], ids[1], release=1) == [1, 0]
    found = await raw.claim(11, OTHER)
    assert (found["checkpoint"], found["outbox"]) == (ids[1], 3)
    newer = found["epoch"]
    assert await emitted(raw, newer, ids[1], ids[2], number=2, nonce=OTHER) == [1, 0]
    entries = await outbox(raw)
    first = [f"{epoch}-{number}" for number in (1, 2, 3)]
    assert [entry for entry, _ in entries] == [*first, f"{newer}-4", f"{newer}-5"]
    assert {fields[b"to"] for _, fields in entries} == {b"alerts 0 4 xxh64 100"}
    assert await raw.redis.hget(STATE, "outbox_last") == b"5"


async def test_s6_a_repeat_writes_nothing_to_an_outbox(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await emitted(raw, epoch, "0-0", ids[0], number=2)
    before = await raw.dump()
    assert await emitted(raw, epoch, "0-0", ids[0], number=2) == [0, 0]
    assert await raw.dump() == before
    await refused(raw, "FENCED", emitted(raw, epoch, ids[0], ids[1], nonce=OTHER))


async def test_s4_a_full_outbox_is_named_and_holds_the_checkpoint(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    assert await emitted(raw, epoch, "0-0", ids[0], number=2, size=3) == [1, 0]
    step = emitted(raw, epoch, ids[0], ids[1], number=2, size=3)
    assert await refused(raw, "FULL", step) == f"FULL processor= limit=3 sink={OUTBOX}"
    assert await emitted(raw, epoch, ids[0], ids[1], size=3) == [1, 0]


async def test_s2_ids_of_an_outbox_that_cannot_rise_are_a_conflict(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.redis.xadd(OUTBOX, {"to": "alerts"}, id=f"{epoch + 1}-1")
    said = await refused(raw, "CONFLICT", emitted(raw, epoch, "0-0", ids[0]))
    assert said == f"CONFLICT outbox={epoch + 1}-1"


async def test_s5_an_outbox_lands_with_other_effects_or_not_at_all(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    entry: tuple[str | int, ...] = (2, "to", "alerts 0 4 xxh64 100")
    effects = ("table", 1, 0, "alice", "5", "outbox", 2, 1, *entry)
    keys = (TABLE, OUTBOX)
    for prev, next_id in (("0-0", ids[0]), (ids[0], ids[1])):
        assert await transact(raw, epoch, prev, next_id, keys=keys, effects=effects) == [1, 0]
    more = ("outbox", 2, 1, *entry, "table", 1, 0, "alice", "6")
    step = transact(raw, epoch, ids[1], ids[2], keys=(OUTBOX, TABLE), effects=more)
    await refused(raw, "FULL", step)
    assert await raw.redis.hget(TABLE, "alice") == b"5"


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": "x"}, {"size": 1}, {"number": 0}, {"number": 2, "entries": (2, "to", "x")},
        {"number": "x", "entries": (2, "to", "x")}, {"entries": ()},
        {"entries": (3, "to", "x", "f")},
        {"entries": (2, "to", "x") * 201, "number": 201, "size": 1000},
        {"key": OUTBOX.replace("printer", "mailer")}, {"key": LOG}, {"key": SINK_LOG},
    ],
)  # fmt: skip
async def test_malformed_entries_of_an_outbox_are_refused_and_nothing_is_written(
    raw: Raw, wrong: dict[str, Any]
) -> None:
    epoch, ids = await ready(raw)
    await refused(raw, "BADARG", emitted(raw, epoch, "0-0", ids[0], **wrong))
