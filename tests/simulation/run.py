"""Runs a scenario: faults first, then calm, in which all that was promised must come true."""

from __future__ import annotations

import logging
import random
import secrets
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from runnel.connection.durability import Durability
from runnel.core import pending_effects, table_state
from runnel.delivery.recorded_start_lock import RecordedStartLock
from runnel.observer import Observer
from runnel.preflight.server import ServerInfo
from runnel.processor import Processor
from runnel.protocol.scripts import Call, Scripts
from runnel.settings import Settings
from runnel.worker import backend as backend_module
from runnel.worker import feeds as feeds_module
from runnel.worker import promoter as promoter_module
from runnel.worker import worker as worker_module
from runnel.worker.backend import Backend, RedisBackend
from runnel.worker.member import Member
from tests.simulation.application import Application
from tests.simulation.client import SimClient
from tests.simulation.faults import Faults
from tests.simulation.host import Host
from tests.simulation.loop import Livelock, current_process
from tests.simulation.producers import Producers
from tests.simulation.scenario import LOOK_EVERY, Scenario
from tests.simulation.settling import Settling
from tests.simulation.store import Store
from tests.simulation.trace import Trace, Violation
from tests.simulation.world import World

#: Seconds of computing time for one run: many times what one takes.
_MOST_CPU_S = 120
#: Times that one waits for calm: what was asked for long ago may arrive only now.
_LATE = 20


@dataclass(frozen=True)
class Result:
    """What came of a run. `violation` is None if all held."""

    seed: int
    digest: str
    virtual: float
    events: int
    repeats: int
    calls: int
    violation: Violation | None


def run(scenario: Scenario, store: Store, trace: Trace | None = None) -> Result:
    """Run it on an emptied server."""
    trace = trace or Trace()
    store.reset()
    world = World(scenario, store, trace)
    application = Application(world)
    world.app = application.app
    violation = None
    with _machine(world):
        try:
            with _watch(world):
                _live(application)
        except Violation as found:
            violation = found
        except Livelock as found:
            violation = Violation("L6", str(found))
        world.network.closed = True
        _end(world)
    history = world.history
    return Result(
        scenario.seed,
        trace.digest(),
        world.loop.time(),
        history.starts,
        history.repeats,
        trace.count,
        violation,
    )


@contextmanager
def _watch(world: World) -> Iterator[None]:
    """End a run in which a callback of the loop does not end: virtual time stands still in it."""

    def end(*_: object) -> None:
        world.loop.failure = Violation("L6", f"more than {_MOST_CPU_S} s of computing time")
        raise world.loop.failure  # To leave the callback, which may swallow this.

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, _MOST_CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _live(application: Application) -> None:
    world, scenario = application.world, application.world.scenario
    producers = Producers(application)
    faults, settling = Faults(application, producers), Settling(application)
    rng = random.Random(f"starts {scenario.seed}")
    for i in range(scenario.workers):
        world.hosts.append(Host(f"w{i}"))
        world.later(rng.choice((0.0, 3 * rng.random())), world.start, world.hosts[i])
    for i in range(scenario.producers):
        producers.start(f"s{i}")
    faults.schedule(scenario.faults)
    settling.watch()
    world.loop.run(scenario.calm_from)

    world.trace.say("!", "calm")
    producers.sending, application.handlers_fixed = False, True
    faults.end()
    _until_finished(settling, producers, faults)
    producers.send_to_all("last")
    _until_finished(settling, producers, faults)
    _keep_calm(application)
    _until_finished(settling, producers, faults)
    for spot in application.spots():
        world.history.complete(spot, world.judge.model.at(spot[0]))
        world.judge.check_now(spot[0])
    application.check_second_stage()
    if world.loop.unhandled:
        raise Violation("worker", f"nobody took {world.loop.unhandled}")


