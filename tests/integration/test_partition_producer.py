"""One producer and one partition, where answers go astray."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError, ResponseError

from runnel import App, Record, keys
from runnel.connection.redis_client import Arg
from runnel.errors import Full, UnknownProducer
from runnel.producer.partition_producer import PartitionProducer
from runnel.producer.producer import Producer
from runnel.protocol.scripts import Call, Scripts


class Item(Record):
    number: int


class Partition:
    """A partition of two items, its producer, and a network that holds up the first append."""

    def __init__(self, redis: Redis, app_name: str, alone: bool) -> None:
        app = App(app_name)
        self.spec = app.stream("items", record=Item, partition_by="number", partition_size=2).spec
        self.redis, self.scripts, self.alone = redis, Scripts(redis), alone
        self.log = keys.log(self.spec.prefix(0))
        #: once, each time, or for ever
        self.hold_up = ""
        self.before_the_repeat: Callable[[], Awaitable[None]] | None = None
        #: The first try, which stays in the network, so that its repeat arrives before it.
        self.under_way: list[Sequence[Arg]] = []
        #: Where there is more than one server, what is sent alone goes the long way too.
        self.roundtrip = self.scripts.roundtrip
        short = self.short if self.roundtrip else None
        self.producer = Producer(self.scripts, 10.0)
        self.partition_producer = PartitionProducer(self.spec, 0, self.producer, short)

    async def append(self, number: int) -> str:
        """The id of an item, appended alone or as one of many."""
        entry = self.spec.codec.encode(Item(number=number))
        if self.alone:
            return await self.partition_producer.append_one(entry, "refuse", 0.0, self.carry)
        ids: list[str] = []
        await self.partition_producer.append([[entry]], ids, "refuse", 0.0, self.carry)
        return ids[0]

    async def short(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        await self._hold_up(commands[0])
        assert self.roundtrip is not None
        return await self.roundtrip(commands)

    async def carry(self, call: Call) -> Any:
        await self._hold_up(call.command())
        return await self.scripts.call(call)

    async def _hold_up(self, command: Sequence[Arg]) -> None:
        if not self.hold_up:
            if self.under_way and self.before_the_repeat:
                await self.before_the_repeat()
                self.before_the_repeat = None
            return
        self.under_way.append(command)
        if self.hold_up == "for ever":
            await asyncio.Event().wait()
        if self.hold_up == "once":
            self.hold_up = ""
        raise ConnectionError("no answer")

    async def arrive(self) -> Any:
        """The held up try arrives after all."""
        return await self.redis.execute_command(*self.under_way.pop())  # type: ignore[no-untyped-call]

    async def numbers(self) -> list[int]:
        found: Any = await self.redis.xrange(self.log)
        return [
            self.spec.codec.decode([each for pair in fields.items() for each in pair]).number
            for _, fields in found
        ]


@pytest.fixture(params=[False, True], ids=["among others", "alone"])
def partition(redis: Redis, app_name: str, request: pytest.FixtureRequest) -> Partition:
    return Partition(redis, app_name, request.param)


async def test_a_refusal_does_not_free_the_number_of_a_try_that_may_still_arrive(
    partition: Partition,
) -> None:
    for number in (1, 2):
        await partition.append(number)
    partition.hold_up = "once"
    with pytest.raises(Full):
        await partition.append(3)
    await partition.redis.xtrim(partition.log, maxlen=0)
    await partition.arrive()
    id_ = await partition.append(4)

    assert await partition.numbers() == [3, 4]
    found: Any = await partition.redis.xrevrange(partition.log, count=1)
    assert found[0][0].decode() == id_


async def test_nor_does_the_caller_who_waits_no_longer(partition: Partition) -> None:
    await partition.append(1)
    partition.hold_up = "for ever"
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(partition.append(2), 0.01)
    partition.hold_up = ""
    await partition.redis.xtrim(partition.log, maxlen=0)
    await partition.arrive()
    await partition.append(3)
    assert await partition.numbers() == [2, 3]


async def test_a_try_that_arrives_after_its_repeat_adds_nothing(partition: Partition) -> None:
    await partition.append(1)
    partition.hold_up = "once"
    id_ = await partition.append(2)
    applied, first, _ = await partition.arrive()
    assert (applied, first.decode()) == (0, id_)
    assert await partition.numbers() == [1, 2]


async def test_a_server_that_forgot_the_script_or_the_producer_is_told_again(
    partition: Partition,
) -> None:
    await partition.append(1)
    for primary in await partition.scripts.deployment.primaries():
        await primary.script_flush()
    await partition.append(2)
    await partition.redis.xtrim(partition.log, maxlen=0)
    await partition.redis.delete(keys.producers(partition.spec.prefix(0)))
    for number in (3, 4):
        await partition.append(number)
    assert await partition.numbers() == [3, 4]
    assert await partition.redis.hlen(keys.producers(partition.spec.prefix(0))) == 1


async def remembered(partition: Partition) -> dict[Any, Any]:
    found: Any = await partition.redis.hgetall(keys.producers(partition.spec.prefix(0)))
    return dict(found)


async def go_back(partition: Partition, memory: dict[Any, Any], to: int) -> None:
    """What a failover does that loses the last writes: `to` events are left."""
    key = keys.producers(partition.spec.prefix(0))
    for primary in await partition.scripts.deployment.primaries():
        (gone,) = await primary.roundtrip([("DEL", key)])
        if not isinstance(gone, Exception):
            if memory:
                await primary.roundtrip([("HSET", key, *sum(memory.items(), ()))])
            replies = await primary.roundtrip([("XRANGE", partition.log, "-", "+")])
            await primary.roundtrip([("XDEL", partition.log, *(id_ for id_, _ in replies[0][to:]))])


async def test_after_a_failover_that_lost_its_last_appends_a_producer_begins_anew(
    partition: Partition, caplog: pytest.LogCaptureFixture
) -> None:
    await partition.append(0)
    await partition.redis.xtrim(partition.log, maxlen=0)
    await partition.append(1)
    memory = await remembered(partition)
    await partition.append(2)
    await go_back(partition, memory, 1)
    await partition.append(3)
    assert await partition.numbers() == [1, 3]
    await partition.redis.xtrim(partition.log, maxlen=0)
    await partition.append(4)
    assert await partition.numbers() == [4]
    assert [each.message.count("has lost appends") for each in caplog.records] == [1]


@pytest.mark.fault(12, 18)
@pytest.mark.parametrize("all_of_them", [False, True], ids=["some", "all"])
async def test_nothing_is_sent_twice_by_that_though_a_try_is_under_way(
    partition: Partition, all_of_them: bool
) -> None:
    await partition.append(0)
    await partition.redis.xtrim(partition.log, maxlen=0)
    memory = await remembered(partition)
    await partition.append(1)

    async def lose() -> None:
        """Between a try without an answer and its repeat."""
        await go_back(partition, {} if all_of_them else memory, 0)

    partition.hold_up, partition.before_the_repeat = "once", lose
    id_ = await partition.append(2)
    with pytest.raises(ResponseError, match="UNKNOWN_PRODUCER" if all_of_them else "OUTOFORDER"):
        await partition.arrive()
    assert await partition.numbers() == [2]
    found: Any = await partition.redis.xrevrange(partition.log, count=1)
    assert found[0][0].decode() == id_


async def test_who_was_forgotten_in_a_crowd_does_not_guess_whether_an_append_arrived(
    partition: Partition,
) -> None:
    await partition.append(1)
    key = keys.producers(partition.spec.prefix(0))

    async def forget() -> None:
        await partition.redis.delete(key)
        crowd = {f"p{number}": "1 1-1 1" for number in range(1000)}
        await partition.redis.hset(key, mapping=crowd)  # type: ignore[arg-type]

    partition.hold_up, partition.before_the_repeat = "once", forget
    with pytest.raises(UnknownProducer, match="nobody knows whether the append arrived"):
        await partition.append(2)
    assert await partition.numbers() == [1]
    await partition.append(3)
    assert await partition.numbers() == [1, 3]


async def test_those_whose_time_is_over_as_well_are_told_with_the_one_who_tried(
    partition: Partition,
) -> None:
    await partition.append(1)
    partition.producer.delivery_timeout = 0.2
    partition.hold_up = "each time"
    outcomes = await asyncio.gather(*map(partition.append, range(40)), return_exceptions=True)
    assert {type(each) for each in outcomes} == {ConnectionError}
    assert len(partition.under_way) < 20
    partition.hold_up = ""
    await partition.append(2)
    assert await partition.numbers() == [1, 2]
