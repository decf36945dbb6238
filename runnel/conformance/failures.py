"""Trials in which handlers fail, or end their process."""

from __future__ import annotations

import signal
from collections import Counter

from runnel import protocol
from runnel.conformance.contract import CONTRACT, GROUP, PARTS, RETRIES, Record, id_text, parse_id
from runnel.conformance.scene import Scene
from runnel.conformance.sender import KEYS, partition_of
from runnel.conformance.trial import Trials, adding_to
from runnel.protocol import PartitionDescription, Token

TRIALS: Trials = {}
trial = adding_to(TRIALS)

#: Two keys of different partitions.
_FIRST = KEYS[0]
_SECOND = next(key for key in KEYS if partition_of(key) != partition_of(_FIRST))


@trial("W21")
async def failing(scene: Scene) -> None:
    """Events fail: two a few times, and one each time, which quarantines its partition."""
    partition = partition_of(_FIRST)
    async with scene.no_load():
        await _send(scene, _FIRST, fail=1)
        await _send(scene, _SECOND, fail=2)
        bad = await _send(scene, _FIRST, fail=1000)
    if not await _quarantined(scene, partition, bad):
        return
    await scene.watch.call(protocol.revoke(GROUP, [partition]))  # The next lease finds it so.
    await scene.wait(0.5)
    await _skip(scene, partition, bad)


@trial("W21", workers=1)
async def failing_moves(scene: Scene) -> None:
    """A worker gets SIGTERM in the pause before a retry: the next one goes on with the count."""
    (first,) = scene.workers
    async with scene.no_load():
        bad = await _send(scene, _FIRST, fail=1)
    partition = partition_of(_FIRST)

    async def failed() -> bool:
        return (await scene.watch.states())[partition].error_event == bad

    if not await scene.watch.until(failed, scene.patience, 0.005):
        text = f"{first.name} has not reported the failure of {bad}"
        scene.fails("W21", text, scene.last_call(first))
        return
    first.signal(signal.SIGTERM)
    await first.ended(scene.patience)
    await scene.all_hold(await scene.worker())


@trial("W22", workers=0)
async def deadly(scene: Scene) -> None:
    """An event kills its second worker, too: the third one does not try it any more."""
    partition, other = partition_of(_FIRST), partition_of(_SECOND)
    async with scene.no_load():
        for each in PARTS:
            await scene.watch.call(protocol.register(each, CONTRACT, "0"))
        await _pass(scene, partition)
        bad = await _send(scene, _FIRST, die=True)
        await _send(scene, _SECOND)
        token = await _abandon(scene, partition, 1)
        start = protocol.attempt(PARTS[partition], token, "start", bad, RETRIES)
        await scene.watch.call(start)
        for grant in (1, 2, 3):
            await _abandon(scene, other, grant)
        first = await scene.worker()
        first.dies = True
        if not await first.ended(scene.patience):
            scene.fails("contract", f"{first.name} has not got the event {bad}, or survived it")
    await scene.worker(member=first.member)
    if await _quarantined(scene, partition, bad):
        await _skip(scene, partition, bad)


async def _pass(scene: Scene, partition: int) -> None:
    """Leave out what a partition has, so that its next event is the first one to process."""
    await scene.watch.collect()
    log = set(scene.history.log.get(partition, {}))
    scene.history.removed.setdefault(partition, set()).update(log)
    await scene.watch.call(protocol.seek(PARTS[partition], "$", None, scene.nonce()))


async def _abandon(scene: Scene, partition: int, grant: int) -> Token:
    """Claim a partition as an owner that then dies."""
    nonce = scene.nonce()
    call = protocol.claim(PARTS[partition], CONTRACT, "kit", grant, nonce)
    return Token(protocol.read_claim(await scene.watch.call(call)).epoch, nonce)


@trial("W8", needs="blocking")
async def blocked(scene: Scene) -> None:
    """A handler keeps its thread for two sessions: its worker keeps its partitions."""
    async with scene.no_load():
        before = await _at_rest(scene)
        seconds, began = 2 * scene.session, scene.clock()
        slow = await _send(scene, _FIRST, block=round(1000 * seconds))

        async def done() -> bool:
            return any(id_text(line.done.id) == slow for line in scene.history.lines)

        if not await scene.watch.until(done, scene.patience):
            return
        await scene.wait(0.5)
        after = await scene.watch.states()
    line = next(each for each in scene.history.lines if id_text(each.done.id) == slow)
    if line.before - began < seconds:
        text = f'a handler did not keep its thread as long as "block" says, {seconds:g} s'
        took = f"{line.shown()}, {line.before - began:.2f} s after it was sent"
        scene.fails("contract", text, took, timed=False)
    (member,) = {each.member for each in scene.workers if each.name == line.actor}
    lost = [
        str(number)
        for number, each in enumerate(before)
        if each.lease_owner == member and each.epoch != after[number].epoch
    ]
    if lost:
        text = f"{line.actor} lost partitions while its handler kept the thread"
        scene.fails("W8", text, f"partitions {', '.join(lost)}; the event is {slow}")


async def _at_rest(scene: Scene) -> list[PartitionDescription]:
    """The partitions when the workers have shared them out, and none moved for half a session. If
    that does not come, as they are."""
    seen: list[PartitionDescription] = []
    since = scene.clock()

    async def rested() -> bool:
        nonlocal since
        owners = Counter(await scene.watch.owners())
        found = await scene.watch.states()
        even = max(owners.values()) - min(owners.values()) <= 1
        shared = "" not in owners and len(owners) == len(scene.living) and even
        if not shared or [each.epoch for each in found] != [each.epoch for each in seen]:
            since = scene.clock()
        seen[:] = found
        return scene.clock() - since > scene.session / 2

    await scene.watch.until(rested, scene.patience)
    return seen


async def _send(scene: Scene, key: str, **orders: object) -> str:
    """Send a record with such orders to the handler. Returns its id."""
    record: Record = {**scene.records.next(key), "work": 0, **orders}
    await scene.send([record])
    await scene.watch.collect()
    log = scene.history.log[partition_of(key)]
    (id_,) = [each for each, entry in log.items() if entry.record == record]
    return id_text(id_)


async def _quarantined(scene: Scene, partition: int, event: str) -> bool:
    """Wait until a partition is quarantined, for this event. Notes it if it is not."""
    found: list[PartitionDescription] = []

    async def quarantined() -> bool:
        found[:] = [(await scene.watch.states())[partition]]
        return found[0].quarantined

    if not await scene.watch.until(quarantined, scene.patience):
        text = (
            f"partition {partition} is not quarantined, although its event {event} fails each time"
        )
        scene.fails("W21", text, f"checkpoint {found[0].checkpoint}" if found else "")
        return False
    if found[0].error_event != event:
        text = f"partition {partition} is quarantined for another event than the one that fails"
        scene.fails("W21", text, f"for {found[0].error_event} in place of {event}")
    return True


async def _skip(scene: Scene, partition: int, event: str) -> None:
    """Leave an event out, as an operator does: the partition goes on behind it."""
    scene.history.removed.setdefault(partition, set()).add(parse_id(event))
    after = f"{parse_id(event)[0]}-{parse_id(event)[1] + 1}"
    await scene.watch.call(protocol.seek(PARTS[partition], after, None, scene.nonce()))
    await scene.watch.call(protocol.revoke(GROUP, [partition]))
