"""transact: events are parked with the commit that passes them, and replayed each once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import META, NONCE, OTHER, PARKED, STATE, Raw
from tests.lua.parking import COUNTS, EVENTS, counts, entries_of, entry, park, parked, replayed
from tests.lua.steps import ready, refused

TABLE = META.replace(":meta", ":table:balances")
SET = ([TABLE], ["table", 1, 0, "alice", "5"])


async def test_s5_an_event_is_parked_with_the_checkpoint_that_passes_it(raw: Raw) -> None:
    _, ids, _ = await parked(raw)
    assert await counts(raw) == ({"alice": "2", "bob": "1"}, set())
    assert await raw.redis.hmget(STATE, ["checkpoint", "processed"]) == [ids[2].encode(), b"3"]
    found: Any = await raw.redis.xrange(EVENTS)
    first = found[0][1]
    assert (first[b"key"], first[b"event"], first[b"msgpack"]) == (b"alice", ids[0].encode(), b"x")
    claimed = await raw.claim(11, OTHER)
    assert (claimed["parked"], claimed["replay"]) == (3, 0)


async def test_s6_a_repeat_parks_no_second_time(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    assert await park(raw, epoch, "0-0", ids[0], entry("alice", ids[0])) == [1, 0]
    before = await raw.dump()
    assert await park(raw, epoch, "0-0", ids[0], entry("alice", ids[0])) == [0, 0]
    assert await raw.dump() == before


async def test_s4_without_room_nothing_is_passed(raw: Raw) -> None:
    epoch, ids, _ = await parked(raw)
    one_more = entry("carol", ids[3])
    said = await refused(raw, "FULL", park(raw, epoch, ids[2], ids[3], one_more, size=3))
    assert f"limit=3 sink={EVENTS}" in said
    assert await park(raw, epoch, ids[2], ids[3], one_more, size=4) == [1, 0]


async def test_s1_an_old_token_parks_nothing(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.claim(11, OTHER)
    await refused(raw, "FENCED", park(raw, epoch, "0-0", ids[0], entry("alice", ids[0])))


@pytest.mark.parametrize(
    ("entries", "options"),
    [
        ([[4, "event", "1-0", "msgpack", "x"]], {}),
        ([entry("alice", "1-0")], {"count": 0}),
        ([entry("alice", "1-0")], {"count": 2}),
        ([entry("alice", "1-0")] * 3, {"size": 2}),
        ([entry("alice", "1-0")], {"size": 0}),
        ([entry("alice", "1-0")], {"size": "x"}),
    ],
)
async def test_a_malformed_park_writes_nothing(
    raw: Raw, entries: list[list[str | int]], options: dict[str, Any]
) -> None:
    epoch, ids = await ready(raw)
    await refused(raw, "BADARG", park(raw, epoch, "0-0", ids[0], *entries, **options))


async def test_a_parked_entry_may_have_more_fields_than_one_that_was_sent(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    head = entry("alice", ids[0])[1:]
    for values, word in ((1042, "BADARG"), (1040, "")):
        wide = [values, *head, *["f"] * (values - len(head))]
        if word:
            await refused(raw, word, park(raw, epoch, "0-0", ids[0], wide))
        else:
            assert await park(raw, epoch, "0-0", ids[0], wide) == [1, 0]


async def test_parked_events_of_another_processor_are_out_of_reach(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    names = [META.replace("meta", "log"), META, STATE]
    others = [each.replace("printer", "mailer") for each in PARKED]
    step = ("printer", epoch, NONCE, "0-0", ids[0], 1, 0)
    for keys in ([EVENTS, others[1]], [others[0], COUNTS], [COUNTS, EVENTS]):
        effect = ("park", 9, 1, *entry("alice", ids[0]))
        await refused(raw, "BADARG", raw.call("transact", [*names, *keys], *step, *effect))


async def test_a_replayed_event_is_gone_and_its_effects_are_written_while_the_checkpoint_stays(
    raw: Raw,
) -> None:
    epoch, ids, (first, _, third) = await parked(raw)
    assert await replayed(raw, epoch, ids[2], first, more=SET) == [1, 0]
    assert await counts(raw) == ({"alice": "1", "bob": "1"}, set())
    assert await raw.redis.hget(TABLE, "alice") == b"5"
    assert await raw.redis.hmget(STATE, ["checkpoint", "processed"]) == [ids[2].encode(), b"3"]
    assert await raw.lag() == 2
    assert await replayed(raw, epoch, ids[2], third) == [1, 0]
    assert await counts(raw) == ({"bob": "1"}, set())


async def test_s6_a_repeated_replay_counts_once(raw: Raw) -> None:
    epoch, ids, (first, *_) = await parked(raw)
    more = ([TABLE], ["table", 1, 0, "alice", "5"])
    await replayed(raw, epoch, ids[2], first, more=more)
    await raw.redis.hset(TABLE, "alice", "6")
    before = await raw.dump()
    assert await replayed(raw, epoch, ids[2], first, more=more) == [0, 0]
    assert await raw.dump() == before


async def test_a_replay_is_recognised_although_its_own_effects_took_the_room(raw: Raw) -> None:
    epoch, ids, (first, *_) = await parked(raw)
    sink = [META.replace("}:orders:meta", "}:dead:log"), META.replace("}:orders:", "}:dead:")]
    more = (sink, ["derived", 2, "refuse", 1, 2, "msgpack", "dead"])
    await replayed(raw, epoch, ids[2], first, more=more)
    await raw.redis.xadd(sink[0], {"msgpack": "another"})
    assert await replayed(raw, epoch, ids[2], first, more=more) == [0, 0]


async def test_a_replay_may_go_with_events_of_the_log(raw: Raw) -> None:
    epoch, ids, (first, *_) = await parked(raw)
    assert await replayed(raw, epoch, ids[2], first, to=ids[3]) == [1, 0]
    assert await replayed(raw, epoch, ids[2], first, to=ids[3]) == [0, 0]
    assert (await counts(raw))[0] == {"alice": "1", "bob": "1"}
    assert await raw.redis.hget(STATE, "checkpoint") == ids[3].encode()


async def test_a_replay_of_which_a_part_is_gone_is_a_conflict(raw: Raw) -> None:
    epoch, ids, (first, second, _) = await parked(raw)
    await replayed(raw, epoch, ids[2], first)
    said = await refused(raw, "CONFLICT", replayed(raw, epoch, ids[2], first, second))
    assert f"missing={first}" in said
    await refused(raw, "CONFLICT", replayed(raw, epoch, ids[2], first, to=ids[3]))
    await raw.redis.delete(EVENTS)  # By another program: no call of this lease has done it.
    await refused(raw, "CONFLICT", replayed(raw, epoch, ids[2], second))


async def test_s1_an_old_token_replays_nothing(raw: Raw) -> None:
    epoch, ids, (first, *_) = await parked(raw)
    await raw.claim(11, OTHER)
    await refused(raw, "FENCED", replayed(raw, epoch, ids[2], first))
    assert len(await entries_of(raw)) == 3


@pytest.mark.parametrize("given", [(), ("x",), ("1-0", "+"), tuple(["1-0"] * 201)])
async def test_a_malformed_replay_writes_nothing(raw: Raw, given: tuple[str, ...]) -> None:
    epoch, ids, _ = await parked(raw)
    await refused(raw, "BADARG", replayed(raw, epoch, ids[2], *given))


async def test_a_commit_that_moves_nothing_needs_a_replayed_event(raw: Raw) -> None:
    epoch, ids, _ = await parked(raw)
    await refused(raw, "BADARG", park(raw, epoch, ids[2], ids[2], entry("alice", ids[0])))


async def test_a_worker_that_dies_while_it_replays_counts_as_dead(raw: Raw) -> None:
    epoch, ids, _ = await parked(raw)
    await raw.commit(epoch, ids[2], ids[4], 2)
    await raw.call("replay", [STATE, *PARKED[1:]], OTHER, "alice")
    assert (await raw.claim(11, OTHER))["unclean_tenures"] == 0
    found = await raw.claim(12, "2" * 32)
    assert (found["unclean_tenures"], found["replay"]) == (1, 1)
