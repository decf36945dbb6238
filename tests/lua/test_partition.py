"""The life of a partition: register, append, claim, commit, attempt, seek and the rest."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import ResponseError

from tests.lua.conftest import LOG, META, NONCE, OTHER, PRODUCERS, STATE, Raw
from tests.lua.steps import ready, refused

MALFORMED: list[tuple[str, int, list[str | int]]] = [
    ("declare", 1, [1, 0, "xxh64"]),
    ("declare", 1, [1, 8, ""]),
    ("declare", 1, []),
    ("register", 3, []),
    ("register", 3, ["x", 8, "xxh64", "printer", "0"]),
    ("register", 3, [1, 0, "xxh64", "printer", "0"]),
    ("register", 3, [1, 10001, "xxh64", "printer", "0"]),
    ("register", 3, [1, 8, "", "printer", "0"]),
    ("register", 3, [1, 8, "xxh64", "", "0"]),
    ("register", 3, [1, 8, "xxh64", "printer", "5-0"]),
    ("claim", 3, [1, 8, "xxh64", "printer", "me", 0, NONCE, ""]),
    ("claim", 3, [1, 8, "xxh64", "printer", "me", "1.5", NONCE, ""]),
    ("claim", 3, [1, 8, "xxh64", "printer", "me", 1, "short", ""]),
    ("claim", 3, [1, 8, "xxh64", "printer", "", 1, NONCE, ""]),
    ("claim", 3, [1, 8, "xxh64", "printer", "me", 1, NONCE, "-1"]),
    ("claim", 3, [1, 8, "xxh64", "printer", "me", 1, NONCE]),
    ("commit", 3, ["printer", 1, NONCE, "0-0", "1-0", 1]),
    ("commit", 3, ["printer", 1, NONCE, "0-0", "one", 1, 0]),
    ("commit", 3, ["printer", 1, NONCE, "0-0", "1-0", "-1", 0]),
    ("commit", 3, ["printer", 1, NONCE, "0-0", "1-0", 1, 2]),
    ("append", 3, [1, 8, "xxh64", 100, "refuse", "p", 1]),
    ("append", 3, [1, 8, "xxh64", 1, "refuse", "p", 1, 2, "f", "v"]),
    ("append", 3, [1, 8, "xxh64", 100, "shed", "p", 1, 2, "f", "v"]),
    ("append", 3, [1, 8, "xxh64", 100, "refuse", "", 1, 2, "f", "v"]),
    ("append", 3, [1, 8, "xxh64", 100, "refuse", "p", 0, 2, "f", "v"]),
    ("append", 3, [1, 8, "xxh64", 100, "refuse", "p", 1, 3, "f", "v", "g"]),
    ("append", 3, [1, 8, "xxh64", 100, "refuse", "p", 1, 4, "f", "v"]),
    ("append", 3, [1, 8, "xxh64", 2, "refuse", "p", 1, 2, "f", "v", 2, "f", "v"]),
    ("attempt", 1, [1, NONCE, "explode", "1-0", 1, "", ""]),
    ("attempt", 1, [1, NONCE, "start", "one", 1, "", ""]),
    ("attempt", 1, [1, NONCE, "start", "1-0", "many", "", ""]),
    ("seek", 3, ["printer", "yesterday", "", NONCE]),
    ("seek", 3, ["printer", "0", "x", NONCE]),
    ("seek", 3, ["printer", "0", "", "short"]),
    ("pause", 1, ["x"]),
    ("resume", 1, ["x"]),
    ("remove", 3, [""]),
    ("describe", 3, []),
]


@pytest.mark.parametrize(("script", "keys", "args"), MALFORMED)
async def test_a_malformed_call_is_refused_and_writes_nothing(
    raw: Raw, script: str, keys: int, args: list[str | int]
) -> None:
    names = [LOG, META, PRODUCERS if script == "append" else STATE]
    await refused(raw, "BADARG", raw.call(script, names[3 - keys :], *args))


async def test_s6_register_is_idempotent_and_starts_where_it_is_told(raw: Raw) -> None:
    await raw.append(1, 3)
    assert await raw.register("$") == [1, (await raw.ids())[-1]]
    assert await raw.register("0") == [0, (await raw.ids())[-1]]
    assert await raw.lag() == 0


@pytest.mark.fault(48)
async def test_a_stream_seen_otherwise_is_a_mismatch_with_both_values(raw: Raw) -> None:
    await raw.register()
    said = await refused(raw, "MISMATCH", raw.register(count=9))
    assert "stored=8 given=9" in said
    assert await raw.call("declare", [META], 1, 8, "xxh64") == 0
    for protocol, count, name in ((1, 9, "xxh64"), (0, 8, "xxh64"), (1, 8, "md5")):
        await refused(raw, "MISMATCH", raw.call("declare", [META], protocol, count, name))


@pytest.mark.fault(32)
async def test_lost_keys_are_mended_from_the_checkpoint_that_retention_goes_by(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[2], 3)
    await raw.redis.delete(STATE)
    assert await raw.register() == [2, ids[2]]
    await raw.redis.xgroup_destroy(LOG, "printer")
    assert await raw.register() == [2, ids[2]]


async def test_s6_an_append_is_known_again_and_gaps_are_refused(raw: Raw) -> None:
    first = await raw.append(1, 3)
    before = await raw.dump()
    assert await raw.append(1, 3) == [0, *first[1:]]
    assert await raw.dump() == before
    await refused(raw, "OUTOFORDER", raw.append(3))
    await refused(raw, "UNKNOWN_PRODUCER", raw.append(7, producer="stranger"))
    assert len(await raw.ids()) == 3


async def test_s4_a_full_partition_names_who_holds_it_back_and_trims_only_what_is_passed(
    raw: Raw,
) -> None:
    assert "processor= " in await _fill_without_processor(raw)
    epoch, ids = await ready(raw, 9)
    said = await refused(raw, "FULL", raw.append(2, 5, size=10))
    assert "processor=printer" in said
    await raw.commit(epoch, "0-0", ids[5], 6)
    await raw.append(2, 5, size=10)
    assert (await raw.ids())[0] == ids[4], "no more than needed; the checkpoint's own entry stays"
    await raw.redis.xgroup_destroy(LOG, "printer")
    assert "group=missing" in await refused(raw, "FULL", raw.append(3, 5, size=10))


async def _fill_without_processor(raw: Raw) -> str:
    await raw.append(1, 9)
    said = await refused(raw, "FULL", raw.append(2, 5, size=10))
    await raw.redis.flushall()
    return said


async def test_drop_oldest_counts_what_each_processor_lost(raw: Raw) -> None:
    epoch, ids = await ready(raw, 9)
    await raw.commit(epoch, "0-0", ids[0], 1)
    await raw.append(2, 5, size=10, policy="drop_oldest")
    assert await raw.redis.hget(META, "dropped:printer") == b"3"
    again = await raw.claim(11, OTHER)
    assert (again["lost"], again["exact"]) == (3, 1)


async def test_the_memory_for_producers_is_bounded(raw: Raw) -> None:
    for number in range(1110):
        await raw.append(1, producer=f"p{number}", size=10_000)
    assert await raw.redis.hlen(PRODUCERS) <= 1100
    assert (await raw.append(2, producer="p1109", size=10_000))[0] == 1
    with pytest.raises(ResponseError, match=r"^UNKNOWN_PRODUCER "):
        await raw.append(2, producer="p0", size=10_000)


async def test_s2_a_claim_needs_a_newer_grant_and_its_repeat_answers_the_same(raw: Raw) -> None:
    await raw.register()
    first = await raw.claim(10)
    assert await raw.claim(10) == first
    assert "seen=10" in await refused(raw, "STALE_GRANT", raw.claim(10, OTHER))
    await refused(raw, "STALE_GRANT", raw.claim(9, OTHER))
    second = await raw.claim(11, OTHER)
    assert second["epoch"] > first["epoch"]


@pytest.mark.fault(10)
async def test_s2_epochs_rise_even_if_the_clock_went_back(raw: Raw) -> None:
    await raw.register()
    await raw.claim(10)
    ahead = 9_000_000_000_000
    await raw.redis.hset(STATE, "epoch", str(ahead))
    assert (await raw.claim(11, OTHER))["epoch"] == ahead + 1


@pytest.mark.fault(21)
async def test_s1_a_spent_token_is_fenced_and_writes_nothing(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    newer = (await raw.claim(11, OTHER))["epoch"]
    await refused(raw, "FENCED", raw.commit(epoch, "0-0", ids[0], 1))
    await refused(raw, "FENCED", raw.commit(newer, "0-0", ids[0], 1))
    await refused(raw, "FENCED", raw.commit(epoch, "0-0", ids[0], 1, nonce=OTHER))
    await refused(
        raw, "FENCED", raw.call("attempt", [STATE], epoch, NONCE, "start", "1-0", 0, "", "")
    )
    assert await raw.commit(newer, "0-0", ids[0], 1, nonce=OTHER) == [1, 0]


@pytest.mark.fault(20)
async def test_s6_a_commit_is_a_compare_and_set_and_native_lag_follows_it(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    assert await raw.lag() == 5
    assert await raw.commit(epoch, "0-0", ids[1], 2) == [1, 0]
    assert await raw.lag() == 3
    before = await raw.dump()
    assert await raw.commit(epoch, "0-0", ids[1], 2) == [0, 0]
    assert await raw.dump() == before
    await refused(raw, "CONFLICT", raw.commit(epoch, "0-0", ids[2], 3))
    await refused(raw, "BADARG", raw.commit(epoch, ids[1], ids[0], 1))
    assert await raw.commit(epoch, ids[1], ids[4], 3) == [1, 0]
    assert await raw.lag() == 0


@pytest.mark.fault(18)
async def test_s6_a_release_is_known_again_and_spends_the_token(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    assert await raw.commit(epoch, "0-0", ids[0], 1, release=1) == [1, 0]
    assert await raw.commit(epoch, "0-0", ids[0], 1, release=1) == [0, 0]
    await refused(raw, "FENCED", raw.commit(epoch, ids[0], ids[1], 1))
    await refused(raw, "STALE_GRANT", raw.claim(10))
    assert (await raw.claim(11, OTHER))["tenures"] == 0, "a clean hand-over counts nothing"


async def test_an_unclean_tenure_is_counted_and_only_a_recorded_start_is_blamed(raw: Raw) -> None:
    _, ids = await ready(raw)
    again = await raw.claim(11, OTHER)
    assert (again["tenures"], again["attempts"]) == (1, 0)
    await raw.call("attempt", [STATE], again["epoch"], OTHER, "start", ids[0], 0, "", "")
    third = await raw.claim(12)
    assert (third["tenures"], third["attempts"], third["event"]) == (2, 1, ids[0])
    assert third["deaths"] == 1
    await raw.commit(third["epoch"], "0-0", ids[0], 1)
    fourth = await raw.claim(13, OTHER)
    assert fourth["tenures"] == 1, "progress begins the count anew"
    assert (fourth["attempts"], fourth["deaths"], fourth["event"]) == (0, 0, "")


async def test_a_worker_that_dies_with_nothing_to_do_is_no_reason_to_suspect_an_event(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[-1], len(ids))
    for grant in range(11, 15):
        assert (await raw.claim(grant, f"{grant}" * 16))["tenures"] == 0
    await raw.append(1, producer="late")
    assert (await raw.claim(15, OTHER))["tenures"] == 1


async def test_deaths_are_those_of_one_event_in_a_row(raw: Raw) -> None:
    _, ids = await ready(raw)

    async def dies(grant: int, kind: str, event: str) -> dict[str, Any]:
        token: Any = await raw.redis.hmget(STATE, "epoch", "nonce")
        epoch, nonce = (each.decode() for each in token)
        await raw.call("attempt", [STATE], epoch, nonce, kind, event, 0, "", "")
        return await raw.claim(grant, f"{grant}" * 16)

    assert (await dies(11, "start", ids[0]))["deaths"] == 1
    assert (await dies(12, "start", ids[0]))["deaths"] == 2
    assert (await dies(13, "failure", ids[0]))["deaths"] == 0, "it failed, and its worker lived"
    assert (await dies(14, "start", ids[0]))["deaths"] == 1
    assert (await dies(15, "start", ids[1]))["deaths"] == 1, "another event"


async def test_a_commit_forgets_the_failures_of_what_it_passed_and_of_nothing_behind(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw, 3)
    failed = (ids[1], 2, "ValueError", "no")
    await raw.call("attempt", [STATE], epoch, NONCE, "quarantine", *failed)
    before = await raw.redis.hgetall(STATE)
    await raw.commit(epoch, "0-0", ids[0], 1)
    after = await raw.redis.hgetall(STATE)
    for name in (b"attempts", b"event", b"error_type", b"error_message", b"error_event"):
        assert after[name] == before[name]
    await raw.commit(epoch, ids[0], ids[1], 1)
    passed = await raw.redis.hgetall(STATE)
    assert (passed[b"attempts"], passed[b"event"]) == (b"0", b"")
    assert b"error_type" not in passed


@pytest.mark.fault(37)
async def test_a_vanished_log_or_group_is_gone_not_ignored(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.redis.xgroup_destroy(LOG, "printer")
    await refused(raw, "MISSING", raw.commit(epoch, "0-0", ids[0], 1))
    await refused(raw, "MISSING", raw.claim(11, OTHER))
    await raw.redis.delete(LOG)
    await refused(raw, "MISSING", raw.commit(epoch, "0-0", ids[0], 1))


@pytest.mark.fault(37)
async def test_a_vanished_log_goes_on_where_it_was_and_native_lag_counts_from_there(
    raw: Raw,
) -> None:
    epoch, ids = await ready(raw, 5)
    await raw.commit(epoch, "0-0", ids[4], 5)
    await raw.redis.delete(LOG)
    assert await raw.register() == [2, ids[4]]
    (group,) = await raw.redis.xinfo_groups(LOG)
    assert (group["entries-read"], group["last-delivered-id"].decode()) == (5, ids[4])
    assert await raw.lag() == 0
    await raw.append(2)
    assert await raw.lag() == 1


async def test_s7_a_loss_is_found_named_and_said_once(raw: Raw) -> None:
    epoch, ids = await ready(raw, 10)
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.redis.xtrim(LOG, minid=ids[6], approximate=False)
    found = await raw.claim(10)
    assert (found["lost"], found["exact"], found["next_id"]) == (4, 1, ids[6])
    assert (await raw.claim(10))["lost"] == 4, "until it is accepted"
    assert (await raw.claim(10, accept="3"))["lost"] == 4, "only by its own number"
    assert (await raw.claim(10, accept="4"))["lost"] == -1
    assert (await raw.claim(10, accept="4"))["lost"] == -1
    assert await raw.redis.hget(STATE, "lost") == b"4"
    assert await raw.lag() == 4


@pytest.mark.fault(12, 15)
async def test_s7_a_log_that_went_back_in_time_is_noticed(raw: Raw) -> None:
    epoch, ids = await ready(raw, 3)
    await raw.commit(epoch, "0-0", ids[2], 3)
    await raw.redis.delete(LOG)
    await raw.redis.xadd(LOG, {"f": "v"}, id="5-0")
    await raw.redis.xgroup_create(LOG, "printer", "0")
    found = await raw.claim(11, OTHER)
    assert (found["lost"], found["exact"]) == (0, 0)
    accepted = await raw.claim(11, OTHER, accept="0")
    assert (accepted["lost"], accepted["checkpoint"], accepted["next_id"]) == (-1, "0-0", "5-0")


@pytest.mark.parametrize(("start", "lag"), [("0", 5), ("$", 0), ("first", 5), ("third", 3)])
async def test_seek_fences_the_holder_and_keeps_native_lag_exact(
    raw: Raw, start: str, lag: int
) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[3], 4)
    target = {"first": ids[0], "third": ids[2]}.get(start, start)
    reply = await raw.call("seek", [LOG, META, STATE], "printer", target, "", OTHER)
    assert await raw.call("seek", [LOG, META, STATE], "printer", target, "", OTHER) == reply
    assert await raw.lag() == lag
    await refused(raw, "FENCED", raw.commit(epoch, ids[3], ids[4], 1))


async def test_pause_is_told_with_the_next_commit_and_resume_ends_it(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    assert await raw.call("pause", [STATE]) == 1
    assert await raw.call("pause", [STATE]) == 0
    assert await raw.commit(epoch, "0-0", ids[0], 1) == [1, 1]
    assert (await raw.claim(11, OTHER))["paused"] == 1
    assert await raw.call("resume", [STATE]) == 1
    assert await raw.call("resume", [STATE]) == 0


async def test_a_removed_processor_holds_nothing_back_and_says_that_it_was_removed(
    raw: Raw,
) -> None:
    await ready(raw)
    assert await raw.call("remove", [LOG, META, STATE], "printer") == 1
    assert await raw.call("remove", [LOG, META, STATE], "printer") == 0
    assert "removed=1" in await refused(raw, "UNREGISTERED", raw.claim(11, OTHER))
    assert await raw.redis.xinfo_groups(LOG) == []


async def test_a_wrong_typed_key_is_refused_before_anything_is_written(raw: Raw) -> None:
    await ready(raw)
    await raw.redis.delete(META)
    await raw.redis.set(META, "junk")
    for call in (raw.register(), raw.claim(11, OTHER), raw.append(2)):
        await refused(raw, "WRONGTYPE", call)


async def test_describe_writes_nothing_and_leaves_out_the_nonce(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    before = await raw.dump()
    flat = await raw.call("describe", [LOG, META, STATE], "printer")
    picture = dict(zip(flat[::2], flat[1::2], strict=True))
    assert await raw.dump() == before
    assert "nonce" not in picture
    assert (picture["lag"], picture["next_id"], picture["epoch"]) == ("5", ids[0], str(epoch))
