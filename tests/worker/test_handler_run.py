"""Whatever a handler raises is a failure of the current event. SystemExit and KeyboardInterrupt end
the worker in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import DeadLetterMiddleware, Events
from runnel.errors import (
    Conflict,
    DecodeError,
    Fenced,
    Full,
    Halted,
    HandlerExit,
    Mismatch,
    Missing,
    OutOfOrder,
    UnknownProducer,
    WorkerDied,
)
from runnel.worker.worker import Worker
from tests.worker.dead_letters import dead_letters
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until

Fault = Callable[[], Awaitable[None]]


class Odd(BaseException):
    """As a library raises it that does not want ``except Exception`` to catch it."""


class Unsayable(Exception):
    """Its message cannot be made."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


def raising(error: BaseException) -> Fault:
    async def fault() -> None:
        raise error

    return fault


async def awaits_a_cancelled_task() -> None:
    task = asyncio.ensure_future(asyncio.sleep(60))
    task.cancel()
    await task


async def awaits_a_cancelled_future() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def fails() -> None:
    raise ValueError("in the group")


async def has_a_task_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fails())


async def runs_out_of_its_own_time() -> None:
    async with asyncio.timeout(0.01):
        await asyncio.sleep(60)


FAULTS: dict[str, tuple[Fault, str, str]] = {
    "Fenced": (raising(Fenced("FENCED epoch=1")), "Fenced", "FENCED epoch=1"),
    "Mismatch": (raising(Mismatch("MISMATCH")), "Mismatch", "MISMATCH"),
    "OutOfOrder": (raising(OutOfOrder("OUTOFORDER")), "OutOfOrder", "OUTOFORDER"),
    "UnknownProducer": (
        raising(UnknownProducer("UNKNOWN_PRODUCER")),
        "UnknownProducer",
        "UNKNOWN_PRODUCER",
    ),
    "Conflict": (raising(Conflict("CONFLICT")), "Conflict", "CONFLICT"),
    "Missing": (raising(Missing("MISSING")), "Missing", "MISSING"),
    "Halted": (raising(Halted("not ours")), "Halted", "not ours"),
    "HandlerExit": (raising(HandlerExit("not ours", 0)), "HandlerExit", "not ours"),
    "WorkerDied": (raising(WorkerDied("not ours")), "WorkerDied", "not ours"),
    "cancelled task": (awaits_a_cancelled_task, "CancelledError", "nobody cancelled the handler"),
    "cancelled future": (awaits_a_cancelled_future, "CancelledError", "nobody cancelled"),
    "GeneratorExit": (raising(GeneratorExit()), "GeneratorExit", ""),
    "StopAsyncIteration": (
        raising(StopAsyncIteration()),
        "HandlerReturned",
        "ended with StopAsyncIteration",
    ),
    "BaseException": (raising(Odd("odd")), "Odd", "odd"),
    "group": (has_a_task_group, "ExceptionGroup", "ValueError: in the group"),
    "base group": (
        raising(BaseExceptionGroup("two", [Odd("a"), KeyError("b")])),
        "BaseExceptionGroup",
        "Odd: a; KeyError: 'b'",
    ),
    "no text": (raising(Unsayable()), "Unsayable", "cannot be shown"),
    "timeout": (runs_out_of_its_own_time, "TimeoutError", ""),
    "DecodeError of another entry": (raising(DecodeError("elsewhere")), "DecodeError", "elsewhere"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_an_exception_fails_the_current_event_with_retries_and_its_real_cause(
    redis: Redis, ledger: Ledger, name: str
) -> None:
    fault, error_type, message = FAULTS[name]
    tried: list[int] = []

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            tried.append(item.number)
            if item.number == 1:
                await fault()
            ledger.seen.append(item.number)

    ledger.processor(
        work, retries=2, exception_policy="ignore", middleware=[DeadLetterMiddleware()]
    )
    await ledger.send(0, 1, 2)
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues")
        assert await redis.hget(ledger.state, "unclean_tenures") == b"0"
    ((number, letter),) = await dead_letters(redis, ledger)
    assert tried == [0, 1, 1, 1, 2]
    assert ledger.seen == [0, 2]
    assert (number, letter.attempts) == (1, 3)
    assert letter.error_type == error_type
    assert message in letter.error_message


async def test_a_full_stream_that_a_handler_sends_to_fails_the_event(
    redis: Redis, ledger: Ledger
) -> None:
    small = ledger.app.stream(
        "small", record=Item, partition_by="number", partition_count=1, partition_size=2
    )

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            await small.send(item)
            ledger.seen.append(item.number)

    ledger.processor(work, retries=1, exception_policy="quarantine")
    await ledger.send(0, 1, 2)
    async with ledger.running():

        async def quarantined() -> bool:
            return bool((await ledger.row(redis)).get("state") == "quarantined")

        await until(quarantined, "its partition is quarantined")
        row = await ledger.row(redis)
    assert (row["error"]["type"], row["attempts"]) == ("Full", 2)
    assert ledger.seen == [0, 1]
    assert Full.__name__ in row["error"]["type"]


@pytest.mark.parametrize("policy", ["halt", "quarantine", "ignore"])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SystemExit(3), 3),
        (SystemExit(), 0),
        (KeyboardInterrupt(), 130),
        (BaseExceptionGroup("of a task group", [KeyError("x"), SystemExit(3)]), 3),
    ],
)
async def test_what_ends_the_process_ends_the_worker_in_order(
    redis: Redis, ledger: Ledger, error: BaseException, code: int, policy: str
) -> None:
    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            if item.number == 1:
                raise error
            ledger.seen.append(item.number)

    ledger.processor(work, exception_policy=policy)
    await ledger.send(0, 1, 2)
    with pytest.raises(HandlerExit) as exit_:
        await asyncio.wait_for(Worker(ledger.app).run(), 20)
    assert exit_.value.code == code
    assert ledger.seen == [0]
    state = await redis.hgetall(ledger.state)
    assert (state[b"released"], state[b"processed"], state[b"unclean_tenures"]) == (
        b"1",
        b"1",
        b"0",
    )


