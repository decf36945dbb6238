"""The faults. Each does its harm, waits, and makes it good; what workers then do is not its job.

A fault is declared with what it is done to, and the modes that it is for. Those done to a worker
or a producer get one that no other fault is at; those done to servers, and those done by
operators, happen one at a time.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from runnel.connection.connect import connect_sync
from tests.servers import Server
from tests.soak.app import MAX_BLOCK, SESSION
from tests.soak.cast import Actor, Cast
from tests.soak.stage import ClusterStage, SentinelStage, ServerStage, Stage
from tests.soak.watch import Watch

Target = Literal["worker", "actor", "servers", "operator"]
EVERYWHERE = ("server", "sentinel", "cluster")
MOST_WORKERS = 5
HEARTBEAT = SESSION / 3


@dataclass
class Scene:
    """What a fault works with."""

    stage: Stage
    cast: Cast
    watch: Watch
    chance: Random
    #: Held by whatever changes servers, and by a worker's start, which needs them.
    servers: asyncio.Lock
    #: Told of a take-over: how it began, and the seconds that it took, or None if too many.
    converged: Callable[[str, float | None], None]
    #: Is nothing else going on?
    quiet: Callable[[], bool]

    async def wait(self, least: float, most: float) -> None:
        """Some seconds between the two."""
        await asyncio.sleep(self.chance.uniform(least, most))


@dataclass(frozen=True)
class Fault:
    """A fault by its name."""

    name: str
    act: Callable[..., Awaitable[None]]
    target: Target
    modes: tuple[str, ...]


FAULTS: list[Fault] = []


def fault(
    target: Target, *modes: str
) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., Awaitable[None]]]:
    """Declare the decorated function as a fault, for these modes or all."""

    def register(act: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        name = act.__name__.replace("_", " ")
        FAULTS.append(Fault(name, act, target, modes or EVERYWHERE))
        return act

    return register


# Workers


@fault("worker")
async def kill(scene: Scene, worker: Actor) -> None:
    """Fault 1: whatever it has in hand."""
    await take_over(scene, worker, "kill")


@fault("worker")
async def leave(scene: Scene, worker: Actor) -> None:
    """Fault 7: it finishes what it has in hand."""
    await take_over(scene, worker, "leave")


async def take_over(scene: Scene, worker: Actor, how: str) -> None:
    """End a worker; if nothing else goes on, note how long its partitions are nobody's."""
    quiet = scene.quiet()
    worker.signal(signal.SIGKILL if how == "kill" else signal.SIGTERM)
    seconds = await scene.watch.until(
        lambda: scene.watch.owned(but=worker.name), 3 * SESSION + 10, 0.005
    )
    if quiet and scene.quiet():
        scene.converged(how, seconds)
    if await worker.ended(30.0) is None:
        raise AssertionError(f"{worker.name} does not end")


@fault("operator")
async def join(scene: Scene) -> None:
    if len(scene.cast.living) < MOST_WORKERS:
        async with scene.servers:
            await scene.cast.worker()


@fault("operator")
async def flap(scene: Scene) -> None:
    """Fault 43: it comes and goes, half of the time without a word."""
    async with scene.servers:
        for _ in range(2):
            worker = await scene.cast.worker()
            worker.signal(scene.chance.choice((signal.SIGTERM, signal.SIGKILL)))
            await worker.ended(30.0)


@fault("worker")
async def long_stop(scene: Scene, worker: Actor) -> None:
    """Fault 4: it sleeps longer than its session, and wakes."""
    await _stop(scene, worker, 1.5 * SESSION, 3 * SESSION)


@fault("worker")
async def short_stop(scene: Scene, worker: Actor) -> None:
    """Fault 5: it sleeps, but not for a session."""
    await _stop(scene, worker, 0.2 * SESSION, 0.6 * SESSION)


async def _stop(scene: Scene, worker: Actor, least: float, most: float) -> None:
    worker.signal(signal.SIGSTOP)
    try:
        await scene.wait(least, most)
    finally:
        worker.signal(signal.SIGCONT)


@fault("worker")
async def busy_handler(scene: Scene, worker: Actor) -> None:
    """Fault 6: a handler that blocks the event loop, but not for ever; it stays a member."""
    worker.signal(signal.SIGUSR1)
    await asyncio.sleep(2 * SESSION)


