"""Trials with losses of data, and with what operators do to it."""

from __future__ import annotations

import time

from runnel import keys, protocol
from runnel.conformance.contract import CONTRACT, GROUP, PARTITIONS, PARTS, id_text, parse_id
from runnel.conformance.scene import Scene
from runnel.conformance.sender import KEYS, partition_of
from runnel.conformance.trial import Trials, adding_to
from runnel.protocol import CheckpointMove, Token
from runnel.protocol.scripts import Call

TRIALS: Trials = {}
trial = adding_to(TRIALS)


@trial("W13")
async def loss(scene: Scene) -> None:
    """Events are trimmed as they are added: each is counted. One vanishes while it is in hand."""
    async with scene.quiet():
        for _ in range(3):
            await _lose(scene, KEYS[0])
        await _vanish(scene, KEYS[0])
    await scene.wait(0.3)


async def _lose(scene: Scene, key: str) -> None:
    """Add five events and remove the first three, in one transaction."""
    partition = partition_of(key)
    before = (await scene.watch.states())[partition].lost or 0
    call = scene.sender.append(partition, [scene.records.next(key) for _ in range(5)], "msgpack")
    await scene.watch.scripts.load()
    trim = ("XTRIM", PARTS[partition].log, "MAXLEN", 2)
    commands = [("MULTI",), call.command(), trim, ("EXEC",)]
    replies = await scene.watch.client.roundtrip(commands)
    ids = protocol.read_append(replies[-1][0]).ids
    gone = f"of {', '.join(ids)} in partition {partition} the first three are trimmed"
    scene.history.note(f"fault: {gone}, as they are added")
    scene.history.removed.setdefault(partition, set()).update(map(parse_id, ids[:3]))

    async def processed() -> bool:
        return (await scene.watch.states())[partition].checkpoint == ids[-1]

    await scene.watch.until(processed, scene.patience)
    await scene.watch.collect()
    state = (await scene.watch.states())[partition]
    if (state.lost or 0) - before != 3:
        scene.fails(
            "W13",
            "LOST, and nobody was told: three events were removed before they were read, and "
            f"the processor has counted {(state.lost or 0) - before}",
            f"partition {partition}: {', '.join(ids[:3])} were removed, {', '.join(ids[3:])} "
            f"stayed; checkpoint {state.checkpoint}, lost {state.lost}",
        )


async def _vanish(scene: Scene, key: str) -> None:
    """Delete an event that a worker has in hand, as when a server that never had it takes over: its
    commit is refused, and ends the lease."""
    partition = partition_of(key)
    for _ in range(3):
        await scene.send([{**scene.records.next(key), "work": round(500 * scene.session)}])
        await scene.wait(0.2)
        await scene.watch.collect()
        vanishes = max(scene.history.log[partition])
        scene.history.removed.setdefault(partition, set()).add(vanishes)
        await scene.watch.ask("XDEL", PARTS[partition].log, id_text(vanishes))
        if parse_id((await scene.watch.states())[partition].checkpoint or "0-0") < vanishes:
            break
        scene.history.removed[partition].discard(vanishes)  # The machine stood still: it was done.
    await scene.send([scene.records.next(key) for _ in range(20)])


@trial("W2")
async def lost_keys(scene: Scene) -> None:
    """Keys of the group, of the processor and of a log disappear."""
    await scene.wait(0.3)
    await _claim_ahead(scene, 2)
    await scene.watch.ask("DEL", keys.plan(GROUP), keys.members(GROUP), keys.sessions(GROUP))
    await scene.wait(1.0)
    await scene.watch.ask("DEL", PARTS[0].state)
    await scene.wait(1.0)
    async with scene.quiet():
        await scene.watch.ask("DEL", PARTS[1].log)
    await scene.wait(1.0)


async def _claim_ahead(scene: Scene, partition: int) -> None:
    """Leave a grant larger than the group will give for a while, as when it was lost and the clock
    of the server went back."""
    grant, nonce = round(1000 * (time.time() + 3 * scene.session)), scene.nonce()
    part = PARTS[partition]
    claimed = protocol.read_claim(
        await scene.watch.call(protocol.claim(part, CONTRACT, "kit", grant, nonce))
    )
    move = CheckpointMove(claimed.checkpoint, claimed.checkpoint, 0, release=True)
    await scene.watch.call(protocol.commit(part, Token(claimed.epoch, nonce), move))


@trial("W11")
async def operators(scene: Scene) -> None:
    """Operators pause and resume a partition, and move its checkpoint back."""
    await scene.wait(0.3)
    for partition in range(PARTITIONS):
        await _operate(scene, partition, protocol.pause(PARTS[partition]))
    await scene.wait(0.6)
    for partition in range(PARTITIONS):
        await _operate(scene, partition, protocol.resume(PARTS[partition]))
    async with scene.quiet():
        call = protocol.seek(PARTS[0], "0", None, scene.nonce())
        await _operate(scene, 0, call)
    await scene.wait(0.3)


async def _operate(scene: Scene, partition: int, call: Call) -> None:
    await scene.watch.call(call)
    await scene.watch.call(protocol.revoke(GROUP, [partition]))