async def test_halt_releases_its_lease_so_that_it_does_not_count_as_a_death(
    redis: Redis, ledger: Ledger
) -> None:
    async def work(events: Events[Item]) -> None:
        async for _ in events.records():
            raise ValueError("bad")

    ledger.processor(work, exception_policy="halt", retries=0)
    await ledger.send(0)
    for _ in range(4):
        with pytest.raises(Exception, match="failed 1 times: ValueError: bad"):
            await asyncio.wait_for(Worker(ledger.app).run(), 20)
        state = await redis.hgetall(ledger.state)
        assert (state[b"released"], state[b"unclean_tenures"]) == (b"1", b"0")


async def test_a_worker_ends_though_its_handler_swallows_the_cancellation(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    ledger = Ledger(app_name, redis_url, shutdown_timeout=0.2)
    taken, over = asyncio.Event(), asyncio.Event()

    async def work(events: Events[Item]) -> None:
        async for _ in events.records():
            taken.set()
            while not over.is_set():
                try:
                    await over.wait()
                except asyncio.CancelledError:
                    continue

    ledger.processor(work)
    await ledger.send(0)
    async with asyncio.timeout(20):
        async with ledger.running():
            await taken.wait()
    assert await redis.hget(ledger.state, "processed") in (None, b"0")
    over.set()
    if left := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(left, timeout=20)  # The handler that the worker abandoned.


async def test_failures_without_a_current_event_count_only_in_a_row(
    redis: Redis, ledger: Ledger
) -> None:
    flaky = {2, 4, 6, 8}

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            ledger.seen.append(item.number)
            await events.commit()
            if item.number in flaky:
                raise ConnectionError("the database, after the commit")

    ledger.processor(work, retries=1, exception_policy="halt")
    await ledger.send(*range(10))
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues")
    assert ledger.seen == list(range(10))


async def test_a_handler_that_returns_is_a_failure_each_time_until_its_policy_decides(
    redis: Redis, ledger: Ledger
) -> None:
    runs: list[int] = []

    async def work(events: Events[Item]) -> None:
        runs.append(1)

    ledger.processor(work, retries=2, exception_policy="halt")
    with pytest.raises(Exception, match="3 times without a current event: HandlerReturned"):
        await asyncio.wait_for(Worker(ledger.app).run(), 20)
    assert len(runs) == 3


async def of_one_record_that_shows_it(record: Any) -> None:
    str(record)


async def of_one_record_that_uses_it(record: Any) -> None:
    record.number += 1


@pytest.mark.parametrize("function", [of_one_record_that_shows_it, of_one_record_that_uses_it])
async def test_a_function_of_one_record_that_is_declared_for_events_fails_with_a_hint(
    redis: Redis, ledger: Ledger, caplog: pytest.LogCaptureFixture, function: Any
) -> None:
    ledger.processor(function, retries=0)
    await ledger.send(1)
    async with ledger.running():
        await until(lambda: quarantined(redis, ledger), "it is given up")
    failed, stopped = (each.message for each in caplog.records if each.levelname == "ERROR")
    assert "without a current event" in failed
    assert "a function that takes one record is declared with @app.on" in failed
    assert "`runnel processor resume " in stopped
    assert "--skip" not in stopped


async def quarantined(redis: Redis, ledger: Ledger) -> bool:
    return bool(await redis.hget(ledger.state, "quarantined") == b"1")
