"""A user of Redis who lacks a right hears of it before anything is written."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from runnel import App, DeadLetterMiddleware, Events, ExceptionPolicy, Record
from runnel.connection import connect
from runnel.errors import ServerError
from runnel.preflight import (
    check_operator,
    check_sender,
    needs_of_registration,
    needs_of_sender,
    needs_of_worker,
)
from runnel.protocol import pause
from runnel.rights import check, commands_of, everything, may
from runnel.scripts import Scripts, sources
from runnel.worker.worker import Worker

Grant = Callable[[list[str]], "AsyncIterator[str]"]


class Item(Record):
    key: str
    number: int


app = App("acl", collect=0.0, backoff=0.001, retries=1)
items = app.stream("items", record=Item, partition_by="key", partition_count=2)
seen: list[int] = []


@app.processor(
    items, exception_policy=ExceptionPolicy.IGNORE, middleware=[DeadLetterMiddleware()]
)
async def picky(events: Events[Item]) -> None:
    async for item in events.records():
        if item.number == 2:
            raise ValueError("2 is not wanted")
        seen.append(item.number)


@app.timer(interval=3600, on_leader=True)
async def sweep() -> None: ...


PICKY = app.processors["picky"]
WORKER = needs_of_worker(app, [PICKY])
SENDER = needs_of_sender(items.spec)


@pytest.fixture
async def user(redis: Redis, redis_url: str) -> AsyncIterator[Callable[[list[str]], str]]:
    """Makes the user `clerk` with these rules; gives the URL that logs in as clerk."""
    place = urlsplit(redis_url)

    async def grant(rules: list[str]) -> str:
        await redis.execute_command(  # type: ignore[no-untyped-call]
            "ACL", "SETUSER", "clerk", "reset", "on", ">pw", "resetchannels", *rules
        )
        return place._replace(netloc=f"clerk:pw@{place.netloc.rpartition('@')[2]}").geturl()

    yield grant  # type: ignore[misc]
    await redis.acl_deluser("clerk")


def rules_of(*needs: object) -> list[str]:
    """The least rules for all of these."""
    return sorted({rule for each in needs for rule in everything(each).rules().split()})  # type: ignore[arg-type]


async def test_the_rules_that_are_named_are_enough_to_send_and_to_work(
    redis: Redis, user: Callable[[list[str]], object]
) -> None:
    app.configure(redis_url=await user(rules_of(WORKER, SENDER)))  # type: ignore[misc]
    seen.clear()
    try:
        await items.send(*(Item(key="k", number=number) for number in (1, 2, 3)))
        await Worker(app).run(burst=True)
    finally:
        await app.close()
    assert seen == [1, 3]
    dead = PICKY.sink
    assert dead is not None
    assert sum([await redis.xlen(f"{dead.prefix(p)}:log") for p in (0, 1)]) == 1


@pytest.mark.parametrize("rule", rules_of(WORKER))
async def test_a_worker_without_one_right_names_it_and_writes_nothing(
    redis: Redis, user: Callable[[list[str]], object], rule: str
) -> None:
    app.configure(redis_url=await user([each for each in rules_of(WORKER) if each != rule]))  # type: ignore[misc]
    with pytest.raises(ServerError) as caught:
        await Worker(app).run(burst=True)
    said = str(caught.value)
    assert rule in said.partition("ACL SETUSER clerk ")[2].split()
    assert said.count(". ") == 0
    assert await redis.keys() == []
    if rule not in ("+evalsha", "+script|load"):
        assert rule[1:].replace("|", " ").upper() in said or rule[1:] in said
    assert "pw" not in said
