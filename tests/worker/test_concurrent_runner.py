"""Several events of one partition at the same time: order, failures, policies, and the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import ConfigError, DeadLetterMiddleware, Events, Middleware
from runnel.core.partition import PartitionState
from runnel.delivery.recorded_start_lock import RecordedStartLock
from runnel.errors import Halted, HandlerExit
from runnel.operations import admin
from runnel.protocol import parked_names
from runnel.worker.worker import Worker
from tests.worker.desk import ALL, KEYS, MIXED, Desk, Job, failing
from tests.worker.parking import Payment, Till
from tests.worker.workers import until


async def test_keys_run_at_the_same_time_and_each_stays_in_order(redis: Redis, desk: Desk) -> None:
    desk.declare()
    desk.hold(*KEYS)
    await desk.send(*MIXED)
    async with desk.working():
        await until(lambda: desk.most == 8, "one of each key runs")
        assert sorted(desk.begun) == [(key, 0) for key in KEYS]
        desk.let_go()
        await until(lambda: desk.passed(redis), "all is committed")
    assert desk.by_key(desk.begun) == desk.by_key() == ALL
    await desk.check_effects(redis, ALL)


async def test_no_more_run_than_were_asked_for(redis: Redis, desk: Desk) -> None:
    desk.declare(concurrency=3)
    await desk.send(*MIXED)
    await desk.worked_off(redis)
    assert desk.most == 3
    await desk.check_effects(redis, ALL)


async def test_the_checkpoint_stays_before_an_event_that_is_not_done(
    redis: Redis, desk: Desk
) -> None:
    desk.declare(prefetch=10)
    desk.hold("a")
    await desk.send(("b", 0), *MIXED, *((key, 5) for key in "bcdefgh" * 10))
    async with desk.working():
        await until(lambda: len(desk.done) >= 25, "other keys go on")
        assert await desk.checkpoint(redis) == 1
        assert desk.by_key(desk.begun)["a"] == [0]
        assert await desk.counted("b", "c") == {"b": 1, "c": 0}, "no effect beyond the checkpoint"
        desk.let_go()
        await until(lambda: desk.passed(redis), "all is committed")
    assert await desk.counted("a", "b", "c") == {"a": 5, "b": 16, "c": 15}


async def test_what_is_beyond_the_checkpoint_is_bounded(redis: Redis, desk: Desk) -> None:
    desk.declare(concurrency=2, prefetch=10)
    desk.hold("a")
    others = [(f"other-{number}", number) for number in range(50)]
    await desk.send(("a", 0), *others)
    async with desk.working():
        await until(lambda: len(desk.done) == 9, "ten are in hand")
        await asyncio.sleep(0.1)
        assert len(desk.begun) == 10
        desk.let_go()
        await until(lambda: desk.passed(redis), "all is committed")
    assert len(desk.done) == 51


async def test_while_an_event_is_retried_only_its_key_waits(redis: Redis, desk: Desk) -> None:
    desk.declare(backoff=0.5)
    desk.faults["a", 1] = failing(1)
    await desk.send(*MIXED)
    await desk.worked_off(redis)
    assert desk.by_key() == ALL
    assert desk.by_key(desk.begun)["a"] == [0, 1, 1, 2, 3, 4]
    assert desk.done[-4:] == [("a", number) for number in range(1, 5)], "others did not wait"
    await desk.check_effects(redis, ALL)


async def test_an_event_that_is_ignored_leaves_no_effects_but_a_dead_letter(
    redis: Redis, desk: Desk
) -> None:
    desk.declare(exception_policy="ignore", middleware=[DeadLetterMiddleware()])
    desk.faults["a", 1] = desk.faults["d", 0] = failing(10)
    await desk.send(*MIXED)
    await desk.worked_off(redis)
    must = {**ALL, "a": [0, 2, 3, 4], "d": [1, 2, 3, 4]}
    assert desk.by_key() == must
    await desk.check_effects(redis, must)
    letters = desk.app.streams["jobs.work.dead"].spec
    entries: Any = await redis.xrange(f"{letters.prefix(0)}:log")
    flat = [[each for pair in fields.items() for each in pair] for _, fields in entries]
    found = [desk.jobs.original(letters.codec.decode(each)) for each in flat]
    assert [(each.key, each.number) for each in found] == [("d", 0), ("a", 1)]


async def test_a_parked_key_steps_aside_with_the_events_that_waited_for_it(
    redis: Redis, desk: Desk
) -> None:
    desk.declare(exception_policy="park")
    desk.faults["b", 1] = failing(10)
    await desk.send(*MIXED)
    await desk.worked_off(redis)
    must = {**ALL, "b": [0]}
    assert desk.by_key() == must
    await desk.check_effects(redis, must)
    entries: Any = await redis.xrange(parked_names(desk.keys)[0])
    assert len(entries) == 4


async def test_an_event_of_no_record_is_given_up_at_once(redis: Redis, desk: Desk) -> None:
    desk.declare(exception_policy="ignore")
    await desk.send(("a", 0))
    await redis.xadd(desk.keys.log, {"no": "record"})
    await desk.send(("a", 1))
    await desk.worked_off(redis)
    assert desk.by_key() == {"a": [0, 1]}


async def test_quarantine_ends_what_runs_and_after_a_resume_all_counts_once(
    redis: Redis, desk: Desk
) -> None:
    desk.declare(retries=0)
    desk.faults["a", 1] = failing(1)
    desk.hold("b")
    await desk.send(*MIXED)

    async def quarantined() -> bool:
        stored: Any = await redis.hget(desk.keys.state, "quarantined")
        return bool(stored == b"1")

    async with desk.working():
        await until(lambda: ("a", 0) in desk.done and desk.running["b"], "b runs")
        await until(lambda: ("a", 1) in desk.begun, "a fails")
        desk.let_go()
        await until(quarantined, "the partition is quarantined")
        await until(lambda: not desk.running.total(), "what runs has ended")
        begun = len(desk.begun)
        assert await desk.checkpoint(redis) == MIXED.index(("a", 1))
        async with desk.app_scripts() as scripts:
            await admin.resume(scripts, desk.processor)
        await until(lambda: desk.passed(redis), "all is committed")
    assert len(desk.begun) > begun
    assert {key: sorted(set(numbers)) for key, numbers in desk.by_key().items()} == ALL
    await desk.check_effects(redis, ALL)


async def test_halt_ends_the_worker_once_the_events_before_are_committed(
    redis: Redis, desk: Desk
) -> None:
    desk.declare(exception_policy="halt", retries=0)
    desk.faults["a", 1] = failing(1)
    desk.hold("h")
    await desk.send(*MIXED)

    async def halt() -> None:
        async with desk.working() as worker:
            await until(lambda: ("a", 1) in desk.begun, "a fails")
            assert not worker.stop.is_set()
            desk.let_go()
            await until(worker.stop.is_set, "the worker ends")

    with pytest.raises(Halted, match=r"event .* failed 1 times: ValueError"):
        await halt()
    assert await desk.checkpoint(redis) == MIXED.index(("a", 1))


async def test_system_exit_ends_the_worker(redis: Redis, desk: Desk) -> None:
    desk.declare()
    desk.faults["c", 0] = failing(1, SystemExit(3))
    await desk.send(*MIXED)

    async def leave() -> None:
        async with desk.working() as worker:
            await until(worker.stop.is_set, "the worker ends")

    with pytest.raises(HandlerExit, match=r"sys\.exit\(3\)"):
        await leave()
    assert await desk.checkpoint(redis) == MIXED.index(("c", 0))


async def test_a_worker_that_stops_processes_what_lies_between_and_nothing_is_repeated(
    redis: Redis, desk: Desk
) -> None:
    """Of a, one runs and the others wait, while events behind them are done."""
    desk.declare(concurrency=4, prefetch=20)
    desk.hold("a")
    await desk.send(*(("a", number) for number in range(3)), ("b", 0), ("c", 0), ("d", 0))
    await desk.send(*(("late", number) for number in range(100)))
    async with desk.working():
        await until(lambda: ("d", 0) in desk.done, "what is behind is done")
        await until(lambda: len(desk.done) >= 5, "and more")
    first = list(desk.done)
    assert ("a", 2) in first
    assert await desk.checkpoint(redis) == len(first)
    await desk.worked_off(redis)
    assert len(desk.done) == 106, "nothing is repeated"
    assert await desk.counted("a", "late") == {"a": 3, "late": 100}


async def test_a_worker_that_stops_does_not_wait_for_a_retry(redis: Redis, desk: Desk) -> None:
    desk.declare(backoff=20.0, retries=3)
    desk.faults["a", 1] = failing(1)
    await desk.send(*MIXED)
    async with desk.working():
        await until(lambda: len(desk.done) == len(MIXED) - 4, "only a waits")
    assert await desk.checkpoint(redis) == MIXED.index(("a", 1))
    await desk.worked_off(redis)
    assert {key: sorted(set(numbers)) for key, numbers in desk.by_key().items()} == ALL
    await desk.check_effects(redis, ALL)


async def test_an_event_that_may_have_killed_workers_runs_alone(redis: Redis, desk: Desk) -> None:
    desk.declare()
    await desk.claim_once(redis)
    await desk.set_state(redis, unclean_tenures=3)
    await desk.send(*MIXED)
    await desk.worked_off(redis)
    assert desk.most == 1
    assert desk.by_key() == ALL
    await desk.check_effects(redis, ALL)


async def test_one_that_fails_while_starts_are_recorded_is_retried(
    redis: Redis, desk: Desk
) -> None:
    desk.declare()
    desk.faults["b", 0] = failing(1)
    await desk.claim_once(redis)
    await desk.set_state(redis, unclean_tenures=3)
    await desk.send(*MIXED)
    await desk.worked_off(redis)
    assert desk.begun[:4] == [("a", 0), ("b", 0), ("b", 0), ("c", 0)]
    assert desk.by_key() == ALL
    await desk.check_effects(redis, ALL)


async def test_an_event_that_killed_workers_is_given_up_without_being_tried(
    redis: Redis, desk: Desk
) -> None:
    desk.declare(exception_policy="ignore")
    await desk.claim_once(redis)
    await desk.send(*MIXED)
    first: Any = await redis.xrange(desk.keys.log, count=1)
    await desk.set_state(redis, attempts=2, deaths=2, event=first[0][0])
    await desk.worked_off(redis)
    must = {**ALL, "a": [1, 2, 3, 4]}
    assert desk.by_key(desk.begun) == must
    await desk.check_effects(redis, must)


async def test_the_lock_for_such_events_is_free_once_they_are_done(
    redis: Redis, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else other partitions of the worker would wait for it."""
    held: list[dict[object, asyncio.Event]] = []

    def acquire(lock: RecordedStartLock, partition: object, changed: asyncio.Event) -> bool:
        held.append(lock._queue)
        return original(lock, partition, changed)

    original = RecordedStartLock.acquire
    monkeypatch.setattr(RecordedStartLock, "acquire", acquire)
    desk.declare()
    await desk.claim_once(redis)
    await desk.send(("a", 0))
    first: Any = await redis.xrange(desk.keys.log, count=1)
    await desk.set_state(redis, attempts=1, deaths=1, event=first[0][0])
    async with desk.working():
        await until(lambda: desk.passed(redis), "all is committed")
        assert held
        assert held[-1] == {}


