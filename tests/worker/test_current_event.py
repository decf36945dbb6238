"""A handler that would wait for ever for room in the partition that it reads is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, Record, keys
from runnel.current_event import CURRENT_EVENT, CurrentEvent
from runnel.errors import Full
from runnel.operations import admin
from runnel.protocol.scripts import Scripts
from runnel.worker.worker import Worker
from tests.worker.workers import until

SIZE = 6


class Page(Record):
    number: int


async def run_self_feeding(
    redis: Redis, redis_url: str, app_name: str, form: str, wait: bool | float
) -> tuple[list[str], list[int]]:
    """Run a processor that sends two records to its own full partition for each one it handles."""
    app = App(app_name, redis_url=redis_url, rebalance_delay=0.0, backoff=0.001)
    stream = app.stream(
        "pages", record=Page, partition_by=lambda _: 0, partition_count=1, partition_size=SIZE
    )
    refused, seen = list[str](), list[int]()

    async def crawl(page: Page) -> None:
        seen.append(page.number)
        if page.number >= 4:
            return
        try:
            await stream.send(*2 * [Page(number=page.number + 1)], wait=wait)
        except Full as error:
            refused.append(str(error))

    def crawl_plainly(page: Page) -> None:
        asyncio.run(crawl(page))

    async def crawl_in_a_thread(page: Page) -> None:
        await asyncio.to_thread(crawl_plainly, page)

    def crawl_synchronously(page: Page) -> None:
        seen.append(page.number)
        if page.number >= 4:
            return
        try:
            stream.send_sync(*2 * [Page(number=page.number + 1)], wait=wait)
        except Full as error:
            refused.append(str(error))

    async def crawl_synchronously_in_a_thread(page: Page) -> None:
        await asyncio.to_thread(crawl_synchronously, page)

    handlers: dict[str, Callable[[Page], Any]] = {
        "send_sync": crawl_synchronously,
        "send_sync in a thread": crawl_synchronously_in_a_thread,
        "coroutine": crawl,
        "plain function": crawl_plainly,
        "thread": crawl_in_a_thread,
    }
    app.on(stream, name="crawl")(handlers[form])
    await stream.send(Page(number=0))
    async with asyncio.timeout(20):
        await Worker(app).run(burst=True)
        while len(await redis.keys(f"runnel:*{app_name}*:log")) and len(seen) < 31:
            before = len(seen)
            await Worker(app).run(burst=True)
            if before == len(seen):
                break
    await app.close()
    return refused, seen


@pytest.mark.parametrize(
    "form", ["coroutine", "plain function", "thread", "send_sync", "send_sync in a thread"]
)
@pytest.mark.parametrize("wait", [True, 3600.0], ids=["for ever", "for an hour"])
@pytest.mark.only_on("server", "sentinel")
async def test_a_handler_that_waits_for_room_in_its_own_partition_is_refused(
    redis: Redis, redis_url: str, app_name: str, form: str, wait: bool | float
) -> None:
    refused, seen = await run_self_feeding(redis, redis_url, app_name, form, wait)
    assert refused
    assert all("processor crawl sends to the partition that it reads" in each for each in refused)
    assert seen == sorted(seen)
    assert len(seen) > SIZE  # It waited until finished events were committed.


@pytest.mark.parametrize("form", ["async", "sync"])
async def test_a_handler_that_waits_behind_another_sender_is_refused_too(
    redis: Redis, redis_url: str, app_name: str, form: str
) -> None:
    """The other one waits for the room that only this handler can make."""
    app = App(app_name, redis_url=redis_url, rebalance_delay=0.0)
    stream = app.stream(
        "pages", record=Page, partition_by=lambda _: 0, partition_count=1, partition_size=SIZE
    )
    begun, other_waits = asyncio.Event(), asyncio.Event()
    loop, refused = asyncio.get_running_loop(), list[str]()

    async def crawl(page: Page) -> None:
        if page.number:
            return
        begun.set()
        await other_waits.wait()
        try:
            await stream.send(Page(number=1), wait=True)
        except Full as error:
            refused.append(str(error))

    def crawl_plainly(page: Page) -> None:
        if page.number:
            return
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(other_waits.wait(), loop).result()
        try:
            stream.send_sync(Page(number=1), wait=True)
        except Full as error:
            refused.append(str(error))

    app.on(stream, name="crawl")(crawl if form == "async" else crawl_plainly)
    worker = Worker(app)
    async with asyncio.timeout(20):
        await stream.send(Page(number=0))
        running = asyncio.create_task(worker.run())
        await begun.wait()
        await stream.send(*(SIZE - 1) * [Page(number=2)])
        other = Page(number=3)
        sending = asyncio.create_task(
            stream.send(other, wait=True)
            if form == "async"
            else asyncio.to_thread(lambda: stream.send_sync(other, wait=True))
        )
        with pytest.raises(Full):  # Behind the other one: that one waits by now.
            await (
                stream.send(other)
                if form == "async"
                else asyncio.to_thread(stream.send_sync, other)
            )
        other_waits.set()
        await sending
        worker.stop.set()
        await running
    await app.close()
    assert len(refused) == 1
    assert "to wait for room here would never end" in refused[0]


@pytest.mark.only_on("server", "sentinel")
async def test_a_handler_may_wait_for_room_in_a_partition_of_another_processor(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = App(app_name, redis_url=redis_url, rebalance_delay=0.0)
    stream = app.stream(
        "pages", record=Page, partition_by="number", partition_count=1, partition_size=SIZE
    )
    other = app.stream(
        "others", record=Page, partition_by="number", partition_count=1, partition_size=SIZE
    )
    seen: list[int] = []

    @app.on(stream)
    async def forward(page: Page) -> None:
        await other.send(page, wait=True)

    @app.on(other)
    async def work(page: Page) -> None:
        seen.append(page.number)

    worker = Worker(app)
    running = asyncio.create_task(worker.run())
    for number in range(40):
        await stream.send(Page(number=number), wait=True)

    async def all_seen() -> bool:
        return len(seen) == 40

    await until(all_seen, "not all events were processed")
    worker.stop.set()
    await running
    assert seen == list(range(40))


@pytest.mark.parametrize(
    ("partition", "processor", "stuck", "endless"),
    [
        (0, "work", True, True),
        (1, "work", True, False),
        (0, "rest", True, False),
        (0, "work", False, False),
    ],
)
async def test_a_wait_is_endless_only_for_the_event_that_keeps_the_partition_full(
    redis: Redis,
    redis_url: str,
    app_name: str,
    partition: int,
    processor: str,
    stuck: bool,
    endless: bool,
) -> None:
    app = App(app_name, redis_url=redis_url)
    stream = app.stream(
        "pages", record=Page, partition_by="number", partition_count=2, partition_size=SIZE
    )
    pages = (Page(number=number) for number in range(100))
    page = next(each for each in pages if stream.spec.partition(each) == 0)

    @app.on(stream)
    async def work(page: Page) -> None:
        pass

    await admin.add(Scripts(redis), app.processors["work"])
    async with app:
        await stream.send(*SIZE * [page])
        log = keys.log(stream.spec.prefix(partition))
        current = CurrentEvent(
            log, processor, lambda checkpoint: stuck and checkpoint == "0-0", lambda: True
        )
        token = CURRENT_EVENT.set(current)
        async with asyncio.timeout(10):
            with pytest.raises(Full) as raised:
                await stream.send(page, wait=True if endless else 0.05)
        CURRENT_EVENT.reset(token)
    assert ("would never end" in str(raised.value)) == endless