@fault("worker")
async def stuck_handler(scene: Scene, worker: Actor) -> None:
    """Fault 6: a handler that blocks the event loop for longer than a worker vouches for it."""
    worker.signal(signal.SIGUSR2)
    await asyncio.sleep(MAX_BLOCK * 1.6)


# The way to the server


@fault("actor", "server")
async def slow_link(scene: Scene, actor: Actor) -> None:
    """Fault 24: everything takes a while, each way."""
    assert actor.proxy is not None
    actor.proxy.delay = scene.chance.uniform(0.01, 0.15 * SESSION)
    await scene.wait(SESSION, 3 * SESSION)
    actor.proxy.heal()


@fault("actor", "server")
async def lost_replies(scene: Scene, actor: Actor) -> None:
    """Faults 3 and 18: calls are carried out, and their connections are cut in place of a reply."""
    assert actor.proxy is not None
    for _ in range(3):
        actor.proxy.losing = scene.chance.randint(1, 3)
        await scene.wait(0.05, 0.5)
    actor.proxy.heal()


@fault("actor", "server")
async def lost_requests(scene: Scene, actor: Actor) -> None:
    """Fault 19: calls that never arrive."""
    assert actor.proxy is not None
    for _ in range(3):
        actor.proxy.hold("requests")
        await scene.wait(0.02, 0.2)
        actor.proxy.cut()
        actor.proxy.heal()
        await scene.wait(0.05, 0.3)


@fault("actor", "server")
async def late_requests(scene: Scene, actor: Actor) -> None:
    """Faults 21 and 22: what it says arrives only when others have taken over; it hears all."""
    await _cut_off(scene, actor, "requests")


@fault("actor", "server")
async def late_replies(scene: Scene, actor: Actor) -> None:
    """Fault 22: what it says arrives, and it hears nothing for a while."""
    await _cut_off(scene, actor, "replies")


@fault("actor", "server")
async def black_hole(scene: Scene, actor: Actor) -> None:
    """Faults 22 and 23: nothing gets through either way, and no connection closes."""
    await _cut_off(scene, actor, "requests", "replies")


async def _cut_off(scene: Scene, actor: Actor, *ways: Any) -> None:
    assert actor.proxy is not None
    actor.proxy.hold(*ways)
    await scene.wait(0.5 * SESSION, 3 * SESSION)
    actor.proxy.heal()


@fault("actor", "server")
async def closed_connections(scene: Scene, actor: Actor) -> None:
    assert actor.proxy is not None
    for _ in range(3):
        actor.proxy.cut()
        await scene.wait(0.02, 0.3)


# Servers


@fault("servers")
async def script_flush(scene: Scene) -> None:
    """Fault 27: the scripts are gone, more than once."""
    for _ in range(5):
        await asyncio.to_thread(_on_all, scene.stage, "SCRIPT FLUSH")
        await scene.wait(0.01, 0.2)


@fault("servers")
async def killed_clients(scene: Scene) -> None:
    """The server closes every connection, those that wait for events or news included."""
    for kind in ("normal", "pubsub"):
        await asyncio.to_thread(_on_all, scene.stage, "CLIENT KILL", "TYPE", kind)
        await scene.wait(0.01, 0.2)


@fault("servers", "server")
async def server_killed(scene: Scene) -> None:
    """Fault 11: it comes back with its append-only file."""
    server = _only(scene)
    await asyncio.to_thread(server.kill)
    await scene.wait(0.0, 1.5 * SESSION)
    await asyncio.to_thread(server.start)


@fault("servers", "server")
async def server_stopped(scene: Scene) -> None:
    """Connections stay open, and nothing answers."""
    server = _only(scene)
    server.pause()
    await scene.wait(0.2 * SESSION, 2.5 * SESSION)
    server.resume()


@fault("servers", "server")
async def slow_script(scene: Scene) -> None:
    """Faults 25 and 26: somebody's script holds the server up; half of the time it says BUSY."""
    server = _only(scene)
    patience = scene.chance.choice((100, 5000))
    await asyncio.to_thread(_do, server, "CONFIG SET", "busy-reply-threshold", patience)
    loop = "for i = 1, tonumber(ARGV[1]) do string.rep('x', 1000) end"
    await asyncio.to_thread(_do, server, "EVAL", loop, 0, scene.chance.randint(1, 4) * 100_000)


