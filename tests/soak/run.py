"""Runs one soak: load and faults by a seeded schedule, then a quiet phase, then the checks."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from runnel.core.reading import UNCOMMITTED
from runnel.core.window import Window
from tests.soak.app import CONCURRENCY, PREFETCH, SESSION, SETBACK
from tests.soak.cast import Actor, Cast
from tests.soak.checker import Verdict, check
from tests.soak.faults import FAULTS
from tests.soak.history import Id, read_history
from tests.soak.program_faults import join
from tests.soak.scene import Fault, Scene
from tests.soak.stage import Stage
from tests.soak.watch import PROCESSORS, REMINDER, SECOND, SETBACK_OF, TOGETHER, Watch

#: The processors that operators do not touch, so that every promise holds for them.
STRICT = ("book", "settle", "consult", "charge", "remind")
#: Events that a new tenure may repeat: those that may wait for their commit, and those read ahead.
#: Where several events of a partition are handled at once, also those in hand.
BUDGET = (UNCOMMITTED + 2) * PREFETCH + Window(CONCURRENCY, PREFETCH).limit
#: Faults that run at the same time.
MAX_CONCURRENT = 3
MIN_WORKERS = 2
PRODUCERS = 2
#: Seconds in which everything must be processed after the last fault.
QUIET_WITHIN = 120.0


@dataclass
class Plan:
    """How to run: for this many seconds, or until this many events were sent. Each kind of fault is
    injected at least once, and all together at least `faults` times."""

    seed: int
    seconds: float
    events: int
    rate: float
    #: Names of faults; none means all.
    only: tuple[str, ...] = ()
    workers: int = 3
    faults: int = 0


@dataclass
class Outcome:
    """The result of a run."""

    verdict: Verdict
    events: int = 0
    unknown: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    converged: dict[str, list[float | None]] = field(default_factory=lambda: defaultdict(list))
    seconds: float = 0.0
    #: Table -> its number of keys.
    keys: dict[str, int] = field(default_factory=dict)


class Run:
    """A run on a stage; all its files are in `folder`. `say` prints a line."""

    def __init__(self, plan: Plan, stage: Stage, folder: Path, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._stage = stage
        self._folder = folder
        self._rng = Random(plan.seed)
        self._started = time.monotonic()
        self._say = say
        self.outcome = Outcome(Verdict())
        durability = "replica" if stage.lossy else "primary"
        environment = {
            "RUNNEL_REDIS_URL": stage.url,
            "RUNNEL_DURABILITY": durability,
            "SOAK_SESSION": str(SESSION),
        }
        self.cast = Cast(folder, environment, None if stage.lossy else stage.url)
        self.watch = Watch(stage.url)
        self._running: Counter[str] = Counter()
        self._begun = 0
        self.scene = Scene(
            stage,
            self.cast,
            self.watch,
            self._rng,
            asyncio.Lock(),
            self._converged,
            lambda: sum(self._running.values()) == 1,
        )
        self._operators = asyncio.Lock()
        self._violations: list[str] = []
        self._logs: dict[int, list[Id]] = {}
        self._tables: dict[str, dict[str, int]] = {}

    def say(self, text: str) -> None:
        """Print a line with the seconds since the start."""
        self._say(f"{time.monotonic() - self._started:7.1f} s  {text}")

    async def run(self) -> Outcome:
        """Run everything. What the checks find is in the verdict, not raised."""
        watching = asyncio.create_task(self.watch.run())
        try:
            await self._perform()
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            await self.watch.close()
            await self.cast.close()
        self._check()
        self.outcome.seconds = time.monotonic() - self._started
        return self.outcome

    async def _perform(self) -> None:
        plan = self._plan
        async with self.scene.servers:
            await asyncio.gather(*(self.cast.worker() for _ in range(plan.workers)))
        for _ in range(PRODUCERS):
            await self.cast.producer(plan.rate / PRODUCERS, plan.events // PRODUCERS)
        self.say(f"{plan.workers} workers and {PRODUCERS} producers run")
        await self._inject_faults()
        self.say("no more faults; waiting until everything is processed")
        for producer in self.cast.producers:
            producer.signal(signal.SIGTERM)
            if await producer.ended(QUIET_WITHIN) != 0:
                self._violation(f"producer {producer.name} did not exit with 0")
        if not self.cast.living:
            await self.cast.worker()
        members = len(self.cast.living)
        if await self.watch.until(self.watch.caught_up, QUIET_WITHIN, 0.2) is None:
            self._violation(f"not everything was processed within {QUIET_WITHIN} s")
        elif await self.watch.until(lambda: self.watch.balanced(members), 10 + SESSION) is None:
            self._violation(f"the partitions are not shared evenly by {members}: L2")
        self._logs, self._tables = await self.watch.logs(), await self.watch.tables()
        for worker in self.cast.living:
            worker.signal(signal.SIGTERM)
        for worker in self.cast.workers:
            await worker.ended(30.0)
        self._check_exit_codes()

    # Faults

    async def _inject_faults(self) -> None:
        """Inject each kind once, in random order, then random kinds until the run ends."""
        only, mode = self._plan.only, self._stage.mode
        kinds = [each for each in FAULTS if mode in each.modes and (not only or each.name in only)]
        adds_workers = any(each.act is join for each in kinds)
        queue = self._rng.sample(kinds, len(kinds))
        slots = asyncio.Semaphore(MAX_CONCURRENT)
        ends = time.monotonic() + self._plan.seconds
        async with asyncio.TaskGroup() as group:
            while (
                queue
                or self.outcome.faults.total() < self._plan.faults
                or (time.monotonic() < ends and self._sending())
            ):
                await slots.acquire()
                await self.scene.wait(0.0, 0.5)
                await self._enough_workers(MIN_WORKERS if adds_workers else self._plan.workers)
                chosen = queue.pop() if queue else self._rng.choice(kinds)
                task = group.create_task(self._inject(chosen))
                task.add_done_callback(lambda _: slots.release())
                if not self._rng.randrange(4):
                    # Sometimes one runs alone, so that its own effect can be measured.
                    await asyncio.wait([task])

    def _sending(self) -> bool:
        return any(each.alive for each in self.cast.producers)

    async def _enough_workers(self, least: int) -> None:
        while len(self.cast.living) < least:
            await join(self.scene)

    async def _inject(self, chosen: Fault) -> None:
        actor = self._actor(chosen)
        if actor is not None:
            actor.busy = True
        self._running[chosen.name] += 1
        try:
            if actor is not None:
                self._announce(chosen, actor.name)
                await chosen.act(self.scene, actor)
            elif chosen.target == "servers":
                async with self.scene.servers:
                    self._announce(chosen)
                    await chosen.act(self.scene)
            elif chosen.target == "operator":
                async with self._operators:
                    self._announce(chosen)
                    await chosen.act(self.scene)
        except AssertionError as error:
            self._violation(f"{chosen.name}: {error}")
        finally:
            self._running[chosen.name] -= 1
            if actor is not None:
                actor.busy = False
        self._check_exit_codes()

    def _announce(self, chosen: Fault, of: str = "") -> None:
        self.outcome.faults[chosen.name] += 1
        self.say(f"{chosen.name} {of}".rstrip())

    def _actor(self, chosen: Fault) -> Actor | None:
        """A worker or producer that no other fault uses; None if none is free or needed."""
        if chosen.target not in ("worker", "actor"):
            return None
        actors = list(self.cast.living)
        if chosen.target == "actor":
            actors += [each for each in self.cast.producers if each.alive]
        idle = [each for each in actors if not each.busy]
        return self._rng.choice(idle) if idle else None

    def _converged(self, how: str, seconds: float | None) -> None:
        self.outcome.converged[how].append(seconds)
        duration = "never" if seconds is None else f"{seconds:.3f} s"
        self.say(f"all partitions have an owner again after a {how}: {duration}")

    # Checks

    def _violation(self, text: str) -> None:
        self._violations.append(text)
        self.say(f"VIOLATION: {text}")

    def _check_exit_codes(self) -> None:
        """A worker ends only after a signal, and then with exit code 0 or by SIGKILL."""
        for worker in self.cast.workers:
            code = worker.process.poll()
            expected = (0, -signal.SIGKILL) if worker.dismissed else (None,)
            text = f"{worker.name} ended with exit code {code}: see {worker.log}"
            if code not in expected and code is not None and text not in self._violations:
                self._violation(text)

    def _check(self) -> None:
        history = read_history(self._folder, PROCESSORS, self.watch.looks)
        history.logs, history.tables, history.second = self._logs, self._tables, SECOND
        history.together, history.reminder = TOGETHER, REMINDER
        history.setback, history.setback_every = SETBACK_OF, SETBACK
        verdict = check(history, strict=STRICT, budget=BUDGET, lossy=self._stage.lossy)
        verdict.violations += self._violations
        self.outcome.verdict = verdict
        self.outcome.events, self.outcome.unknown = len(history.sent), history.unknown
        self.outcome.keys = {name: len(values) for name, values in self._tables.items()}


async def perform(plan: Plan, stage: Stage, folder: Path, say: Callable[[str], None]) -> Outcome:
    """One run from start to end."""
    run = Run(plan, stage, folder, say)
    return await run.run()
