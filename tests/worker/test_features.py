"""What users declare, in a real worker."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import (
    LZ4,
    App,
    DeadLetter,
    DeadLetterMiddleware,
    Event,
    Events,
    ExceptionPolicy,
    JSONSerializer,
    Middleware,
    Record,
)
from runnel.errors import ConfigError, Mismatch, Replaced
from runnel.operations.inspection import inspect
from runnel.preflight.server import check_server
from runnel.worker.worker import Worker
from tests.primaries import every_key
from tests.worker.inside import Item, Ledger, caught_up, owned
from tests.worker.workers import until


async def test_a_processor_that_starts_at_the_end_sees_only_what_comes_then(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor(start="latest")
    await ledger.send(1, 2, 3)
    async with ledger.running():
        await until(lambda: redis.exists(ledger.state), "the processor is registered")
        await ledger.send(4, 5)
        await until(lambda: ledger.seen == [4, 5], "only the new ones come")


async def test_processors_of_one_stream_do_not_disturb_each_other(
    redis: Redis, ledger: Ledger
) -> None:
    doubled: list[int] = []

    async def double(events: Events[Item]) -> None:
        async for item in events.records():
            doubled.append(2 * item.number)  # noqa: PERF401 - a handler, not a list

    ledger.processor()
    ledger.app.processor(ledger.items, name="double")(double)
    await ledger.send(1, 2)
    async with ledger.running():
        await until(lambda: len(ledger.seen) == 2 and len(doubled) == 2, "both process both")
    groups: Any = await redis.xinfo_groups(ledger.log)
    assert {group["name"] for group in groups} == {b"work", b"double"}


async def test_apps_in_one_redis_do_not_disturb_each_other(redis: Redis, redis_url: str) -> None:
    one, two = Ledger("one", redis_url), Ledger("two", redis_url)
    one.processor()
    two.processor()
    await one.send(1)
    await two.send(2, 3)
    async with one.running(), two.running():
        await until(lambda: len(two.seen) == 2 and one.seen, "each has its own")
        assert (one.seen, two.seen) == ([1], [2, 3])
        everything = await inspect(redis, await check_server(redis, redis_url))
    assert [each["app"] for each in everything["processors"]] == ["one", "two"]


@pytest.mark.fault(48)
async def test_a_worker_with_another_partition_count_is_refused_and_has_written_nothing(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor()
    async with ledger.running():
        await until(lambda: owned(redis, ledger), "it runs")
    keys = await every_key(redis)
    before = {key: await redis.type(key) for key in keys}
    registry = await redis.hgetall(f"runnel:{{{ledger.app.name}}}:processors")
    grown = App(ledger.app.name, redis_url=ledger.url)
    items = grown.stream("items", record=Item, partition_by="number", partition_count=4)
    grown.on(items, name="work")(print)
    with pytest.raises(Mismatch, match="stored=1 given=4"):
        await Worker(grown).run()
    assert {key: await redis.type(key) for key in await every_key(redis)} == before
    assert await redis.hgetall(f"runnel:{{{ledger.app.name}}}:processors") == registry


async def test_a_policy_may_be_named_and_a_wrong_one_is_refused(ledger: Ledger) -> None:
    ledger.processor(exception_policy="ignore")
    assert ledger.app.processors["work"].policy is ExceptionPolicy.IGNORE
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"exception_policy": "nonsense"}, "must be HALT, QUARANTINE or IGNORE, not 'nonsense'"),
        ({"middleware": [DeadLetterMiddleware]}, "the class DeadLetterMiddleware"),
        (
            {"middleware": [DeadLetterMiddleware()], "exception_policy": "halt"},
            "the policy HALT skips no event",
        ),
    ]
    for options, said in wrong:
        with pytest.raises(ConfigError, match=said):
            ledger.app.processor(ledger.items, name="other", **options)(_nothing)
    for decorator in (ledger.app.processor, ledger.app.on):
        with pytest.raises(ConfigError, match=r"not the function _nothing"):
            decorator(_nothing)  # type: ignore[arg-type]


async def _nothing(events: Events[Item]) -> None:
    async for _ in events.records():
        pass


async def test_the_record_of_a_dead_letter_can_be_decoded(redis: Redis, ledger: Ledger) -> None:
    broken = True
    dead_letters = ledger.items.dead_letters("work")

    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            if broken:
                raise ValueError("not yet")
            ledger.seen.append(item.number)

    async def revive(events: Events[DeadLetter]) -> None:
        async for letter in events.records():
            ledger.seen.append(ledger.items.original(letter).number)

    ledger.processor(
        work, retries=0, exception_policy="ignore", middleware=[DeadLetterMiddleware()]
    )
    ledger.app.processor(dead_letters, name="revive")(revive)
    assert ledger.items.dead_letters("work") is dead_letters
    await ledger.send(1, 2)
    async with ledger.running():
        await until(lambda: ledger.seen == [1, 2], "the dead letters are read")


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("error", [ValueError("half a character: \ud800"), Unspeakable()])
async def test_an_event_whose_error_has_no_valid_text_is_dead_lettered(
    redis: Redis, ledger: Ledger, error: Exception
) -> None:
    async def work(events: Events[Item]) -> None:
        async for item in events.records():
            if item.number == 1:
                raise error
            ledger.seen.append(item.number)

    ledger.processor(
        work, retries=1, exception_policy="ignore", middleware=[DeadLetterMiddleware()]
    )
    await ledger.send(0, 1, 2)
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "it continues")
    assert ledger.seen == [0, 2]


async def test_modules_are_discovered_by_a_glob(
    redis: Redis, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "found_shop" / "processors"
    folder.mkdir(parents=True)
    (tmp_path / "found_shop" / "app.py").write_text(
        "from runnel import App, Record\n"
        f"app = App('found', redis_url={redis_url!r})\n"
        "class Order(Record):\n    number: int\n"
        "orders = app.stream('orders', record=Order, partition_by='number')\n"
    )
    for name in ("billing", "search"):
        (folder / f"{name}.py").write_text(
            "from found_shop.app import app, orders\n"
            f"@app.on(orders, name={name!r})\ndef handle(order): ...\n"
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    app = __import__("found_shop.app", fromlist=["app"]).app
    try:
        names = app.autodiscover("found_shop/processors/*.py")
        assert names == ["found_shop.processors.billing", "found_shop.processors.search"]
        assert list(app.processors) == ["billing", "search"]
        with pytest.raises(ConfigError, match="no Python file matches 'nowhere/"):
            app.autodiscover("nowhere/*.py")
        for wrong in ("", "/srv/*.py", None, 5):
            with pytest.raises(ConfigError, match="takes a glob below the current directory"):
                app.autodiscover(wrong)
    finally:
        for name in [name for name in sys.modules if name.startswith("found_shop")]:
            del sys.modules[name]


async def test_middleware_wraps_whole_batches_and_may_change_them(
    redis: Redis, ledger: Ledger
) -> None:
    noted: list[str] = []

    class Evens(Middleware):
        async def handler(
            self, parent: AsyncIterator[list[Event[Item]]]
        ) -> AsyncIterator[list[Event[Item]]]:
            async for batch in parent:
                noted.append(f"before {len(batch)}")
                yield [event for event in batch if event.record.number % 2 == 0]
                noted.append("after")

    async def work(events: Events[Item]) -> None:
        async for items in events.take(4, within=5).records():
            ledger.seen.extend(item.number for item in items)

    ledger.processor(work, middleware=[Evens()])
    await ledger.send(*range(8))
    async with ledger.running():
        await until(lambda: caught_up(redis, ledger), "all is committed")
    assert ledger.seen == [0, 2, 4, 6]
    assert noted == ["before 4", "after", "before 4", "after"]


async def test_a_compressed_json_stream_is_read_without_configuration(
    redis: Redis, redis_url: str
) -> None:
    class Page(Record):
        number: int
        text: str

    writer = App("pages", redis_url=redis_url)
    sent = writer.stream(
        "pages",
        record=Page,
        partition_by="number",
        partition_count=1,
        serializer=JSONSerializer(),
        compressor=LZ4(),
    )
    reader = App("pages", redis_url=redis_url, session_timeout=1.0)
    pages = reader.stream("pages", record=Page, partition_by="number", partition_count=1)
    seen: list[Page] = []

    @reader.on(pages)
    async def note(page: Page) -> None:
        seen.append(page)

    records = [Page(number=1, text="short"), Page(number=2, text="long " * 1000)]
    await sent.send(*records)
    await writer.close()
    entries: Any = await redis.xrange(f"{sent.spec.prefix(0)}:log")
    assert [list(fields) for _, fields in entries] == [[b"json"], [b"json+lz4"]]
    worker = Worker(reader)
    await worker.run(burst=True)
    assert seen == records


@pytest.mark.fault(49)
async def test_a_second_worker_under_the_same_name_replaces_the_first(
    redis: Redis, ledger: Ledger
) -> None:
    ledger.processor()
    first = asyncio.create_task(Worker(ledger.app, name="same").run())
    await until(lambda: owned(redis, ledger), "the first holds it")
    second = Worker(ledger.app, name="same")
    run = asyncio.create_task(second.run())
    try:
        with pytest.raises(Replaced, match="another worker has started under the name 'same'"):
            await asyncio.wait_for(first, 20)
        await ledger.send(1)
        await until(lambda: ledger.seen == [1], "the second works")
    finally:
        second.stop.set()
        await run


@pytest.mark.fault(33)
@pytest.mark.parametrize("what", ["log", "state"])
async def test_a_key_of_the_wrong_type_stops_its_own_partition_only(
    redis: Redis, redis_url: str, app_name: str, what: str
) -> None:
    app = App(
        app_name, redis_url=redis_url, session_timeout=1.0, rebalance_delay=0.05, backoff=0.01
    )
    items = app.stream("items", record=Item, partition_by="number", partition_count=4)
    seen: list[int] = []

    @app.on(items, name="work", exception_policy=ExceptionPolicy.IGNORE)
    async def note(item: Item) -> None:
        seen.append(item.number)

    partition_keys = app.processors["work"].keys(items.spec.partition(Item(number=1)))
    worker = Worker(app)
    run = asyncio.create_task(worker.run())
    await items.send(*(Item(number=number) for number in range(10)))
    await until(lambda: len(seen) == 10, "it runs")
    broken = partition_keys.of_script()[0 if what == "log" else 2]
    await redis.set(broken, "junk")
    others = [
        Item(number=number)
        for number in range(10, 30)
        if app.processors["work"].keys(items.spec.partition(Item(number=number))) != partition_keys
    ]
    await items.send(*others)
    await until(lambda: len(seen) >= 10 + len(others), "the others continue")
    await redis.delete(broken)
    await items.send(Item(number=1))
    await until(lambda: 1 in seen[10 + len(others) :], "it comes back when the key is gone")
    worker.stop.set()
    await run
