"""The faults of a soak. Each injects one failure, waits, and repairs it; it checks no worker.

A fault is declared with its target and the modes in which it applies. A fault on a worker or a
producer gets one that no other fault uses; faults on servers, and those of operators, run one at
a time.
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
MAX_WORKERS = 5
HEARTBEAT = SESSION / 3


@dataclass
class Scene:
    """What a fault works with."""

    stage: Stage
    cast: Cast
    watch: Watch
    rng: Random
    #: Held by a fault that changes servers, and while a worker starts, which needs them.
    servers: asyncio.Lock
    #: Called after a worker ended: how it ended, and the seconds until all its partitions had an
    #: owner again, or None if that took too long.
    converged: Callable[[str, float | None], None]
    #: True while no other fault runs.
    quiet: Callable[[], bool]

    async def wait(self, least: float, most: float) -> None:
        """Sleep a random time between `least` and `most` seconds."""
        await asyncio.sleep(self.rng.uniform(least, most))


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
    """Fault 1: SIGKILL at any moment."""
    await end_worker(scene, worker, "kill")


@fault("worker")
async def leave(scene: Scene, worker: Actor) -> None:
    """Fault 7: SIGTERM; the worker finishes its current events."""
    await end_worker(scene, worker, "leave")


async def end_worker(scene: Scene, worker: Actor, how: str) -> None:
    """End a worker; if no other fault runs, measure how long its partitions are unassigned."""
    quiet = scene.quiet()
    worker.signal(signal.SIGKILL if how == "kill" else signal.SIGTERM)
    seconds = await scene.watch.until(
        lambda: scene.watch.owned(but=worker.name), 3 * SESSION + 10, 0.005
    )
    if quiet and scene.quiet():
        scene.converged(how, seconds)
    if await worker.ended(30.0) is None:
        raise AssertionError(f"{worker.name} did not end within 30 s")


@fault("operator")
async def join(scene: Scene) -> None:
    if len(scene.cast.living) < MAX_WORKERS:
        async with scene.servers:
            await scene.cast.worker()


@fault("operator")
async def flap(scene: Scene) -> None:
    """Fault 43: a worker joins and ends twice, each time by SIGTERM or SIGKILL."""
    async with scene.servers:
        for _ in range(2):
            worker = await scene.cast.worker()
            worker.signal(scene.rng.choice((signal.SIGTERM, signal.SIGKILL)))
            await worker.ended(30.0)


@fault("worker")
async def long_stop(scene: Scene, worker: Actor) -> None:
    """Fault 4: SIGSTOP for longer than a session, then SIGCONT."""
    await _suspend(scene, worker, 1.5 * SESSION, 3 * SESSION)


@fault("worker")
async def short_stop(scene: Scene, worker: Actor) -> None:
    """Fault 5: SIGSTOP for less than a session, then SIGCONT."""
    await _suspend(scene, worker, 0.2 * SESSION, 0.6 * SESSION)


async def _suspend(scene: Scene, worker: Actor, least: float, most: float) -> None:
    worker.signal(signal.SIGSTOP)
    try:
        await scene.wait(least, most)
    finally:
        worker.signal(signal.SIGCONT)


@fault("worker")
async def busy_handler(scene: Scene, worker: Actor) -> None:
    """Fault 6: a handler blocks the event loop for less than `max_block`.

    The worker stays a member.
    """
    worker.signal(signal.SIGUSR1)
    await asyncio.sleep(2 * SESSION)


@fault("worker")
async def stuck_handler(scene: Scene, worker: Actor) -> None:
    """Fault 6: a handler blocks the event loop for longer than `max_block`."""
    worker.signal(signal.SIGUSR2)
    await asyncio.sleep(MAX_BLOCK * 1.6)


# The connection to the server


@fault("actor", "server")
async def slow_link(scene: Scene, actor: Actor) -> None:
    """Fault 24: requests and replies are delayed."""
    assert actor.proxy is not None
    actor.proxy.delay = scene.rng.uniform(0.01, 0.15 * SESSION)
    await scene.wait(SESSION, 3 * SESSION)
    actor.proxy.heal()


@fault("actor", "server")
async def lost_replies(scene: Scene, actor: Actor) -> None:
    """Faults 3 and 18: calls are executed, and their connections are cut instead of a reply."""
    assert actor.proxy is not None
    for _ in range(3):
        actor.proxy.losing = scene.rng.randint(1, 3)
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
    """Faults 21 and 22: requests arrive only after other members took over; replies arrive."""
    await _hold(scene, actor, "requests")


@fault("actor", "server")
async def late_replies(scene: Scene, actor: Actor) -> None:
    """Fault 22: requests arrive, and replies are held for a while."""
    await _hold(scene, actor, "replies")


@fault("actor", "server")
async def black_hole(scene: Scene, actor: Actor) -> None:
    """Faults 22 and 23: nothing arrives in either direction, and no connection closes."""
    await _hold(scene, actor, "requests", "replies")


async def _hold(scene: Scene, actor: Actor, *ways: Any) -> None:
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
    """Fault 27: the server forgets its scripts several times."""
    for _ in range(5):
        await asyncio.to_thread(_on_all, scene.stage, "SCRIPT FLUSH")
        await scene.wait(0.01, 0.2)


@fault("servers")
async def killed_clients(scene: Scene) -> None:
    """The server closes every connection, including blocking reads and subscriptions."""
    for kind in ("normal", "pubsub"):
        await asyncio.to_thread(_on_all, scene.stage, "CLIENT KILL", "TYPE", kind)
        await scene.wait(0.01, 0.2)


@fault("servers", "server")
async def server_killed(scene: Scene) -> None:
    """Fault 11: SIGKILL of the server, which comes back with its append-only file."""
    server = _single_server(scene)
    await asyncio.to_thread(server.kill)
    await scene.wait(0.0, 1.5 * SESSION)
    await asyncio.to_thread(server.start)


@fault("servers", "server")
async def server_stopped(scene: Scene) -> None:
    """SIGSTOP of the server: connections stay open, and nothing answers."""
    server = _single_server(scene)
    server.pause()
    await scene.wait(0.2 * SESSION, 2.5 * SESSION)
    server.resume()


@fault("servers", "server")
async def slow_script(scene: Scene) -> None:
    """Faults 25 and 26: a slow script of another client blocks the server; it may answer BUSY."""
    server = _single_server(scene)
    threshold = scene.rng.choice((100, 5000))
    await asyncio.to_thread(_execute, server, "CONFIG SET", "busy-reply-threshold", threshold)
    loop = "for i = 1, tonumber(ARGV[1]) do string.rep('x', 1000) end"
    await asyncio.to_thread(_execute, server, "EVAL", loop, 0, scene.rng.randint(1, 4) * 100_000)


@fault("servers", "server")
async def full_memory(scene: Scene) -> None:
    """Fault 28: the memory is full; workers continue, and producers are refused."""
    server = _single_server(scene)
    await asyncio.to_thread(_execute, server, "CONFIG SET", "maxmemory", 1)
    await scene.wait(0.5 * SESSION, 2 * SESSION)
    await asyncio.to_thread(_execute, server, "CONFIG SET", "maxmemory", 0)


@fault("servers", "server")
async def no_replicas(scene: Scene) -> None:
    """Fault 30: every write is refused for a while."""
    server = _single_server(scene)
    await asyncio.to_thread(_execute, server, "CONFIG SET", "min-replicas-to-write", 1)
    await scene.wait(0.5 * SESSION, 2 * SESSION)
    await asyncio.to_thread(_execute, server, "CONFIG SET", "min-replicas-to-write", 0)


@fault("servers", "server")
async def permissions_revoked(scene: Scene) -> None:
    """Fault 31: no client may call scripts or read logs for a while."""
    server = _single_server(scene)
    await asyncio.to_thread(_execute, server, "ACL SETUSER", "default", "-evalsha", "-xread")
    await scene.wait(0.5 * SESSION, 2 * SESSION)
    await asyncio.to_thread(_execute, server, "ACL SETUSER", "default", "+@all")


@fault("servers", "sentinel")
async def planned_failover(scene: Scene) -> None:
    """Fault 17: a failover that an operator asks for."""
    await asyncio.to_thread(_sentinel(scene).failover)


@fault("servers", "sentinel")
async def primary_killed(scene: Scene) -> None:
    """Faults 13 and 14: SIGKILL of the primary; writes that were not replicated are lost."""
    await asyncio.to_thread(_sentinel(scene).kill)


@fault("servers", "sentinel")
async def primary_frozen(scene: Scene) -> None:
    """Fault 16, as far as one machine allows: a replaced primary runs again after SIGSTOP."""
    await asyncio.to_thread(_sentinel(scene).freeze)


@fault("servers", "cluster")
async def slot_moved(scene: Scene) -> None:
    """Fault 38: a slot moves key by key, under load."""
    stage = _cluster(scene)
    slot = scene.rng.choice(stage.partitions + stage.groups)
    await asyncio.to_thread(stage.migrate, slot, scene.rng.randrange(2))


@fault("servers", "cluster")
async def cluster_failover(scene: Scene) -> None:
    """Fault 17: a failover that an operator asks for."""
    stage = _cluster(scene)
    await asyncio.to_thread(stage.failover, scene.rng.choice(stage.partitions))


@fault("servers", "cluster")
async def master_killed(scene: Scene) -> None:
    """Fault 39: SIGKILL of a master; its partitions wait for its replica, the others continue."""
    stage = _cluster(scene)
    await asyncio.to_thread(stage.kill, scene.rng.choice(stage.partitions))


@fault("servers", "cluster")
async def group_lost(scene: Scene) -> None:
    """Fault 40: the master with the keys of a group is killed."""
    stage = _cluster(scene)
    await asyncio.to_thread(stage.kill, scene.rng.choice(stage.groups))


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
    """An operator sets the checkpoint of a processor back while its workers run."""
    async with scene.servers:
        await _operate(scene, "reset", "--start", "0", "--execute")


async def _operate(scene: Scene, *arguments: str) -> None:
    command, *options = arguments
    code = await scene.cast.operate("processor", command, *options, "tests.soak.app:audit")
    if code != 0:
        raise AssertionError(f"runnel processor {command} ended with {code}")


# Helpers


def _single_server(scene: Scene) -> Server:
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
        _execute(server, *command)


def _execute(server: Server, *command: object) -> None:
    """Execute a command over a connection with a timeout of 30 s."""
    with connect_sync(server.url, 30.0) as client:
        client.execute_command(*command)
