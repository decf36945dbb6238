"""Scripts of group and app scope: sync, regrant, group_description, lead, tick."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.exceptions import ResponseError

from tests.lua.conftest import MEMBERS, PLAN, SESSIONS, Raw

LEADER, TICKS = "runnel:{shop}:leader", "runnel:{shop}:ticks"
SYNC: list[str | int] = [8, 10000, 5000, 0, "a", "a1", 1, "stay", "host 1 test 1", 0]


class Group:
    """Members that do at once what `sync` tells them."""

    def __init__(self, raw: Raw, partitions: int = 8) -> None:
        self.raw = raw
        self.partitions = partitions
        self.calls: dict[str, int] = {}
        self.held: dict[str, dict[int, int]] = {}
        self.moves = 0

    async def sync(self, member: str, **options: Any) -> dict[int, tuple[int, int]]:
        self.calls[member] = self.calls.get(member, 0) + 1
        held = self.held.setdefault(member, {})
        released = options.pop("released", [])
        _, grants = await self.raw.sync(
            member,
            self.calls[member],
            held=list(held.items()),
            released=released,
            partitions=self.partitions,
            **options,
        )
        back = [(p, g, 0) for p, g in held.items() if grants.get(p) != (g, 1)]
        for p, _, _ in back:
            del held[p]
        for p, (g, keep) in grants.items():
            if keep and p not in held:
                held[p] = g
                self.moves += 1
        if back:
            await self.sync(member, released=back)
        return grants

    async def settle(self) -> None:
        """Heartbeats until nothing moves any more."""
        for _ in range(4):
            for member in list(self.held):
                await self.sync(member)

    async def leave(self, member: str) -> None:
        await self.sync(member, action="leave")
        del self.held[member]

    def counts(self) -> list[int]:
        everything = [p for held in self.held.values() for p in held]
        assert len(everything) == len(set(everything)), "two members hold one partition"
        return sorted(len(held) for held in self.held.values())


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, 0), (0, 10001), (0, "x"), (1, 50), (1, "x"), (2, -1), (3, "x"), (4, ""), (4, "a b"),
        (5, "a b"), (6, 0), (6, "1.5"), (7, "go"), (9, -1), (9, 3), (9, "x"),
    ],
)  # fmt: skip
async def test_a_malformed_sync_is_refused_and_writes_nothing(
    raw: Raw, place: int, value: str | int
) -> None:
    args = [*SYNC]
    args[place] = value
    with pytest.raises(ResponseError, match=r"^BADARG "):
        await raw.call("sync", [PLAN, MEMBERS, SESSIONS], *args)
    assert await raw.dump() == {}


@pytest.mark.parametrize("partitions", [1, 7, 16])
async def test_l2_members_differ_by_at_most_one_and_moves_are_as_few_as_that_allows(
    raw: Raw, partitions: int
) -> None:
    group = Group(raw, partitions)
    for number in range(1, 8):
        before = group.moves
        await group.sync(f"m{number}")
        await group.settle()
        counts = group.counts()
        assert sum(counts) == partitions
        assert max(counts) - min(counts) <= 1
        if number > 1:
            assert group.moves - before == partitions // number
    for number in range(7, 1, -1):
        lost, before = len(group.held[f"m{number}"]), group.moves
        await group.leave(f"m{number}")
        await group.settle()
        assert max(group.counts()) - min(group.counts()) <= 1
        assert group.moves - before == lost, "only what the leaver held has moved"


async def test_l9_a_quiet_group_does_not_change(raw: Raw) -> None:
    group = Group(raw)
    await group.sync("a")
    await group.sync("b")
    await group.settle()
    moves, plan = group.moves, await raw.redis.hgetall(PLAN)
    await group.settle()
    assert (group.moves, await raw.redis.hgetall(PLAN)) == (moves, plan)


async def test_a_partition_is_granted_only_after_its_holder_let_it_go(raw: Raw) -> None:
    _, first = await raw.sync("a", 1, partitions=2)
    head, second = await raw.sync("b", 1, partitions=2)
    assert second == {}
    assert 0 < head[3] <= 5000, "call again when the holder's time is up"
    _, first = await raw.sync("a", 2, partitions=2, held=[(p, g) for p, (g, _) in first.items()])
    (back,) = [p for p, (_, keep) in first.items() if not keep]
    grant = first[back][0]
    await raw.sync("a", 3, partitions=2, released=[(back, grant, 0)])
    _, second = await raw.sync("b", 2, partitions=2)
    assert list(second) == [back]
    assert second[back][0] > grant


async def test_l1_a_holder_that_does_not_let_go_is_overruled_after_the_drain_limit(
    raw: Raw,
) -> None:
    await raw.sync("a", 1, partitions=1)
    await raw.sync("b", 1, partitions=1)
    await raw.sync("a", 2, partitions=1, action="stay")
    stored: Any = await raw.redis.hget(PLAN, "p:0")
    record = stored.decode().split()
    assert record[:2] == ["a", "a"], "one partition stays where it is"
    await raw.redis.hset(PLAN, "p:0", f"a b {record[2]} 1")  # Asked back long ago.
    await raw.redis.hset(PLAN, "due", "1")
    _, grants = await raw.sync("b", 2, partitions=1)
    assert grants[0][0] > int(record[2])


@pytest.mark.fault(9)
async def test_l1_a_member_whose_session_ended_loses_everything(raw: Raw) -> None:
    group = Group(raw)
    await group.sync("dead")
    await group.sync("b")
    await group.settle()
    await raw.redis.zadd(SESSIONS, {"dead": 1})
    assert len(await group.sync("b")) == 8


@pytest.mark.fault(10)
async def test_a_clock_that_went_back_does_not_stretch_a_session(raw: Raw) -> None:
    await raw.sync("a", 1)
    await raw.redis.zadd(SESSIONS, {"a": 9_000_000_000_000})
    await raw.sync("b", 1)
    group_description = await raw.call("describe_group", [PLAN, MEMBERS, SESSIONS])
    assert all(int(left) <= 10_000 for left in (group_description[5], group_description[11]))


async def test_s6_an_older_call_is_answered_without_writing(raw: Raw) -> None:
    await raw.sync("a", 1)
    _, grants = await raw.sync("a", 5)
    before = await raw.dump()
    head, again = await raw.sync("a", 3, released=[(0, grants[0][0], 0)])
    assert (head[0], again) == (5, grants)
    assert await raw.dump() == before


async def test_a_stable_id_with_a_new_incarnation_replaces_the_old_one(raw: Raw) -> None:
    _, old = await raw.sync("a", 1, incarnation="one")
    _, new = await raw.sync("a", 1, incarnation="two")
    assert set(new) == set(old)
    assert all(new[p][0] > old[p][0] for p in old), "fresh grants for fresh claims"
    for call in (1, 2):
        with pytest.raises(ResponseError, match=r"^REPLACED "):
            await raw.sync("a", call, incarnation="one")


async def test_a_late_call_of_one_that_left_does_not_bring_it_back(raw: Raw) -> None:
    await raw.sync("a", 1)
    await raw.sync("a", 2, action="leave")
    assert (await raw.sync("a", 2))[1] == {}
    assert await raw.redis.zcard(SESSIONS) == 0


async def test_a_group_that_lost_its_keys_learns_from_its_members(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1)
    held = [(p, grant) for p, (grant, _) in grants.items()]
    await raw.redis.flushall()
    _, again = await raw.sync("a", 2, held=held)
    assert again == grants, "nothing moves"


async def test_a_grant_that_was_stale_makes_the_next_one_larger(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1, partitions=1)
    seen = grants[0][0] + 10_000_000
    _, again = await raw.sync("a", 2, partitions=1, released=[(0, grants[0][0], seen)])
    assert again[0][0] > seen


async def test_joiners_are_collected_for_a_moment(raw: Raw) -> None:
    await raw.sync("a", 1, rebalance_delay=60_000)
    head, grants = await raw.sync("b", 1, rebalance_delay=60_000)
    assert grants == {}
    assert 0 < head[3] <= 60_000
    assert len((await raw.sync("a", 2, rebalance_delay=60_000))[1]) == 8, (
        "nothing is asked back yet"
    )


async def test_another_partition_count_is_a_mismatch(raw: Raw) -> None:
    await raw.sync("a", 1)
    with pytest.raises(ResponseError, match=r"^MISMATCH field=partitions stored=8 given=9"):
        await raw.sync("b", 1, partitions=9)


async def test_regrant_makes_the_holder_claim_anew(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1)
    assert await raw.call("revoke", [PLAN], 0, 1) == 2
    _, again = await raw.sync("a", 2)
    assert {p for p in grants if again[p] != grants[p]} == {0, 1}
    for bad in ([], ["x"], [0] * 1001):
        with pytest.raises(ResponseError, match=r"^BADARG "):
            await raw.call("revoke", [PLAN], *bad)


async def test_what_regrant_took_from_one_and_another_was_given_is_told_to_both(raw: Raw) -> None:
    _, all_of_it = await raw.sync("a", 1, partitions=2)
    await raw.call("revoke", [PLAN], 0, 1)
    _, given = await raw.sync("b", 1, partitions=2)
    assert len(given) == 1
    held = [(p, g) for p, (g, _) in all_of_it.items()]
    _, left = await raw.sync("a", 2, partitions=2, held=held)
    assert set(left) == {0, 1} - set(given)


async def test_regrant_leaves_a_hand_over_alone(raw: Raw) -> None:
    _, all_of_it = await raw.sync("a", 1, partitions=2)
    await raw.sync("b", 1, partitions=2)
    held = [(p, g) for p, (g, _) in all_of_it.items()]
    _, asked = await raw.sync("a", 2, partitions=2, held=held)
    (moving,) = [p for p, (_, keep) in asked.items() if not keep]
    assert await raw.call("revoke", [PLAN], 0, 1) == 1, "the other one"
    _, given = await raw.sync("b", 2, partitions=2)
    assert given == {}, "its holder has its event in hand"
    await raw.sync("a", 3, partitions=2, held=held, released=[(moving, asked[moving][0], 0)])
    _, given = await raw.sync("b", 3, partitions=2)
    assert set(given) == {moving}


@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_l1_those_who_retire_while_one_joins_do_not_call_again_at_once(
    raw: Raw, order: str
) -> None:
    await raw.sync("a", 1, rebalance_delay=1)
    await raw.sync("b", 1, rebalance_delay=1)
    for member in order:
        await raw.sync(member, 2, rebalance_delay=1, action="retire")
    await asyncio.sleep(0.01)
    for call in (3, 4):
        for member in order:
            head, _ = await raw.sync(member, call, rebalance_delay=1, action="retire")
            assert head[3] == -1, "the heartbeat will do"
    head, _ = await raw.sync("c", 1, rebalance_delay=1)
    assert head[3] > 0, "one who stays is told when the holders have had their time"


async def test_the_latest_joiner_says_how_long_a_holder_may_take(raw: Raw) -> None:
    """A member with other settings does not cut a hand-over short, nor make joiners wait."""
    _, grants = await raw.sync("a", 1, partitions=1, rebalance_timeout=60_000, rebalance_delay=0)
    await raw.sync("a", 2, partitions=1, rebalance_timeout=60_000, held=held_of(grants))
    await raw.sync("b", 1, partitions=1, rebalance_timeout=60_000)
    await raw.sync(
        "a", 3, partitions=1, rebalance_timeout=60_000, held=held_of(grants), action="retire"
    )
    head, given = await raw.sync("b", 2, partitions=1, rebalance_timeout=0)
    assert (given, 0 < head[3] <= 60_000) == ({}, True)
    head, given = await raw.sync("c", 1, partitions=1, rebalance_timeout=0)
    assert 0 in given or 0 in (await raw.sync("b", 3, partitions=1, rebalance_timeout=60_000))[1]


async def test_a_joiner_with_a_shorter_session_cuts_no_promise_short(raw: Raw) -> None:
    await raw.sync("a", 1, session_timeout=60_000)
    head, _ = await raw.sync("b", 1, session_timeout=1_000)
    assert head[2] == 1_000
    head, _ = await raw.sync("a", 2, session_timeout=60_000)
    assert head[2] == 1_000, "it is told"
    _, *rest = await raw.call("describe_group", [PLAN, MEMBERS, SESSIONS])
    left = {rest[i]: int(rest[i + 1]) for i in (3, 9)}
    assert left["a"] > 50_000, "but may not have heard of it yet"
    assert left["b"] <= 1_000


def held_of(grants: dict[int, tuple[int, int]]) -> list[tuple[int, int]]:
    return [(p, grant) for p, (grant, _) in grants.items()]


async def test_one_leads_until_it_leaves_or_its_lease_ends(raw: Raw) -> None:
    assert (await raw.call("elect", [LEADER], "a", "n1", 5000, "hold"))[0] == 1
    assert (await raw.call("elect", [LEADER], "b", "n2", 5000, "hold"))[0] == 0
    assert (await raw.call("elect", [LEADER], "a", "n1", 5000, "hold"))[0] == 1
    await raw.redis.hset(LEADER, "ends", "1")
    assert (await raw.call("elect", [LEADER], "b", "n2", 5000, "hold"))[0] == 1
    await raw.redis.hset(LEADER, "ends", "9000000000000")
    assert (await raw.call("elect", [LEADER], "c", "n3", 5000, "hold"))[1] <= 5000
    assert (await raw.call("elect", [LEADER], "b", "n2", 5000, "leave"))[0] == 0
    assert (await raw.call("elect", [LEADER], "c", "n3", 5000, "hold"))[0] == 1


async def test_an_instant_fires_once_and_its_own_repeat_is_known(raw: Raw) -> None:
    assert await raw.call("tick", [TICKS], "t", 1000, "x", "* * * * * UTC") == [1, 0]
    assert await raw.call("tick", [TICKS], "t", 1000, "x", "* * * * * UTC") == [1, 0]
    assert await raw.call("tick", [TICKS], "t", 1000, "y", "* * * * * UTC") == [0, 0]
    assert await raw.call("tick", [TICKS], "t", 500, "x", "* * * * * UTC") == [0, 0], "overtaken"
    early = await raw.call("tick", [TICKS], "t", 9_000_000_000_000, "x", "* * * * * UTC")
    assert early[0] == 2
    assert early[1] > 0


@pytest.mark.parametrize(
    ("script", "key", "args"),
    [
        ("elect", LEADER, ["", "n", 5000, "hold"]), ("elect", LEADER, ["a", "", 5000, "hold"]),
        ("elect", LEADER, ["a", "n", 5, "hold"]), ("elect", LEADER, ["a", "n", 5000, "grab"]),
        ("tick", TICKS, ["", 1, "x"]), ("tick", TICKS, ["t", "x", "x"]),
        ("tick", TICKS, ["t", 0, "x"]), ("tick", TICKS, ["t", 1, ""]), ("tick", TICKS, ["t"]),
    ],
)  # fmt: skip
async def test_a_malformed_lead_or_tick_is_refused(
    raw: Raw, script: str, key: str, args: list[str | int]
) -> None:
    with pytest.raises(ResponseError, match=r"^BADARG "):
        await raw.call(script, [key], *args)
    assert await raw.dump() == {}
