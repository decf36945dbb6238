"""A numbered producer on one partition: each event once and in order, whatever fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from runnel import keys, protocol
from runnel.errors import EarlierNotSent, Full, ProducerInUse
from runnel.producer.numbered_partition import NumberedPartition, NumberedSend
from runnel.producer.producer import Producer
from runnel.protocol.scripts import Call, Scripts
from tests.integration.sends import declare, items, stored

SENDER = "producer:till"


class Till:
    """A partition, the producer `till`, and a network that loses, holds or delivers calls late."""

    def __init__(self, redis: Redis, app_name: str, size: int = 100) -> None:
        self.app, self.stream = declare(app_name, "redis://nowhere", count=1, partition_size=size)
        self.redis, self.scripts = redis, Scripts(redis)
        self.prefix = self.stream.spec.prefix(0)
        self.log = keys.log(self.prefix)
        self.producer = Producer(self.scripts, 10.0)
        self.partition = self.restarted()
        #: What happens to the next calls: "reply lost", "request lost", "late" or "held".
        self.faults: list[str] = []
        self.late: list[Call] = []
        self.held = asyncio.Event()
        self.go_on = asyncio.Event()

    def restarted(self) -> NumberedPartition:
        """The same producer as another process has it."""
        return NumberedPartition(self.stream.spec, 0, self.producer, SENDER)

    async def call(self, call: Call) -> Any:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "late":
            self.late.append(call)
        if fault in ("request lost", "late"):
            raise ConnectionError("no answer")
        if fault == "held":
            self.held.set()
            await self.go_on.wait()
        reply = await self.scripts.call(call)
        if fault == "reply lost":
            raise ConnectionError("no answer")
        return reply

    def send(self, *numbers: int, until: float = 0.0) -> tuple[NumberedPartition, NumberedSend]:
        """Enter a send of items with these numbers, in one batch."""
        batch: list[protocol.NumberedEntry] = [
            (f"{each}-0", self.stream.spec.encode(item))
            for each, item in zip(numbers, items(*numbers), strict=True)
        ]
        send = NumberedSend([batch], "refuse", until)
        self.partition.enter(send)
        return self.partition, send

    async def finish(self, entered: tuple[NumberedPartition, NumberedSend]) -> list[str | None]:
        """Append what has entered. Returns the ids."""
        partition, send = entered
        error: BaseException | None = None
        try:
            await partition.append(send, self.call)
        except BaseException as raised:
            error = raised
            raise
        finally:
            partition.leave(send, error)
        return send.ids

    async def append(self, *numbers: int, until: float = 0.0) -> list[str | None]:
        return await self.finish(self.send(*numbers, until=until))

    async def outcomes(self, *sends: tuple[NumberedPartition, NumberedSend]) -> list[Any]:
        return await asyncio.gather(*map(self.finish, sends), return_exceptions=True)

    async def ids(self) -> list[str]:
        entries: Any = await self.redis.xrange(self.log)
        return [id_.decode() for id_, _ in entries]

    async def numbers(self) -> list[int]:
        return (await stored(self.redis, self.stream)).get(0, [])


@pytest.fixture
def till(redis: Redis, app_name: str) -> Till:
    return Till(redis, app_name)


async def test_what_was_there_before_has_no_id_and_what_is_new_has(till: Till) -> None:
    await till.append(1, 2)
    till.partition = till.restarted()
    found = await till.append(1, 2, 3, 4)
    assert found == [None, None, *(await till.ids())[2:]]
    till.partition = till.restarted()
    assert await till.append(3, 4) == [None, None], "the last append of another process"
    assert await till.numbers() == [1, 2, 3, 4]


@pytest.mark.parametrize("fault", ["reply lost", "request lost", "late"])
async def test_a_call_without_an_answer_is_repeated_and_gets_the_ids_of_the_first(
    till: Till, fault: str
) -> None:
    await till.append(1)
    till.faults = [fault, fault]
    assert await till.append(2, 3) == (await till.ids())[1:]
    for call in till.late:
        assert protocol.read_append_numbered(await till.scripts.call(call)).added == 0
    assert await till.numbers() == [1, 2, 3]


async def test_a_send_that_failed_may_be_repeated_although_it_had_arrived(till: Till) -> None:
    await till.append(1)
    till.producer.delivery_timeout = 0.0
    till.faults = ["reply lost"]
    with pytest.raises(ConnectionError):
        await till.append(2)
    assert await till.append(2) == [None]
    assert await till.append(3) == (await till.ids())[2:]
    assert await till.numbers() == [1, 2, 3]


async def test_sends_go_in_the_order_in_which_they_entered(till: Till) -> None:
    sends = [till.send(number) for number in range(20)]
    found = await till.outcomes(*reversed(sends))
    assert [each for (each,) in reversed(found)] == await till.ids()
    assert await till.numbers() == list(range(20))


async def test_when_a_send_fails_those_behind_it_fail_too_and_none_overtakes(
    redis: Redis, app_name: str
) -> None:
    till = Till(redis, app_name, size=4)
    await till.append(1, 2, 3)
    forever = asyncio.get_running_loop().time() + 3600
    sends = [till.send(4, 5), till.send(6), till.send(7, until=forever)]
    assert [type(each) for each in await till.outcomes(*sends)] == [Full] * 3
    await redis.xtrim(till.log, maxlen=0)
    assert await till.append(4, 5) == await till.ids()
    await till.append(6)
    assert await till.numbers() == [4, 5, 6]


async def test_while_one_waits_for_room_a_send_that_does_not_wait_takes_those_behind_it_along(
    redis: Redis, app_name: str
) -> None:
    till = Till(redis, app_name, size=4)
    await till.append(1, 2, 3)
    forever = asyncio.get_running_loop().time() + 3600
    sends = [till.send(4, 5, until=forever), till.send(6), till.send(7, until=forever)]
    first, *others = [asyncio.create_task(till.finish(each)) for each in sends]
    for each in others:
        with pytest.raises(Full):
            await each
    await redis.xtrim(till.log, maxlen=0)
    await first
    assert await till.numbers() == [4, 5]


@pytest.mark.parametrize("which", ["the one under way", "one that waits"])
async def test_when_a_send_is_cancelled_those_behind_it_fail_too(till: Till, which: str) -> None:
    await till.append(1)
    till.faults = ["held"]
    tasks = [asyncio.create_task(till.finish(till.send(number))) for number in range(2, 7)]
    await till.held.wait()
    cancelled = 0 if which == "the one under way" else 2
    tasks[cancelled].cancel()
    till.go_on.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    expected: list[type] = [list] * cancelled + [asyncio.CancelledError]
    expected += [EarlierNotSent] * (4 - cancelled)
    assert [type(each) for each in outcomes] == expected
    for number in range(2, 7):
        await till.append(number)
    assert await till.numbers() == [1, 2, 3, 4, 5, 6]


async def test_a_send_that_got_its_turn_as_it_was_cancelled_is_not_overtaken(till: Till) -> None:
    partition, first = till.send(1)
    waiting = [till.send(2), till.send(3)]
    tasks = [asyncio.create_task(till.finish(each)) for each in waiting]
    await asyncio.sleep(0)  # Both wait for their turn now.
    partition.leave(first)
    assert waiting[0][1].turn is not None
    assert waiting[0][1].turn.done(), "it has its turn, and has not run yet"
    tasks[0].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in outcomes] == [asyncio.CancelledError, EarlierNotSent]
    assert await till.numbers() == []


async def test_a_send_that_leaves_before_it_began_takes_those_behind_it_along(till: Till) -> None:
    first, second, third = till.send(1), till.send(2), till.send(3)
    first[0].leave(first[1], asyncio.CancelledError())
    assert [type(each) for each in await till.outcomes(second, third)] == [EarlierNotSent] * 2
    await till.append(1)
    assert await till.numbers() == [1]


async def test_another_process_with_the_same_id_is_noticed(till: Till) -> None:
    one, other = till.partition, till.restarted()

    async def send(partition: NumberedPartition, number: int) -> list[str | None]:
        till.partition = partition
        return await till.append(number)

    for number in (1, 2):
        assert await send(one, number) != [None]
    assert await send(other, 1) == [None]
    assert await send(other, 2) == [None]
    assert await send(other, 3) != [None]
    with pytest.raises(ProducerInUse, match="event number 3 of producer:till"):
        await send(one, 3)
    assert await send(other, 4) != [None], "the one that was first goes on"
    assert await send(one, 3) == [None], "whoever insists sees what is there"
    assert await till.numbers() == [1, 2, 3, 4]


async def test_a_deleted_stream_is_created_again_and_its_numbers_begin_anew(till: Till) -> None:
    await till.append(1, 2)
    await till.scripts.call(protocol.delete(till.prefix))
    assert await till.append(3) == await till.ids()
    assert await till.numbers() == [3]
