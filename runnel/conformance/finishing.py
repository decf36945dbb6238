"""The end of each trial: what was sent is processed, then all processes end."""

from __future__ import annotations

import asyncio
import signal

from runnel.conformance.actors import Actor
from runnel.conformance.scene import Scene

#: Seconds that a worker has to end after SIGTERM.
_LEAVE = 10.0
#: Seconds in which a producer may finish what needs no worker, once none lives.
_NOBODY = 2.0


async def finish(scene: Scene) -> None:
    """End the load, wait until everything is processed, and end the workers."""
    await scene.end_load()
    await _finish_producers(scene)
    if not await _processed(scene):
        seconds = f"for {scene.patience / 2:.0f} s nothing more was"
        left = await scene.watch.left()
        scene.fails("outcome", f"not everything was processed, and {seconds}", *left)
    scene.look()
    await scene.watch.collect()
    for each in scene.living:
        each.signal(signal.SIGTERM)
    await asyncio.gather(*(_end(scene, each) for each in scene.workers))
    await scene.end_watching()


class _Progress:
    """When something was processed or acknowledged last. It comes to an end, because it counts each
    event once."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._seen = self._done()
        self._since = scene.clock()

    def _done(self) -> int:
        lines, sent = self._scene.history.lines, self._scene.history.sent
        events = {(each.done.partition, each.done.id) for each in lines}
        # To give up a record is no progress: it may be one of hundreds.
        return len(events) + len({(each.key, each.number) for _, each in sent if each.id})

    def over(self, seconds: float) -> bool:
        """Was there none for so long?"""
        now, done = self._scene.clock(), self._done()
        if done > self._seen:
            self._seen, self._since = done, now
        return now > self._since + seconds


async def _finish_producers(scene: Scene) -> None:
    """A producer waits as long as partitions are full, so its time begins when nothing goes on."""
    for each in scene.producers:
        progress = _Progress(scene)
        while each.alive and not progress.over(scene.patience if scene.living else _NOBODY):
            for _ in range(20):  # To count takes longer than to look.
                each.finish()
                if await each.ended(0.01):
                    break
        each.waits_in_vain = each.alive and not scene.living
        if each.told is not None or each.waits_in_vain:
            continue
        if each.alive:
            text = f"{each.name} does not end, and for {scene.patience:.0f} s nothing was done"
            scene.fails("contract", text, f"{each.unsaid} of {each.given} records are in flight")
        elif each.exit_code != 0:
            text = f"{each.name} ended by itself"
            scene.fails("contract", text, scene.last_words(each), timed=False)


async def _processed(scene: Scene) -> bool:
    """Wait until everything is processed, or until nothing more is."""
    progress = _Progress(scene)
    while not await scene.watch.until(scene.caught_up, 0.5):
        if progress.over(scene.patience / 2):
            return False
    return bool(scene.living)


async def _end(scene: Scene, actor: Actor) -> None:
    if not await actor.ended(_LEAVE):
        text = f"{actor.name} did not end within {_LEAVE:.0f} s of SIGTERM"
        scene.fails("W26", text, scene.last_call(actor))
        actor.signal(signal.SIGKILL)
        await actor.ended(_LEAVE)
