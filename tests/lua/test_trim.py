"""trim, and what appends remove because it is too old: never what a processor has not committed."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.lua.conftest import LOG, META, NONCE, PRODUCERS, STATE, Raw
from tests.lua.steps import SINK_LOG, SINK_META, emit, lag_of, ready, refused

KEYS = [LOG, META]
OTHER_STATE = STATE.replace("printer", "mailer")
DAY = 86_400_000


async def old(raw: Raw, number: int, log: str = LOG, ms: int = 1_000) -> list[str]:
    """Entries of 1970, which every clock says are old."""
    pipeline = raw.redis.pipeline(transaction=False)
    for i in range(number):
        pipeline.xadd(log, {"msgpack": str(i)}, id=f"{ms}-{i + 1}")
    await pipeline.execute()
    return [f"{ms}-{i + 1}" for i in range(number)]


async def committed(raw: Raw, checkpoint: str, name: str = "printer") -> None:
    """A processor that has committed up to there."""
    state = STATE.replace("printer", name)
    await raw.call("register", [*KEYS, state], 1, 8, "xxh64", name, "0")
    await raw.call("seek", [*KEYS, state], name, _after(checkpoint), "", NONCE)


def _after(id_: str) -> str:
    ms, sequence = id_.split("-")
    return f"{ms}-{int(sequence) + 1}"


async def meta(raw: Raw, name: str) -> str | None:
    found: Any = await raw.redis.hget(META, name)
    return None if found is None else found.decode()


async def test_s4_an_append_removes_what_is_old_and_committed_and_nothing_else(raw: Raw) -> None:
    ids = await old(raw, 9)
    await committed(raw, ids[7])
    await committed(raw, ids[4], "mailer")
    await raw.append(1, size=f"1000,{DAY}")  # type: ignore[arg-type]
    assert (await raw.ids())[:-1] == ids[4:], "what the slower one has committed, but the last"
    assert await lag_of(raw, "mailer") == 5, "the consumer groups still count exactly"
    await raw.redis.delete(META + "x")
    await raw.redis.hdel(META, "trimmed_at")
    await raw.call("remove", [*KEYS, OTHER_STATE, *_other("mailer")], "mailer")
    await raw.append(2, size=f"1000,{DAY}")  # type: ignore[arg-type]
    assert (await raw.ids())[:-2] == ids[7:]


def _other(name: str) -> list[str]:
    kinds = ("outbox", "parked", "parked_keys", "replay", "postponed")
    return [f"{LOG.removesuffix(':log')}:{kind}:{name}" for kind in kinds]


async def test_what_is_young_stays_although_it_is_committed(raw: Raw) -> None:
    epoch, ids = await ready(raw, 5)
    await raw.commit(epoch, "0-0", ids[4], 5)
    await raw.append(2, size=f"1000,{DAY}")  # type: ignore[arg-type]
    assert len(await raw.ids()) == 6
    assert await raw.call("trim", KEYS, 0, DAY, "refuse") == [0, 0, ""]


@pytest.mark.parametrize("script", ["append", "append_numbered", "append_once", "trim"])
async def test_every_script_that_adds_obeys_the_age(raw: Raw, script: str) -> None:
    ids = await old(raw, 5)
    await committed(raw, ids[4])
    limits: Any = f"1000,{DAY}"
    if script == "append":
        await raw.append(1, size=limits)
    elif script == "append_numbered":
        await raw.append_numbered([1], size=limits)
    elif script == "append_once":
        await raw.append_once("order-17", size=limits)
    else:
        assert await raw.call("trim", KEYS, 0, DAY, "refuse") == [4, 0, ""]
    assert (await raw.ids())[0] == ids[4]


async def test_an_emit_removes_old_events_of_its_sink(raw: Raw) -> None:
    epoch, ids = await ready(raw, 2)
    dead = await old(raw, 5, SINK_LOG)
    state = f"{SINK_LOG.removesuffix(':log')}:processor:undertaker"
    keys = [SINK_LOG, SINK_META, state]
    await raw.call("register", keys, 1, 8, "xxh64", "undertaker", "0")
    await raw.call("seek", keys, "undertaker", _after(dead[3]), "", NONCE)
    await emit(raw, epoch, "0-0", ids[0], size=f"1000,{DAY}")
    left: Any = await raw.redis.xrange(SINK_LOG)
    assert [each[0].decode() for each in left][:-1] == dead[3:]


async def test_an_emit_makes_room_in_a_sink_that_nobody_reads_if_that_is_declared(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw, 3)
    await emit(raw, epoch, "0-0", ids[0], size=2)
    await emit(raw, epoch, ids[0], ids[1], size=2)
    await refused(raw, "FULL", emit(raw, epoch, ids[1], ids[2], size=2))
    await emit(raw, epoch, ids[1], ids[2], size=2, when_full="drop_unread")
    assert await raw.redis.xlen(SINK_LOG) == 2


async def test_appends_look_once_in_a_hundredth_of_the_age(raw: Raw) -> None:
    ids = await old(raw, 5)
    await committed(raw, ids[1])
    limits: Any = f"1000,{DAY}"
    await raw.append(1, size=limits)
    assert (await raw.ids())[0] == ids[1]
    await raw.call("seek", [*KEYS, STATE], "printer", _after(ids[3]), "", "2" * 32)
    await raw.append(2, size=limits)
    assert (await raw.ids())[0] == ids[1], "it has just looked"
    looked = int(await meta(raw, "trimmed_at") or 0)
    await raw.redis.hset(META, "trimmed_at", str(looked - DAY // 99))
    await raw.append(3, size=limits)
    assert (await raw.ids())[0] == ids[3]
    await raw.call("seek", [*KEYS, STATE], "printer", _after(ids[4]), "", "3" * 32)
    await raw.redis.hset(META, "trimmed_at", str(looked + 10**9))
    await raw.append(4, size=limits)
    assert (await raw.ids())[0] == ids[4], "the clock has gone back since"


async def test_a_stream_without_an_age_notes_nothing(raw: Raw) -> None:
    ids = await old(raw, 5)
    await committed(raw, ids[4])
    await raw.append(1)
    assert await meta(raw, "trimmed_at") is None
    assert len(await raw.ids()) == 6


async def test_l4_one_call_removes_a_bounded_number_and_the_next_ones_the_rest(raw: Raw) -> None:
    ids = await old(raw, 3_050)
    await committed(raw, ids[-1])
    limits: Any = f"9999,{DAY}"
    for sequence, left in ((1, 2_050), (2, 1_050)):
        await raw.append(sequence, size=limits)
        assert left - 100 <= len(await raw.ids()) - sequence <= left, "at once, because more is old"
    removed = await raw.call("trim", KEYS, 0, DAY, "refuse")
    while removed[1]:
        removed = await raw.call("trim", KEYS, 0, DAY, "refuse")
    assert (await raw.ids())[0] == ids[-1]
    assert await raw.call("trim", KEYS, 0, DAY, "refuse") == [0, 0, ""]


async def test_l4_no_more_leaves_at_once_where_a_server_keeps_many_entries_in_a_node(
    raw: Raw,
) -> None:
    names = ("stream-node-max-entries", "stream-node-max-bytes")
    before: Any = await raw.redis.config_get("stream-node-max-*")
    usual = [each.decode() if isinstance(each, bytes) else each for each in before]
    assert set(usual) == set(names)
    try:
        for name in names:
            await raw.redis.config_set(name, 0)
        ids = await old(raw, 2_000)
    finally:
        for name, value in before.items():
            await raw.redis.config_set(name, value)
    await committed(raw, ids[-1])
    assert await raw.call("trim", KEYS, 0, DAY, "refuse") == [100, 1, ""]
    assert await raw.call("trim", KEYS, 0, DAY, "refuse") == [100, 1, ""]
    assert (await raw.ids())[0] == ids[200]


async def test_while_much_is_old_nothing_is_read(raw: Raw) -> None:
    ids = await old(raw, 1_500)
    await committed(raw, ids[-1])
    before: Any = await raw.redis.info("commandstats")
    assert await raw.call("trim", KEYS, 0, DAY, "refuse") == [1_000, 1, ""]
    after: Any = await raw.redis.info("commandstats")
    assert after["cmdstat_xrange"] == before["cmdstat_xrange"]


async def test_large_entries_are_removed_without_being_read(raw: Raw) -> None:
    for i in range(12):
        await raw.redis.xadd(LOG, {"msgpack": b"x" * 1_000_000}, id=f"1000-{i + 1}")
    await committed(raw, "1000-12")
    before: Any = await raw.redis.info("commandstats")
    assert await raw.call("trim", KEYS, 0, DAY, "refuse") == [11, 0, ""]
    after: Any = await raw.redis.info("commandstats")
    reads = after["cmdstat_xrange"]["calls"] - before["cmdstat_xrange"]["calls"]
    assert reads <= 2, "what is left is read, and whether something is kept: an entry at most"


async def test_entries_that_others_have_deleted_do_not_matter(raw: Raw) -> None:
    ids = await old(raw, 400)
    await committed(raw, ids[250])
    await raw.redis.xdel(LOG, *ids[:150], *ids[200:260])
    assert await raw.call("trim", KEYS, 0, DAY, "refuse") == [50, 0, "printer"]
    assert (await raw.ids())[0] == ids[260], "the next one after its checkpoint"


async def test_an_id_ahead_of_the_clock_is_young(raw: Raw) -> None:
    future = f"{int(time.time() * 1000) + 10 * DAY}-0"
    await raw.redis.xadd(LOG, {"f": "v"}, id=future)
    await raw.append(1, 3)
    ids = await raw.ids()
    await committed(raw, ids[-1])
    assert await raw.call("trim", KEYS, 0, 1, "refuse") == [0, 0, ""]
    assert await raw.ids() == ids


async def test_an_age_longer_than_the_clock_has_counted_removes_nothing(raw: Raw) -> None:
    ids = await old(raw, 3)
    await committed(raw, ids[2])
    for how in ("refuse", "drop_oldest"):
        assert await raw.call("trim", KEYS, 0, 10**14, how) == [0, 0, ""]
    await raw.append(1, size="100,100000000000000")  # type: ignore[arg-type]
    assert (await raw.ids())[:3] == ids


@pytest.mark.parametrize("size", [0, 2])
async def test_s4_nothing_leaves_while_nobody_reads_or_a_group_is_missing(
    raw: Raw, size: int
) -> None:
    how: list[Any] = [size, 0 if size else DAY]
    ids = await old(raw, 5)
    assert await raw.call("trim", KEYS, *how, "refuse") == [0, 0, "-"]
    await committed(raw, ids[4])
    await raw.redis.xgroup_destroy(LOG, "printer")
    for policy in ("refuse", "drop_unread"):
        assert await raw.call("trim", KEYS, *how, policy) == [0, 0, "printer"]
    await raw.append(1, size=f"1000,{DAY}")  # type: ignore[arg-type]
    assert (await raw.ids())[:5] == ids


@pytest.mark.parametrize("size", [0, 2])
async def test_what_nobody_reads_may_leave_with_drop_unread(raw: Raw, size: int) -> None:
    how: list[Any] = [size, 0 if size else DAY, "drop_unread"]
    ids = await old(raw, 5)
    await raw.redis.xgroup_create(LOG, "another-tool", "0")
    assert await raw.call("trim", KEYS, *how) == [0, 0, "-"], "somebody reads it"
    await raw.redis.xgroup_destroy(LOG, "another-tool")
    assert await raw.call("trim", KEYS, *how) == [5 - size, 0, ""]
    assert await raw.ids() == ids[5 - size :]
    assert await raw.call("trim", KEYS, *how) == [0, 0, ""]


async def test_a_full_partition_that_nobody_reads_drops_its_oldest_with_drop_unread(
    raw: Raw,
) -> None:
    await raw.append(1, 4, size=5)
    await raw.append(2, 1, size=5)
    ids = await raw.ids()
    said = await refused(raw, "FULL", raw.append(3, 2, size=5))
    assert said.endswith("processor= limit=5")
    await raw.redis.xgroup_create(LOG, "another-tool", "0")
    said = await refused(raw, "FULL", raw.append(3, 2, size=5, when_full="drop_unread"))
    assert said.endswith("reader=another-tool")
    await raw.redis.xgroup_destroy(LOG, "another-tool")
    await raw.append(3, 2, size=5, when_full="drop_unread")
    assert (await raw.ids())[:3] == ids[2:]


async def test_s4_drop_unread_drops_nothing_that_a_processor_has_not_committed(raw: Raw) -> None:
    epoch, ids = await ready(raw, 5)
    said = await refused(raw, "FULL", raw.append(2, 2, size=6, when_full="drop_unread"))
    assert "processor=printer" in said
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.append(2, 2, size=6, when_full="drop_unread")
    assert (await raw.ids())[0] == ids[1]


async def test_s4_a_checkpoint_in_meta_that_was_lost_is_no_reason_to_drop(raw: Raw) -> None:
    await ready(raw, 5)
    await raw.redis.delete(META)
    said = await refused(raw, "FULL", raw.append(2, 2, size=6, when_full="drop_unread"))
    assert "reader=printer" in said
    assert await raw.call("trim", KEYS, 2, 0, "drop_unread") == [0, 0, "-"]


async def test_s4_trim_to_a_size_stops_at_the_slowest_processor(raw: Raw) -> None:
    epoch, ids = await ready(raw, 9)
    assert await raw.call("trim", KEYS, 3, 0, "refuse") == [0, 0, "printer"]
    await raw.commit(epoch, "0-0", ids[3], 4)
    assert await raw.call("trim", KEYS, 8, 0, "refuse") == [1, 0, ""]
    assert await raw.call("trim", KEYS, 3, 0, "refuse") == [2, 0, "printer"]
    assert await raw.ids() == ids[3:], "the entry at the checkpoint stays"
    assert (await raw.claim(10))["lost"] == -1, "and nothing was lost"


@pytest.mark.parametrize("size", [0, 2])
async def test_s7_what_is_dropped_by_name_is_counted_for_each_processor(
    raw: Raw, size: int
) -> None:
    ids = await old(raw, 250)
    await committed(raw, ids[100])
    await committed(raw, ids[0], "mailer")
    how: list[Any] = [size, 0 if size else DAY, "drop_oldest"]
    total, more = 0, 1
    while more:
        removed, more, kept = await raw.call("trim", KEYS, *how)
        assert (removed <= 100, kept) == (True, "")
        total += removed
    left = size or 1  # The newest entry stays.
    assert (total, await raw.ids()) == (250 - left, ids[250 - left :])
    assert await meta(raw, "dropped:printer") == str(250 - left - 101)
    assert await meta(raw, "dropped:mailer") == str(250 - left - 1)
    assert await lag_of(raw, "printer") == left, "what was dropped is no lag"
    lost = await raw.claim(10)
    assert (lost["lost"], lost["exact"]) == (250 - left - 101, 1)


async def test_a_partition_without_events_has_nothing_to_trim(raw: Raw) -> None:
    for policy in ("refuse", "drop_unread", "drop_oldest"):
        assert await raw.call("trim", KEYS, 1, 0, policy) == [0, 0, ""]
        assert await raw.call("trim", KEYS, 0, DAY, policy) == [0, 0, ""]
    await raw.append(1, size=f"1000,{DAY}")  # type: ignore[arg-type]
    assert len(await raw.ids()) == 1


async def test_an_append_that_is_repeated_removes_nothing(raw: Raw) -> None:
    ids = await old(raw, 5)
    await committed(raw, ids[4])
    await raw.append(1)
    before = await raw.dump()
    limits: Any = f"1000,{DAY}"
    assert (await raw.append(1, size=limits))[0] == 0
    assert await raw.dump() == before


async def test_a_size_with_an_age_has_its_limits(raw: Raw) -> None:
    head: list[Any] = [1, 8, "xxh64"]
    two: list[Any] = [2, "f", "v"] * 2
    for limits in ("9,", "9,0", "9,x", "1,5", ",5", "9,1" + "0" * 15):
        call = raw.call("append", [*KEYS, PRODUCERS], *head, limits, "refuse", "p", 1, 2, "f", "v")
        assert "field=size" in await refused(raw, "BADARG", call)
    call = raw.call("append", [*KEYS, PRODUCERS], *head, "2,9", "refuse", "p", 1, *two)
    assert "field=entries limit=1" in await refused(raw, "BADARG", call)
