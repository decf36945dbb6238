"""A plain function gets many events for one hop to its thread, with all guarantees of a handler."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import DeadLetterMiddleware, Middleware
from runnel.core.lifecycle import Lifecycle
from runnel.core.partition import PartitionState
from runnel.delivery import ahead
from runnel.delivery.thread_work import ThreadWork
from runnel.errors import Halted, NotInHandler
from runnel.worker.worker import Worker
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.plain import NUMBERS, plain, state_of
from tests.worker.totals import once, run_to_end, stored
from tests.worker.workers import until


async def test_many_events_take_few_hops(redis: Redis, ledger: Ledger, hops: list[None]) -> None:
    plain(ledger)
    await ledger.send(*NUMBERS)
    await run_to_end(redis, ledger)
    assert ledger.seen == NUMBERS
    assert len(hops) < 10


async def test_with_dead_letters_too_but_not_if_a_middleware_sees_each_event(
    redis: Redis, ledger: Ledger, hops: list[None]
) -> None:
    plain(ledger, middleware=[DeadLetterMiddleware()])
    ledger.app.on(ledger.items, name="slow", middleware=[Middleware()])(lambda item: None)
    await ledger.send(*NUMBERS)
    await Worker(ledger.app).run(burst=True)
    assert ledger.seen == NUMBERS
    assert 100 < len(hops) < 110


async def test_an_event_that_arrives_alone_is_processed_and_committed_at_once(
    redis: Redis, ledger: Ledger, hops: list[None]
) -> None:
    plain(ledger)
    async with ledger.running():
        for number in range(5):
            await ledger.send(number)
            await until(lambda: caught_up(redis, ledger), "it is committed")
    assert len(hops) == 5


async def test_events_that_arrive_while_the_thread_works_are_given_to_it(
    redis: Redis, ledger: Ledger, hops: list[None], states: list[PartitionState]
) -> None:
    came, go = threading.Event(), threading.Event()

    def call(number: int) -> None:
        if number == 0:
            came.set()
            assert go.wait(20)

    plain(ledger, call)
    await ledger.send(0, 1, 2)
    async with ledger.running():
        await asyncio.to_thread(came.wait, 20)
        await ledger.send(3, 4, 5)
        await until(lambda: len(states[0].buffer) == 5, "they are read")
        go.set()
        await until(lambda: caught_up(redis, ledger), "all is committed")
    assert ledger.seen == [*range(6)]
    assert len(hops) < 4


@pytest.mark.parametrize("policy", ["quarantine", "ignore", "halt"])
async def test_nothing_after_a_failed_event_runs_and_those_before_it_are_committed(
    redis: Redis, ledger: Ledger, policy: str
) -> None:
    tried: list[int] = []

    def call(number: int) -> None:
        tried.append(number)
        if number == 7:
            raise LookupError("no seven")

    plain(ledger, call, exception_policy=policy, retries=2, middleware=[])
    sent = await ledger.items.send(*(Item(number=each) for each in range(20)))
    if policy == "halt":
        with pytest.raises(Halted):
            await Worker(ledger.app).run()
    else:
        async with ledger.running():
            if policy == "ignore":
                await until(lambda: caught_up(redis, ledger), "it continues")
            else:
                await until(lambda: quarantined(redis, ledger), "it is quarantined")
    rest = [*range(8, 20)] if policy == "ignore" else []
    assert tried == [*range(8), 7, 7, *rest]
    assert ledger.seen == [*range(7), *rest]
    stored_state = await state_of(redis, ledger)
    assert stored_state["checkpoint"] == sent[19 if policy == "ignore" else 6].id
    if policy == "quarantine":
        assert (stored_state["error_event"], stored_state["error_type"]) == (
            sent[7].id,
            "LookupError",
        )


async def quarantined(redis: Redis, ledger: Ledger) -> bool:
    return bool((await ledger.row(redis)).get("state") == "quarantined")


async def test_what_is_done_is_committed_while_the_function_has_a_later_event(
    redis: Redis, ledger: Ledger, states: list[PartitionState]
) -> None:
    go = threading.Event()
    plain(ledger, lambda number: number != 3 or go.wait(20))
    sent = await ledger.items.send(*(Item(number=each) for each in range(10)))
    async with ledger.running():
        await until(lambda: states and states[0].checkpoint == sent[2].id, "three are committed")
        assert [raw[0].decode() for raw in states[0].current] == [sent[3].id]
        assert states[0].working_on == sent[3].id
        go.set()
        await until(lambda: caught_up(redis, ledger), "all is committed")
    assert ledger.seen == [*range(10)]


async def test_a_worker_that_stops_waits_for_the_event_in_hand_only(
    redis: Redis, ledger: Ledger, states: list[PartitionState]
) -> None:
    began, go = threading.Event(), threading.Event()

    def call(number: int) -> None:
        if number == 3:
            began.set()
            assert go.wait(20)

    plain(ledger, call)
    sent = await ledger.items.send(*(Item(number=each) for each in range(10)))
    async with ledger.running() as worker:
        await asyncio.to_thread(began.wait, 20)
        worker.stop.set()
        await until(lambda: states[0].draining, "it drains")
        go.set()
    assert ledger.seen == [0, 1, 2, 3]
    found = await state_of(redis, ledger)
    assert (found["checkpoint"], found["released"]) == (sent[3].id, "1")


@pytest.mark.parametrize("quiet", [0.005, 1000.0])
async def test_what_shutdown_cuts_off_is_the_event_in_hand_and_what_it_still_does_is_lost(
    redis: Redis,
    redis_url: str,
    app_name: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    quiet: float,
) -> None:
    monkeypatch.setattr(ahead, "QUIET", quiet)  # Does the loop know yet what the thread has done?
    ledger = Ledger(app_name, redis_url, shutdown_timeout=0.2)
    totals = ledger.app.table("totals", ledger.items, value=int, default=0)
    began, go, errors = threading.Event(), threading.Event(), list[str]()
    tried: list[int] = []

    def call(number: int) -> None:
        tried.append(number)
        totals[number] += 1
        if number == 3:
            began.set()
            assert go.wait(20)
            try:
                totals[number] += 1
            except NotInHandler as error:
                errors.append(str(error))

    plain(ledger, call)
    sent = await ledger.items.send(*(Item(number=each) for each in range(10)))
    async with ledger.running():
        await asyncio.to_thread(began.wait, 20)
    if quiet < 1:
        assert f"partition 0, event {sent[3].id}; still running until the process" in caplog.text
    assert (await state_of(redis, ledger))["checkpoint"] == sent[2].id
    go.set()
    await until(lambda: errors, "the thread goes on")
    assert "was ended" in errors[0]
    assert tried == [0, 1, 2, 3], "the thread stops after it"
    assert await stored(redis, ledger) == once(0, 1, 2)


async def test_a_thread_stops_after_the_event_in_hand_if_its_run_is_cancelled(
    redis: Redis, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lifecycle, "drain", lambda self: None)
    began, go, ended = threading.Event(), threading.Event(), threading.Event()

    def call(number: int) -> None:
        if number == 2:
            began.set()
            go.wait(20)

    run = ThreadWork.run

    def noting(self: ThreadWork, loop: Any) -> None:
        run(self, loop)
        if 2 in ledger.seen:  # Those before it may have had a run of their own.
            ended.set()

    monkeypatch.setattr(ThreadWork, "run", noting)
    plain(ledger, call)
    await ledger.send(*range(10))
    running = asyncio.create_task(Worker(ledger.app).run())
    await asyncio.to_thread(began.wait, 20)
    running.cancel()
    await asyncio.wait([running])
    go.set()
    await asyncio.to_thread(ended.wait, 20)
    assert ledger.seen == [0, 1, 2]


async def test_no_event_begins_after_the_session_may_have_ended(
    redis: Redis, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues: list[Any] = []
    init = ahead.Ahead.__init__

    def noting(self: Any, handout: Any, *rest: Any) -> None:
        queues.append(handout.queue)
        init(self, handout, *rest)

    monkeypatch.setattr(ahead.Ahead, "__init__", noting)
    tried: list[int] = []
    renewed: list[float] = []

    def call(number: int) -> None:
        session = queues[0]._session
        if number == 3:
            session.ends = 0.0
        elif number == 4:
            renewed.append(session.ends)
        tried.append(number)

    plain(ledger, call)
    await ledger.send(*range(10))
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues with the next heartbeat")
    assert tried == [*range(10)]
    assert renewed[0] > 0.0


async def test_with_commit_each_an_event_is_committed_before_the_next(
    redis: Redis, ledger: Ledger, hops: list[None], states: list[PartitionState]
) -> None:
    behind: list[int] = []
    plain(ledger, lambda number: behind.append(number - states[0].processed), commit="each")
    await ledger.send(*range(20))
    await run_to_end(redis, ledger)
    assert behind == [0] * 20
    assert len(hops) == 20


@pytest.mark.only_on("server")
async def test_after_deaths_of_workers_events_are_recorded_and_committed_one_by_one(
    redis: Redis, ledger: Ledger, hops: list[None]
) -> None:
    began: list[tuple[int, str]] = []

    def call(number: int) -> None:
        found = asyncio.run(read_started())
        began.append((number, found))

    async def read_started() -> str:
        async with Redis.from_url(ledger.url) as client:
            found: Any = await client.hget(ledger.state, "event")
            return str(found.decode())

    plain(ledger, call)
    sent = await ledger.items.send(*(Item(number=each) for each in range(5)))
    await Worker(ledger.app).run(burst=True)
    began.clear()
    hops.clear()
    await redis.hset(
        ledger.state, mapping={"unclean_tenures": 3, "epoch": 9, "nonce": "x", "released": 1}
    )
    sent = await ledger.items.send(*(Item(number=each) for each in range(5)))
    await Worker(ledger.app).run(burst=True)
    assert began == [(number, sent[number].id) for number in range(5)]
    assert len(hops) == 5
