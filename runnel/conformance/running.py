"""Runs trials: each on a server of its own, then the checks."""

from __future__ import annotations

import asyncio
import builtins
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from redis.exceptions import ConnectionError, TimeoutError

from runnel import protocol
from runnel.conformance.actors import MOST_OUTPUT
from runnel.conformance.calling import check_calling
from runnel.conformance.case import Case, Findings
from runnel.conformance.contract import CONTRACT, PARTS
from runnel.conformance.ending import check_ending
from runnel.conformance.failing import check_failing
from runnel.conformance.finishing import finish
from runnel.conformance.processing import check_processing
from runnel.conformance.rules import Finding
from runnel.conformance.scene import Commands, Scene
from runnel.conformance.sending import check_sending
from runnel.conformance.trial import Trial
from runnel.conformance.verdict import verdict
from runnel.connection.connect import connect_sync
from runnel.embedded import local_server
from runnel.testing.throwaway_server import ThrowawayServer


@dataclass(frozen=True)
class Plan:
    """How to run: seconds of a session, events a second, trials at a time."""

    commands: Commands
    folder: Path
    seed: int
    session: float = 1.5
    rate: float = 120.0
    patience: float = 30.0
    jobs: int = 2
    #: How often each trial is run, with other random choices each time.
    times: int = 1
    #: What the client is declared not to have: see `ABILITIES`.
    without: frozenset[str] = frozenset()


@dataclass
class Result:
    """What came out of one trial."""

    trial: Trial
    findings: list[Finding] = field(default_factory=list)
    events: int = 0
    repeats: int = 0
    #: Records that the producer gave up.
    unknown: int = 0
    takeovers: int = 0
    seconds: float = 0.0
    #: When the machine stood still meanwhile.
    stalls: list[str] = field(default_factory=list)
    #: It says nothing certain, and the trial is run once more.
    again: bool = False

    @property
    def passed(self) -> bool:
        """Was nothing wrong?"""
        return not self.findings

    @property
    def inconclusive(self) -> bool:
        """Did something not come in time, on a machine that stood still? What is wrong whatever the
        time is no such thing."""
        return bool(self.stalls and self.findings) and all(each.timed for each in self.findings)


async def run(plan: Plan, trials: Sequence[Trial], done: Callable[[Result], None]) -> list[Result]:
    """Run trials, some at a time; `done` gets each result as it comes. An inconclusive one is run
    once more. They are returned in the order of the trials. Raises ConfigError if a command cannot
    be started."""
    slots = asyncio.Semaphore(plan.jobs)

    async def one(trial: Trial, number: int) -> Result:
        async with slots:
            result = await perform(plan, trial, number)
            if result.inconclusive:
                result.again = True
                done(result)
                result = await perform(plan, trial, number, "-again")
        done(result)
        return result

    every = [(each, number) for number in range(1, plan.times + 1) for each in trials]
    tasks = [asyncio.create_task(one(*each)) for each in every]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def perform(plan: Plan, trial: Trial, number: int = 1, suffix: str = "") -> Result:
    """Run one trial, for the first or a later time. Its logs are in a folder of its name, with the
    number of a later time and the suffix."""
    began = time.monotonic()
    folder = plan.folder / f"{trial.name}{'' if number == 1 else f'-{number}'}{suffix}"
    folder.mkdir(parents=True, exist_ok=True)
    rng = Random(f"{plan.seed} {trial.name} {number}")
    server = durable_server(folder) if trial.durable else throwaway_server()
    with server as (url, restart):
        session = plan.session * trial.longer
        scene = Scene(plan.commands, url, folder, rng, session, plan.rate, plan.patience, restart)
        scene.without = plan.without
        async with scene:
            try:
                result = await _perform(trial, scene)
            except (ConnectionError, TimeoutError) as error:
                text = f"the server of the trial does not answer the kit: {error}"
                result = Result(trial, [Finding("outcome", text, timed=True)])
            finally:  # Also of a trial that is interrupted.
                (folder / "history.txt").write_text(scene.history.text())
            result.stalls = scene.stalls.found
    result.seconds = time.monotonic() - began
    return result


async def _perform(trial: Trial, scene: Scene) -> Result:
    await scene.watch.call(protocol.declare(PARTS[0].prefix, CONTRACT))
    for _ in range(trial.workers):
        await scene.worker()
    await scene.producer()
    scene.begin()
    try:
        if not trial.workers or await scene.all_hold(*scene.workers):
            await trial.act(scene)
    except builtins.TimeoutError as error:  # The kit itself could not send.
        scene.fails("outcome", str(error), *await scene.watch.left())
    await finish(scene)
    result, found = Result(trial), Findings()
    case = Case(scene.history, scene.actors, scene.session)
    check_processing(case, found)
    check_failing(case, found)
    check_calling(case, found)
    check_sending(case, found, trial.faultless)
    check_ending(case, await scene.watch.states(), await scene.watch.members(), found)
    for each in case.actors:
        if each.wrote_too_much:
            text = f"a command wrote more than {MOST_OUTPUT // 2**20} MB, and was killed"
            found.add("contract", text, scene.last_words(each))
        if not (each.producer or each.told or each.to_be_replaced or each.dies):
            begun = any(call.actor == each.name for call in scene.history.of("sync"))
            text = f"{each.name} ended by itself"
            found.add("contract", text, scene.last_words(each), timed=not begun)
    result.findings = verdict(case, found.all(), scene.findings)
    _count(result, case)
    return result


def _count(result: Result, case: Case) -> None:
    done = {(line.done.partition, line.done.id) for line in case.history.lines}
    result.events = sum(map(len, case.ids.values()))
    result.repeats = len(case.history.lines) - len(done)
    result.unknown = sum(sent.id is None for _, sent in case.history.sent)
    epochs = {
        (partition, tenure.epoch)
        for (_, partition), tenures in case.tenures.items()
        for tenure in tenures
    }
    result.takeovers = len(epochs) - len({partition for partition, _ in epochs})


def _never() -> None:
    raise AssertionError("this server keeps nothing")


@contextmanager
def throwaway_server() -> Iterator[tuple[str, Callable[[], None]]]:
    """A server that ends with this process, and how to restart it: not at all."""
    with ThrowawayServer() as url:
        yield url, _never


@contextmanager
def durable_server(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A server that keeps its data, and how to kill and start it."""
    url = f"unix://{folder}/s"
    servers: list[local_server.Server] = []

    def start() -> None:
        servers.append(local_server.start(url, folder / "data"))
        with connect_sync(url) as client:
            client.execute_command("CONFIG", "SET", "appendfsync", "always")

    def restart() -> None:
        pid = servers[-1].pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        while _answers(url):
            time.sleep(0.01)
        start()

    start()
    try:
        yield url, restart
    finally:
        servers[-1].stop()


def _answers(url: str) -> bool:
    try:
        with connect_sync(url, 1.0) as client:
            client.ping()
    except Exception:
        return False
    return True
