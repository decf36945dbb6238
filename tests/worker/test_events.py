"""What a handler can ask of its events: lists, and commits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, Event, Events, Middleware
from runnel.worker.worker import Worker
from tests.worker.inside import Item, Ledger, caught_up
from tests.worker.workers import until

#: What a handler may iterate over.
FORMS: dict[str, Callable[[Events[Item]], Any]] = {
    "events": lambda events: events,
    "records": lambda events: events.records(),
    "lists of events": lambda events: events.take(4),
    "lists of records": lambda events: events.take(4).records(),
}


@pytest.mark.parametrize("middleware", [[], [Middleware()]], ids=["alone", "with middleware"])
@pytest.mark.parametrize("form", list(FORMS))
async def test_a_handler_gets_events_or_records_one_by_one_or_in_lists(
    redis: Redis, ledger: Ledger, form: str, middleware: list[Middleware]
) -> None:
    given: list[Any] = []

    async def work(events: Events[Item]) -> None:
        async for each in FORMS[form](events):
            given.append(each)

    ledger.processor(work, middleware=middleware)
    await ledger.send(*range(10))
    await Worker(ledger.app).run(burst=True)
    if "lists" in form:
        assert {len(each) for each in given} <= {1, 2, 3, 4}
        given = [each for some in given for each in some]
    if "events" in form:
        assert all(isinstance(each, Event) for each in given)
        given = [event.record for event in given]
    assert given == [Item(number=number) for number in range(10)]


async def test_events_have_the_number_of_their_partition(
    redis: Redis, redis_url: str, app_name: str
) -> None:
    app = App(app_name, redis_url=redis_url)
    items = app.stream("items", record=Item, partition_by="number", partition_count=3)
    seen: dict[int, tuple[int, int]] = {}

    @app.processor(items)
    async def work(events: Events[Item]) -> None:
        async for event in events:
            seen[event.record.number] = (events.partition, event.partition)

    sent = await items.send(*(Item(number=number) for number in range(20)))
    await Worker(app).run(burst=True)
    assert seen == {number: 2 * (each.partition,) for number, each in enumerate(sent)}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n": 0}, "n must be at least 1"),
        ({"n": 5, "empty": True}, "needs within"),
        ({"n": 5, "within": 0, "empty": True}, "needs within"),
        ({"n": 5, "within": -1.0}, "0 seconds or more"),
        ({"n": 5, "within": float("nan")}, "0 seconds or more"),
    ],
)
async def test_numbers_that_make_no_sense_are_refused(
    redis: Redis, ledger: Ledger, arguments: dict[str, Any], said: str
) -> None:
    refused: list[str] = []

    async def work(events: Events[Item]) -> None:
        try:
            events.take(**arguments)
        except ValueError as error:
            refused.append(str(error))
        async for _ in events:
            pass

    ledger.processor(work)
    async with ledger.running():
        await until(lambda: refused, "it is refused")
    assert said in refused[0]


@pytest.mark.parametrize("mode", ["each", "explicit"])
async def test_an_event_is_committed_before_the_next_when_asked_for(
    redis: Redis, ledger: Ledger, mode: str
) -> None:
    behind: list[int] = []

    async def careful(events: Events[Item]) -> None:
        async for item in events.records():
            (group,) = await redis.xinfo_groups(ledger.log)
            behind.append(group["entries-read"] - item.number)
            if mode == "explicit":
                await events.commit()

    ledger.processor(careful, commit="each" if mode == "each" else "auto")
    await ledger.send(*range(20))
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "all is committed")
    assert behind == [0] * 20
