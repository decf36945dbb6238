"""One run: load and faults by a seeded schedule, then quiet, then the checks."""

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

from runnel.core.partition import UNCOMMITTED
from tests.soak.app import PREFETCH, SESSION
from tests.soak.cast import Actor, Cast
from tests.soak.checker import Verdict, check
from tests.soak.faults import FAULTS, Fault, Scene, join
from tests.soak.history import Id, read_history
from tests.soak.stage import Stage
from tests.soak.watch import PROCESSORS, Watch

#: The processor that operators leave alone, so that all that is promised holds of it.
STRICT = ("book",)
#: Events that a new tenure may repeat: what may wait for its commit, and what was read ahead then.
BUDGET = (UNCOMMITTED + 2) * PREFETCH
#: Faults that go on at the same time.
AT_ONCE = 3
FEWEST_WORKERS = 2
PRODUCERS = 2
#: Seconds for everything to be processed once there is no fault any more.
QUIET_WITHIN = 120.0


@dataclass
class Plan:
    """What to do until so many seconds have passed, or so many events were sent. Each kind of fault
    is injected once at least."""

    seed: int
    seconds: float
    events: int
    rate: float
    #: Names of faults; none means all.
    only: tuple[str, ...] = ()
    workers: int = 3


@dataclass
class Outcome:
    """What came of a run."""

    verdict: Verdict
    events: int = 0
    unknown: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    converged: dict[str, list[float | None]] = field(default_factory=lambda: defaultdict(list))
    seconds: float = 0.0


class Run:
    """A run on a stage, with all its files in `folder`. `say` prints a line."""

    def __init__(self, plan: Plan, stage: Stage, folder: Path, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._stage = stage
        self._folder = folder
        self._chance = Random(plan.seed)
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
        self._under_way: Counter[str] = Counter()
        self._begun = 0
        self.scene = Scene(
            stage,
            self.cast,
            self.watch,
            self._chance,
            asyncio.Lock(),
            self._converged,
            lambda: sum(self._under_way.values()) == 1,
        )
        self._operators = asyncio.Lock()
        self._troubles: list[str] = []
        self._logs: dict[int, list[Id]] = {}

    def say(self, text: str) -> None:
        """A line with the seconds since the start."""
        self._say(f"{time.monotonic() - self._started:7.1f} s  {text}")

    async def run(self) -> Outcome:
        """Do it all. Raises nothing for what the checks find: see the verdict."""
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
        await self._faults()
        self.say("no more faults; waiting until everything is processed")
        for producer in self.cast.producers:
            producer.signal(signal.SIGTERM)
            if await producer.ended(QUIET_WITHIN) != 0:
                self._trouble(f"producer {producer.name} did not end well")
        if not self.cast.living:
            await self.cast.worker()
        members = len(self.cast.living)
        if await self.watch.until(self.watch.caught_up, QUIET_WITHIN, 0.2) is None:
            self._trouble(f"not everything was processed within {QUIET_WITHIN} s")
        elif await self.watch.until(lambda: self.watch.balanced(members), 10 + SESSION) is None:
            self._trouble(f"the partitions are not shared evenly by {members}: L2")
        self._logs = await self.watch.logs()
        for worker in self.cast.living:
            worker.signal(signal.SIGTERM)
        for worker in self.cast.workers:
            await worker.ended(30.0)
        self._exits()

    # Faults

    async def _faults(self) -> None:
        """Each kind once, in a random order, then whichever comes, until it is time to end."""
        only, mode = self._plan.only, self._stage.mode
        kinds = [each for each in FAULTS if mode in each.modes and (not only or each.name in only)]
        queue = self._chance.sample(kinds, len(kinds))
        slots = asyncio.Semaphore(AT_ONCE)
        ends = time.monotonic() + self._plan.seconds
        async with asyncio.TaskGroup() as group:
            while queue or (time.monotonic() < ends and self._sending()):
                await slots.acquire()
                await self.scene.wait(0.0, 0.5)
                await self._enough_workers()
                chosen = queue.pop() if queue else self._chance.choice(kinds)
                task = group.create_task(self._one(chosen))
                task.add_done_callback(lambda _: slots.release())
                if not self._chance.randrange(4):
                    # Now and then one at a time, so that what it does alone is seen.
                    await asyncio.wait([task])

    def _sending(self) -> bool:
        return any(each.alive for each in self.cast.producers)

    async def _enough_workers(self) -> None:
        while len(self.cast.living) < FEWEST_WORKERS:
            await join(self.scene)

    async def _one(self, chosen: Fault) -> None:
        actor = self._actor(chosen)
        if actor is not None:
            actor.busy = True
        self._under_way[chosen.name] += 1
        try:
            if actor is not None:
                self._tell(chosen, actor.name)
                await chosen.act(self.scene, actor)
            elif chosen.target == "servers":
                async with self.scene.servers:
                    self._tell(chosen)
                    await chosen.act(self.scene)
            elif chosen.target == "operator":
                async with self._operators:
                    self._tell(chosen)
                    await chosen.act(self.scene)
        except AssertionError as error:
            self._trouble(f"{chosen.name}: {error}")
        finally:
            self._under_way[chosen.name] -= 1
            if actor is not None:
                actor.busy = False
        self._exits()

    def _tell(self, chosen: Fault, of: str = "") -> None:
        self.outcome.faults[chosen.name] += 1
        self.say(f"{chosen.name} {of}".rstrip())

    def _actor(self, chosen: Fault) -> Actor | None:
        """Somebody for the fault to be done to, whom no other is done to."""
        if chosen.target not in ("worker", "actor"):
            return None
        actors = list(self.cast.living)
        if chosen.target == "actor":
            actors += [each for each in self.cast.producers if each.alive]
        idle = [each for each in actors if not each.busy]
        return self._chance.choice(idle) if idle else None

    def _converged(self, how: str, seconds: float | None) -> None:
        self.outcome.converged[how].append(seconds)
        told = "never" if seconds is None else f"{seconds:.3f} s"
        self.say(f"all partitions are held again after a {how}: {told}")

    # Checks

    def _trouble(self, text: str) -> None:
        self._troubles.append(text)
        self.say(f"VIOLATION: {text}")

    def _exits(self) -> None:
        """A worker ends when it is told to, and well; else never."""
        for worker in self.cast.workers:
            code = worker.process.poll()
            wanted = (0, -signal.SIGKILL) if worker.dismissed else (None,)
            text = f"{worker.name} ended with exit code {code}: see {worker.log}"
            if code not in wanted and code is not None and text not in self._troubles:
                self._trouble(text)

    def _check(self) -> None:
        history = read_history(self._folder, PROCESSORS, self.watch.looks)
        history.logs = self._logs
        verdict = check(history, strict=STRICT, budget=BUDGET, lossy=self._stage.lossy)
        verdict.violations += self._troubles
        self.outcome.verdict = verdict
        self.outcome.events, self.outcome.unknown = len(history.sent), history.unknown


async def perform(plan: Plan, stage: Stage, folder: Path, say: Callable[[str], None]) -> Outcome:
    """One run from start to end."""
    run = Run(plan, stage, folder, say)
    return await run.run()
