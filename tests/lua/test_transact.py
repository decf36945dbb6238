"""transact: a checkpoint moves and its effects are written together, or nothing is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import LOG, META, NONCE, OTHER, OUTBOX, STATE, Raw
from tests.lua.steps import SINK_LOG, SINK_META, emit, emitted, ready, refused, transact

KEYS = [LOG, META, STATE, SINK_LOG, SINK_META]


async def test_s5_a_dead_letter_and_its_checkpoint_are_written_together(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.call("attempt", [STATE], epoch, NONCE, "failure", ids[0], 3, "Boom", "x")
    letters = (2, "msgpack", "one", 4, "msgpack", "two", "@why", "Boom")
    assert await emit(raw, epoch, "0-0", ids[0], entries=letters, number=2) == [1, 0]
    found: Any = await raw.redis.xrange(SINK_LOG)
    assert [fields for _, fields in found] == [
        {b"msgpack": b"one"},
        {b"msgpack": b"two", b"@why": b"Boom"},
    ]
    stored = await raw.redis.hmget(STATE, ["checkpoint", "processed", "attempts", "error_type"])
    assert stored == [ids[0].encode(), b"1", b"0", None]
    assert await raw.redis.hget(META, "checkpoint:printer") == ids[0].encode()
    assert await raw.lag() == 4


async def test_s6_a_repeated_emit_writes_no_second_dead_letter(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    for release, (prev, next_id) in enumerate((("0-0", ids[0]), (ids[0], ids[1]))):
        assert await emit(raw, epoch, prev, next_id, release=release) == [1, 0]
        before = await raw.dump()
        assert await emit(raw, epoch, prev, next_id, release=release) == [0, 0]
        assert await raw.dump() == before
    assert await raw.redis.xlen(SINK_LOG) == 2
    await refused(raw, "FENCED", emit(raw, epoch, ids[1], ids[2]))


async def test_s5_a_full_sink_leaves_the_checkpoint_unchanged(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await emit(raw, epoch, "0-0", ids[0], size=2)
    await emit(raw, epoch, ids[0], ids[1], size=2)
    said = await refused(raw, "FULL", emit(raw, epoch, ids[1], ids[2], size=2))
    assert f"sink={SINK_LOG}" in said
    assert await emit(raw, epoch, ids[1], ids[2], size=3) == [1, 0]


async def test_s4_the_refusal_of_a_full_sink_names_the_processor_that_reads_it(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    state = f"{SINK_LOG.removesuffix(':log')}:processor:undertaker"
    await raw.call("register", [SINK_LOG, SINK_META, state], 1, 8, "xxh64", "undertaker", "0")
    await emit(raw, epoch, "0-0", ids[0], size=2)
    await emit(raw, epoch, ids[0], ids[1], size=2)
    said = await refused(raw, "FULL", emit(raw, epoch, ids[1], ids[2], size=2))
    assert "processor=undertaker" in said
    assert await emit(raw, epoch, ids[1], ids[2], size=2, when_full="drop_oldest") == [1, 0]
    assert await raw.redis.xlen(SINK_LOG) == 2
    assert await raw.redis.hget(SINK_META, "dropped:undertaker") == b"1"


async def test_s1_an_emit_with_an_old_token_is_fenced_and_writes_nothing(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    newer = (await raw.claim(11, OTHER))["epoch"]
    await refused(raw, "FENCED", emit(raw, epoch, "0-0", ids[0]))
    await refused(raw, "FENCED", emit(raw, newer, "0-0", ids[0]))
    await refused(raw, "FENCED", emit(raw, epoch, "0-0", ids[0], nonce=OTHER))
    assert await emit(raw, newer, "0-0", ids[0], nonce=OTHER) == [1, 0]


async def test_an_emit_from_another_checkpoint_is_a_conflict_that_names_the_stored_one(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[1], 2)
    said = await refused(raw, "CONFLICT", emit(raw, epoch, ids[0], ids[2]))
    assert f"checkpoint={ids[1]}" in said


async def test_s5_an_emit_without_its_consumer_group_is_refused_and_writes_no_dead_letter(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw)
    await raw.redis.xgroup_destroy(LOG, "printer")
    await refused(raw, "MISSING", emit(raw, epoch, "0-0", ids[0]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 1}, {"size": "x"}, {"when_full": "shed"}, {"release": 2}, {"entries": ()},
        {"entries": (3, "f", "v", "g")}, {"entries": (4, "f", "v")}, {"entries": (0,)},
        {"entries": ("x", "f", "v")}, {"number": 0}, {"number": 2}, {"number": "x"},
        {"entries": (2, "f", "v") * 201, "number": 201, "size": 1000},
        {"entries": (2, "f", "v") * 2}, {"entries": (2, "f", "v") * 2, "number": 2, "size": 2},
    ],
)  # fmt: skip
async def test_malformed_dead_letters_are_refused_and_nothing_is_written(
    raw: Raw, wrong: dict[str, Any]
) -> None:
    epoch, ids = await ready(raw)
    await refused(raw, "BADARG", emit(raw, epoch, "0-0", ids[0], **wrong))


async def test_it_moves_the_checkpoint_forward_and_needs_the_keys_of_its_effects(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[1], 2)
    for next_id in (ids[1], ids[0], "one"):
        await refused(raw, "BADARG", emit(raw, epoch, ids[1], next_id))
    step = ("printer", epoch, NONCE, ids[1], ids[2], 1, 0)
    letter = ("derived", 100, "refuse", 1, 2, "f", "v")
    for keys in (KEYS[:4], [*KEYS, SINK_LOG]):
        await refused(raw, "BADARG", raw.call("transact", keys, *step, *letter))
    await refused(raw, "BADARG", raw.call("transact", KEYS, *step, *letter[:6]))


async def test_s5_a_sink_with_no_id_left_moves_nothing(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    top = 2**64 - 1
    await raw.redis.xadd(SINK_LOG, {"a": "b"}, id=f"{top}-{top}")
    await refused(raw, "The stream has exhausted", emit(raw, epoch, "0-0", ids[0]))


TABLE = META.replace(":meta", ":table:balances")
OTHER_TABLE = META.replace(":meta", ":table:limits")


async def test_s5_the_writes_of_a_table_and_the_checkpoint_land_together(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    sets = ("table", 2, 0, "alice", "5", "bob", "7")
    assert await transact(raw, epoch, "0-0", ids[0], keys=(TABLE,), effects=sets) == [1, 0]
    both = ("table", 1, 1, "alice", "6", "bob")
    assert await transact(raw, epoch, ids[0], ids[1], keys=(TABLE,), effects=both) == [1, 0]
    assert await raw.redis.hgetall(TABLE) == {b"alice": b"6"}
    assert await raw.redis.hget(META, "table:balances") == b"printer"
    assert await raw.redis.hget(STATE, "checkpoint") == ids[1].encode()
    assert await raw.lag() == 3


async def test_s6_a_repeat_writes_no_table_again(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    sets = ("table", 1, 0, "alice", "5")
    await transact(raw, epoch, "0-0", ids[0], keys=(TABLE,), effects=sets)
    await raw.redis.hset(TABLE, "alice", "9")
    before = await raw.dump()
    assert await transact(raw, epoch, "0-0", ids[0], keys=(TABLE,), effects=sets) == [0, 0]
    assert await raw.dump() == before


async def test_s1_a_table_is_written_only_under_the_token(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.claim(11, OTHER)
    sets = ("table", 1, 0, "alice", "5")
    await refused(raw, "FENCED", transact(raw, epoch, "0-0", ids[0], keys=(TABLE,), effects=sets))


async def test_a_table_has_one_writer(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.redis.hset(META, "table:limits", "mailer")
    effects = ("table", 1, 0, "alice", "5", "table", 1, 0, "alice", "100")
    keys = (TABLE, OTHER_TABLE)
    said = await refused(
        raw, "NOT_WRITER", transact(raw, epoch, "0-0", ids[0], keys=keys, effects=effects)
    )
    assert said == "NOT_WRITER table=limits writer=mailer"
    await raw.redis.hset(META, "table:limits", "printer")
    assert await transact(raw, epoch, "0-0", ids[0], keys=keys, effects=effects) == [1, 0]
    assert await raw.redis.hget(OTHER_TABLE, "alice") == b"100"


async def test_s5_tables_and_dead_letters_land_together_or_not_at_all(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    letter = ("derived", 2, "refuse", 1, 2, "f", "v")
    effects = ("table", 1, 0, "alice", "5", *letter)
    keys = (TABLE, SINK_LOG, SINK_META)
    for prev, next_id in (("0-0", ids[0]), (ids[0], ids[1])):
        assert await transact(raw, epoch, prev, next_id, keys=keys, effects=effects) == [1, 0]
    more = ("table", 1, 0, "alice", "6", *letter)
    await refused(raw, "FULL", transact(raw, epoch, ids[1], ids[2], keys=keys, effects=more))
    assert await raw.redis.hget(TABLE, "alice") == b"5"


async def test_s5_a_table_of_the_wrong_type_writes_nothing(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.redis.set(OTHER_TABLE, "no hash")
    effects = ("table", 1, 0, "alice", "5", "table", 1, 0, "alice", "100")
    step = transact(raw, epoch, "0-0", ids[0], keys=(TABLE, OTHER_TABLE), effects=effects)
    await refused(raw, "WRONGTYPE", step)


@pytest.mark.parametrize(
    "effects",
    [
        ("table",), ("table", 0, 0), ("table", 1, 0, "f"), ("table", 1, 0, "f", "v", "g"),
        ("table", "x", 0, "f", "v"), ("table", -1, 1, "f"), ("table", 0, "", "f"),
        ("table", 1001, 0, *("f", "v") * 1001), ("table", 10**14, 0, "f", "v"),
        ("tables", 1, 0, "f", "v"), ("derived", 100, "refuse", 1, 2, "f", "v"),
        ("", 1, 0, "f", "v"),
        ("table", 1, 0, "f", "v", "table", 1, 0, "f", "v"),
    ],
)  # fmt: skip
async def test_malformed_writes_of_tables_are_refused_and_nothing_is_written(
    raw: Raw, effects: Any
) -> None:
    epoch, ids = await ready(raw)
    step = transact(raw, epoch, "0-0", ids[0], keys=(TABLE,), effects=effects)
    await refused(raw, "BADARG", step)


async def test_l4_a_commit_has_a_limited_number_of_effects(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    one = ("table", 1, 0, "f", "v")
    tables = tuple(f"{TABLE}{number}" for number in range(51))
    many = transact(raw, epoch, "0-0", ids[0], keys=tables, effects=one * 51)
    await refused(raw, "BADARG", many)
    fields = [each for number in range(999) for each in (f"f{number}", "v")]
    most: tuple[str | int, ...] = ("table", 999, 1, *fields, "gone")
    assert await transact(raw, epoch, "0-0", ids[0], keys=(TABLE,), effects=most) == [1, 0]
    fifty = transact(raw, epoch, ids[0], ids[1], keys=tables[:50], effects=one * 50)
    assert await fifty == [1, 0]
    twice = transact(raw, epoch, ids[1], ids[2], keys=(TABLE, TABLE), effects=one * 2)
    await refused(raw, "BADARG", twice)


async def test_the_key_of_a_table_has_the_form_of_one(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    sets = ("table", 1, 0, "alice", "5")
    await refused(
        raw, "BADARG", transact(raw, epoch, "0-0", ids[0], keys=(SINK_META,), effects=sets)
    )


#: A partition of another stream, in another slot of a cluster.
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
        to_stream(2, "f"), to_stream(1002, *["f"] * 1002), to_stream(*(2, "f", "v") * 2),
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