def _keep_calm(application: Application) -> None:
    """Nothing happens for more than a session, and nobody is busy with it."""
    world, seconds = application.world, application.world.scenario.session_timeout * 4 / 3
    for _ in range(_LATE):
        before, starts = world.judge.reads, world.history.starts
        world.loop.run(world.loop.time() + seconds)
        reads = world.judge.reads - before
        readers = len(world.hosts) * len(application.app.processors)
        if world.history.starts == starts:
            break
    else:
        raise Violation("L6", f"events begin for ever: {_LATE} times {seconds:.1f} s were not calm")
    # Each waits for `BLOCK_MS` at a time. One that does not is to be seen among the others.
    if reads > readers * (seconds * 1000 / feeds_module.BLOCK_MS + 1) + 2:
        raise Violation("L4", f"{readers} idle readers read {reads} times in {seconds:.1f} s")


def _until_finished(settling: Settling, producers: Producers, faults: Faults) -> None:
    """Let time pass until everything is processed. Raises Violation if it takes too long."""
    world = settling.world
    most = settling.bound + 60 + 2 * settling.work_left()
    until = world.loop.time() + most
    while (
        (left := settling.open())
        or producers.unsent
        or world.operators
        or not settling.settled(must=False)
    ):
        faults.correct_clock()
        if world.loop.time() > until:
            raise Violation("L6", f"not finished after {most:.0f} s: {left} {producers.unsent}")
        world.loop.run(world.loop.time() + 0.25)
        if world.loop.time() - world.disturbed > settling.bound:
            faults.clear_up()


@contextmanager
def _machine(world: World) -> Iterator[None]:
    """Give the shipped code a virtual machine to run on."""

    def client(*_: object, **__: object) -> Any:
        return SimClient(world.network)

    async def check_server(*_: object) -> ServerInfo:
        return ServerInfo("redis", None, "standalone")

    async def check_worker(*_: object) -> list[str]:
        return []

    class SimBackend(RedisBackend):
        def __init__(
            self, scripts: Scripts, url: str, durability: Durability, prefetch_bytes: int
        ) -> None:
            super().__init__(scripts, url, durability, prefetch_bytes)
            self.clock = world.loop.time
            self._process = current_process()

        @property
        def one_slot(self) -> bool:
            return world.scenario.one_slot

        def beat(self, call: Call) -> Any:
            return world.beat(self._process, call)

    class SimMember(Member):
        def __init__(
            self,
            processor: Processor,
            settings: Settings,
            backend: Backend,
            member: tuple[str, str],
            start_lock: RecordedStartLock,
            observers: Sequence[Observer],
        ) -> None:
            super().__init__(processor, settings, backend, member, start_lock, observers)
            world.host().members[processor.name] = self

    class NoThread:
        def __init__(self, *_: object) -> None: ...
        def start(self) -> None: ...
        def stop(self) -> None: ...

    def token_hex(size: int) -> str:
        return world.nonces.randbytes(size).hex()

    with ExitStack() as stack:
        logging.disable(logging.CRITICAL)
        stack.callback(logging.disable, logging.NOTSET)
        for module, name, value in (
            (worker_module, "connect", client),
            (backend_module, "connect", client),
            (feeds_module, "connect", client),
            (worker_module, "check_server", check_server),
            (worker_module, "check_worker", check_worker),
            (worker_module, "RedisBackend", SimBackend),
            (worker_module, "Member", SimMember),
            (worker_module, "HeartbeatThread", NoThread),
            (secrets, "token_hex", token_hex),
            (promoter_module, "LOOK_EVERY", LOOK_EVERY),
            (table_state, "MOST_FIELDS", world.scenario.most_fields),
            (pending_effects, "MOST_FIELDS", world.scenario.most_fields),
            (pending_effects, "MOST_ENTRIES", world.scenario.most_entries),
            (pending_effects, "OUTBOX_SIZE", world.scenario.outbox_size),
        ):
            stack.enter_context(patch.object(module, name, value))
        yield


def _end(world: World) -> None:
    """Let go of all that still runs."""
    try:
        world.loop.dispose(world.processes)
    except Exception:  # What a broken run leaves behind is of no interest.
        world.loop.abandon()
