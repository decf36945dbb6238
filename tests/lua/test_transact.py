"""transact: a checkpoint moves and its effects are written together, or nothing is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import LOG, META, NONCE, OTHER, STATE, Raw
from tests.lua.steps import SINK_LOG, SINK_META, emit, ready, refused

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