@fault("servers", "server")
async def full_memory(scene: Scene) -> None:
    """Fault 28: workers go on, producers are refused."""
    server = _only(scene)
    await asyncio.to_thread(_do, server, "CONFIG SET", "maxmemory", 1)
    await scene.wait(0.5 * SESSION, 2 * SESSION)
    await asyncio.to_thread(_do, server, "CONFIG SET", "maxmemory", 0)


@fault("servers", "server")
async def no_replicas(scene: Scene) -> None:
    """Fault 30: every write is refused for a while."""
    server = _only(scene)
    await asyncio.to_thread(_do, server, "CONFIG SET", "min-replicas-to-write", 1)
    await scene.wait(0.5 * SESSION, 2 * SESSION)
    await asyncio.to_thread(_do, server, "CONFIG SET", "min-replicas-to-write", 0)


@fault("servers", "server")
async def rights_taken(scene: Scene) -> None:
    """Fault 31: nobody may call scripts or read logs for a while."""
    server = _only(scene)
    await asyncio.to_thread(_do, server, "ACL SETUSER", "default", "-evalsha", "-xread")
    await scene.wait(0.5 * SESSION, 2 * SESSION)
    await asyncio.to_thread(_do, server, "ACL SETUSER", "default", "+@all")


@fault("servers", "sentinel")
async def planned_failover(scene: Scene) -> None:
    """Fault 17."""
    await asyncio.to_thread(_sentinel(scene).failover)


@fault("servers", "sentinel")
async def primary_killed(scene: Scene) -> None:
    """Faults 13 and 14: what was not replicated is gone."""
    await asyncio.to_thread(_sentinel(scene).kill)


@fault("servers", "sentinel")
async def primary_frozen(scene: Scene) -> None:
    """Fault 16, as far as one machine has it: a primary that was replaced wakes up."""
    await asyncio.to_thread(_sentinel(scene).freeze)


@fault("servers", "cluster")
async def slot_moved(scene: Scene) -> None:
    """Fault 38: key by key, under load."""
    stage = _cluster(scene)
    slot = scene.chance.choice(stage.partitions + stage.groups)
    await asyncio.to_thread(stage.migrate, slot, scene.chance.randrange(2))


@fault("servers", "cluster")
async def cluster_failover(scene: Scene) -> None:
    """Fault 17."""
    stage = _cluster(scene)
    await asyncio.to_thread(stage.failover, scene.chance.choice(stage.partitions))


@fault("servers", "cluster")
async def master_killed(scene: Scene) -> None:
    """Fault 39: its partitions wait for its replica, the others go on."""
    stage = _cluster(scene)
    await asyncio.to_thread(stage.kill, scene.chance.choice(stage.partitions))


@fault("servers", "cluster")
async def group_lost(scene: Scene) -> None:
    """Fault 40: the master with the keys of a group is killed."""
    stage = _cluster(scene)
    await asyncio.to_thread(stage.kill, scene.chance.choice(stage.groups))


# Operators


@fault("operator")
async def pause_and_resume(scene: Scene) -> None:
    async with scene.servers:
        await _operate(scene, "pause")
    await scene.wait(0.0, SESSION)
    async with scene.servers:
        await _operate(scene, "resume")


@fault("operator")
async def reset(scene: Scene) -> None:
    """The position of a processor is set back under its workers."""
    async with scene.servers:
        await _operate(scene, "reset", "--start", "0")


async def _operate(scene: Scene, *arguments: str) -> None:
    command, *options = arguments
    code = await scene.cast.operate("processor", command, *options, "tests.soak.app:audit")
    if code != 0:
        raise AssertionError(f"runnel processor {command} ended with {code}")


# Helpers


def _only(scene: Scene) -> Server:
    assert isinstance(scene.stage, ServerStage)
    return scene.stage.server


def _sentinel(scene: Scene) -> SentinelStage:
    assert isinstance(scene.stage, SentinelStage)
    return scene.stage


def _cluster(scene: Scene) -> ClusterStage:
    assert isinstance(scene.stage, ClusterStage)
    return scene.stage


def _on_all(stage: Stage, *command: object) -> None:
    for server in stage.servers:
        _do(server, *command)


def _do(server: Server, *command: object) -> None:
    """A command over a connection that waits as long as it takes."""
    with connect_sync(server.url, 30.0) as client:
        client.execute_command(*command)
