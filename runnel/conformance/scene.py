"""One trial's server, processes and load, and the steps that every trial has."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

from redis.exceptions import RedisError

from runnel.conformance.actors import Actor
from runnel.conformance.history import History
from runnel.conformance.proxy import Proxy
from runnel.conformance.rules import Finding
from runnel.conformance.sender import Records, Sender
from runnel.conformance.stalls import Stalls
from runnel.conformance.watch import Watch
from runnel.errors import RunnelError

PYTHON = (sys.executable, "-m", "runnel.conformance.reference")


@dataclass(frozen=True)
class Commands:
    """The commands under test, each as a list of arguments. Without a producer, the kit sends."""

    worker: Sequence[str]
    producer: Sequence[str] | None = None


class Scene:
    """What a trial works with: `async with` starts nothing, and ends every process."""

    def __init__(
        self,
        commands: Commands,
        url: str,
        folder: Path,
        rng: Random,
        session: float,
        rate: float,
        patience: float,
        restart_server: Callable[[], None],
    ) -> None:
        self.commands = commands
        self.url = url
        self.folder = folder
        self.rng = rng
        self.session = session
        self.rate = rate
        #: Seconds that a worker has to start and claim partitions, a producer to finish, and all
        #: workers to process what is left.
        self.patience = patience
        self.history = History()
        #: A moment in which a session may end, or a time limit be over, is one that may matter.
        self.stalls = Stalls(self.history, session / 2)
        self.watch = Watch(url, self.history, self.stalls)
        self.sender = Sender(self.watch.scripts)
        self.records = Records(rng, work=3)
        self.workers: list[Actor] = []
        self.producers: list[Actor] = []
        self.findings: list[Finding] = []
        #: The forms in which the kit sends.
        self.forms: Sequence[str] = ("msgpack",)
        #: What the client is declared not to have.
        self.without: frozenset[str] = frozenset()
        #: User and password of the workers that are started from now on, and a colon between them.
        self.user = ""
        self._restart_server = restart_server
        self._loaded = True
        self._feeding = asyncio.Event()
        self._idle = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []

    @property
    def actors(self) -> list[Actor]:
        """All processes, dead ones too."""
        return [*self.workers, *self.producers]

    @property
    def living(self) -> list[Actor]:
        """Workers that run and were not told to end."""
        return [each for each in self.workers if each.alive and each.told is None]

    def fails(self, rule: str, text: str, *evidence: str, timed: bool = True) -> None:
        """Note that something is wrong. Most often it has not come in time."""
        self.findings.append(Finding(rule, text, evidence, timed))

    async def wait(self, sessions: float) -> None:
        """Sleep for a part or multiple of the session timeout."""
        await asyncio.sleep(sessions * self.session)

    def clock(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def nonce(self) -> str:
        """A random text."""
        return secrets.token_hex(16)

    async def restart_server(self) -> None:
        """Kill the server, and start it with its data."""
        self.history.note("fault: SIGKILL of the server, which starts again with its data")
        await asyncio.to_thread(self._restart_server)

    # Processes

    async def worker(
        self,
        *,
        python: bool = False,
        member: str = "",
        lose: Mapping[str, int] | None = None,
        mute: Mapping[str, int] | None = None,
    ) -> Actor:
        """Start a worker. It may not hold a partition yet. `lose` and `mute` are what its proxy
        does to its first calls."""
        name = f"{'python' if python else 'worker'}-{len(self.workers) + 1}"
        command = [*PYTHON, "worker"] if python else self.commands.worker
        proxy = await self._proxy(name)
        proxy.lose.update(lose or {})
        proxy.mute.update(mute or {})
        actor = await self._start(name, command, proxy, member or name)
        actor.is_of_the_kit = python
        self.workers.append(actor)
        return actor

    async def producer(self) -> Actor | None:
        """Start the producer under test, if there is one."""
        if self.commands.producer is None:
            return None
        name = f"producer-{len(self.producers) + 1}"
        proxy = await self._proxy(name)
        actor = await self._start(name, self.commands.producer, proxy, name, producer=True)
        self.producers.append(actor)
        return actor

    async def _proxy(self, name: str) -> Proxy:
        path = self.url.removeprefix("unix://")
        return await Proxy(path, name, self.history, self.look).__aenter__()

    async def _start(
        self, name: str, command: Sequence[str], proxy: Proxy, member: str, producer: bool = False
    ) -> Actor:
        user = "" if producer else self.user
        try:
            return Actor(
                name,
                command,
                self.folder,
                self.history,
                proxy,
                self.session,
                member,
                producer=producer,
                user=user,
            )
        except BaseException:
            await proxy.__aexit__()
            raise

    async def all_hold(self, *actors: Actor) -> bool:
        """Wait until each partition has an owner, and each of these holds one. Notes it if that
        takes too long."""
        names = {each.member for each in actors}

        async def held() -> bool:
            if not all(each.alive for each in actors):
                return True
            owners = await self.watch.owners()
            return "" not in owners and names <= set(owners)

        in_time = await self.watch.until(held, self.patience)
        dead = [each for each in actors if not each.alive]
        if not dead and not in_time:
            await self._not_held(actors)
        return in_time and not dead

    async def _not_held(self, actors: Sequence[Actor]) -> None:
        """Say which worker holds nothing, and what it did last."""
        owners, within = await self.watch.owners(), f"within {self.patience:.0f} s"
        held = ", ".join(f"{number} by {each or 'nobody'}" for number, each in enumerate(owners))
        silent = {each.name for each in actors} - {call.actor for call in self.history.calls}
        for each in actors:
            if each.is_of_the_kit and each.member not in owners:
                self.stalls.slow(f"the kit's own {each.name} has got no partition {within}")
            if each.name in silent:
                text = f"{each.name} has called no script at RUNNEL_REDIS_URL {within}"
                said = f"partitions are held: {held}", self.last_words(each)
                self.findings.append(Finding("contract", text, said, timed=True, alone=True))
            elif each.member not in owners:
                text = f"{each.name} has got no partition {within}"
                self.fails("outcome", text, f"partitions are held: {held}", self.last_call(each))
        if "" in owners and not silent:
            self.fails("outcome", f"a partition has got no owner {within}", f"held: {held}")

    def last_words(self, actor: Actor) -> str:
        """Exit code and the end of the log of a process."""
        state = "it runs" if actor.alive else f"exit code {actor.exit_code}"
        lines = actor.log.read_text(errors="replace").strip().splitlines()[-3:]
        said = " | ".join(lines)[-500:] or "nothing"
        return f"{state}; the end of its stderr: {said}"

    def last_call(self, actor: Actor) -> str:
        """What a process called last."""
        calls = [each.shown() for each in self.history.calls if each.actor == actor.name]
        return f"the last call of {calls[-1]}" if calls else f"{actor.name} has called nothing"

    def look(self) -> None:
        """Read what the processes have written until now."""
        for each in self.actors:
            each.look()

    # Load

    def begin(self) -> None:
        """Send records until `finish`, and note what the logs get."""
        self._feeding.set()
        self._background += [
            asyncio.create_task(self._feed()),
            asyncio.create_task(self._collect()),
            asyncio.create_task(self.stalls.watch()),
        ]

    async def send(self, records: Sequence[dict[str, Any]], form: str = "msgpack") -> None:
        """Send records by the kit itself. Raises TimeoutError if there is no room for
        them for long."""
        async with self._room():
            await self._send(records, form)

    async def _send(self, records: Sequence[dict[str, Any]], form: str) -> None:
        for each in await self.sender.send(records, form):
            self.history.note(f"kit: appended {each}")

    @asynccontextmanager
    async def _room(self) -> AsyncIterator[None]:
        """A block that waits for room in a partition, which workers may never make."""
        try:
            async with asyncio.timeout(self.patience):
                yield
        except TimeoutError:
            text = f"the kit could not send: for {self.patience:.0f} s a partition had no room"
            raise TimeoutError(text) from None

    @asynccontextmanager
    async def no_load(self) -> AsyncIterator[None]:
        """A block in which nothing is sent, but by the block itself. Raises TimeoutError as
        `send` does."""
        self._feeding.clear()
        async with self._room():
            await self._idle.wait()
        await self.watch.until(self._all_said, self.patience)
        try:
            yield
        finally:
            self._feeding.set()

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """A block that begins when everything is processed, and in which nothing is sent, but by
        the block itself."""
        async with self.no_load():
            await self.watch.until(self.caught_up, self.patience)
            await self.watch.collect()
            yield

    async def caught_up(self) -> bool:
        """Is everything processed, or nobody there who could?"""
        return not self.living or not await self.watch.lag()

    async def _all_said(self) -> bool:
        """Have the producers said what became of each record?"""
        return not any(each.unsaid and each.alive for each in self.producers)

    async def _feed(self) -> None:
        sent = 0
        while self._loaded:
            if not self._feeding.is_set():
                self._idle.set()
                await asyncio.sleep(0.01)
                continue
            self._idle.clear()
            record = self.records.next()
            producers = [each for each in self.producers if each.alive and each.told is None]
            if producers and self.forms == ("msgpack",):
                if producers[0].unsaid < 200:  # Else it waits, and its input with it.
                    producers[0].write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
            else:
                await self._send([record], self.forms[sent % len(self.forms)])
                sent += 1
            await asyncio.sleep(self.rng.uniform(0, 2 / self.rate))

    async def _collect(self) -> None:
        ticks = 0
        while True:
            self.look()
            if ticks % 10 == 0:
                with suppress(RedisError, RunnelError, OSError):  # The server is away.
                    await self.watch.collect()
            ticks += 1
            await asyncio.sleep(0.01)

    async def end_load(self) -> None:
        """Send nothing more, also if a record waits for room: there may never be any."""
        self._loaded = False
        feeding = self._background.pop(0)
        # A call that is on its way is noted.
        await asyncio.wait([feeding], timeout=self.session)
        feeding.cancel()
        with suppress(asyncio.CancelledError):
            await feeding

    async def end_watching(self) -> None:
        """Note nothing more of what happens."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._background.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.end_watching()
        for each in self.actors:
            each.close()
            await each.proxy.__aexit__()
        await self.watch.close()
