"""sync, seen by one member: joining, repeating, leaving, being replaced, waiting its turn."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lua.conftest import MEMBERS, PLAN, SESSIONS, WAKE, Raw
from tests.lua.steps import refused

KEYS = [PLAN, MEMBERS, SESSIONS]


def held(grants: dict[int, tuple[int, int]]) -> list[tuple[int, int]]:
    """What a member holds that has claimed all it was granted."""
    return [(partition, grant) for partition, (grant, keep) in grants.items() if keep]


async def age(raw: Raw, partition: int) -> None:
    """Make it long ago that the partition was asked back."""
    record: Any = await raw.redis.hget(PLAN, f"p:{partition}")
    holder, target, grant, asked = record.decode().split()
    assert int(asked) > 0, "it was not asked back"
    await raw.redis.hset(PLAN, f"p:{partition}", f"{holder} {target} {grant} 1")
    await raw.redis.hset(PLAN, "due", "1")


async def test_s6_a_join_whose_reply_was_lost_is_answered_the_same(raw: Raw) -> None:
    first = await raw.sync("a", 1)
    before = await raw.dump()
    assert await raw.sync("a", 1) == first
    assert await raw.dump() == before


async def test_s6_letting_go_twice_gives_the_partition_back_once(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1, partitions=2)
    released = [(0, grants[0][0], 0)]
    first = await raw.sync("a", 2, partitions=2, held=held(grants)[1:], released=released)
    before = await raw.dump()
    assert await raw.sync("a", 2, partitions=2, held=held(grants)[1:], released=released) == first
    assert await raw.dump() == before
    assert first[1][0][0] > grants[0][0], "nobody else is there to take it"


async def test_an_old_grant_that_is_let_go_late_frees_nothing(raw: Raw) -> None:
    _, old = await raw.sync("a", 1)
    await raw.call("revoke", [PLAN], 0)
    _, new = await raw.sync("a", 2, held=held(old))
    assert new[0][0] > old[0][0]
    _, again = await raw.sync("a", 3, held=held(new), released=[(0, old[0][0], 0)])
    assert again == new


async def test_one_cannot_let_go_of_what_another_holds(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1)
    await raw.sync("b", 1)
    await raw.sync("b", 2, released=[(p, grant, 0) for p, grant in held(grants)])
    assert set((await raw.sync("a", 2, held=held(grants)))[1]) == set(grants)


async def test_l1_what_is_asked_back_is_granted_once_the_drain_limit_has_passed(
    raw: Raw,
) -> None:
    _, grants = await raw.sync("a", 1, partitions=2)
    await raw.sync("b", 1, partitions=2)
    _, grants = await raw.sync("a", 2, partitions=2, held=held(grants))
    (back,) = [p for p, (_, keep) in grants.items() if not keep]
    assert (await raw.sync("b", 2, partitions=2))[1] == {}, "its holder still has time"
    await age(raw, back)
    _, taken = await raw.sync("b", 3, partitions=2)
    assert set(taken) == {back}
    assert taken[back][0] > grants[back][0]
    _, left = await raw.sync("a", 3, partitions=2, held=[(p, g) for p, (g, _) in grants.items()])
    assert back not in left


@pytest.mark.fault(41)
async def test_joiners_that_were_collected_move_partitions_together(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1, rebalance_delay=60_000)
    for member in ("b", "c", "d"):
        assert (await raw.sync(member, 1, rebalance_delay=60_000))[1] == {}
    await raw.redis.hset(PLAN, mapping={"rebalance_at": "1", "due": "1"})
    _, grants = await raw.sync("a", 2, rebalance_delay=60_000, held=held(grants))
    assert sorted(keep for _, keep in grants.values()) == [0] * 6 + [1] * 2


async def test_what_is_free_does_not_wait_for_joiners_to_be_collected(raw: Raw) -> None:
    assert len((await raw.sync("a", 1, rebalance_delay=60_000))[1]) == 8
    await raw.redis.zadd(SESSIONS, {"a": 1})
    assert len((await raw.sync("b", 1, rebalance_delay=60_000))[1]) == 8


async def test_a_dead_member_is_forgotten_and_may_come_back(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1)
    await raw.redis.zadd(SESSIONS, {"a": 1})
    await raw.sync("b", 1)
    assert await raw.redis.hget(MEMBERS, "a") is None
    assert await raw.redis.zrange(SESSIONS, 0, -1) == [b"b"]
    head, again = await raw.sync("a", 2, held=held(grants))
    assert head[0] == 2
    assert not set(held(again)) & set(held(grants)), "its old grants are spent"


async def test_a_sleeper_that_nobody_replaced_goes_on(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1)
    await raw.redis.zadd(SESSIONS, {"a": 1})
    assert (await raw.sync("a", 2, held=held(grants)))[1] == grants
    assert (await raw.redis.zscore(SESSIONS, "a") or 0) > 1


async def test_a_replaced_member_is_refused_and_writes_nothing(raw: Raw) -> None:
    await raw.sync("a", 1, incarnation="one")
    await raw.sync("a", 1, incarnation="two")
    for call, action in ((1, "stay"), (2, "stay"), (3, "leave")):
        late = raw.sync("a", call, incarnation="one", action=action)
        assert "member=a" in await refused(raw, "REPLACED", late)


async def test_a_leaver_frees_all_at_once_and_its_grave_is_cleared_in_time(raw: Raw) -> None:
    await raw.sync("a", 1)
    await raw.sync("b", 1)
    first = await raw.sync("a", 2, action="leave")
    before = await raw.dump()
    assert await raw.sync("a", 2, action="leave") == first
    assert await raw.dump() == before
    assert len((await raw.sync("b", 2))[1]) == 8
    assert await raw.redis.hexists(MEMBERS, "left:a")
    await raw.redis.hset(MEMBERS, "left:a", "a1 1")
    await raw.sync("c", 1)
    assert not await raw.redis.hexists(MEMBERS, "left:a")


async def test_one_that_retires_gives_back_and_gets_nothing_more(raw: Raw) -> None:
    _, of_a = await raw.sync("a", 1)
    await raw.sync("b", 1)
    _, of_a = await raw.sync("a", 2, held=held(of_a))
    _, of_a = await raw.sync("a", 3, action="retire", held=[(p, g) for p, (g, _) in of_a.items()])
    assert {keep for _, keep in of_a.values()} == {0}, "all are asked back"
    assert (await raw.sync("b", 2))[1] == {}, "it still holds them"
    first = [(p, g, 0) for p, (g, _) in list(of_a.items())[:3]]
    rest = [(p, g) for p, (g, _) in list(of_a.items())[3:]]
    head, left = await raw.sync("a", 4, action="retire", held=rest, released=first)
    assert set(left) == {p for p, _ in rest}
    _, of_b = await raw.sync("b", 3)
    assert set(of_b) == {p for p, _, _ in first}, "each moves as soon as it is free"
    plan = await raw.redis.hgetall(PLAN)
    again, _ = await raw.sync("a", 5, action="retire", held=rest)
    assert (again[1], await raw.redis.hgetall(PLAN)) == (head[1], plan), "a heartbeat as any other"


async def test_the_last_one_that_retires_is_given_nothing_back(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1)
    released = [(p, g, 0) for p, g in held(grants)]
    assert (await raw.sync("a", 2, action="retire", released=released))[1] == {}
    assert len((await raw.sync("b", 1))[1]) == 8, "who joins gets it all"


async def test_one_that_retires_is_overruled_after_the_drain_limit(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1, partitions=1)
    await raw.sync("b", 1, partitions=1)
    await raw.sync("a", 2, partitions=1, action="retire", held=held(grants))
    await age(raw, 0)
    _, taken = await raw.sync("b", 2, partitions=1)
    assert taken[0][0] > grants[0][0]


async def test_one_that_left_may_join_again_as_a_new_incarnation(raw: Raw) -> None:
    await raw.sync("a", 1)
    await raw.sync("a", 2, action="leave")
    assert len((await raw.sync("a", 1, incarnation="a2"))[1]) == 8


async def test_the_latest_joiner_sets_the_session_of_the_group(raw: Raw) -> None:
    assert (await raw.sync("a", 1, session_timeout=10_000))[0][2] == 10_000
    assert (await raw.sync("b", 1, session_timeout=20_000))[0][2] == 20_000
    assert (await raw.sync("a", 2, session_timeout=10_000))[0][2] == 20_000


async def test_members_are_bounded(raw: Raw) -> None:
    await raw.sync("a", 1)
    ends = await raw.redis.zscore(SESSIONS, "a")
    assert ends is not None
    await raw.redis.zadd(SESSIONS, {f"m{number}": ends for number in range(999)})
    assert "limit=1000" in await refused(raw, "BADARG", raw.sync("b", 1))
    assert (await raw.sync("a", 2))[0][0] == 2, "those that are in stay in"


@pytest.mark.parametrize("change", ["join", "leave", "revoke"])
async def test_the_wake_channel_is_told_when_others_have_to_act(raw: Raw, change: str) -> None:
    await raw.sync("a", 1)
    await raw.sync("z", 1)
    async with raw.redis.pubsub() as listener:
        await listener.subscribe(WAKE)
        await listener.get_message(timeout=5)
        if change == "join":
            await raw.sync("b", 1)
        elif change == "leave":
            await raw.sync("a", 2, action="leave")
        else:
            await raw.call("revoke", [PLAN], *range(8))
        told = await listener.get_message(ignore_subscribe_messages=True, timeout=5)
    assert told is not None
    assert told["channel"] == WAKE.encode()


async def test_the_generation_rises_with_every_change_and_only_then(raw: Raw) -> None:
    head, grants = await raw.sync("a", 1)
    again, _ = await raw.sync("a", 2, held=held(grants))
    assert again[1] == head[1]
    joined, _ = await raw.sync("b", 1)
    assert joined[1] > head[1]


async def test_a_quiet_heartbeat_renews_the_session_and_nothing_else(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1)
    await raw.redis.zadd(SESSIONS, {"a": (await raw.redis.zscore(SESSIONS, "a") or 0) - 5000})
    plan, ends = await raw.redis.hgetall(PLAN), await raw.redis.zscore(SESSIONS, "a")
    await raw.sync("a", 2, held=held(grants))
    assert await raw.redis.hgetall(PLAN) == plan
    assert (await raw.redis.zscore(SESSIONS, "a") or 0) > (ends or 0)


async def test_another_partition_count_is_refused_and_writes_nothing(raw: Raw) -> None:
    await raw.sync("a", 1)
    await refused(raw, "MISMATCH", raw.sync("b", 1, partitions=9))
    await refused(raw, "MISMATCH", raw.sync("a", 2, partitions=7))


async def test_a_wrong_typed_key_of_a_group_is_refused_and_writes_nothing(raw: Raw) -> None:
    for key in (PLAN, MEMBERS, SESSIONS):
        await raw.redis.flushall()
        await raw.redis.set(key, "junk")
        await refused(raw, "WRONGTYPE", raw.sync("a", 1))


async def test_a_plan_that_is_lost_alone_is_made_anew_from_what_members_hold(raw: Raw) -> None:
    _, first = await raw.sync("a", 1, partitions=2)
    await raw.redis.delete(PLAN)
    head, found = await raw.sync("a", 2, partitions=2, held=held(first))
    assert head[0] == 2
    assert found == first


async def test_l2_members_that_lost_plan_and_sessions_share_again(raw: Raw) -> None:
    _, first = await raw.sync("a", 1, partitions=4)
    await raw.sync("b", 1, partitions=4)
    await raw.redis.delete(PLAN, SESSIONS)
    await raw.sync("a", 2, partitions=4, held=held(first))
    await raw.sync("b", 2, partitions=4)
    _, kept = await raw.sync("a", 3, partitions=4, held=held(first))
    assert len(held(kept)) == 2


async def test_a_server_clock_that_went_back_makes_nobody_wait_longer(raw: Raw) -> None:
    _, first = await raw.sync("a", 1, partitions=2, rebalance_delay=1000)
    head, _ = await raw.sync("b", 1, partitions=2, rebalance_delay=1000)
    assert 0 < head[3] <= 1000, "joiners are collected"
    far = str(int(first[0][0]) + 3_600_000)
    await raw.redis.hset(PLAN, mapping={"due": far, "rebalance_at": far})
    head, _ = await raw.sync("a", 2, partitions=2, rebalance_delay=1000, held=held(first))
    assert 0 < head[3] <= 1000
