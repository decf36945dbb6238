"""A pipeline of two stages counts each event exactly once, whatever happens to it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from runnel import Stream, keys
from runnel.connection.connect import connect
from runnel.operations.inspection import inspect
from runnel.preflight.server import check_server
from tests.primaries import on_each
from tests.proxy import Proxy
from tests.servers import Server
from tests.worker.flown import Flight, app, flights, landings, logbook, real_flights
from tests.worker.workers import Workers, until

#: How many workers are killed; the environment may say more.
KILLS = int(os.environ.get("PIPELINE_KILLS", "12"))
#: How many flights may wait before no more are sent.
MOST_BEHIND = 2000
Disturb = Callable[[], Awaitable[None]]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers fail now and then, after they have written and emitted."""
    monkeypatch.setenv("FAILING", "0.01")


@pytest.fixture
def crew(redis: Redis, redis_url: str, tmp_path: Path, failing: None) -> Iterator[Workers]:
    """Workers of the pipeline on the shared server."""
    found = Workers(redis_url, tmp_path, "tests.worker.flown:app")
    yield found
    found.close()


@pytest.fixture
async def own(server: Server, tmp_path: Path, failing: None) -> AsyncIterator[Pipeline]:
    """The pipeline on a server of its own."""
    workers = Workers(server.url, tmp_path, "tests.worker.flown:app")
    async with connect(server.url) as client:
        yield Pipeline(client, server.url, workers)
    workers.close()


