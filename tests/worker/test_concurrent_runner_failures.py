"""Several events of one partition at the same time: retries, policies, and events that kill."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import DeadLetterMiddleware
from runnel.delivery.recorded_start_lock import RecordedStartLock
from runnel.errors import Halted, HandlerExit
from runnel.operations import admin
from runnel.protocol import parked_names
from tests.worker.desk import ALL, MIXED, Desk, failing
from tests.worker.parking import Payment, Till
from tests.worker.workers import until


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
