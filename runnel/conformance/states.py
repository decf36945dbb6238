"""Trials with what others have left in Redis: events that are delayed, parked or postponed, an
outbox, permissions."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from functools import partial

from runnel import keys, protocol
from runnel.conformance.actors import Actor
from runnel.conformance.contract import (
    APP,
    CONTRACT,
    GROUP,
    KEY,
    PARTITIONS,
    PARTS,
    RETRIES,
    SIZE,
    Record,
    id_text,
    parse_id,
)
from runnel.conformance.scene import Scene
from runnel.conformance.sender import KEYS, entry, partition_of
from runnel.conformance.trial import Trials, adding_to
from runnel.preflight.roles import rule
from runnel.protocol import CheckpointMove, StreamContract, Token
from runnel.protocol.effects import OutboxEntries, ParkedEntries, PostponedEntries, Sink

TRIALS: Trials = {}
trial = adding_to(TRIALS)

_PARTITION = partition_of(KEYS[0])
#: Where an entry of the outbox goes.
_ELSEWHERE = Sink(
    keys.partition(APP, "elsewhere", 0, "elsewhere"), StreamContract(1, "xxh64"), 100, False
)


def _later_key(partition: int) -> str:
    """A key of this partition with which nothing else is sent."""
    return next(
        key for key in (f"later-{n}" for n in range(1000)) if partition_of(key) == partition
    )


# Delayed events


@trial("W25", needs="delayed")
async def delayed(scene: Scene) -> None:
    """Delayed events become due: workers let them enter the log."""
    async with scene.no_load():  # A producer that meets one lets it enter the log, too.
        for partition in range(PARTITIONS):
            for ms in (200, 400):
                await _delay(scene, partition, ("delay", ms))
        if not await scene.watch.until(lambda: _none_waits(scene), scene.patience):
            text = "delayed events are due, and no worker has let them enter the log"
            scene.fails("W25", text, f"{await _waiting(scene)} of {2 * PARTITIONS} wait")


@trial("P8")
async def overdue(scene: Scene) -> None:
    """Delayed events are due while no worker lives: what is sent waits for them."""
    for each in scene.workers:
        each.signal(signal.SIGSTOP)
    for partition in range(PARTITIONS):
        await _delay(scene, partition, ("at", 1))
    if not await scene.watch.until(lambda: _none_waits(scene), scene.patience):
        text = "events are overdue, and no producer has let them enter the log"
        scene.fails("P8", text, f"{await _waiting(scene)} of {PARTITIONS} wait")
    for each in scene.workers:
        each.signal(signal.SIGCONT)


async def _delay(scene: Scene, partition: int, due: tuple[str, int]) -> None:
    record = {**scene.records.next(_later_key(partition)), "work": 1}
    entries = [entry(record, "msgpack")]
    prefix, request = PARTS[partition].prefix, scene.nonce()
    await scene.watch.call(
        protocol.append_later(prefix, CONTRACT, SIZE, due, request, 600_000, entries)
    )


async def _waiting(scene: Scene) -> int:
    return sum([each.delayed or 0 for each in await scene.watch.states()])


async def _none_waits(scene: Scene) -> bool:
    return not await _waiting(scene)


# What an earlier owner has left


@trial("W11", workers=0, needs="parked", refuses=True)
async def parked(scene: Scene) -> None:
    """A parked event fails at its replay, not at the next: those of its key wait behind it."""
    able = "parked" not in scene.without
    first, record = await _owned(scene, _park, fail=RETRIES + 1 if able else 0)
    key = scene.history.parked[_PARTITION] = record[KEY]

    async def replay() -> None:
        await scene.watch.call(protocol.replay(PARTS[_PARTITION], [key.encode()], scene.nonce()))
        await scene.watch.call(protocol.revoke(GROUP, [_PARTITION]))

    if not await _taken_over(scene, "parked", replay):
        return
    await scene.wait(0.5)
    early = [
        line
        for line in scene.history.lines
        if line.done.partition == _PARTITION and line.done.record.get(KEY) == key
    ]
    if early:
        text = "an event was processed although an earlier one of its key is parked"
        scene.fails("W11", text, f"{early[0].shown()}; {first} is parked", timed=False)

    async def is_over() -> bool:
        state = (await scene.watch.states())[_PARTITION]
        return not state.parked or not state.replay

    # It fails once more if another process has it by now.
    for tries in range(3):
        await replay()
        if not await scene.watch.until(is_over, scene.patience):
            left = (await scene.watch.states())[_PARTITION].parked
            text = "parked events are to be replayed, and stay so"
            scene.fails("W11", text, f"{left} are left, after replay {tries + 1}")
            break
        if not tries:
            await _check_park_again(scene, first)
        if not (await scene.watch.states())[_PARTITION].parked:
            return
    else:
        scene.fails("W11", "parked events are to be replayed, and stay parked", first)
    scene.history.stay_parked.add(_PARTITION)


async def _check_park_again(scene: Scene, first: str) -> None:
    """A replay has failed: everyone knows how often, and nothing of the key is tried meanwhile."""
    part, which = PARTS[_PARTITION], f"{first} of partition {_PARTITION}"
    await scene.wait(0.5)
    failed = [each for each in scene.history.failed if id_text(each.done.id) == first]
    parked = (await scene.watch.states())[_PARTITION].parked
    if len(failed) != RETRIES + 1 or not parked:
        text = f"a replayed event that fails is tried {RETRIES + 1} times, and then stays parked"
        became = "it stays parked" if parked else "it was tried once more"
        scene.fails("W21", text, f"{which} has failed {len(failed)} times; then {became}")
    if not parked:
        return
    values = await scene.watch.ask("HVALS", protocol.parked_names(part)[1])
    told = b" ".join(values[0].split(b" ", 3)[1:3]).decode() if values else "nothing"
    if told != f"{first} {RETRIES + 1}":
        text = "`park_again` was not told how often a replayed event has failed"
        scene.fails("W11", text, f"{which}: parked_keys has {told}")


@trial("W27", workers=0, needs="postponed", refuses=True)
async def postponed(scene: Scene) -> None:
    """An earlier owner has postponed an event: it is tried again when it is due."""
    wait = 1.5 * scene.session
    early = scene.clock() + wait
    first, _ = await _owned(scene, partial(_postpone, round(1000 * wait)))
    scene.history.postponed[_PARTITION] = parse_id(first)
    scene.history.removed[_PARTITION] = {parse_id(first)}  # The commits of workers begin behind it.
    if "parked" in scene.without:
        await _taken_over(scene, "parked", None)
        return
    await scene.all_hold(await scene.worker(), await scene.worker())

    async def over() -> bool:
        return not (await scene.watch.states())[_PARTITION].parked

    known = "postponed" not in scene.without
    in_time = await scene.watch.until(over, scene.patience if known else wait)
    tried = [
        line
        for line in scene.history.lines
        if (line.done.partition, line.done.id) == (_PARTITION, parse_id(first))
    ]
    which = f"{first} of partition {_PARTITION}"
    if known and not (in_time and tried):
        text = "a postponed event is due, and no worker has tried it again and finished it"
        scene.fails("W27", text, f"{which}: {f'{len(tried)} tries' if tried else 'never tried'}")
    elif not known and (in_time or tried):
        scene.fails("W27", "a postponed event was not left alone", which)
    if tried and tried[0].before < early:
        text = "a postponed event was tried before it was due"
        scene.fails("W27", text, f"{tried[0].shown()}, {early - tried[0].before:.2f} s too early")


@trial("W11", workers=0, needs="outbox", refuses=True)
async def outbox(scene: Scene) -> None:
    """An earlier owner has left an entry in the outbox: the next one forwards it."""
    await scene.watch.call(_ELSEWHERE.declarations()[0])
    first, _ = await _owned(scene, _emit)
    scene.history.removed[_PARTITION] = {parse_id(first)}

    async def forwarded() -> bool:
        state = (await scene.watch.states())[_PARTITION]
        return state.outbox_last == state.outbox_done

    if not await _taken_over(scene, "outbox", None):
        return
    if not await scene.watch.until(forwarded, scene.patience):
        state = (await scene.watch.states())[_PARTITION]
        text = f"{state.outbox_done} of {state.outbox_last} entries were forwarded"
        scene.fails("W11", "what is in the outbox is not forwarded", text)
    elif (length := await scene.watch.ask("XLEN", _ELSEWHERE.log)) != 1:
        scene.fails("W11", "an entry of the outbox was not added once", f"{length} are there")


Effects = Callable[[str, Record], protocol.Effect]


def _park(first: str, record: Record) -> protocol.Effect:
    key, fields = str(record[KEY]).encode(), entry(record, "msgpack")
    parked = protocol.parked_entry(key, first, fields, 4, ("Error", "as the trial has it"))
    return ParkedEntries(PARTS[_PARTITION], SIZE, [parked])


def _postpone(ms: int, first: str, record: Record) -> protocol.Effect:
    key = protocol.postponed_key(first, str(record[KEY]).encode())
    error = ("Error", "as the trial has it")
    parked = protocol.parked_entry(key, first, entry(record, "msgpack"), 1, error)
    return PostponedEntries(PARTS[_PARTITION], ms, SIZE, [parked])


def _emit(first: str, record: Record) -> protocol.Effect:
    values = [b"to", _ELSEWHERE.address().encode(), *entry(record, "msgpack")]
    return OutboxEntries(PARTS[_PARTITION].outbox, 100, [values])


async def _owned(scene: Scene, effect: Effects, fail: int = 0) -> tuple[str, Record]:
    """Process the first event of a partition as an owner that has this effect, and then releases.
    Returns id and record of the event, which is to `fail` so often from now on."""
    part, watch = PARTS[_PARTITION], scene.watch
    record: Record = {**scene.records.next(KEYS[0]), "work": 1} | ({"fail": fail} if fail else {})
    async with scene.no_load():
        for each in PARTS:
            await watch.call(protocol.register(each, CONTRACT, "0"))
        await scene.send([record])
        await watch.collect()
        log = scene.history.log[_PARTITION]
        first = min(log)
        record, id_ = log[first].record or record, id_text(first)
        nonce = scene.nonce()
        claimed = protocol.read_claim(
            await watch.call(protocol.claim(part, CONTRACT, "kit", 1, nonce))
        )
        move = CheckpointMove(claimed.checkpoint, id_, 1, release=True)
        token = Token(claimed.epoch, nonce)
        await watch.call(protocol.transact(part, token, move, [effect(id_, record)]))
    return id_, record


async def _taken_over(
    scene: Scene, ability: str, settle: Callable[[], Awaitable[None]] | None
) -> bool:
    """Start workers. A client without the ability must refuse the partition: then workers in Python
    do the rest. Returns whether it has the ability."""
    if ability not in scene.without:
        await scene.all_hold(await scene.worker(), await scene.worker())
        return True
    await _refuses(scene, await scene.worker(), ability)
    await scene.all_hold(await scene.worker(python=True))
    if settle is not None:
        await settle()
    return False


async def _refuses(scene: Scene, worker: Actor, ability: str) -> None:
    """A worker that does not know what a claim speaks of leaves, and ends with an error."""
    worker.to_be_replaced, worker.ends_by = True, "W11"
    if not await worker.ended(scene.patience):
        text = (
            f"{worker.name} holds a partition with what it does not know ({ability}), and goes on"
        )
        scene.fails("W11", text, scene.last_words(worker))
        worker.signal(signal.SIGKILL)
    done = [
        each
        for each in scene.history.lines
        if (each.actor, each.done.partition) == (worker.name, _PARTITION)
    ]
    if done:
        text = f"{worker.name} has processed a partition with what it does not know ({ability})"
        scene.fails("W11", text, done[0].shown(), timed=False)
    states = await scene.watch.states()
    if states[_PARTITION].lease_owner == worker.member and worker.exit_code is not None:
        text = f"{worker.name} has not released partition {_PARTITION}"
        scene.fails("W11", text, scene.last_call(worker))


# Permissions


@trial("C10", workers=0, needs="permissions")
async def permissions(scene: Scene) -> None:
    """A worker without a permission ends before it writes; with the least rule it works."""
    await _allow(scene, "-xgroup|setid")
    refused = await scene.worker()
    refused.to_be_replaced, refused.ends_by = True, "C10"
    if not await refused.ended(scene.patience):
        text = f"{refused.name} may not run XGROUP SETID, and does not end"
        scene.fails("C10", text, scene.last_words(refused))
        refused.signal(signal.SIGKILL)
    written = [
        call
        for call in scene.history.calls
        if call.actor == refused.name and call.script != "check_acl" and not call.error
    ]
    if written:
        text = f"{refused.name} may not run XGROUP SETID, and made other calls before it ended"
        scene.fails("C10", text, written[0].shown(), timed=False)
    said = refused.log.read_text(errors="replace").lower()
    if "xgroup" not in said:
        text = f"{refused.name} ended, and its stderr does not name the command that it may not run"
        scene.fails("C10", text, scene.last_words(refused))
    await _allow(scene)
    await scene.all_hold(await scene.worker(), await scene.worker())


async def _allow(scene: Scene, *less: str) -> None:
    """The workers that are started from now on may do what the least rule says, but for this."""
    words = rule("worker", APP, "limited").text().replace("PASSWORD", "secret").split()
    await scene.watch.ask(*words, *less)
    scene.user = "limited:secret"
