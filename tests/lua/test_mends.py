"""What the contracts have found, each as one short story: see tests/contracts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import LOG, MEMBERS, META, NONCE, OTHER, PLAN, SESSIONS, STATE, Raw
from tests.lua.steps import ready, refused
from tests.lua.test_emit import emit
from tests.lua.test_sync import held

KEYS = [LOG, META, STATE]
THIRD = "2" * 32


async def test_s5_a_commit_whose_meta_is_no_hash_moves_nothing(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.redis.delete(META)
    await raw.redis.set(META, "junk")
    await refused(raw, "WRONGTYPE", raw.commit(epoch, "0-0", ids[0], 1))
    await refused(raw, "WRONGTYPE", emit(raw, epoch, "0-0", ids[0]))
    await refused(raw, "WRONGTYPE", raw.call("remove", KEYS, "printer"))


async def test_s4_a_commit_does_not_hide_that_its_registration_was_lost(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.redis.delete(META)
    await refused(raw, "MISSING", raw.commit(epoch, "0-0", ids[0], 1))
    await refused(raw, "MISSING", emit(raw, epoch, "0-0", ids[0]))
    assert await raw.register() == [2, "0-0"]
    assert await raw.commit(epoch, "0-0", ids[0], 1) == [1, 0]


async def test_s5_a_count_that_is_none_is_found_before_anything_is_written(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.redis.hset(STATE, "processed", "junk")
    await refused(raw, "user_script:[0-9]+:", raw.commit(epoch, "0-0", ids[0], 1))
    await raw.redis.hset(STATE, mapping={"processed": "0", "read": "1.5"})
    await refused(raw, "user_script:[0-9]+:", raw.claim(11, OTHER))


@pytest.mark.parametrize("keys", [[], KEYS[:2], [*KEYS, LOG]])
async def test_a_commit_with_a_wrong_number_of_keys_is_refused(raw: Raw, keys: list[str]) -> None:
    epoch, ids = await ready(raw)
    step = ("printer", epoch, NONCE, "0-0", ids[0], 1, 0)
    await refused(raw, "BADARG", raw.call("commit", keys, *step))
    await refused(raw, "BADARG", raw.call("commit", KEYS, *step, "x"))
    await refused(raw, "BADARG", raw.call("emit", keys, *step, 9, "refuse", 2, "f", "v"))
    assert await raw.call("commit", KEYS, *step) == [1, 0]


@pytest.mark.parametrize("size", ["nan", "inf", "0x10", "1e3", "9" * 16])
async def test_a_size_that_is_no_plain_number_is_refused(raw: Raw, size: str) -> None:
    epoch, ids = await ready(raw)
    await refused(raw, "BADARG", emit(raw, epoch, "0-0", ids[0], size=size))
    append = raw.append(2, 1, size=size)  # type: ignore[arg-type]
    await refused(raw, "BADARG", append)
    assert (await emit(raw, epoch, "0-0", ids[0], size="10"))[0] == 1


async def test_a_protocol_number_nobody_can_have_poisons_no_stream(raw: Raw) -> None:
    for protocol in ("9" * 10, "9" * 400):
        args = (protocol, 8, "xxh64")
        await refused(raw, "BADARG", raw.call("declare", [META], *args))
        await refused(raw, "BADARG", raw.call("register", KEYS, *args, "printer", "0"))
    assert (await raw.register())[0] == 1


async def test_s6_a_repeated_seek_does_not_move_what_was_claimed_meanwhile(raw: Raw) -> None:
    _, ids = await ready(raw)
    first = await raw.call("seek", KEYS, "printer", "$", "", OTHER)
    epoch = (await raw.claim(11, THIRD))["epoch"]
    await raw.append(2, 3)
    now = await raw.ids()
    before = await raw.dump()
    assert await raw.call("seek", KEYS, "printer", "$", "", OTHER) == first
    assert await raw.dump() == before
    assert await raw.commit(epoch, ids[-1], now[5], 1, nonce=THIRD) == [1, 0]
    described = await raw.call("describe", KEYS, "printer")
    assert "last_seek" not in described


@pytest.mark.parametrize("start", ["0-0", "0-1", "1-0"])
async def test_a_seek_to_before_everything_starts_at_the_oldest(raw: Raw, start: str) -> None:
    await ready(raw)
    assert await raw.call("seek", KEYS, "printer", start, "", OTHER) == ["0-0", 0]


async def test_a_seek_to_an_id_beyond_64_bits_is_refused(raw: Raw) -> None:
    await ready(raw)
    for start in ("18446744073709551616-0", "0-18446744073709551616", "9" * 400 + "-0"):
        call = raw.call("seek", KEYS, "printer", start, "", OTHER)
        assert "field=start" in await refused(raw, "BADARG", call)


async def test_s7_events_deleted_from_the_end_are_missed_at_once(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[2], 3)
    await raw.redis.xdel(LOG, *ids[3:])
    found = await raw.claim(11, OTHER)
    assert (found["lost"], found["exact"], found["next_id"]) == (2, 1, "")
    assert (await raw.claim(11, OTHER, accept="2"))["lost"] == -1
    await raw.append(2, 1)
    assert (await raw.claim(12))["lost"] == -1


async def test_s6_a_loss_of_unknown_size_is_accepted_twice_with_one_answer(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[2], 3)
    await raw.redis.delete(LOG)
    await raw.redis.xadd(LOG, {"f": "v"}, id="5-0")
    await raw.register()
    assert (await raw.claim(11, OTHER))["exact"] == 0
    first = await raw.claim(11, OTHER, accept="0")
    assert await raw.claim(11, OTHER, accept="0") == first


async def test_lag_is_right_after_a_lost_state_was_mended(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.commit(epoch, "0-0", ids[1], 2)
    await raw.redis.delete(STATE)
    assert await raw.register() == [2, ids[1]]
    again = (await raw.claim(11, OTHER))["epoch"]
    assert await raw.lag() == 3
    await raw.commit(again, ids[1], ids[4], 3, nonce=OTHER)
    assert (await raw.lag(), (await raw.claim(12))["lost"]) == (0, -1)


async def test_progress_forgets_a_failure_that_was_counted_as_none(raw: Raw) -> None:
    epoch, ids = await ready(raw)
    await raw.call("attempt", [STATE], epoch, NONCE, "failure", ids[0], 0, "Boom", "x")
    await raw.commit(epoch, "0-0", ids[0], 1)
    assert await raw.redis.hmget(STATE, ["event", "error_type"]) == [b"", None]


@pytest.mark.parametrize("lost", [PLAN, SESSIONS, MEMBERS])
async def test_l1_a_group_that_lost_one_key_serves_its_members_again(raw: Raw, lost: str) -> None:
    calls = {"a": 1, "b": 1}
    grants: dict[str, dict[int, tuple[int, int]]] = {}
    for member in calls:
        await raw.sync(member, 1)
    await raw.redis.delete(lost)
    for _ in range(4):
        for member in calls:
            calls[member] += 1
            mine = grants.get(member, {})
            back = [(p, g, 0) for p, (g, keep) in mine.items() if not keep]
            _, grants[member] = await raw.sync(
                member, calls[member], held=held(mine), released=back
            )
    assert sorted(len(held(each)) for each in grants.values()) == [4, 4]


async def test_l2_what_was_on_its_way_to_one_who_left_is_dealt_out_again(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1, partitions=4)
    await raw.sync("b", 1, partitions=4)
    await raw.sync("c", 1, partitions=4)
    await raw.sync("b", 2, partitions=4, action="leave")
    _, grants = await raw.sync("a", 2, partitions=4, held=held(grants))
    assert len(held(grants)) == 2, "a gives back two for c, not one"


async def test_l1_a_clock_that_went_back_stretches_no_wait_for_a_holder(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1, partitions=2)
    await raw.sync("b", 1, partitions=2)
    back = max(grants)
    record: Any = await raw.redis.hget(PLAN, f"p:{back}")
    ahead = int(record.split()[3]) + 3_600_000
    await raw.redis.hset(PLAN, f"p:{back}", b" ".join([*record.split()[:3], b"%d" % ahead]))
    await raw.redis.hset(PLAN, "due", ahead + 5_000)
    head, _ = await raw.sync("b", 2, partitions=2)
    assert 0 < head[3] <= 5_000, "the drain limit, and not an hour more"


async def test_l1_a_clock_that_went_back_stretches_no_wait_for_joiners(raw: Raw) -> None:
    await raw.sync("a", 1, rebalance_delay=1_000)
    await raw.sync("b", 1, rebalance_delay=1_000)
    collecting: Any = await raw.redis.hget(PLAN, "rebalance_at")
    ahead = int(collecting) + 3_600_000
    await raw.redis.hset(PLAN, mapping={"rebalance_at": ahead, "due": ahead})
    head, _ = await raw.sync("b", 2, rebalance_delay=1_000)
    assert 0 < head[3] <= 1_000


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (2, "nan"), (2, "inf"), (2, "9" * 20), (3, "1.5"), (3, "nan"), (4, "-"), (5, "-"),
        (5, "i" * 65), (6, "1e3"), (6, "9" * 20), (8, "d" * 1001), (9, "1.0"), (9, " 1"),
        (10, "9" * 16),
    ],
)  # fmt: skip
async def test_a_sync_that_could_poison_its_group_is_refused(
    raw: Raw, place: int, value: str
) -> None:
    args: list[str | int] = [8, 10_000, 5_000, 0, "a", "a1", 1, "stay", "host", 0, 1, 1, 0]
    args[place] = value
    await refused(raw, "BADARG", raw.call("sync", [PLAN, MEMBERS, SESSIONS], *args))


async def test_a_member_record_that_cannot_be_read_ends_nobody(raw: Raw) -> None:
    await raw.sync("a", 1)
    await raw.redis.hset(MEMBERS, "a", "junk")
    head, grants = await raw.sync("a", 2)
    assert (head[0], len(grants)) == (2, 8)


async def test_a_lease_to_lead_lasts_a_plain_number_of_milliseconds(raw: Raw) -> None:
    leader = "runnel:{shop}:leader"
    for session in ("nan", "1e3", "500.5"):
        await refused(raw, "BADARG", raw.call("elect", [leader], "a", "n", session, "hold"))
