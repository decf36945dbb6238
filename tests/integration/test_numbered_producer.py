"""A producer with an id: numbers, restarts, several partitions, and wrong use."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, Record, Stream, keys
from runnel.errors import ConfigError, EarlierNotSent, Full, RecordTooLarge
from runnel.stream import Sent
from tests.integration.sends import Item, declare, items, spread, stored
from tests.proxy import Proxy


class Store:
    """A stream of four partitions, and processes that send to it as the producer `import`."""

    def __init__(self, redis: Redis, url: str, name: str, **settings: Any) -> None:
        self.redis, self.url, self.name, self.settings = redis, url, name, settings
        self.apps: list[App] = []

    def process(self) -> tuple[Any, Stream[Item]]:
        """The producer in a new process."""
        app, stream = declare(self.name, self.url, **self.settings)
        self.apps.append(app)
        return app.producer(id="import"), stream

    async def close(self) -> None:
        for app in self.apps:
            await app.close()


@pytest.fixture
async def store(redis: Redis, redis_url: str, app_name: str) -> Any:
    made = Store(redis, redis_url, app_name)
    yield made
    await made.close()


async def test_a_restarted_program_sends_only_what_is_not_there(store: Store) -> None:
    producer, stream = store.process()
    assert await producer.last(stream) is None
    first = [await producer.send(stream, item, number=item.number) for item in spread(*range(1, 8))]
    producer, stream = store.process()
    assert await producer.last(stream) == 7
    for item in spread(*range(1, 8)):
        assert await producer.send(stream, item, number=item.number) == [None]
    ((eighth,),) = [await producer.send(stream, *spread(8), number=8)]
    assert isinstance(eighth, Sent)
    assert await producer.last(stream) == 8
    assert {number: [number] for number in range(1, 9)} == await stored(store.redis, stream)
    entries = [await store.redis.xlen(keys.log(stream.spec.prefix(each))) for each in range(4)]
    assert sum(entries) == 8
    assert all(isinstance(each, Sent) for (each,) in first)


async def test_all_records_of_a_number_are_sent_once_each(store: Store) -> None:
    producer, stream = store.process()
    sent = await producer.send(stream, *items(1, 2, 3), *spread(4, 5), number=17)
    assert all(isinstance(each, Sent) for each in sent)
    producer, stream = store.process()
    more = [*items(1, 2, 3), *spread(4, 5), *items(6)]
    *there, new = await producer.send(stream, *more, number=17)
    assert there == [None] * 5
    assert new.partition == sent[0].partition
    assert await producer.last(stream) == 17
    assert (await stored(store.redis, stream))[0] == [1, 2, 3, 6]


async def test_a_list_has_a_number_for_each_record_and_may_be_cut_anywhere(store: Store) -> None:
    producer, stream = store.process()
    everything = spread(*range(1, 31))
    await producer.send(stream, *everything[:17], number=range(1, 18))
    producer, stream = store.process()
    for at in range(10, 30, 7):
        part = everything[at : at + 7]
        await producer.send(stream, *part, number=[each.number for each in part])
    assert await stored(store.redis, stream) == {each: [each] for each in range(1, 31)}


async def test_sends_at_the_same_time_keep_their_order(store: Store) -> None:
    producer, stream = store.process()
    # Sends of one record and of many, which use tasks of their own.
    sends = [producer.send(stream, *items(*range(n, n + 1 + n % 3)), number=n) for n in range(60)]
    await asyncio.gather(*sends)
    expected = [each for n in range(60) for each in range(n, n + 1 + n % 3)]
    assert (await stored(store.redis, stream))[0] == expected


async def test_sends_of_several_objects_with_one_id_keep_their_order(store: Store) -> None:
    _, stream = store.process()
    (app,) = store.apps
    await asyncio.gather(
        *(app.producer(id="import").send(stream, *items(n), number=n) for n in range(50))
    )
    assert (await stored(store.redis, stream))[0] == list(range(50))


async def test_after_an_error_the_number_must_be_sent_again_before_larger_ones(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url, partition_size=3)
    producer = app.producer(id="import")

    async def make_room() -> None:
        for partition in range(4):
            await redis.xtrim(keys.log(stream.spec.prefix(partition)), maxlen=0)

    async with app:
        await producer.send(stream, *items(1, 2), number=1)
        found: Any = await asyncio.gather(
            producer.send(stream, *items(3, 4), *spread(9), number=2),
            producer.send(stream, *items(5), number=3),
            producer.send(stream, *spread(9), number=4),
            return_exceptions=True,
        )
        assert [type(each) for each in found] == [Full, Full, list]
        # The first partition had room for one record, the other one for all.
        assert [isinstance(each, Sent) for each in found[0].sent] == [True, False, True]
        with pytest.raises(EarlierNotSent, match="because number 2 is not there yet"):
            await producer.send(stream, *items(6), number=5)
        await make_room()
        there, new, there_too = await producer.send(stream, *items(3, 4), *spread(9), number=2)
        assert (there, there_too) == (None, None)
        assert isinstance(new, Sent)
        with pytest.raises(EarlierNotSent, match="because number 3 is not there yet"):
            await producer.send(stream, *items(6), number=5)
        with pytest.raises(ConfigError, match="number 2 comes after 2"):
            await producer.send(stream, *items(3), number=2)
        await producer.send(stream, *items(5), number=3)
        await make_room()
        await producer.send(stream, *items(6), number=5)
    assert await stored(redis, stream) == {0: [6]}


async def test_another_object_may_leave_a_number_out_or_begin_again(store: Store) -> None:
    producer, stream = store.process()
    (app,) = store.apps
    await producer.send(stream, *items(1), number=1)
    task = asyncio.create_task(producer.send(stream, *items(2), number=2))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(EarlierNotSent):
        await producer.send(stream, *items(3), number=3)
    producer = app.producer(id="import")
    await producer.send(stream, *items(3), number=3)
    assert await app.producer(id="import").send(stream, *items(1), number=1) == [None]


async def test_a_record_that_cannot_be_sent_does_not_hold_up_others(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app, stream = declare(app_name, redis_url, max_record_bytes=50)
    producer = app.producer(id="import")
    async with app:
        with pytest.raises(RecordTooLarge):
            await producer.send(stream, Item(key=0, number=1), number=1, headers={"x": "y" * 90})
        await producer.send(stream, *items(2), number=2)
    assert await stored(redis, stream) == {0: [2]}


@pytest.mark.parametrize(
    "number", [True, -1, 1.0, "1", b"1", None, 2**64, [1, True], [1, "2"], [[1], 2], object()]
)
async def test_a_number_that_is_none_is_refused(store: Store, number: Any) -> None:
    producer, stream = store.process()
    with pytest.raises(ConfigError, match="takes a whole number from 0 to"):
        await producer.send(stream, *items(1, 2), number=number)


@pytest.mark.parametrize("numbers", [[1], [1, 2, 3], [], [2, 2], [2, 1]])
async def test_numbers_that_do_not_fit_their_records_are_refused(
    store: Store, numbers: list[int]
) -> None:
    producer, stream = store.process()
    with pytest.raises(ConfigError, match=r"number=…\)(: \d comes after| has \d numbers)"):
        await producer.send(stream, *items(1, 2), number=numbers)
    assert await store.redis.exists(keys.log(stream.spec.prefix(0))) == 0


async def test_a_number_may_be_as_large_as_64_bits(store: Store) -> None:
    for _ in range(2):
        producer, stream = store.process()
        for number in (0, 2**53, 2**53 + 1, 2**64 - 2, 2**64 - 1):
            await producer.send(stream, *items(number % 1000), number=number)
        assert await producer.last(stream) == 2**64 - 1
    assert len((await stored(store.redis, stream))[0]) == 5


@pytest.mark.parametrize("id_", ["", "a b", "a:b", ":", "x" * 101, 7, True, b"till"])
def test_an_id_that_is_none_is_refused(id_: Any) -> None:
    with pytest.raises(ConfigError, match=r"producer name .* is not usable"):
        App("shop").producer(id=id_)


async def test_what_is_no_stream_to_send_to_is_refused(store: Store) -> None:
    producer, stream = store.process()
    with pytest.raises(ConfigError, match="the first argument is the stream"):
        await producer.send(items(1)[0], number=1)
    with pytest.raises(ConfigError, match="only processors of that stream write to it"):
        await producer.send(stream.dead_letters("printer"), number=1)
    _, other = store.process()
    with pytest.raises(ConfigError, match="the stream items belongs to another app"):
        await producer.send(other, number=1)
    assert await producer.send(stream, number=1) == []


@pytest.mark.only_on("server")
async def test_a_lost_reply_is_no_duplicate(redis: Redis, redis_url: str, app_name: str) -> None:
    async with Proxy(redis_url) as proxy:
        app, stream = declare(app_name, proxy.url)
        async with app:
            producer = app.producer(id="import")
            await producer.send(stream, *items(1), number=1)
            proxy.lose_reply_to(b"producer:import")
            (sent,) = await producer.send(stream, *items(2), number=2)
            assert isinstance(sent, Sent), "it was this call that sent it"
    assert await stored(redis, stream) == {0: [1, 2]}


class Note(Record):
    text: str


async def test_each_stream_has_its_own_numbers(store: Store) -> None:
    producer, stream = store.process()
    (app,) = store.apps
    notes = app.stream("notes", record=Note, partition_by="text")
    await producer.send(stream, *items(1), number=9)
    (sent,) = await producer.send(notes, Note(text="a"), number=1)
    assert isinstance(sent, Sent)
    assert (await producer.last(stream), await producer.last(notes)) == (9, 1)
