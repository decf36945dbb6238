"""What a plain function raises, returns and blocks, while its thread has many events."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from contextlib import suppress
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, DeadLetterMiddleware, Table
from runnel.core.partition import PartitionState
from runnel.errors import HandlerExit
from runnel.handlers.threads import Threads
from runnel.log import logger_of
from runnel.worker import handler_run
from runnel.worker.worker import Worker
from tests.worker.dead_letters import dead_letters
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.parking import Till
from tests.worker.plain import NUMBERS, plain, state_of
from tests.worker.test_parking import MIXED, worked_off
from tests.worker.totals import once, run_to_end, stored
from tests.worker.workers import until


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (StopIteration(), "RuntimeError"),
        (asyncio.CancelledError(), "CancelledError"),
        (GeneratorExit(), "GeneratorExit"),
        (BaseExceptionGroup("both", [ValueError("one")]), "ExceptionGroup"),
    ],
)
async def test_whatever_it_raises_is_the_failure_of_its_event(
    redis: Redis, ledger: Ledger, error: BaseException, name: str
) -> None:
    def call(number: int) -> None:
        if number == 2:
            raise error

    letters = [DeadLetterMiddleware()]
    plain(ledger, call, exception_policy="ignore", retries=1, middleware=letters)
    await ledger.send(*range(5))
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues")
    assert ledger.seen == [0, 1, 3, 4]
    ((number, letter),) = await dead_letters(redis, ledger)
    assert (number, letter.error_type, letter.attempts) == (2, name, 2)


@pytest.mark.parametrize("error", [SystemExit(7), KeyboardInterrupt()])
async def test_an_exit_ends_the_worker_and_what_was_done_before_is_committed(
    redis: Redis, ledger: Ledger, error: BaseException
) -> None:
    def call(number: int) -> None:
        if number == 2:
            raise error

    plain(ledger, call)
    sent = await ledger.items.send(*(Item(number=each) for each in range(5)))
    with pytest.raises(HandlerExit):
        await Worker(ledger.app).run()
    assert ledger.seen == [0, 1]
    found = await state_of(redis, ledger)
    assert (found["checkpoint"], found["released"]) == (sent[1].id, "1")


async def test_awaitables_that_it_returns_now_and_then_are_awaited_before_the_next_event(
    redis: Redis, ledger: Ledger, totals: Table[int]
) -> None:
    loop = asyncio.get_running_loop()

    async def later(number: int) -> None:
        assert asyncio.get_running_loop() is loop
        await asyncio.sleep(0)
        totals[number] += 1
        ledger.seen.append(number)

    def work(item: Item) -> Any:
        totals[item.number] += 1
        if item.number % 3 == 0:
            return later(item.number)
        ledger.seen.append(item.number)
        return item.number

    ledger.app.on(ledger.items, name="work")(work)
    await ledger.send(*range(20))
    await run_to_end(redis, ledger)
    assert ledger.seen == [*range(20)]
    threes = [each for each in range(20) if each % 3 == 0]
    assert await stored(redis, ledger) == once(*range(20), *threes)


async def test_an_awaitable_that_takes_too_long_is_cancelled(
    redis: Redis, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler_run, "END_AFTER_TIMEOUT", 0.2)
    call = {2: lambda: asyncio.sleep(100)}
    options: dict[str, Any] = {"timeout": 0.1, "exception_policy": "ignore", "retries": 0}
    options["middleware"] = [DeadLetterMiddleware()]
    plain(ledger, lambda number: call.get(number, lambda: None)(), **options)
    await ledger.send(*range(5))
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues")
    assert ledger.seen == [*range(5)]
    ((number, letter),) = await dead_letters(redis, ledger)
    assert (number, letter.error_type) == (2, "HandlerTimeout")


async def test_an_awaitable_that_was_given_up_finishes_nothing_when_it_ends(
    redis: Redis, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, states: list[PartitionState]
) -> None:
    monkeypatch.setattr(handler_run, "END_AFTER_TIMEOUT", 0.1)
    end, ended, go = asyncio.Event(), asyncio.Event(), threading.Event()
    tried: list[int] = []

    async def swallows() -> None:
        while not end.is_set():
            with suppress(asyncio.CancelledError):
                await end.wait()
        ended.set()

    def call(number: int) -> Any:
        tried.append(number)
        if number == 2 and tried.count(2) == 1:
            return swallows()
        return number != 2 or go.wait(20)

    plain(ledger, call, timeout=0.05, retries=1)
    sent = await ledger.items.send(*(Item(number=each) for each in range(5)))
    async with ledger.running():
        await until(lambda: tried == [0, 1, 2, 2], "it is tried again")
        end.set()
        await ended.wait()
        await asyncio.sleep(0.05)
        assert states[0].working_on == sent[2].id, "the second try has it still"
        assert len(states[0].current) == 1
        go.set()
        await until(lambda: caught_up(redis, ledger), "it continues")
    assert tried == [0, 1, 2, 2, 3, 4]


async def test_only_the_slow_event_of_many_is_reported_as_late(
    redis: Redis, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    def call(number: int) -> None:
        if number == 60:
            release.wait(20)
        time.sleep(0.005)  # All together take longer than the timeout.

    plain(ledger, call, timeout=0.25)
    sent = await ledger.items.send(*(Item(number=each) for each in NUMBERS))
    async with ledger.running():
        await until(lambda: "cannot be cancelled" in caplog.text, "it is reported")
        release.set()
        await until(lambda: caught_up(redis, ledger), "it continues")
    late = [each.getMessage() for each in caplog.records if "longer than timeout" in each.message]
    assert len(late) == 2, late
    assert f"has had event {sent[60].id} for longer" in late[0]
    assert "the last event or batch took" in late[1]
    assert ledger.seen == NUMBERS


async def test_more_is_read_and_given_while_the_thread_works(
    redis: Redis, ledger: Ledger, hops: list[None]
) -> None:
    plain(ledger, lambda number: time.sleep(0.01), prefetch=5)
    await ledger.send(*NUMBERS)
    await run_to_end(redis, ledger)
    assert ledger.seen == NUMBERS
    assert len(hops) < 8


@pytest.mark.only_on("server", "sentinel")
async def test_parked_keys_step_aside_and_the_others_go_on_many_at_a_time(
    redis: Redis, till: Till, hops: list[None]
) -> None:
    till.app.on(till.payments, name="work", exception_policy="park")(till.handle)
    till.broken = {"b"}
    await till.pay(*MIXED, *(("c", number) for number in range(10, 60)))
    await worked_off(redis, till)
    assert till.by_account() == {"a": [*range(10)], "c": [*range(60)], "d": [*range(10)]}
    assert await till.parked(redis) == 10
    assert [each for each in till.tried if each[0] == "b"] == [("b", 0)] * 2
    assert len(hops) < 50
    till.broken = set()
    await till.replay()
    async with till.running():
        await until(lambda: nothing_parked(redis, till), "all is replayed")
    assert till.by_account()["b"] == [*range(10)]


async def nothing_parked(redis: Redis, till: Till) -> bool:
    return await till.parked(redis) == 0


class Picky:
    """JSON that only one thread may read."""

    name = "picky"

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def dumps(self, value: dict[str, Any]) -> bytes:
        return str(value["number"]).encode()

    def loads(self, data: bytes | memoryview) -> Any:
        self.threads.add(threading.get_ident())
        return {"number": int(bytes(data))}


async def test_the_serializer_of_a_user_is_used_in_the_loop_alone(
    redis: Redis, redis_url: str, app_name: str, hops: list[None]
) -> None:
    app = App(app_name, redis_url=redis_url, rebalance_delay=0.0)
    picky, seen = Picky(), list[int]()
    items = app.stream(
        "items", record=Item, partition_by="number", partition_count=1, serializer=picky
    )
    app.on(items, name="work", exception_policy="ignore", retries=0)(
        lambda item: seen.append(item.number)
    )
    await items.send(*(Item(number=each) for each in range(200)))
    log = items.spec.prefix(0) + ":log"
    for data in (b"no number", b"7"):
        await redis.xadd(log, {"picky": data})
    await Worker(app).run(burst=True)
    assert seen == [*range(200), 7]
    assert picky.threads == {threading.get_ident()}
    assert len(hops) < 40


async def test_a_record_that_cannot_be_decoded_fails_in_its_turn(
    redis: Redis, ledger: Ledger
) -> None:
    letters = [DeadLetterMiddleware()]
    plain(ledger, exception_policy="ignore", middleware=letters)
    await ledger.send(0, 1)
    await redis.xadd(ledger.log, {"msgpack": b"\xc1"})
    await ledger.send(2)
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues")
    assert ledger.seen == [0, 1, 2]


async def test_partitions_that_share_one_thread_take_turns(
    redis: Redis, redis_url: str, app_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Threads.__init__, "__defaults__", (1,))
    monkeypatch.setattr("runnel.delivery.thread_work.TURN", 0.01)
    app = App(app_name, redis_url=redis_url, rebalance_delay=0.0)
    items = app.stream("items", record=Item, partition_by="number", partition_count=2)
    order: list[int] = []

    @app.on(items)
    def work(item: Item) -> None:
        order.append(items.spec.partition(item))
        time.sleep(0.002)

    await items.send(*(Item(number=each) for each in range(100)))
    await Worker(app).run(burst=True)
    assert len(order) == 100
    changes = sum(a != b for a, b in itertools.pairwise(order))
    assert changes > 4, order


async def test_log_records_and_threads_name_processor_and_partition(
    redis: Redis, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    names: set[str] = set()

    def call(number: int) -> None:
        names.add(threading.current_thread().name)
        logger_of("runnel.test").warning("number %d", number)

    plain(ledger, call)
    await ledger.send(*range(5))
    await run_to_end(redis, ledger)
    assert names == {"work/0"}
    found = [each for each in caplog.records if each.name == "runnel.test"]
    assert {(each.processor, each.partition) for each in found} == {("work", 0)}  # type: ignore[attr-defined]


async def test_a_function_that_blocks_for_ever_does_not_block_the_loop(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    ledger = Ledger(app_name, redis_url, session_timeout=0.6, max_block=0.5, shutdown_timeout=0.1)
    go = threading.Event()
    plain(ledger, lambda number: number != 1 or go.wait(60))
    await ledger.send(*range(3))
    async with ledger.running() as worker:
        await until(lambda: ledger.seen == [0], "it blocks")
        row = await ledger.row(redis)
        await asyncio.sleep(2)
        assert (await ledger.row(redis))["epoch"] == row["epoch"], "it has kept its partition"
        assert not worker.stop.is_set()
    go.set()
