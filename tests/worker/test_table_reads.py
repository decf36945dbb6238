"""What is read of tables for a handler, with its events and when it asks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from runnel import LZ4, App, Events, Record, keys
from runnel.codec.entry import EntryCodec
from runnel.core.partition import PartitionState
from runnel.core.reading import Raw
from runnel.table import Table
from runnel.worker.backend import RedisBackend
from runnel.worker.table_reads import keys_of
from tests.worker.inside import Item, Ledger
from tests.worker.totals import adds, once, run_to_end, stored

NUMBERS = [*range(8)]


class Text(Record):
    text: str


async def test_the_key_of_each_event_is_read_with_it(
    redis: Redis, ledger: Ledger, totals: Table[int]
) -> None:
    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            ledger.seen.append(totals[item.number])
            totals[item.number] += 1

    ledger.processor(work)
    await redis.hset(keys.table(ledger.partition_keys.prefix, "totals"), "2", "40")
    await ledger.send(1, 2, 1, 2)
    await run_to_end(redis, ledger)
    assert ledger.seen == [0, 40, 1, 41]
    assert await stored(redis, ledger) == {"1": "2", "2": "42"}
    assert await redis.hget(ledger.meta, "table:totals") == b"work"


async def test_other_keys_are_used_once_they_are_loaded(
    redis: Redis, ledger: Ledger, totals: Table[int]
) -> None:
    refused: list[str] = []

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            try:
                totals["all"] += 0
            except Exception as error:
                refused.append(str(error))
            await totals.load("all")
            totals["all"] += 1
            await totals.load_many(["a", "b", item.number])
            totals["a"], totals["b"] = totals["all"], totals["b"] + 2

    ledger.processor(work)
    await ledger.send(1, 2, 3)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == {"all": "3", "a": "3", "b": "6"}
    assert len(refused) == 1, "a key stays known"
    assert "'all' is not the key of the current event" in refused[0]
    assert "await totals.load('all')" in refused[0]


async def test_a_key_that_is_known_is_not_read_again(
    redis: Redis, ledger: Ledger, totals: Table[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    read_fields = RedisBackend.read_fields

    async def noting(backend: RedisBackend, wanted: Any) -> list[Any]:
        asked.extend(field for _, fields in wanted for field in fields)
        return await read_fields(backend, wanted)

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            for _ in range(3):
                await totals.load_many(["all", "more", item.number])
            totals["all"] += 1

    monkeypatch.setattr(RedisBackend, "read_fields", noting)
    ledger.processor(work)
    await ledger.send(1, 2)
    await run_to_end(redis, ledger)
    assert sorted(asked) == [b"1", b"2", b"all", b"more"]


async def test_an_event_that_cannot_be_decoded_does_not_stop_the_others(
    redis: Redis, ledger: Ledger, totals: Table[int]
) -> None:
    ledger.processor(adds(totals), exception_policy="ignore", retries=0)
    await ledger.send(1)
    await redis.xadd(ledger.log, {b"nonsense": b"\xff"})
    await ledger.send(2)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == once(1, 2)


async def test_an_event_is_decoded_once_and_its_repeat_gets_a_record_of_its_own(
    redis: Redis, ledger: Ledger, totals: Table[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, decoded = EntryCodec.decode, list[int]()
    handlers: set[object] = set()

    def noting(codec: EntryCodec[Item], fields: Sequence[bytes]) -> Item:
        record = decode(codec, fields)
        if asyncio.current_task() in handlers:  # Otherwise the read does it, which may be repeated.
            decoded.append(record.number)
        return record

    async def work(events: Events[Item]) -> None:
        handlers.add(asyncio.current_task())
        async for item in events.records():
            ledger.seen.append(item.number)
            totals[item.number] += 1
            item.number += 100
            if ledger.seen == [1, 2]:
                raise ValueError("on purpose")

    monkeypatch.setattr(EntryCodec, "decode", noting)
    ledger.processor(work)
    await ledger.send(1, 2, 3)
    await run_to_end(redis, ledger)
    assert ledger.seen == [1, 2, 2, 3]
    assert decoded == [2], "only for its repeat"
    assert await stored(redis, ledger) == once(1, 2, 3)


@pytest.mark.parametrize("form", ["events", "lists", "records in lists"])
async def test_every_form_of_handler_uses_the_record_that_was_decoded(
    redis: Redis, ledger: Ledger, totals: Table[int], form: str
) -> None:
    async def work(events: Events[Item]) -> None:
        if form == "events":
            async for event in events:
                totals[event.record.number] += 1
        elif form == "lists":
            async for listed in events.take(3):
                for event in listed:
                    totals[event.record.number] += event.record.number > 0
        else:
            async for records in events.take(3).records():
                for record in records:
                    totals[record.number] += 1

    ledger.processor(work)
    await ledger.send(1, 2, 3, 1)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == once(1, 2, 3, 1)


@pytest.mark.parametrize(
    ("compressor", "kept"), [(None, True), (LZ4(), False)], ids=["plain", "lz4"]
)
def test_the_record_of_a_compressed_event_does_not_wait_in_memory(
    compressor: LZ4 | None, kept: bool
) -> None:
    app = App("shop")
    stream = app.stream("s", record=Text, partition_by="text", compressor=compressor)

    @app.processor(stream)
    async def work(events: Events[Text]) -> None: ...

    text = "x" * 1000
    raw: Raw = [b"1-0", stream.spec.encode(Text(text=text))]
    assert keys_of(app.processors["work"], [raw]) == [text.encode()]
    assert (raw[2:] == [Text(text=text)]) is kept


async def test_more_keys_than_one_command_reads_and_one_commit_writes(
    redis: Redis, ledger: Ledger, totals: Table[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runnel.worker.table_reads.FIELDS", 7)
    monkeypatch.setattr("runnel.core.table_state.MOST_FIELDS", 5)
    numbers = [each % 60 for each in range(300)]
    ledger.processor(adds(totals), prefetch=50)
    await ledger.send(*numbers)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == once(*numbers)


async def test_keys_of_events_that_wait_are_not_forgotten(
    redis: Redis, ledger: Ledger, totals: Table[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runnel.core.table_state.MOST_KNOWN", 4)
    numbers = [*range(100), *range(100)]
    ledger.processor(adds(totals), prefetch=100, retries=0, exception_policy="ignore")
    await ledger.send(*numbers)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == once(*numbers)


async def test_a_read_that_fails_loses_nothing(
    redis: Redis, ledger: Ledger, totals: Table[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = 3
    read_fields = RedisBackend.read_fields

    async def failing(backend: RedisBackend, wanted: Any) -> list[Any]:
        nonlocal failures
        if failures:
            failures -= 1
            if failures == 1:
                raise ConnectionError("on purpose")
            return [ConnectionError("on purpose")] * len(wanted)
        return await read_fields(backend, wanted)

    monkeypatch.setattr(RedisBackend, "read_fields", failing)
    ledger.processor(adds(totals))
    await ledger.send(*NUMBERS)
    await run_to_end(redis, ledger)
    assert not failures
    assert await stored(redis, ledger) == once(*NUMBERS)


async def test_plain_functions_in_threads_use_tables(
    redis: Redis, ledger: Ledger, totals: Table[int]
) -> None:
    threads: set[int] = set()

    @ledger.app.on(ledger.items, name="work")
    def work(item: Item) -> None:
        threads.add(threading.get_ident())
        totals[item.number] += 1

    await ledger.send(*NUMBERS, *NUMBERS)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == once(*NUMBERS, *NUMBERS)
    assert threading.get_ident() not in threads


async def test_a_second_worker_continues_the_totals(
    redis: Redis, ledger: Ledger, totals: Table[int], states: list[PartitionState]
) -> None:
    ledger.processor(adds(totals))
    await ledger.send(*NUMBERS)
    await run_to_end(redis, ledger)
    await ledger.send(3, 4)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == once(*NUMBERS, 3, 4)
    assert len(states) == 2
    tables = states[1].tables
    assert tables
    assert tables.get(("totals", b"3")) == b"2"
    with pytest.raises(KeyError):
        tables.get(("totals", b"5"))
