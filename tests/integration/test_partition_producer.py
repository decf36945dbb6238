"""One producer on one partition, with lost, delayed and repeated replies, and a server that is
away."""

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
    """A partition of two items, its producer, and a network that can delay appends."""

    def __init__(self, redis: Redis, app_name: str, single: bool) -> None:
        app = App(app_name)
        self.spec = app.stream("items", record=Item, partition_by="number", partition_size=2).spec
        self.redis, self.scripts, self.single = redis, Scripts(redis), single
        self.log = keys.log(self.spec.prefix(0))
        #: Which appends are delayed: "once", "each time", "for ever", or "" for none.
        self.delay = ""
        self.before_retry: Callable[[], Awaitable[None]] | None = None
        #: Attempts that stay in the network, so that their retries arrive before them.
        self.in_flight: list[Sequence[Arg]] = []
        #: None on a cluster: there, a single append also goes through `call`.
        self.roundtrip = self.scripts.roundtrip
        direct_roundtrip = self.direct_roundtrip if self.roundtrip else None
        self.producer = Producer(self.scripts, 10.0)
        self.partition_producer = PartitionProducer(self.spec, 0, self.producer, direct_roundtrip)

    async def append(self, number: int) -> str:
        """The id of an item, appended alone or as one of many."""
        entry = self.spec.codec.encode(Item(number=number))
        if self.single:
            return await self.partition_producer.append_one(entry, "refuse", 0.0, self.call)
        ids: list[str] = []
        await self.partition_producer.append([[entry]], ids, "refuse", 0.0, self.call)
        return ids[0]

    async def direct_roundtrip(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        await self._maybe_delay(commands[0])
        assert self.roundtrip is not None
        return await self.roundtrip(commands)

    async def call(self, call: Call) -> Any:
        await self._maybe_delay(call.command())
        return await self.scripts.call(call)

    async def _maybe_delay(self, command: Sequence[Arg]) -> None:
        if not self.delay:
            if self.in_flight and self.before_retry:
                await self.before_retry()
                self.before_retry = None
            return
        self.in_flight.append(command)
        if self.delay == "for ever":
            await asyncio.Event().wait()
        if self.delay == "once":
            self.delay = ""
        raise ConnectionError("no answer")

    async def deliver(self) -> Any:
        """Deliver the delayed attempt after all."""
        return await self.redis.execute_command(*self.in_flight.pop())  # type: ignore[no-untyped-call]

    async def numbers(self) -> list[int]:
        found: Any = await self.redis.xrange(self.log)
        return [
            self.spec.codec.decode([each for pair in fields.items() for each in pair]).number
            for _, fields in found
        ]


@pytest.fixture(params=[False, True], ids=["among others", "alone"])
def partition(redis: Redis, app_name: str, request: pytest.FixtureRequest) -> Partition:
    return Partition(redis, app_name, request.param)


async def test_a_refusal_does_not_reuse_the_sequence_of_an_attempt_that_may_still_arrive(
    partition: Partition,
) -> None:
    for number in (1, 2):
        await partition.append(number)
    partition.delay = "once"
    with pytest.raises(Full):
        await partition.append(3)
    await partition.redis.xtrim(partition.log, maxlen=0)
    await partition.deliver()
    id_ = await partition.append(4)

    assert await partition.numbers() == [3, 4]
    found: Any = await partition.redis.xrevrange(partition.log, count=1)
    assert found[0][0].decode() == id_


async def test_a_cancelled_append_does_not_reuse_the_sequence_either(partition: Partition) -> None:
    await partition.append(1)
    partition.delay = "for ever"
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(partition.append(2), 0.01)
    partition.delay = ""
    await partition.redis.xtrim(partition.log, maxlen=0)
    await partition.deliver()
    await partition.append(3)
    assert await partition.numbers() == [2, 3]


async def test_an_attempt_that_arrives_after_its_retry_adds_nothing(partition: Partition) -> None:
    await partition.append(1)
    partition.delay = "once"
    id_ = await partition.append(2)
    applied, first, _ = await partition.deliver()
    assert (applied, first.decode()) == (0, id_)
    assert await partition.numbers() == [1, 2]


async def test_a_lost_script_or_producer_entry_is_written_again(
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


async def producer_entry(partition: Partition) -> dict[Any, Any]:
    found: Any = await partition.redis.hgetall(keys.producers(partition.spec.prefix(0)))
    return dict(found)


async def roll_back(partition: Partition, saved: dict[Any, Any], to: int) -> None:
    """Do what a failover does that loses the last writes: keep the first `to` events."""
    key = keys.producers(partition.spec.prefix(0))
    for primary in await partition.scripts.deployment.primaries():
        (deleted,) = await primary.roundtrip([("DEL", key)])
        if not isinstance(deleted, Exception):
            if saved:
                await primary.roundtrip([("HSET", key, *sum(saved.items(), ()))])
            replies = await primary.roundtrip([("XRANGE", partition.log, "-", "+")])
            await primary.roundtrip([("XDEL", partition.log, *(id_ for id_, _ in replies[0][to:]))])


async def test_after_a_failover_that_lost_its_last_appends_a_producer_starts_a_new_sequence(
    partition: Partition, caplog: pytest.LogCaptureFixture
) -> None:
    await partition.append(0)
    await partition.redis.xtrim(partition.log, maxlen=0)
    await partition.append(1)
    saved = await producer_entry(partition)
    await partition.append(2)
    await roll_back(partition, saved, 1)
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
    saved = await producer_entry(partition)
    await partition.append(1)

    async def lose() -> None:
        """Runs between an attempt without a reply and its retry."""
        await roll_back(partition, {} if all_of_them else saved, 0)

    partition.delay, partition.before_retry = "once", lose
    id_ = await partition.append(2)
    with pytest.raises(ResponseError, match="UNKNOWN_PRODUCER" if all_of_them else "OUTOFORDER"):
        await partition.deliver()
    assert await partition.numbers() == [2]
    found: Any = await partition.redis.xrevrange(partition.log, count=1)
    assert found[0][0].decode() == id_


async def test_a_producer_that_was_evicted_does_not_guess_whether_an_append_arrived(
    partition: Partition,
) -> None:
    await partition.append(1)
    key = keys.producers(partition.spec.prefix(0))

    async def forget() -> None:
        await partition.redis.delete(key)
        crowd = {f"p{number}": "1 1-1 1" for number in range(1000)}
        await partition.redis.hset(key, mapping=crowd)  # type: ignore[arg-type]

    partition.delay, partition.before_retry = "once", forget
    with pytest.raises(UnknownProducer, match="nobody knows whether the append arrived"):
        await partition.append(2)
    assert await partition.numbers() == [1]
    await partition.append(3)
    assert await partition.numbers() == [1, 3]


async def test_appends_whose_timeout_has_passed_fail_together_with_the_one_in_flight(
    partition: Partition,
) -> None:
    await partition.append(1)
    partition.producer.delivery_timeout = 0.2
    partition.delay = "each time"
    outcomes = await asyncio.gather(*map(partition.append, range(40)), return_exceptions=True)
    assert {type(each) for each in outcomes} == {ConnectionError}
    assert len(partition.in_flight) < 20
    partition.delay = ""
    await partition.append(2)
    assert await partition.numbers() == [1, 2]