async def test_what_does_not_end_when_the_worker_must_is_cut_off_and_processed_again(
    redis: Redis, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.app.configure(shutdown_timeout=0.5)
    desk.declare()
    desk.hold("c")
    await desk.send(*MIXED)
    worker = Worker(desk.app)
    run = asyncio.create_task(worker.run())
    await until(lambda: len(desk.done) >= len(MIXED) - 5, "only c is left")
    worker.stop.set()
    await run
    assert "to be processed again: processor work, partition 0, event" in caplog.text
    assert "and 37 more" in caplog.text
    assert await desk.checkpoint(redis) == 2, "what was finished without a gap is committed"
    assert await desk.counted("a", "b", "c", "d") == {"a": 1, "b": 1, "c": 0, "d": 0}
    desk.let_go()
    await desk.worked_off(redis)
    await desk.check_effects(redis, ALL)


def test_what_cannot_be_done_at_the_same_time_is_refused(desk: Desk) -> None:
    async def events(events: Events[Job]) -> None: ...

    async def letters(letter: Any) -> None: ...

    with pytest.raises(ConfigError, match=r"@app\.on: a function of events"):
        desk.app.processor(desk.jobs, concurrency=2)(events)
    with pytest.raises(ConfigError, match='commit="each" and concurrency=2 exclude'):
        desk.declare(concurrency=2, commit="each")
    with pytest.raises(ConfigError, match="only DeadLetterMiddleware may be used, not Middleware"):
        desk.declare(concurrency=2, middleware=[Middleware()])
    with pytest.raises(ConfigError, match="concurrency must be a whole number from 1 to 1000"):
        desk.declare(concurrency=0)
    with pytest.raises(ConfigError, match=r"which is derived from jobs, have none"):
        desk.app.on(desk.jobs.dead_letters("work"), concurrency=2)(letters)


async def test_a_replay_comes_before_new_events_of_the_key(redis: Redis, till: Till) -> None:
    async def work(payment: Payment) -> None:
        till.handle(payment)
        await asyncio.sleep(0)

    till.app.on(till.payments, name="work", concurrency=8, exception_policy="park")(work)
    mixed = [(account, number) for number in range(10) for account in "abcd"]
    till.broken = {"b", "d"}
    await till.pay(*mixed)
    async with till.running():
        await until(lambda: till.passed(redis), "the log is worked off")
    assert till.by_account() == {each: list(range(10)) for each in "ac"}
    assert await till.parked(redis) == 20
    till.broken = {"d"}
    await till.pay(*((each, 10) for each in "abcd"))
    async with till.running():
        await until(lambda: till.passed(redis), "the log is worked off")
        await till.replay()
        await till.pay(*((each, 11) for each in "abcd"))
        await until(lambda: till.passed(redis), "the log is worked off again")
    assert till.by_account() == {each: list(range(12)) for each in "abc"}
    assert await till.parked(redis) == 12


async def test_a_partition_that_is_paused_processes_what_lies_between(
    redis: Redis, desk: Desk, states: list[PartitionState]
) -> None:
    async def until_stopped() -> None:
        await until(lambda: states[0].stopped, "the partition is stopped")

    desk.declare(concurrency=2)
    desk.hold("a")
    desk.faults["c", 5] = until_stopped
    await desk.send(("a", 0), ("a", 1), ("b", 0), *(("c", number) for number in range(20)))
    async with desk.working():
        await until(lambda: ("c", 5) in desk.begun, "others are done")
        async with desk.app_scripts() as scripts:
            await admin.pause(scripts, desk.processor)
            desk.let_go()
            await until(lambda: ("a", 1) in desk.done, "what lies between is processed")
            await until(lambda: ("c", 5) in desk.done, "so is what runs")
            await until(lambda: states[0].handler_ended, "nothing more is")
            assert ("c", 6) not in desk.begun
            await admin.resume(scripts, desk.processor)
        await until(lambda: desk.passed(redis), "all is committed")
    assert len(desk.done) == 23, "nothing was repeated"


async def test_a_lease_that_is_lost_while_a_failure_is_told_is_given_up(
    redis: Redis, desk: Desk
) -> None:
    """Nothing else runs then, whose end would wake the partition."""
    left = [1]

    async def lose() -> None:
        if left[0]:
            left[0] -= 1
            await until(lambda: len(desk.done) == len(MIXED) - 1, "the others are done")
            await desk.set_state(redis, nonce=b"another")
            raise ValueError("a fault on purpose")

    desk.declare()
    desk.faults["h", 4] = lose
    await desk.send(*MIXED)
    await desk.worked_off(redis)
    await desk.check_effects(redis, ALL)
