"""Members of a group get grants and release partitions, and a description lists all of them."""

from __future__ import annotations

import pytest

from runnel import keys, protocol
from runnel.errors import Replaced
from runnel.protocol import (
    Action,
    Assignment,
    Grant,
    GroupDescription,
    PartitionKeys,
    Released,
    StreamContract,
    SyncReply,
)
from runnel.protocol.scripts import Scripts


class Group:
    """A group of two partitions, and the calls of its members."""

    def __init__(self, scripts: Scripts, app: str) -> None:
        self._scripts = scripts
        self.app = app
        self.name = keys.group(app, "orders", "printer")

    async def sync(
        self,
        member: str,
        call: int,
        action: Action = "stay",
        held: tuple[tuple[int, int], ...] = (),
        released: tuple[Released, ...] = (),
        incarnation: str = "first",
    ) -> SyncReply:
        """A heartbeat with a session timeout of 9 s and a rebalance timeout of 8 s."""
        who = (member, incarnation, f"host of {member}")
        times = (9000, 8000, 0)
        call_ = protocol.sync(self.name, 2, times, who, call, action, held, released)
        return protocol.read_sync(await self._scripts.call(call_))

    async def revoke(self, *partitions: int) -> int:
        return int(await self._scripts.call(protocol.revoke(self.name, partitions)))

    async def described(self) -> GroupDescription:
        call = protocol.describe_group(self.name)
        return protocol.read_describe_group(await self._scripts.call(call))


@pytest.fixture
def group(scripts: Scripts, app_name: str) -> Group:
    return Group(scripts, app_name)


async def test_a_member_alone_is_granted_every_partition(group: Group) -> None:
    reply = await group.sync("a", 1)
    first, second = (each.number for each in reply.grants)
    grants = (Grant(0, first, hold=True), Grant(1, second, hold=True))
    assert reply == SyncReply(1, reply.generation, 9000, None, grants)
    assert first != second
    again = await group.sync("a", 2, held=((0, first), (1, second)))
    assert again == SyncReply(2, reply.generation, 9000, None, grants)


async def test_a_partition_moves_once_its_owner_has_released_it(group: Group) -> None:
    owned = {each.partition: each.number for each in (await group.sync("a", 1)).grants}
    joined = await group.sync("b", 1)
    assert joined.grants == ()
    assert joined.next_call_ms is not None
    assert 0 < joined.next_call_ms <= 8000
    (moving,) = [
        each
        for each in (await group.sync("a", 2, held=tuple(owned.items()))).grants
        if not each.hold
    ]
    assert moving.number == owned[moving.partition]
    (staying,) = owned.keys() - {moving.partition}
    released = Released(moving.partition, moving.number)
    left = await group.sync("a", 3, held=((staying, owned[staying]),), released=(released,))
    assert left.grants == (Grant(staying, owned[staying], hold=True),)
    (granted,) = (await group.sync("b", 2)).grants
    assert (granted.partition, granted.hold) == (moving.partition, True)
    assert granted.number > moving.number


async def test_a_grant_that_was_stale_is_replaced_by_one_above_what_was_seen(group: Group) -> None:
    first, _ = (await group.sync("a", 1)).grants
    seen = first.number + 1_000_000
    reply = await group.sync("a", 2, released=(Released(first.partition, first.number, seen),))
    numbers = {each.partition: each.number for each in reply.grants}
    assert numbers[first.partition] > seen


async def test_a_member_that_retires_keeps_nothing_and_one_that_leaves_is_gone(
    group: Group,
) -> None:
    granted = (await group.sync("a", 1)).grants
    held = tuple((each.partition, each.number) for each in granted)
    retired = await group.sync("a", 2, "retire", held)
    assert [(each.partition, each.hold) for each in retired.grants] == [(0, False), (1, False)]
    assert [each.action for each in (await group.described()).members] == ["retire"]
    await group.sync("a", 3, "leave", released=tuple(Released(*each) for each in held))
    assert (await group.described()).members == ()


async def test_a_former_incarnation_of_a_member_is_refused(group: Group) -> None:
    await group.sync("a", 1)
    await group.sync("a", 1, incarnation="second")
    with pytest.raises(Replaced):
        await group.sync("a", 2)


async def test_revoke_withdraws_grants_and_says_how_many(group: Group) -> None:
    before = (await group.sync("a", 1)).grants
    assert await group.revoke(1) == 1
    owners = [each.owner for each in (await group.described()).assignments]
    assert owners == ["a", None]
    held = tuple((each.partition, each.number) for each in before)
    again = (await group.sync("a", 2, held=held)).grants
    assert again[0] == before[0]
    assert again[1].number > before[1].number


async def test_a_description_lists_members_and_owners_in_the_order_of_partitions(
    group: Group,
) -> None:
    (first, second) = (await group.sync("a", 1)).grants
    await group.sync("b", 7)
    seen = await group.described()
    assert (seen.session_ms, seen.generation) == (9000, (await group.sync("b", 8)).generation)
    assert [(each.id, each.call, each.action, each.description) for each in seen.members] == [
        ("a", 1, "stay", "host of a"),
        ("b", 7, "stay", "host of b"),
    ]
    for each in seen.members:
        assert 0 < each.left_ms <= 9000
        assert seen.now_ms - 60_000 < each.joined_ms <= seen.now_ms
    targets = {each.target for each in seen.assignments}
    assert targets == {"a", "b"}
    assert [(each.partition, each.owner, each.grant) for each in seen.assignments] == [
        (0, "a", first.number),
        (1, "a", second.number),
    ]


async def test_nobody_owns_the_partitions_of_a_group_whose_members_left(group: Group) -> None:
    assert (await group.described()).assignments == ()
    held = tuple((each.partition, each.number) for each in (await group.sync("a", 1)).grants)
    await group.sync("a", 2, "leave", released=tuple(Released(*each) for each in held))
    seen = await group.described()
    assert {each.owner for each in seen.assignments} == {None}
    assert all(isinstance(each, Assignment) for each in seen.assignments)


async def test_the_number_of_a_grant_is_that_which_a_claim_takes(
    group: Group, scripts: Scripts
) -> None:
    (grant, _) = (await group.sync("a", 1)).grants
    contract = StreamContract(2, "xxh64")
    partition = PartitionKeys(keys.partition(group.app, "orders", 0, "orders"), "printer")
    await scripts.call(protocol.register(partition, contract, "0"))
    await scripts.call(protocol.claim(partition, contract, "a", grant.number, "n" * 32))
    seen = protocol.read_describe(await scripts.call(protocol.describe(partition)))
    assert (seen.grant, seen.owner) == (grant.number, "a")
