"""What the calls of a partition's owner and of operators do, and what their replies say."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.errors import Fenced, Full, StaleGrant, Unregistered
from runnel.protocol import (
    CheckpointMove,
    ClaimReply,
    CommitReply,
    PartitionDescription,
    PartitionKeys,
    StreamContract,
    Token,
)
from runnel.protocol.scripts import Scripts

CONTRACT = StreamContract(partitions=4, hash="xxh64")
NONCE = "n" * 32


@pytest.fixture
def partition(app_name: str) -> PartitionKeys:
    """A processor on one of the four partitions of a stream."""
    return PartitionKeys(keys.partition(app_name, "orders", 2, "orders"), "printer")


@pytest.fixture
async def ids(scripts: Scripts, partition: PartitionKeys) -> list[str]:
    """The ids of three events of the partition, on which the processor is registered."""
    await scripts.call(protocol.register(partition, CONTRACT, "0"))
    entries = [[b"n", b"%d" % number] for number in range(3)]
    call = protocol.append(partition.prefix, CONTRACT, 100, "refuse", "me", 1, entries)
    return protocol.read_append(await scripts.call(call)).ids


async def claim(
    scripts: Scripts, partition: PartitionKeys, member: str, grant: int, accept: int | None = None
) -> ClaimReply:
    """Claim the partition. The nonce is new with each grant."""
    call = protocol.claim(partition, CONTRACT, member, grant, nonce(grant), accept)
    return protocol.read_claim(await scripts.call(call))


def nonce(grant: int) -> str:
    return f"{grant:032}"


async def owned(scripts: Scripts, partition: PartitionKeys, grant: int = 1) -> Token:
    """The token of a claim."""
    return Token((await claim(scripts, partition, f"w{grant}", grant)).epoch, nonce(grant))


async def commit(
    scripts: Scripts, partition: PartitionKeys, token: Token, *move: str, release: bool = False
) -> CommitReply:
    """Commit one event from the first id to the second; none if both are equal."""
    count = int(move[0] != move[1])
    call = protocol.commit(partition, token, CheckpointMove(move[0], move[1], count, release))
    return protocol.read_commit(await scripts.call(call))


async def described(scripts: Scripts, partition: PartitionKeys) -> PartitionDescription:
    return protocol.read_describe(await scripts.call(protocol.describe(partition)))


async def test_a_processor_is_new_then_there_and_mended_when_its_state_was_lost(
    redis: Redis, scripts: Scripts, partition: PartitionKeys
) -> None:
    found = []
    for lost in (False, False, True):
        if lost:
            await redis.unlink(partition.state)
        reply = await scripts.call(protocol.register(partition, CONTRACT, "0"))
        found.append(protocol.read_register(reply))
    assert found == ["new", "there", "mended"]


@pytest.mark.parametrize("start", ["0", "$"])
async def test_a_processor_starts_at_the_oldest_event_or_behind_the_newest(
    scripts: Scripts, partition: PartitionKeys, ids: list[str], start: str
) -> None:
    other = PartitionKeys(partition.prefix, "other")
    await scripts.call(protocol.register(other, CONTRACT, start))
    reply = await claim(scripts, other, "w", 1)
    expected = ("0-0", ids[0]) if start == "0" else (ids[2], "")
    assert (reply.checkpoint, reply.next_id) == expected


async def test_a_first_claim_has_nothing_to_report(
    scripts: Scripts, partition: PartitionKeys, ids: list[str]
) -> None:
    reply = await claim(scripts, partition, "w1", 5)
    assert reply == ClaimReply(
        epoch=reply.epoch,
        checkpoint="0-0",
        processed=0,
        attempts=0,
        event="",
        unclean_tenures=0,
        paused=False,
        quarantined=False,
        lost=None,
        exact=True,
        checkpoint_exists=False,
        next_id=ids[0],
        deaths=0,
        previous_owner="",
    )
    with pytest.raises(StaleGrant) as stale:
        await claim(scripts, partition, "w2", 4)
    assert stale.value.details["seen"] == "5"


async def test_a_claim_after_a_death_says_what_the_former_owner_did(
    scripts: Scripts, partition: PartitionKeys, ids: list[str]
) -> None:
    token = await owned(scripts, partition, 1)
    await commit(scripts, partition, token, "0-0", ids[0])
    await scripts.call(
        protocol.attempt(partition, token, "failure", ids[1], 2, ("ValueError", "no"))
    )
    await scripts.call(protocol.attempt(partition, token, "start", ids[1], 2))
    await scripts.call(protocol.pause(partition))
    reply = await claim(scripts, partition, "w2", 2)
    assert reply == ClaimReply(
        epoch=reply.epoch,
        checkpoint=ids[0],
        processed=1,
        attempts=3,
        event=ids[1],
        unclean_tenures=1,
        paused=True,
        quarantined=False,
        lost=None,
        exact=True,
        checkpoint_exists=True,
        next_id=ids[1],
        deaths=1,
        previous_owner="w1",
    )
    assert reply.epoch > token.epoch


async def test_events_that_disappeared_are_reported_until_their_loss_is_accepted(
    redis: Redis, scripts: Scripts, partition: PartitionKeys, ids: list[str]
) -> None:
    await redis.xtrim(partition.log, minid=ids[2], approximate=False)
    reply = await claim(scripts, partition, "w", 1)
    assert (reply.lost, reply.exact, reply.next_id) == (2, True, ids[2])
    assert (await claim(scripts, partition, "w", 2)).lost == 2
    assert (await claim(scripts, partition, "w", 3, accept=2)).lost is None
    assert (await described(scripts, partition)).lost == 2


async def test_a_loss_of_unknown_size_is_none_or_more_and_can_be_accepted_too(
    redis: Redis, scripts: Scripts, partition: PartitionKeys, ids: list[str]
) -> None:
    token = await owned(scripts, partition, 1)
    await commit(scripts, partition, token, "0-0", ids[0])
    await commit(scripts, partition, token, ids[0], ids[1])
    await redis.unlink(partition.log)
    call = protocol.append(partition.prefix, CONTRACT, 100, "refuse", "me", 2, [[b"n", b"3"]])
    await scripts.call(call)
    await scripts.call(protocol.register(partition, CONTRACT, "0"))
    reply = await claim(scripts, partition, "w", 2)
    assert (reply.lost, reply.exact) == (0, False)
    assert (await claim(scripts, partition, "w", 3, accept=0)).lost is None


async def test_an_owner_is_fenced_after_another_member_claimed_its_partition(
    scripts: Scripts, partition: PartitionKeys
) -> None:
    await scripts.call(protocol.register(partition, CONTRACT, "0"))
    stale = await owned(scripts, partition, 1)
    await owned(scripts, partition, 2)
    with pytest.raises(Fenced):
        await commit(scripts, partition, stale, "0-0", "0-0", release=True)


async def test_a_commit_is_applied_once_and_says_that_the_processor_is_paused(
    scripts: Scripts, partition: PartitionKeys, ids: list[str]
) -> None:
    token = await owned(scripts, partition)
    assert await commit(scripts, partition, token, "0-0", ids[0]) == CommitReply(True, False)
    assert await commit(scripts, partition, token, "0-0", ids[0]) == CommitReply(False, False)
    await scripts.call(protocol.pause(partition))
    assert await commit(scripts, partition, token, ids[0], ids[1]) == CommitReply(True, True)
    assert (await described(scripts, partition)).processed == 2


async def test_a_commit_that_releases_ends_the_lease(
    scripts: Scripts, partition: PartitionKeys, ids: list[str]
) -> None:
    token = await owned(scripts, partition)
    await commit(scripts, partition, token, "0-0", ids[0], release=True)
    seen = await described(scripts, partition)
    assert (seen.owner, seen.released, seen.lease_owner) == ("w1", True, None)
    with pytest.raises(Fenced):
        await commit(scripts, partition, token, ids[0], ids[1])


async def test_transact_commits_and_adds_to_the_derived_stream_or_does_neither(
    redis: Redis, scripts: Scripts, partition: PartitionKeys, ids: list[str], app_name: str
) -> None:
    token = await owned(scripts, partition)
    sink = keys.partition(app_name, "orders", 2, "dead")
    entry = [b"a", b"1", b"b", b"2"]

    async def transact(move: CheckpointMove, size: int, policy: str) -> CommitReply:
        dead = protocol.Sink(sink, CONTRACT, size, derived=True)
        letters = protocol.Entries(dead, [entry], policy)
        call = protocol.transact(partition, token, move, [letters])
        return protocol.read_commit(await scripts.call(call))

    first, second, third = (
        CheckpointMove(before, after, 1)
        for before, after in zip(["0-0", *ids[:2]], ids, strict=True)
    )
    assert await transact(first, 2, "refuse") == CommitReply(True, False)
    assert await transact(first, 2, "refuse") == CommitReply(False, False)
    assert await transact(second, 2, "refuse") == CommitReply(True, False)
    with pytest.raises(Full) as full:
        await transact(third, 2, "refuse")
    assert full.value.details["sink"] == keys.log(sink)
    assert (await described(scripts, partition)).checkpoint == ids[1]
    assert await transact(third, 2, "drop_oldest") == CommitReply(True, False)
    found: Any = await redis.xrange(keys.log(sink))
    assert [fields for _, fields in found] == 2 * [{b"a": b"1", b"b": b"2"}]


async def test_a_failure_is_recorded_with_its_error_cut_to_what_redis_stores(
    scripts: Scripts, partition: PartitionKeys, ids: list[str]
) -> None:
    token = await owned(scripts, partition)
    error = ("E" * 300, "m" * 2000)
    paused = await scripts.call(protocol.attempt(partition, token, "failure", ids[0], 2, error))
    seen = await described(scripts, partition)
    assert (paused, seen.attempts, seen.error_event) == (0, 2, ids[0])
    assert (seen.error_type, seen.error_message) == ("E" * 200, "m" * 1000)
    await scripts.call(protocol.pause(partition))
    paused = await scripts.call(protocol.attempt(partition, token, "quarantine", ids[0], 3, error))
    assert (paused, (await described(scripts, partition)).quarantined) == (1, True)
    assert (await claim(scripts, partition, "w", 2)).quarantined


async def test_seek_replies_with_the_new_checkpoint_and_is_done_once_for_each_nonce(
    scripts: Scripts, partition: PartitionKeys, ids: list[str]
) -> None:
    token = await owned(scripts, partition)

    async def seek(start: str, read: int | None, nonce: str) -> protocol.SeekReply:
        reply = await scripts.call(protocol.seek(partition, start, read, nonce))
        return protocol.read_seek(reply)

    end = await seek("$", None, NONCE)
    assert end == protocol.SeekReply(ids[2], 3)
    with pytest.raises(Fenced):
        await commit(scripts, partition, token, "0-0", ids[0])
    back = await seek("0", None, "o" * 32)
    assert back == protocol.SeekReply("0-0", 0)
    assert await seek("$", None, "o" * 32) == back
    ms, _, sequence = ids[1].partition("-")
    before = f"{ms}-{int(sequence) - 1}"
    assert await seek(ids[1], None, "p" * 32) == protocol.SeekReply(before, 1)
    # A caller that has counted is believed, as far as it is possible.
    assert await seek(ids[1], 2, "q" * 32) == protocol.SeekReply(before, 2)


async def test_operators_are_told_whether_they_changed_anything(
    scripts: Scripts, partition: PartitionKeys, ids: list[str]
) -> None:
    replies = [
        await scripts.call(call(partition))
        for call in (protocol.pause, protocol.resume, protocol.remove)
        for _ in range(2)
    ]
    assert replies == [1, 0, 1, 0, 1, 0]
    with pytest.raises(Unregistered):
        await scripts.call(protocol.pause(partition))


async def test_a_description_has_everything_that_is_known_of_a_partition(
    scripts: Scripts, partition: PartitionKeys, ids: list[str]
) -> None:
    token = await owned(scripts, partition, grant=7)
    await commit(scripts, partition, token, "0-0", ids[0])
    await scripts.call(protocol.attempt(partition, token, "failure", ids[1], 1, ("Error", "no")))
    seen = await described(scripts, partition)
    assert seen.now is not None
    assert seen.moved_at is not None
    assert seen.error_at is not None
    assert token.epoch - 1000 < seen.moved_at <= seen.error_at <= seen.now
    assert seen == PartitionDescription(
        checkpoints={partition.processor: ids[0]},
        now=seen.now,
        length=3,
        first=ids[0],
        last=ids[2],
        added=3,
        protocol=1,
        partition_count=4,
        hash="xxh64",
        lag=2,
        last_delivered=ids[0],
        next_id=ids[1],
        checkpoint=ids[0],
        read=1,
        processed=1,
        moved_at=seen.moved_at,
        epoch=token.epoch,
        grant=7,
        owner="w7",
        attempts=1,
        unclean_tenures=0,
        error_type="Error",
        error_message="no",
        error_event=ids[1],
        error_at=seen.error_at,
    )
