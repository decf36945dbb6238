"""register, seek, pause, resume, remove, attempt, describe: one partition, looked after."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import LOG, META, NONCE, OTHER, PRODUCERS, STATE, Raw
from tests.lua.steps import ready, refused, repeated

KEYS = [LOG, META, STATE]
THIRD = "2" * 32


async def described(raw: Raw, processor: str = "printer") -> dict[str, str]:
    flat = await raw.call("describe", KEYS, processor)
    return dict(zip(flat[::2], flat[1::2], strict=True))


@pytest.mark.parametrize(("start", "lag"), [("0", 3), ("$", 0)])
async def test_a_new_processor_starts_at_the_end_it_was_told(
    raw: Raw, start: str, lag: int
) -> None:
    await raw.append(1, 3)
    replies = await repeated(raw, "register", KEYS, 1, 8, "xxh64", "printer", start)
    checkpoint = "0-0" if start == "0" else (await raw.ids())[-1]
    assert replies == ([1, checkpoint], [0, checkpoint])
    assert await raw.lag() == lag
    assert (await raw.claim(10))["lost"] == -1


async def test_a_processor_that_starts_after_a_trim_has_lost_nothing(raw: Raw) -> None:
    await raw.append(1, 6)
    await raw.redis.xtrim(LOG, maxlen=4, approximate=False)
    await raw.register()
    assert ((await raw.claim(10))["lost"], await raw.lag()) == (-1, 4)


async def test_the_processors_of_a_partition_are_bounded(raw: Raw) -> None:
    await raw.call("declare", [META], 1, 8, "xxh64")
    await raw.redis.hset(META, mapping={f"checkpoint:p{number}": "0-0" for number in range(99)})
    await raw.redis.hset(META, mapping={f"removed:q{number}": "1" for number in range(300)})
    await raw.redis.hset(META, mapping={f"dropped:p{number}": "1" for number in range(99)})
    assert await raw.register() == [1, "0-0"], "only those that are registered count"
    other = [LOG, META, STATE.replace("printer", "mailer")]
    call = raw.call("register", other, 1, 8, "xxh64", "mailer", "0")
    assert "field=processor limit=100 registered=100" in await refused(raw, "BADARG", call)
    await raw.redis.delete(STATE)
    assert (await raw.register())[0] == 2, "one that is known already is mended all the same"
    await raw.call("remove", KEYS, "printer")
    assert (await raw.call("register", other, 1, 8, "xxh64", "mailer", "0"))[0] == 1


async def test_marks_of_the_removed_go_with_time_and_in_number(raw: Raw) -> None:
    await raw.register()
    now = int((await described(raw))["now"])
    await raw.redis.hset(
        META,
        mapping={
            "removed:of-old": "1",
            "removed:junk": "nan",
            "removed:before-yesterday": str(now - 2 * 86_400_000),
            **{f"removed:q{number}": str(now - number) for number in range(150)},
        },
    )
    await raw.call("remove", KEYS, "printer")
    fields: Any = await raw.redis.hkeys(META)
    marks = {name for name in fields if name.startswith(b"removed:")}
    assert marks == {b"removed:printer", *(f"removed:q{number}".encode() for number in range(99))}


@pytest.mark.parametrize("start", ["0", "$"])
async def test_s4_a_processor_whose_hashes_were_lost_goes_on_by_its_group(
    raw: Raw, start: str
) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.redis.delete(STATE, META)
    assert await raw.register(start) == [2, ids[1]]
    found = await raw.claim(11, OTHER)
    assert (found["checkpoint"], found["next_id"], found["lost"]) == (ids[1], ids[2], -1)
    assert await raw.lag() == 3


@pytest.mark.parametrize("events", [5, 2500])
async def test_lag_is_right_where_the_state_and_the_group_were_lost(raw: Raw, events: int) -> None:
    await raw.register()
    for sequence in range(1, events // 500 + 2):
        await raw.append(sequence, min(events, 500), size=9_999)
    epoch, ids = (await raw.claim(10))["epoch"], await raw.ids()
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.redis.delete(STATE)
    await raw.redis.xgroup_destroy(LOG, "printer")
    assert await raw.register() == [2, ids[1]]
    assert await raw.lag() == len(ids) - 2


async def test_a_seek_past_trimmed_events_starts_at_the_oldest_there_is(raw: Raw) -> None:
    _, ids = await ready(raw, 6)
    await raw.redis.xtrim(LOG, minid=ids[3], approximate=False)
    for start in ("0", ids[1]):
        reply = await raw.call("seek", KEYS, "printer", start, "", OTHER + start[-1])
        assert reply == ["0-0", 3]
        assert await raw.lag() == 3
    found = await raw.claim(11, THIRD)
    assert (found["lost"], found["next_id"]) == (-1, ids[3])


async def test_a_seek_behind_the_last_event_waits_for_the_next(raw: Raw) -> None:
    _, ids = await ready(raw)
    reply = await raw.call("seek", KEYS, "printer", "9000000000000-0", "", OTHER)
    assert (reply, await raw.lag()) == ([ids[-1], 5], 0)
    await raw.append(2, 2)
    found = await raw.claim(11, THIRD)
    assert (found["next_id"], await raw.lag()) == ((await raw.ids())[5], 2)


async def test_a_seek_far_from_both_ends_must_be_told_how_many_came_before(raw: Raw) -> None:
    await raw.register()
    for sequence in range(1, 4):
        await raw.append(sequence, 1000, size=10_000)
    ids = await raw.ids()
    for read in ("", 3001):
        call = raw.call("seek", KEYS, "printer", ids[1500], read, NONCE)
        assert "field=read" in await refused(raw, "BADARG", call)
    assert await raw.call("seek", KEYS, "printer", ids[1500], 1500, NONCE) == [ids[1499], 1500]
    assert await raw.lag() == 1500
    for index, nonce in ((1000, OTHER), (2000, THIRD)):
        reply = await raw.call("seek", KEYS, "printer", ids[index], "", nonce)
        assert reply == [ids[index - 1], index], "counted from the nearer end"
        assert await raw.lag() == 3000 - index


async def test_s1_after_a_seek_only_a_new_grant_may_claim_and_nothing_is_blamed(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw)
    await raw.call("attempt", [STATE], epoch, NONCE, "quarantine", ids[0], 3, "Boom", "x")
    await raw.call("seek", KEYS, "printer", ids[2], "", OTHER)
    await refused(raw, "STALE_GRANT", raw.claim(10))
    found = await raw.claim(11, THIRD)
    assert found["epoch"] > epoch
    assert (found["checkpoint"], found["next_id"]) == (ids[1], ids[2])
    assert (found["tenures"], found["attempts"], found["quarantined"]) == (0, 0, 0)


async def test_a_deleted_partition_tells_those_who_still_run_and_goes_by_itself(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    other = [LOG, META, STATE.replace("printer", "mailer")]
    await raw.call("register", other, 1, 8, "xxh64", "mailer", "0")
    await raw.call("remove", KEYS, "printer")
    assert await repeated(raw, "delete", [LOG, META, PRODUCERS]) == (5, 0)
    assert 0 < await raw.redis.ttl(META) <= 86_400
    assert await raw.redis.exists(LOG, PRODUCERS) == 0
    assert "deleted=" in await refused(raw, "MISSING", raw.append(1, producer="new"))
    assert "deleted=" in await refused(raw, "MISSING", raw.append(2))
    await refused(raw, "FENCED", raw.commit(epoch, "0-0", ids[0], 1))
    for name in ("printer", "mailer"):
        keys, seen = [LOG, META, STATE.replace("printer", name)], (1, 8, "xxh64")
        call = raw.call("claim", keys, *seen, name, "me", 11, OTHER, "")
        assert "removed=1" in await refused(raw, "UNREGISTERED", call)


@pytest.mark.parametrize("who", ["declare", "register"])
async def test_a_stream_that_was_deleted_may_be_there_again_with_another_count(
    raw: Raw, who: str
) -> None:
    await ready(raw)
    await raw.call("delete", [LOG, META, PRODUCERS])
    if who == "declare":
        assert await repeated(raw, "declare", [META], 1, 9, "xxh64") == (1, 0)
    else:
        assert (await raw.register(count=9))[0] in (1, 2)
    assert await raw.redis.ttl(META) == -1, "it stays"
    assert "stored=9 given=8" in await refused(raw, "MISMATCH", raw.append(1, producer="old"))
    call = raw.call("append", [LOG, META, PRODUCERS], 1, 9, "xxh64", 9, "refuse", "p", 1, 2, "f", 1)
    assert (await call)[0] == 1


async def test_what_was_never_there_is_deleted_without_a_trace(raw: Raw) -> None:
    assert await raw.call("delete", [LOG, META, PRODUCERS]) == 0
    assert await raw.dump() == {}


async def test_what_is_not_registered_is_refused_by_name(raw: Raw) -> None:
    await raw.append(1)
    for call in (
        raw.claim(1),
        raw.call("seek", KEYS, "printer", "0", "", NONCE),
        raw.call("pause", [STATE]),
        raw.call("resume", [STATE]),
    ):
        assert "removed=1" not in await refused(raw, "UNREGISTERED", call)
    await refused(raw, "FENCED", raw.commit(1, "0-0", "1-0", 1))
    assert await raw.call("remove", KEYS, "printer") == 0


async def test_a_seek_without_log_or_group_is_gone(raw: Raw) -> None:
    await ready(raw)
    await raw.redis.xgroup_destroy(LOG, "printer")
    await refused(raw, "MISSING", raw.call("seek", KEYS, "printer", "0", "", OTHER))
    await raw.redis.delete(LOG)
    await refused(raw, "MISSING", raw.call("seek", KEYS, "printer", "0", "", OTHER))


async def test_a_claim_without_its_log_is_gone(raw: Raw) -> None:
    await ready(raw)
    await raw.redis.delete(LOG)
    await refused(raw, "MISSING", raw.claim(11, OTHER))


async def test_a_claim_where_the_stream_is_seen_otherwise_is_a_mismatch(raw: Raw) -> None:
    await ready(raw)
    for seen in ((0, 8, "xxh64"), (1, 9, "xxh64"), (1, 8, "md5")):
        call = raw.call("claim", KEYS, *seen, "printer", "me", 11, OTHER, "")
        await refused(raw, "MISMATCH", call)


async def test_s6_pause_and_resume_repeat_without_writing(raw: Raw) -> None:
    await raw.register()
    assert await repeated(raw, "pause", [STATE]) == (1, 0)
    assert await repeated(raw, "resume", [STATE]) == (1, 0)


async def test_a_removed_processor_can_be_registered_anew_from_where_it_is_told(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[1], 2)
    assert await repeated(raw, "remove", KEYS, "printer") == (1, 0)
    assert await raw.register() == [1, "0-0"]
    assert await raw.redis.hget(META, "removed:printer") is None
    await refused(raw, "FENCED", raw.commit(epoch, ids[1], ids[2], 1))
    assert (await raw.claim(1))["processed"] == 0


async def test_s6_a_failure_is_recorded_absolutely_and_forgotten_with_progress(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    for _ in range(2):
        args = (epoch, NONCE, "failure", ids[0], 2, "Boom", "it went off")
        assert await raw.call("attempt", [STATE], *args) == 0
    seen = await described(raw)
    assert (seen["attempts"], seen["event"]) == ("2", ids[0])
    assert (seen["error_type"], seen["error_message"]) == ("Boom", "it went off")
    assert int(seen["error_at"]) <= int(seen["now"])
    await raw.commit(epoch, "0-0", ids[0], 1)
    seen = await described(raw)
    assert (seen["attempts"], seen["event"], seen["tenures"]) == ("0", "", "0")
    assert not any(name.startswith("error_") for name in seen)


async def test_a_quarantine_outlives_its_holder_and_resume_ends_it(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.call("attempt", [STATE], epoch, NONCE, "quarantine", ids[0], 3, "Boom", "x")
    await raw.commit(epoch, "0-0", "0-0", 0, release=1)
    found = await raw.claim(11, OTHER)
    assert (found["quarantined"], found["attempts"], found["event"]) == (1, 3, ids[0])
    assert await repeated(raw, "resume", [STATE]) == (1, 0)
    found = await raw.claim(12)
    assert (found["quarantined"], found["attempts"], found["event"]) == (0, 0, "")


@pytest.mark.parametrize(
    "rest", [("failure", "1-0", 10**9, "T", ""), ("failure", "1-0", 1, "T", "x" * 4001), ()]
)
async def test_a_malformed_attempt_is_refused_and_writes_nothing(
    raw: Raw, rest: tuple[Any, ...]
) -> None:
    epoch, _ = await ready(raw)
    await refused(raw, "BADARG", raw.call("attempt", [STATE], epoch, NONCE, *rest))


async def test_describe_leaves_out_what_is_unknown(raw: Raw) -> None:
    assert set(await described(raw)) == {"now", "length"}
    await raw.append(1, 2)
    ids = await raw.ids()
    seen = await described(raw, "")
    assert (seen["length"], seen["added"]) == ("2", "2")
    assert (seen["first"], seen["last"]) == (ids[0], ids[1])
    assert (seen["meta.partitions"], seen["meta.hash"]) == ("8", "xxh64")
    assert not {"lag", "next_id", "checkpoint"} & set(seen)
