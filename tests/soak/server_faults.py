"""Faults of servers, which run one at a time."""

from __future__ import annotations

import asyncio

from runnel.connection.connect import connect_sync
from tests.servers import Server
from tests.soak.app import SESSION
from tests.soak.scene import Scene, fault
from tests.soak.stage import ClusterStage, SentinelStage, ServerStage, Stage


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
