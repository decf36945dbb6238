"""What plain functions write to tables and emit, while a thread processes many events in a row."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import Table
from runnel.core import table_state
from runnel.core.partition import PartitionState
from runnel.delivery import ahead
from runnel.operations import admin
from runnel.protocol.scripts import Scripts
from runnel.worker.worker import Worker
from tests.worker.inside import Item, Ledger
from tests.worker.plain import plain
from tests.worker.totals import once, run_to_end, stored
from tests.worker.workers import until


async def test_values_that_events_of_one_list_write_one_after_the_other_all_count(
    redis: Redis, ledger: Ledger, totals: Table[int], hops: list[None]
) -> None:
    lists = ledger.app.table("lists", ledger.items, value=list[int], default=list)
    fails = {5: 2, 77: 1}

    def call(number: int) -> None:
        key = number % 3
        totals[number] += 1
        lists[number].append(key)
        if fails.get(number, 0):
            fails[number] -= 1
            raise ValueError("on purpose")

    plain(ledger, call)
    sent = [each % 10 for each in range(200)] + [77]
    await ledger.send(*sent)
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == once(*sent)
    assert {
        key: value.count(",") + 1 for key, value in (await stored(redis, ledger, "lists")).items()
    } == {key: int(value) for key, value in once(*sent).items()}
    assert len(hops) < 30


async def test_it_can_load_other_keys_in_an_event_loop_of_its_own(
    redis: Redis, ledger: Ledger, totals: Table[int]
) -> None:
    def call(number: int) -> None:
        asyncio.run(totals.load("all"))
        totals["all"] += 1

    plain(ledger, call)
    await ledger.send(*range(50))
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == {"all": "50"}


async def test_a_key_that_it_has_loaded_stays_until_its_event_is_done(
    redis: Redis,
    ledger: Ledger,
    totals: Table[int],
    states: list[PartitionState],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(table_state, "MOST_KNOWN", 0)  # Values are forgotten as soon as possible.
    monkeypatch.setattr(ahead, "QUIET", 0.2)  # The loop finishes the events before after the load.

    def call(number: int) -> None:
        if number != 5:
            totals[number] += 1
            return
        asyncio.run(totals.load("other"))
        while states[0].current[0][0] != sent[5].id.encode():
            time.sleep(0.001)
        totals["other"] += 1

    plain(ledger, call, retries=0, exception_policy="halt")
    sent = await ledger.items.send(*(Item(number=each) for each in range(20)))
    await run_to_end(redis, ledger)
    assert await stored(redis, ledger) == {**once(*range(5), *range(6, 20)), "other": "1"}


@pytest.mark.only_on("server", "sentinel")
async def test_it_goes_no_further_than_commits_can_follow(
    redis: Redis, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    mails = ledger.app.stream(
        "mails", record=Item, partition_by="number", partition_count=1, partition_size=10
    )

    def call(number: int) -> None:
        for _ in range(5):
            mails.emit(Item(number=number))

    plain(ledger, call)

    @ledger.app.on(mails, name="reader")
    async def reader(item: Item) -> None: ...

    await admin.add(Scripts(redis), ledger.app.processors["reader"])
    await ledger.send(*range(990))
    worker = Worker(ledger.app, ["work"])
    running = asyncio.create_task(worker.run())
    await until(lambda: "no room in mails" in caplog.text, "it waits for room")
    done = len(ledger.seen)
    assert done < 100
    await asyncio.sleep(0.3)
    assert len(ledger.seen) == done
    worker.stop.set()
    await running


@pytest.mark.only_on("server", "sentinel")
async def test_what_it_emits_is_sent_once_though_it_fails(redis: Redis, ledger: Ledger) -> None:
    mails = ledger.app.stream("mails", record=Item, partition_by="number", partition_count=1)
    fails = {5: 2, 17: 1}

    def call(number: int) -> None:
        mails.emit(Item(number=number))
        if fails.get(number, 0):
            fails[number] -= 1
            raise ValueError("on purpose")
        mails.emit(Item(number=-number))

    plain(ledger, call)
    await ledger.send(*range(300))
    await run_to_end(redis, ledger)
    entries: Any = await redis.xrange(f"{mails.spec.prefix(0)}:log")
    decode = mails.spec.codec.decode
    numbers = [decode(list(fields.popitem())).number for _, fields in entries]
    assert numbers == [each for number in range(300) for each in (number, -number)]
