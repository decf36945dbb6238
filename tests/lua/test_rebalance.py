"""sync, for several members: balance, releases, time limits, retiring."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.lua.conftest import PLAN, SESSIONS, Raw
from tests.lua.steps import held


class Group:
    """Members that claim and release at once what the replies of `sync` say."""

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


async def age(raw: Raw, partition: int) -> None:
    """Set the time at which the owner was asked to release the partition far back."""
    record: Any = await raw.redis.hget(PLAN, f"p:{partition}")
    owner, target, grant, asked_at = record.decode().split()
    assert int(asked_at) > 0, "its owner was not asked to release it"
    await raw.redis.hset(PLAN, f"p:{partition}", f"{owner} {target} {grant} 1")
    await raw.redis.hset(PLAN, "due", "1")


@pytest.mark.parametrize("partitions", [1, 7, 16])
async def test_l2_members_differ_by_at_most_one_partition_and_few_partitions_move(
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
        assert group.moves - before == lost, "only what the leaving member held has moved"


async def test_l9_a_group_without_changes_moves_nothing(raw: Raw) -> None:
    group = Group(raw)
    await group.sync("a")
    await group.sync("b")
    await group.settle()
    moves, plan = group.moves, await raw.redis.hgetall(PLAN)
    await group.settle()
    assert (group.moves, await raw.redis.hgetall(PLAN)) == (moves, plan)


async def test_a_partition_is_granted_only_after_its_owner_has_released_it(raw: Raw) -> None:
    _, first = await raw.sync("a", 1, partitions=2)
    head, second = await raw.sync("b", 1, partitions=2)
    assert second == {}
    assert 0 < head[3] <= 5000, "call again when the owner's time is over"
    _, first = await raw.sync("a", 2, partitions=2, held=[(p, g) for p, (g, _) in first.items()])
    (back,) = [p for p, (_, keep) in first.items() if not keep]
    grant = first[back][0]
    await raw.sync("a", 3, partitions=2, released=[(back, grant, 0)])
    _, second = await raw.sync("b", 2, partitions=2)
    assert list(second) == [back]
    assert second[back][0] > grant


async def test_the_grant_after_a_stale_one_is_larger_than_the_one_seen(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1, partitions=1)
    seen = grants[0][0] + 10_000_000
    _, again = await raw.sync("a", 2, partitions=1, released=[(0, grants[0][0], seen)])
    assert again[0][0] > seen


async def test_a_late_report_under_an_old_grant_releases_nothing(raw: Raw) -> None:
    _, old = await raw.sync("a", 1)
    await raw.call("revoke", [PLAN], 0)
    _, new = await raw.sync("a", 2, held=held(old))
    assert new[0][0] > old[0][0]
    _, again = await raw.sync("a", 3, held=held(new), released=[(0, old[0][0], 0)])
    assert again == new


async def test_a_member_cannot_release_partitions_of_another(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1)
    await raw.sync("b", 1)
    await raw.sync("b", 2, released=[(p, grant, 0) for p, grant in held(grants)])
    assert set((await raw.sync("a", 2, held=held(grants)))[1]) == set(grants)


async def test_l1_a_partition_that_is_not_released_moves_after_the_rebalance_timeout(
    raw: Raw,
) -> None:
    _, grants = await raw.sync("a", 1, partitions=2)
    await raw.sync("b", 1, partitions=2)
    _, grants = await raw.sync("a", 2, partitions=2, held=held(grants))
    (back,) = [p for p, (_, keep) in grants.items() if not keep]
    assert (await raw.sync("b", 2, partitions=2))[1] == {}, "its owner still has time"
    await age(raw, back)
    _, taken = await raw.sync("b", 3, partitions=2)
    assert set(taken) == {back}
    assert taken[back][0] > grants[back][0]
    _, left = await raw.sync("a", 3, partitions=2, held=[(p, g) for p, (g, _) in grants.items()])
    assert back not in left


async def test_the_latest_joiner_sets_the_rebalance_timeout(raw: Raw) -> None:
    """A member with other settings neither shortens a move nor makes joiners wait."""
    _, grants = await raw.sync("a", 1, partitions=1, rebalance_timeout=60_000, rebalance_delay=0)
    await raw.sync("a", 2, partitions=1, rebalance_timeout=60_000, held=held(grants))
    await raw.sync("b", 1, partitions=1, rebalance_timeout=60_000)
    await raw.sync(
        "a", 3, partitions=1, rebalance_timeout=60_000, held=held(grants), action="retire"
    )
    head, given = await raw.sync("b", 2, partitions=1, rebalance_timeout=0)
    assert (given, 0 < head[3] <= 60_000) == ({}, True)
    head, given = await raw.sync("c", 1, partitions=1, rebalance_timeout=0)
    assert 0 in given or 0 in (await raw.sync("b", 3, partitions=1, rebalance_timeout=60_000))[1]


async def test_l1_a_clock_that_went_back_does_not_extend_the_wait_for_an_owner(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1, partitions=2)
    await raw.sync("b", 1, partitions=2)
    back = max(grants)
    record: Any = await raw.redis.hget(PLAN, f"p:{back}")
    ahead = int(record.split()[3]) + 3_600_000
    await raw.redis.hset(PLAN, f"p:{back}", b" ".join([*record.split()[:3], b"%d" % ahead]))
    await raw.redis.hset(PLAN, "due", ahead + 5_000)
    head, _ = await raw.sync("b", 2, partitions=2)
    assert 0 < head[3] <= 5_000, "the rebalance timeout, and not an hour more"


async def test_nothing_moves_during_the_rebalance_delay(raw: Raw) -> None:
    await raw.sync("a", 1, rebalance_delay=60_000)
    head, grants = await raw.sync("b", 1, rebalance_delay=60_000)
    assert grants == {}
    assert 0 < head[3] <= 60_000
    assert len((await raw.sync("a", 2, rebalance_delay=60_000))[1]) == 8, (
        "no owner is asked to release anything yet"
    )


@pytest.mark.fault(41)
async def test_after_the_rebalance_delay_partitions_move_to_all_joiners_together(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1, rebalance_delay=60_000)
    for member in ("b", "c", "d"):
        assert (await raw.sync(member, 1, rebalance_delay=60_000))[1] == {}
    await raw.redis.hset(PLAN, mapping={"rebalance_at": "1", "due": "1"})
    _, grants = await raw.sync("a", 2, rebalance_delay=60_000, held=held(grants))
    assert sorted(keep for _, keep in grants.values()) == [0] * 6 + [1] * 2


async def test_unassigned_partitions_are_granted_without_the_rebalance_delay(raw: Raw) -> None:
    assert len((await raw.sync("a", 1, rebalance_delay=60_000))[1]) == 8
    await raw.redis.zadd(SESSIONS, {"a": 1})
    assert len((await raw.sync("b", 1, rebalance_delay=60_000))[1]) == 8


async def test_l1_a_clock_that_went_back_does_not_extend_the_rebalance_delay(raw: Raw) -> None:
    await raw.sync("a", 1, rebalance_delay=1_000)
    await raw.sync("b", 1, rebalance_delay=1_000)
    collecting: Any = await raw.redis.hget(PLAN, "rebalance_at")
    ahead = int(collecting) + 3_600_000
    await raw.redis.hset(PLAN, mapping={"rebalance_at": ahead, "due": ahead})
    head, _ = await raw.sync("b", 2, rebalance_delay=1_000)
    assert 0 < head[3] <= 1_000


async def test_l2_partitions_that_were_moving_to_a_member_that_left_are_shared_again(
    raw: Raw,
) -> None:
    _, grants = await raw.sync("a", 1, partitions=4)
    await raw.sync("b", 1, partitions=4)
    await raw.sync("c", 1, partitions=4)
    await raw.sync("b", 2, partitions=4, action="leave")
    _, grants = await raw.sync("a", 2, partitions=4, held=held(grants))
    assert len(held(grants)) == 2, "a releases two for c, not one"


async def test_a_member_that_retires_releases_everything_and_gets_nothing_more(raw: Raw) -> None:
    _, of_a = await raw.sync("a", 1)
    await raw.sync("b", 1)
    _, of_a = await raw.sync("a", 2, held=held(of_a))
    _, of_a = await raw.sync("a", 3, action="retire", held=[(p, g) for p, (g, _) in of_a.items()])
    assert {keep for _, keep in of_a.values()} == {0}, "all must be released"
    assert (await raw.sync("b", 2))[1] == {}, "it still holds them"
    first = [(p, g, 0) for p, (g, _) in list(of_a.items())[:3]]
    rest = [(p, g) for p, (g, _) in list(of_a.items())[3:]]
    head, left = await raw.sync("a", 4, action="retire", held=rest, released=first)
    assert set(left) == {p for p, _ in rest}
    _, of_b = await raw.sync("b", 3)
    assert set(of_b) == {p for p, _, _ in first}, "each moves as soon as it is released"
    plan = await raw.redis.hgetall(PLAN)
    again, _ = await raw.sync("a", 5, action="retire", held=rest)
    assert (again[1], await raw.redis.hgetall(PLAN)) == (head[1], plan), "like any heartbeat"


async def test_the_last_member_that_retires_gets_nothing(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1)
    released = [(p, g, 0) for p, g in held(grants)]
    assert (await raw.sync("a", 2, action="retire", released=released))[1] == {}
    assert len((await raw.sync("b", 1))[1]) == 8, "a new member gets everything"


async def test_partitions_of_a_retiring_member_move_after_the_rebalance_timeout(raw: Raw) -> None:
    _, grants = await raw.sync("a", 1, partitions=1)
    await raw.sync("b", 1, partitions=1)
    await raw.sync("a", 2, partitions=1, action="retire", held=held(grants))
    await age(raw, 0)
    _, taken = await raw.sync("b", 2, partitions=1)
    assert taken[0][0] > grants[0][0]


@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_l1_retiring_members_do_not_call_at_once_when_another_joins(
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
            assert head[3] == -1, "the next heartbeat is early enough"
    head, _ = await raw.sync("c", 1, rebalance_delay=1)
    assert head[3] > 0, "a member that stays learns when the time of the owners is over"


@pytest.mark.fault(9)
async def test_l1_a_member_whose_session_ended_loses_its_partitions(raw: Raw) -> None:
    group = Group(raw)
    await group.sync("dead")
    await group.sync("b")
    await group.settle()
    await raw.redis.zadd(SESSIONS, {"dead": 1})
    assert len(await group.sync("b")) == 8
