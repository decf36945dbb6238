"""sync, for one member: calls, joining, leaving, being replaced, sessions, lost keys."""

from __future__ import annotations

import pytest
from redis.exceptions import ResponseError

from tests.lua.conftest import MEMBERS, PLAN, SESSIONS, WAKE, Raw
from tests.lua.steps import held, refused


async def test_s6_a_late_call_is_answered_and_writes_nothing(raw: Raw) -> None:
    await raw.sync("a", 1)
    _, grants = await raw.sync("a", 5)
    before = await raw.dump()
    head, again = await raw.sync("a", 3, released=[(0, grants[0][0], 0)])
    assert (head[0], again) == (5, grants)
    assert await raw.dump() == before


async def test_s6_a_repeated_join_has_the_same_reply(raw: Raw) -> None:
    first = await raw.sync("a", 1)
    before = await raw.dump()
    assert await raw.sync("a", 1) == first
    assert await raw.dump() == before


async def test_s6_a_repeated_report_releases_a_partition_once(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1, partitions=2)
    released = [(0, grants[0][0], 0)]
    first = await raw.sync("a", 2, partitions=2, held=held(grants)[1:], released=released)
    before = await raw.dump()
    assert await raw.sync("a", 2, partitions=2, held=held(grants)[1:], released=released) == first
    assert await raw.dump() == before
    assert first[1][0][0] > grants[0][0], "no other member can take it"


async def test_a_heartbeat_renews_the_session_and_changes_nothing_else(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1)
    await raw.redis.zadd(SESSIONS, {"a": (await raw.redis.zscore(SESSIONS, "a") or 0) - 5000})
    plan, ends = await raw.redis.hgetall(PLAN), await raw.redis.zscore(SESSIONS, "a")
    await raw.sync("a", 2, held=held(grants))
    assert await raw.redis.hgetall(PLAN) == plan
    assert (await raw.redis.zscore(SESSIONS, "a") or 0) > (ends or 0)


async def test_the_generation_rises_with_every_change_and_only_then(raw: Raw) -> None:
    head, grants = await raw.sync("a", 1)
    again, _ = await raw.sync("a", 2, held=held(grants))
    assert again[1] == head[1]
    joined, _ = await raw.sync("b", 1)
    assert joined[1] > head[1]


@pytest.mark.parametrize("change", ["join", "leave", "revoke"])
async def test_a_message_is_published_when_the_grants_of_others_change(
    raw: Raw, change: str
) -> None:
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
        message = await listener.get_message(ignore_subscribe_messages=True, timeout=5)
    assert message is not None
    assert message["channel"] == WAKE.encode()


async def test_the_latest_joiner_sets_the_session_timeout_of_the_group(raw: Raw) -> None:
    assert (await raw.sync("a", 1, session_timeout=10_000))[0][2] == 10_000
    assert (await raw.sync("b", 1, session_timeout=20_000))[0][2] == 20_000
    assert (await raw.sync("a", 2, session_timeout=10_000))[0][2] == 20_000


async def test_a_joiner_with_a_shorter_session_timeout_does_not_shorten_sessions_that_run(
    raw: Raw,
) -> None:
    await raw.sync("a", 1, session_timeout=60_000)
    head, _ = await raw.sync("b", 1, session_timeout=1_000)
    assert head[2] == 1_000
    head, _ = await raw.sync("a", 2, session_timeout=60_000)
    assert head[2] == 1_000, "its reply says so"
    _, *rest = await raw.call("describe_group", [PLAN, MEMBERS, SESSIONS])
    left = {rest[i]: int(rest[i + 1]) for i in (3, 9)}
    assert left["a"] > 50_000, "but its session was promised for longer"
    assert left["b"] <= 1_000


@pytest.mark.fault(10)
async def test_a_clock_that_went_back_does_not_extend_a_session(raw: Raw) -> None:
    await raw.sync("a", 1)
    await raw.redis.zadd(SESSIONS, {"a": 9_000_000_000_000})
    await raw.sync("b", 1)
    group_description = await raw.call("describe_group", [PLAN, MEMBERS, SESSIONS])
    assert all(int(left) <= 10_000 for left in (group_description[5], group_description[11]))


async def test_a_dead_member_is_removed_and_can_join_again(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1)
    await raw.redis.zadd(SESSIONS, {"a": 1})
    await raw.sync("b", 1)
    assert await raw.redis.hget(MEMBERS, "a") is None
    assert await raw.redis.zrange(SESSIONS, 0, -1) == [b"b"]
    head, again = await raw.sync("a", 2, held=held(grants))
    assert head[0] == 2
    assert not set(held(again)) & set(held(grants)), "its old grants are used up"


