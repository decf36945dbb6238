"""Faults of workers and producers, and of their connections."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from tests.soak.app import MAX_BLOCK, SESSION
from tests.soak.cast import Actor
from tests.soak.scene import MAX_WORKERS, Scene, fault

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
