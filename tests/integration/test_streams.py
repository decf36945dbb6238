"""Streams are declared, appended to and deleted, and the replies name the ids of the events."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.errors import Full, Mismatch, OutOfOrder
from runnel.protocol import Appended, Appends, StreamContract
from runnel.protocol.scripts import Scripts

CONTRACT = StreamContract(partitions=4, hash="xxh64")


@pytest.fixture
def prefix(app_name: str) -> str:
    """The prefix of a partition of a stream."""
    return keys.partition(app_name, "orders", 2, "orders")


def entries(*numbers: int) -> list[list[bytes]]:
    """Entries of two fields each."""
    return [[b"n", b"%d" % number, b"kind", b"test"] for number in numbers]


async def stored(redis: Redis, prefix: str) -> dict[str, int]:
    """Id -> number of each event in the log."""
    found: Any = await redis.xrange(keys.log(prefix))
    assert all(fields[b"kind"] == b"test" for _, fields in found)
    return {id_.decode(): int(fields[b"n"]) for id_, fields in found}


async def test_a_contract_is_stored_once_and_another_one_refused(
    redis: Redis, scripts: Scripts, prefix: str
) -> None:
    replies = [await scripts.call(protocol.declare(prefix, CONTRACT)) for _ in range(2)]
    assert replies == [1, 0]
    meta = await redis.hgetall(keys.meta(prefix))
    assert {b"protocol": b"1", b"partitions": b"4", b"hash": b"xxh64"}.items() <= meta.items()
    with pytest.raises(Mismatch) as other:
        await scripts.call(protocol.declare(prefix, StreamContract(5, "xxh64")))
    assert other.value.details == {"field": "partitions", "stored": "4", "given": "5"}


async def test_an_append_is_done_once_for_each_sequence_number_of_a_producer(
    redis: Redis, scripts: Scripts, prefix: str
) -> None:
    async def append(producer: str, sequence: int, *numbers: int) -> Appended:
        call = protocol.append(
            prefix, CONTRACT, 100, "refuse", producer, sequence, entries(*numbers)
        )
        return protocol.read_append(await scripts.call(call))

    first = await append("p", 1, 1, 2)
    assert (first.applied, len(first.ids)) == (True, 2)
    assert await append("p", 1, 1, 2) == Appended(False, first.ids)
    other = await append("q", 1, 3)
    assert other.applied
    with pytest.raises(OutOfOrder):
        await append("p", 3, 4)
    ids = [*first.ids, *other.ids]
    assert await stored(redis, prefix) == dict(zip(ids, (1, 2, 3), strict=True))


async def test_a_full_partition_refuses_or_drops_the_oldest_events(
    redis: Redis, scripts: Scripts, prefix: str
) -> None:
    append = Appends(prefix, CONTRACT, size=3)
    await scripts.call(append.call("refuse", "p", 1, entries(1, 2)))
    with pytest.raises(Full):
        await scripts.call(append.call("refuse", "p", 2, entries(3, 4)))
    await scripts.call(append.call("drop_oldest", "p", 2, entries(3, 4)))
    assert list((await stored(redis, prefix)).values()) == [2, 3, 4]


async def test_the_command_of_one_entry_is_that_of_its_call(
    redis: Redis, scripts: Scripts, prefix: str
) -> None:
    append = Appends(prefix, CONTRACT, size=100)
    (entry,) = entries(7)
    command = append.command("refuse", "p", 1, entry)
    assert command == append.call("refuse", "p", 1, [entry]).command()
    await scripts.load()
    (reply,) = await scripts.deployment.send([(keys.log(prefix), command)])
    assert await stored(redis, prefix) == {protocol.appended_id(reply): 7}


@pytest.mark.parametrize("sequence", [0, 2**64 - 2])
async def test_the_reply_names_the_first_id_and_the_others_follow_from_it(
    redis: Redis, scripts: Scripts, prefix: str, sequence: int
) -> None:
    # An id in the future, so that the next one is chosen by its sequence number.
    await redis.xadd(keys.log(prefix), {"n": "0", "kind": "test"}, id=f"9000000000000-{sequence}")
    call = Appends(prefix, CONTRACT, 100).call("refuse", "p", 1, entries(1, 2, 3))
    reply = await scripts.call(call)
    found = list(await stored(redis, prefix))
    assert protocol.appended_ids(reply) == found[1:]
    assert protocol.appended_id(reply) == found[1]


async def test_delete_says_how_many_events_there_were(
    redis: Redis, scripts: Scripts, prefix: str
) -> None:
    await scripts.call(Appends(prefix, CONTRACT, 100).call("refuse", "p", 1, entries(1, 2, 3)))
    assert [await scripts.call(protocol.delete(prefix)) for _ in range(2)] == [3, 0]
    assert not await redis.exists(keys.log(prefix))
    assert not await redis.exists(keys.producers(prefix))