class Pipeline:
    """The pipeline under test: what is sent to it, and what came out."""

    def __init__(self, redis: Redis, url: str, workers: Workers) -> None:
        self.redis = redis
        self.url = url
        self.workers = workers
        self._source = real_flights()
        self.sent: list[Flight] = []
        #: Who holds it stops the sender.
        self.send_lock = asyncio.Lock()

    async def start_workers(self, *names: str, delay: float = 0.002) -> dict[str, Popen[bytes]]:
        """Workers with these names, each of which holds partitions."""
        started = {name: self.workers.start("--name", name, delay=delay) for name in names}
        await until(lambda: self.shared_by({*names}), f"all hold partitions: {self.said}")
        return started

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send all the time, unless the pipeline is far behind."""
        app.configure(redis_url=self.url)
        done = asyncio.Event()

        async def send() -> None:
            async with app:
                while not done.is_set():
                    if len(self.sent) - await self.emitted() < MOST_BEHIND:
                        async with self.send_lock:
                            await self.send(20)
                    await asyncio.sleep(0.05)

        sender = asyncio.create_task(send())
        try:
            yield
        finally:
            done.set()
            await sender

    async def send(self, number: int) -> None:
        """Send the next so many flights."""
        some = list(itertools.islice(self._source, number))
        await flights.send(*some)
        self.sent.extend(some)

    async def log(self, stream: Stream[Flight]) -> list[list[Flight]]:
        """The events of a stream, for each partition."""
        found = []
        for partition in range(stream.spec.partition_count):
            entries: Any = await self.redis.xrange(keys.log(stream.spec.prefix(partition)))
            found.append([
                stream.spec.codec.decode([each for pair in fields.items() for each in pair])
                for _, fields in entries
            ])  # fmt: skip
        return found

    async def table(self, stream: Stream[Flight], name: str) -> Counter[str]:
        """All that a table has."""
        found = Counter[str]()
        for partition in range(stream.spec.partition_count):
            fields: Any = await self.redis.hgetall(keys.table(stream.spec.prefix(partition), name))
            found.update({key.decode(): int(value) for key, value in fields.items()})
        return found

    async def landings_at(self, least: int) -> bool:
        """Does the second stage have so many?"""
        with contextlib.suppress(RedisError, OSError):
            return (await self.table(landings, "landed")).total() >= least
        return False

    async def goes_on(self) -> None:
        """Wait until further flights have passed both stages."""
        more = len(self.sent) + 50
        await until(lambda: self.landings_at(more), f"the pipeline goes on:\n{self.said}")

    async def emitted(self) -> int:
        """How many flights the first stage has emitted to the second; 0 if nobody knows."""
        prefixes = map(landings.spec.prefix, range(landings.spec.partition_count))
        with contextlib.suppress(RedisError, OSError):  # A server is away.
            return sum([await self.redis.xlen(keys.log(prefix)) for prefix in prefixes])
        return 0

    async def finished(self) -> bool:
        """Was each flight emitted, and are both processors done?"""
        with contextlib.suppress(RedisError, OSError):  # A server has just come back.
            return await self.emitted() >= len(self.sent) and not any(
                each["lag_events"] for each in await self.processors()
            )
        return False

    async def processors(self) -> list[dict[str, Any]]:
        """The processors in the report of `inspect`."""
        report = await inspect(self.redis, await check_server(self.redis, self.url), app.name)
        found: list[dict[str, Any]] = report["processors"]
        return found

    async def owners(self) -> set[str]:
        """Who holds partitions."""
        return {row["owner"] for each in await self.processors() for row in each["partitions"]}

    async def shared_by(self, members: set[str]) -> bool:
        """Does each of these members hold partitions of each processor, and nobody else?"""
        found = await self.processors()
        return len(found) == 2 and all(
            {row["owner"] for row in each["partitions"]} == members for each in found
        )

    @property
    def said(self) -> str:
        return self.workers.log[-3000:]

    async def check(self, disturb: Disturb, times: int) -> None:
        """Send, disturb so many times, wait until all is finished: then each number is right."""
        async with self.sending():
            await self.goes_on()
            for _ in range(times):
                await disturb()
            await self.goes_on()
        await until(self.finished, "all is finished", 40)
        await self.check_tables()
        await self.check_streams()
        assert all(each.poll() in (None, -signal.SIGKILL) for each in self.workers.processes)

    async def check_tables(self) -> None:
        """Compare the totals of both stages with those of what was sent."""
        miles, landed = Counter[str](), Counter[str]()
        for each in self.sent:
            miles[each.tailnum] += each.miles
            landed[each.airport] += 1
        assert await self.table(flights, "miles") == miles
        assert await self.table(landings, "landed") == landed

    async def check_streams(self) -> None:
        """Each flight was emitted once to each stream: to the derived one in the order of its
        source, to the other in the order of each aircraft."""
        assert await self.log(logbook) == await self.log(flights)
        logs = await self.log(landings)
        assert sorted(each.number for log in logs for each in log) == sorted(
            each.number for each in self.sent
        )
        for log in logs:
            of_aircraft: defaultdict[str, list[int]] = defaultdict(list)
            for each in log:
                of_aircraft[each.tailnum].append(each.number)
            assert all(numbers == sorted(numbers) for numbers in of_aircraft.values())


@pytest.mark.fault(1, 2, 44)
@pytest.mark.timeout(120 + 6 * KILLS)
async def test_workers_killed_at_any_moment(redis: Redis, redis_url: str, crew: Workers) -> None:
    pipeline = Pipeline(redis, redis_url, crew)
    alive = await pipeline.start_workers("w1", "w2", "w3", "w4")
    names = (f"w{number}" for number in itertools.count(5))

    async def at_work() -> set[str]:
        return alive.keys() & await pipeline.owners()

    async def kill() -> None:
        await asyncio.sleep(random.uniform(0.0, 0.4))
        victim = alive.pop(random.choice(sorted(await until(at_work, "somebody works"))))
        assert victim.poll() is None, pipeline.said
        victim.kill()
        victim.wait()
        name = next(names)
        alive[name] = crew.start("--name", name, delay=0.002)

    await pipeline.check(kill, KILLS)


@pytest.mark.fault(4)
@pytest.mark.timeout(120)
async def test_a_worker_that_sleeps_longer_than_its_session(
    redis: Redis, redis_url: str, crew: Workers
) -> None:
    pipeline = Pipeline(redis, redis_url, crew)
    # Slow handlers, so that most partitions have an event when their worker falls asleep.
    processes = await pipeline.start_workers("a", "b", delay=0.015)
    names = itertools.cycle(processes)

    async def suspend() -> None:
        sleeper = next(names)
        lost = f"of them from {sleeper} without a release"
        await until(lambda: pipeline.shared_by({*processes}), "both hold partitions")
        before = crew.log.count(lost)
        processes[sleeper].send_signal(signal.SIGSTOP)
        await until(lambda: crew.log.count(lost) > before, "the other one has claimed its")
        processes[sleeper].send_signal(signal.SIGCONT)
        await pipeline.goes_on()

    await pipeline.check(suspend, 3)
    # The fence refused what the sleepers still committed, and no new owner met a checkpoint that
    # such a commit had moved.
    assert "another member has claimed it since" in crew.log
    assert "CONFLICT" not in crew.log


@pytest.mark.fault(3, 18, 27)
@pytest.mark.only_on("server")
@pytest.mark.timeout(120)
async def test_replies_that_are_lost_and_scripts_that_are_forgotten(
    redis: Redis, redis_url: str, crew: Workers
) -> None:
    async with Proxy(redis_url) as proxy:
        crew.url = proxy.url
        pipeline = Pipeline(redis, redis_url, crew)
        await pipeline.start_workers("a", "b")

        async def lose() -> None:
            lost = proxy.lost
            proxy.losing = random.randint(1, 5)
            await until(lambda: proxy.lost > lost, "a reply is lost")
            await on_each(redis, "SCRIPT", "FLUSH")
            await asyncio.sleep(random.uniform(0.0, 0.4))

        await pipeline.check(lose, 25)
        crew.close()


@pytest.mark.fault(11)
@pytest.mark.timeout(120)
async def test_a_server_that_is_killed_and_has_its_append_only_file(
    server: Server, own: Pipeline
) -> None:
    await own.start_workers("a", "b")

    async def restart() -> None:
        await asyncio.to_thread(server.restart)
        await own.goes_on()

    await own.check(restart, 8)


@pytest.mark.fault(31)
@pytest.mark.timeout(120)
async def test_rights_that_are_taken_away_and_given_back(own: Pipeline) -> None:
    await on_each(own.redis, "ACL", "SETUSER", "worker", "on", ">pw", "~*", "&*", "+@all")
    own.workers.url = own.url.replace("//", "//worker:pw@")
    await own.start_workers("a", "b")
    commands = itertools.cycle(["hset", "xadd", "xgroup", "evalsha", "hdel", "xread"])

    async def refused(command: str) -> bool:
        return command in str(await on_each(own.redis, "ACL", "LOG"))

    async def revoke() -> None:
        command = next(commands)
        await on_each(own.redis, "ACL", "LOG", "RESET")
        await on_each(own.redis, "ACL", "SETUSER", "worker", f"-{command}")
        await until(lambda: refused(command), "a call was refused")
        await on_each(own.redis, "ACL", "SETUSER", "worker", f"+{command}")
        await own.goes_on()

    await own.check(revoke, 12)


@pytest.mark.fault(28)
@pytest.mark.timeout(120)
async def test_a_memory_that_is_full(own: Pipeline) -> None:
    await own.start_workers("a", "b")

    async def refusals() -> int:
        (stats,) = await on_each(own.redis, "INFO", "errorstats")
        return int(stats.get("errorstat_OOM", {"count": 0})["count"])

    async def is_refused(before: int) -> bool:
        return await refusals() > before

    async def fill() -> None:
        before = await refusals()
        async with own.send_lock:
            await own.send(300)
            await on_each(own.redis, "CONFIG", "SET", "maxmemory", "1")
            await until(lambda: is_refused(before), "a commit was refused")
            await on_each(own.redis, "CONFIG", "SET", "maxmemory", "0")
        await own.goes_on()

    await own.check(fill, 10)
