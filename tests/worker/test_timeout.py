"""`timeout=` of a processor: seconds that one event, or one list, may take."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import DeadLetterMiddleware, Events, Middleware
from runnel.errors import ConfigError
from runnel.worker import cancelling, handler_run
from tests.worker.dead_letters import dead_letters
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until

Hang = Callable[[asyncio.Event], Awaitable[None]]


async def hangs(over: asyncio.Event) -> None:
    await over.wait()


async def cleans_up(over: asyncio.Event) -> None:
    try:
        await over.wait()
    finally:
        await asyncio.sleep(0.05)


async def raises_another(over: asyncio.Event) -> None:
    try:
        await over.wait()
    except asyncio.CancelledError:
        raise LookupError("made of it") from None


async def swallows_and_goes_on(over: asyncio.Event) -> None:
    with suppress(BaseException):
        await over.wait()


async def swallows_for_ever(over: asyncio.Event) -> None:
    while not over.is_set():
        with suppress(BaseException):
            await over.wait()


@pytest.mark.parametrize(
    "hang", [hangs, cleans_up, raises_another, swallows_and_goes_on, swallows_for_ever]
)
@pytest.mark.parametrize("size", [0, 2])
@pytest.mark.parametrize("wrapped", [False, True])
async def test_an_event_that_takes_too_long_fails(
    redis: Redis,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    hang: Hang,
    size: int,
    wrapped: bool,
) -> None:
    monkeypatch.setattr(handler_run, "END_AFTER_TIMEOUT", 0.2)
    over, tried = asyncio.Event(), []

    async def one(item: Item) -> None:
        tried.append(item.number)
        if item.number == 1:
            await hang(over)
        if not over.is_set():
            ledger.seen.append(item.number)

    async def work(events: Events[Item]) -> None:
        if size:
            async for items in events.take(size, within=0.2).records():
                for item in items:
                    await one(item)
        else:
            async for item in events.records():
                await one(item)

    letter_box = [DeadLetterMiddleware()] if wrapped else []
    ledger.processor(work, exception_policy="ignore", retries=1, timeout=0.1, middleware=letter_box)
    await ledger.send(0, 1, 2)
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues")
        if wrapped:
            ((number, letter),) = await dead_letters(redis, ledger)
            assert (number, letter.error_type, letter.attempts) == (1, "HandlerTimeout", 2)
            assert "longer than timeout=0.1 s" in letter.error_message
        assert tried.count(1) == (4 if size else 2), "a list is tried, then taken apart"
        assert tried.count(2) == 1
        over.set()
    if hang is not swallows_and_goes_on:
        assert 1 not in ledger.seen
    assert ledger.seen[-1] == 2


class Stuck(Middleware):
    """Waits for ever before it yields event 1."""

    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for event in parent:
            if event.record.number == 1:
                await asyncio.Event().wait()
            yield event


async def test_an_event_that_a_middleware_holds_for_too_long_fails(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor(
        timeout=0.1,
        retries=1,
        exception_policy="ignore",
        middleware=[Stuck(), DeadLetterMiddleware()],
    )
    await ledger.send(0, 1, 2)
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues")
    ((number, letter),) = await dead_letters(redis, ledger)
    assert (number, letter.error_type, letter.attempts) == (1, "HandlerTimeout", 2)
    assert ledger.seen == [0, 2]


async def test_waiting_for_the_next_event_does_not_count(redis: Redis, ledger: Ledger) -> None:
    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            ledger.seen.append(item.number)

    ledger.processor(work, timeout=0.05, exception_policy="halt", retries=0)
    async with ledger.running():
        for number in range(3):
            await ledger.send(number)
            await until(lambda: caught_up(redis, ledger), "it is done")
            await asyncio.sleep(0.1)
    assert ledger.seen == [0, 1, 2]


async def test_a_plain_function_that_takes_too_long_is_reported_and_counts_once_it_is_done(
    redis: Redis, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    @ledger.app.on(ledger.items, name="work", timeout=0.05, exception_policy="halt", retries=0)
    def work(item: Item) -> None:
        if item.number == 1:
            release.wait(20)
        ledger.seen.append(item.number)

    await ledger.send(0, 1, 2)
    async with ledger.running():
        await until(lambda: "cannot be cancelled" in caplog.text, "it is reported")
        assert "partition 0 has had event" in caplog.text
        assert ledger.seen == [0]
        release.set()
        await until(lambda: caught_up(redis, ledger), "it continues")
    assert ledger.seen == [0, 1, 2]
    assert "the last event or batch took" in caplog.text


async def test_a_worker_ends_in_time_though_a_handler_is_being_cancelled_for_its_timeout(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    ledger = Ledger(app_name, redis_url, shutdown_timeout=0.1)
    over, cancelled = asyncio.Event(), asyncio.Event()

    async def work(events: Events[Item]) -> None:
        async for _ in events.records():
            while not over.is_set():
                try:
                    await over.wait()
                except BaseException:
                    cancelled.set()

    ledger.processor(work, timeout=0.05)
    await ledger.send(0)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        async with ledger.running():
            await cancelled.wait()
            began = loop.time()
    assert loop.time() - began < cancelling.END_AFTER_TIMEOUT
    over.set()
    # The abandoned handler ends now.
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    if rest:
        await asyncio.wait(rest, timeout=20)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "5", True])
async def test_a_timeout_that_makes_no_sense_is_refused(ledger: Ledger, wrong: Any) -> None:
    async def work(events: Events[Item]) -> None:
        async for _ in events:
            pass

    with pytest.raises(ConfigError, match="processor work: timeout must be a number of seconds"):
        ledger.processor(work, timeout=wrong)
