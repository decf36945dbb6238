"""Trials with faults of processes, of the way to Redis, and of the server."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping

from runnel import protocol
from runnel.conformance.actors import Actor
from runnel.conformance.contract import GROUP, PARTITIONS, PARTS, SIZE, Id
from runnel.conformance.proxy import REPORT
from runnel.conformance.scene import Scene
from runnel.conformance.sender import FORMS, KEYS, partition_of
from runnel.conformance.trial import Trials, adding_to

TRIALS: Trials = {}
trial = adding_to(TRIALS)


@trial("W17")
async def calm(scene: Scene) -> None:
    """No fault: every event once, in order."""
    await scene.wait(1.0)


@trial("C5")
async def codecs(scene: Scene) -> None:
    """Entries in json and msgpack, plain and with gzip and lz4."""
    async with scene.no_load():
        scene.forms = FORMS
    await scene.wait(1.0)


# Workers


@trial("W3")
async def kill(scene: Scene) -> None:
    """SIGKILL of one worker, then of the other; new ones take over."""
    for victim in list(scene.workers):
        await scene.wait(0.3)
        victim.signal(signal.SIGKILL)
        await scene.all_hold(await scene.worker())


@trial("W26")
async def leave(scene: Scene) -> None:
    """SIGTERM of one worker: it finishes, releases, leaves, and ends with exit code 0."""
    await scene.wait(0.3)
    first, second = scene.workers
    first.signal(signal.SIGTERM)
    if await first.ended(scene.patience):
        await scene.all_hold(second)


@trial("W7")
async def stop(scene: Scene) -> None:
    """SIGSTOP of a worker for longer than its session; then it goes on."""
    worker = scene.workers[0]
    async with scene.quiet():
        worker.proxy.hold("replies")  # Some of its threads may run for a moment.
        worker.signal(signal.SIGSTOP)
        # It has nothing in hand, and finds events of its old lease when it goes on.
        await scene.send([scene.records.next(key) for key in KEYS * 3])
        await scene.watch.collect()
        found = {partition: max(log) for partition, log in scene.history.log.items()}
    try:
        await scene.wait(2.2)
    finally:
        scene.look()
        worker.proxy.heal()
        worker.proxy.late["sync"] = 0.2 * scene.session  # It knows by its clock, or not at all.
        goes_on = next(scene.history.places)
        worker.signal(signal.SIGCONT)
    await scene.wait(1.0)
    _no_old_events(scene, worker, goes_on, found)


def _no_old_events(scene: Scene, worker: Actor, goes_on: int, found: Mapping[int, Id]) -> None:
    """From a place on, the worker starts nothing of what it `found`, up to these ids, before a new
    `sync` is answered."""
    answered = [
        call.answered
        for call in scene.history.of("sync")
        if call.actor == worker.name and call.place > goes_on and call.answered is not None
    ]
    for line in scene.history.lines:
        late = line.actor == worker.name and goes_on < line.place < min(
            answered, default=line.place
        )
        if late and line.done.id <= found.get(line.done.partition, (0, 0)):
            text = "ZOMBIE: an event was started after the session had ended"
            scene.fails("W7", text, f"{line.shown()}, which was sent while the process stood still")
            return


@trial("W7", workers=1, longer=2.0)
async def session_clock(scene: Scene) -> None:
    """The reply of a sync comes late, and no later sync arrives until the session is over."""
    (worker,) = scene.workers
    async with scene.no_load():
        # Enough to do until the session is over, and longer.
        await scene.send([scene.records.next() | {"work": 50} for _ in range(400)])
    worker.proxy.late["sync"] = 0.2 * scene.session
    syncs = len(_syncs(scene, worker))

    async def one_more() -> bool:
        return len(_syncs(scene, worker)) > syncs

    await scene.watch.until(one_more, scene.patience, 0.01)
    worker.proxy.swallow.add("sync")
    await scene.wait(1.6)
    worker.proxy.heal()
    worker.proxy.cut()


def _syncs(scene: Scene, worker: Actor) -> list[object]:
    return [each for each in scene.history.of("sync") if each.actor == worker.name]


@trial("W1")
async def twins(scene: Scene) -> None:
    """A second worker starts under the member id of the first, which must end."""
    await scene.wait(0.3)
    first = scene.workers[0]
    first.to_be_replaced = True
    twin = await scene.worker(member=first.member)
    if not await first.ended(scene.patience):
        text = f"{first.name} did not end although another worker has its member id"
        scene.fails("W1", text, scene.last_call(first))
    await scene.all_hold(twin)


@trial("W4")
async def mixed(scene: Scene) -> None:
    """Two Python workers join; one worker of each kind is killed."""
    others = [await scene.worker(python=True), await scene.worker(python=True)]
    await scene.all_hold(*scene.workers)
    for victim in (scene.workers[0], others[0]):
        victim.signal(signal.SIGKILL)
        await scene.wait(0.5)
    await scene.all_hold(*scene.living)


# The way to Redis


@trial("C4")
async def flush(scene: Scene) -> None:
    """SCRIPT FLUSH, twenty times a second."""
    ends = scene.clock() + 1.2 * scene.session
    while scene.clock() < ends:
        await scene.watch.ask("SCRIPT", "FLUSH")
        await asyncio.sleep(0.05)


@trial("C1")
async def cut(scene: Scene) -> None:
    """Connections are cut, by the network and by CLIENT KILL."""
    for kind in ("normal", "pubsub", "normal"):
        await scene.watch.ask("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        await scene.wait(0.2)
        for each in scene.actors:
            each.proxy.cut()
        await scene.wait(0.2)


@trial("C3")
async def lost_replies(scene: Scene) -> None:
    """Calls of each kind are carried out, and the connection is cut instead of the reply."""
    for each in scene.producers:
        each.proxy.lose["append"] = 3
    worker = await scene.worker(lose={"sync": 2, "claim": 2, "commit": 3})
    await _harmed(scene, worker)
    for each in scene.workers:
        each.proxy.lose.update({"sync": 2, "commit": 2, REPORT: 1})
    await scene.watch.call(protocol.revoke(GROUP, range(PARTITIONS)))  # All have what to report.
    await _harmed(scene, worker)


@trial("C2")
async def mute(scene: Scene) -> None:
    """Calls of each kind are carried out and never answered; connections stay open."""
    for each in scene.producers:
        each.proxy.mute["append"] = 1
    await _harmed(scene, await scene.worker(mute={"sync": 2, "claim": 1, "commit": 2}))


async def _harmed(scene: Scene, worker: Actor) -> None:
    """Wait until all of that was done to the new worker and to the producer."""

    async def harmed() -> bool:
        return not sum(each.proxy.harm_left for each in scene.actors if each.alive)

    if await scene.all_hold(worker):
        await scene.watch.until(harmed, scene.patience)


@trial("W20")
async def late_calls(scene: Scene) -> None:
    """What a worker sends arrives only after others have taken over."""
    await scene.wait(0.3)
    worker = scene.workers[0]
    worker.proxy.hold("requests")
    await scene.wait(2.2)
    worker.proxy.heal()
    await scene.wait(1.0)


# The server


@trial("P5")
async def full_memory(scene: Scene) -> None:
    """The memory of the server is full: appends wait, workers go on."""
    await scene.wait(0.3)
    await scene.watch.ask("CONFIG", "SET", "maxmemory", 1)
    await scene.wait(1.0)
    await scene.watch.ask("CONFIG", "SET", "maxmemory", 0)


@trial("P5")
async def full_partition(scene: Scene) -> None:
    """A partition is full for a while: appends to it wait."""
    for each in scene.workers:
        each.signal(signal.SIGSTOP)
    async with scene.no_load():
        for key in {partition_of(each): each for each in KEYS}.values():
            length = await scene.watch.ask("XLEN", PARTS[partition_of(key)].log)
            room = range(SIZE - 3 - length)
            await scene.send([scene.records.next(key) | {"work": 1} for _ in room])
    await scene.wait(0.6)
    for each in scene.workers:
        each.signal(signal.SIGCONT)


@trial("C1", durable=True)
async def server_killed(scene: Scene) -> None:
    """SIGKILL of the server, which comes back with its data and without its scripts."""
    await scene.wait(0.3)
    await scene.restart_server()
    await scene.wait(0.5)