async def test_a_member_whose_session_ended_unnoticed_keeps_its_grants(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1)
    await raw.redis.zadd(SESSIONS, {"a": 1})
    assert (await raw.sync("a", 2, held=held(grants)))[1] == grants
    assert (await raw.redis.zscore(SESSIONS, "a") or 0) > 1


async def test_a_new_incarnation_under_the_same_id_gets_new_grants(raw: Raw) -> None:
    _, old = await raw.sync("a", 1, incarnation="one")
    _, new = await raw.sync("a", 1, incarnation="two")
    assert set(new) == set(old)
    assert all(new[p][0] > old[p][0] for p in old), "new grants for new claims"
    for call in (1, 2):
        with pytest.raises(ResponseError, match=r"^REPLACED "):
            await raw.sync("a", call, incarnation="one")


async def test_a_replaced_member_is_refused_and_writes_nothing(raw: Raw) -> None:
    await raw.sync("a", 1, incarnation="one")
    await raw.sync("a", 1, incarnation="two")
    for call, action in ((1, "stay"), (2, "stay"), (3, "leave")):
        late = raw.sync("a", call, incarnation="one", action=action)
        assert "member=a" in await refused(raw, "REPLACED", late)


async def test_a_member_that_leaves_releases_everything_at_once_and_is_forgotten_after_a_session(
    raw: Raw,
) -> None:
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


async def test_a_late_call_does_not_bring_back_a_member_that_left(raw: Raw) -> None:
    await raw.sync("a", 1)
    await raw.sync("a", 2, action="leave")
    assert (await raw.sync("a", 2))[1] == {}
    assert await raw.redis.zcard(SESSIONS) == 0


async def test_a_member_that_left_can_join_again_as_a_new_incarnation(raw: Raw) -> None:
    await raw.sync("a", 1)
    await raw.sync("a", 2, action="leave")
    assert len((await raw.sync("a", 1, incarnation="a2"))[1]) == 8


async def test_a_group_has_at_most_1000_members(raw: Raw) -> None:
    await raw.sync("a", 1)
    ends = await raw.redis.zscore(SESSIONS, "a")
    assert ends is not None
    await raw.redis.zadd(SESSIONS, {f"m{number}": ends for number in range(999)})
    assert "limit=1000" in await refused(raw, "BADARG", raw.sync("b", 1))
    assert (await raw.sync("a", 2))[0][0] == 2, "members stay members"


async def test_another_partition_count_is_refused_and_writes_nothing(raw: Raw) -> None:
    await raw.sync("a", 1)
    said = await refused(raw, "MISMATCH", raw.sync("b", 1, partitions=9))
    assert "field=partitions stored=8 given=9" in said
    await refused(raw, "MISMATCH", raw.sync("a", 2, partitions=7))


async def test_a_group_that_lost_its_keys_learns_the_owners_from_its_members(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1)
    held = [(p, grant) for p, (grant, _) in grants.items()]
    await raw.redis.flushall()
    _, again = await raw.sync("a", 2, held=held)
    assert again == grants, "nothing moves"


async def test_a_lost_plan_is_restored_from_what_members_hold(raw: Raw) -> None:
    _, first = await raw.sync("a", 1, partitions=2)
    await raw.redis.delete(PLAN)
    head, found = await raw.sync("a", 2, partitions=2, held=held(first))
    assert head[0] == 2
    assert found == first


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


async def test_l2_members_of_a_group_that_lost_plan_and_sessions_share_again(raw: Raw) -> None:
    _, first = await raw.sync("a", 1, partitions=4)
    await raw.sync("b", 1, partitions=4)
    await raw.redis.delete(PLAN, SESSIONS)
    await raw.sync("a", 2, partitions=4, held=held(first))
    await raw.sync("b", 2, partitions=4)
    _, kept = await raw.sync("a", 3, partitions=4, held=held(first))
    assert len(held(kept)) == 2


async def test_a_malformed_member_record_does_not_end_the_member(raw: Raw) -> None:
    await raw.sync("a", 1)
    await raw.redis.hset(MEMBERS, "a", "junk")
    head, grants = await raw.sync("a", 2)
    assert (head[0], len(grants)) == (2, 8)
