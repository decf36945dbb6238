"""What operators do to processors and streams. Safe with workers running."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from runnel import keys, protocol
from runnel.core.ids import parts
from runnel.dead_letter import DeadLetter
from runnel.errors import BadArgument, ConfigError
from runnel.processor import Processor
from runnel.protocol import Place, Step, Token
from runnel.scripts import Call, Scripts
from runnel.stream import StreamSpec


def start_id(text: str) -> str:
    """The first event to be processed, from ``0``, ``$``, an id, or an ISO time (UTC if it has no
    zone). Raises ConfigError for anything else."""
    if text in ("0", "$"):
        return text
    head, _, tail = text.partition("-")
    if head.isdigit() and len(head) > 8 and (not tail or tail.isdigit()):
        return f"{head}-{tail or 0}"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"--start {text!r} is none of: 0 (the oldest), $ (the next to come), an event's id "
            "such as 1795435471123-0, a time such as 2026-11-24T03:00:00Z"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return f"{int(moment.timestamp() * 1000)}-0"


async def add(scripts: Scripts, processor: Processor) -> None:
    """Register the processor on every partition: retention spares what it has not passed."""
    spec = processor.stream
    for p in range(spec.partition_count):
        call = protocol.register(processor.place(p), spec.agreement, processor.start)
        await scripts.call(call)


async def reset(scripts: Scripts, processor: Processor, start: str) -> list[str]:
    """Set the position of every partition; running workers are fenced and read anew.

    Returns the new checkpoints.
    """
    places = [processor.place(p) for p in range(processor.stream.partition_count)]
    found = [await _seek(scripts, place, start) for place in places]
    await _regrant(scripts, processor)
    return found


async def _seek(scripts: Scripts, place: Place, start: str) -> str:
    nonce = secrets.token_hex(16)
    try:
        reply = await scripts.call(protocol.seek(place, start, None, nonce))
    except BadArgument as error:
        if error.details.get("field") != "read":
            raise
        read = await _ordinal(scripts, place, start)
        reply = await scripts.call(protocol.seek(place, start, read, nonce))
    return protocol.text(reply[0])


async def _ordinal(scripts: Scripts, place: Place, start: str) -> int:
    """Entries ever added before `start`, counted page by page so that Redis is never held up."""
    log = keys.log(place.prefix)
    info = await scripts.client.xinfo_stream(log)
    last, added, at, behind = info["last-generated-id"], int(info["entries-added"]), start, 0
    while page := await scripts.client.xrange(log, at, last, count=1000):
        behind += len(page)
        ms, sequence = parts(protocol.text(page[-1][0]))
        at = f"{ms}-{sequence + 1}"
    return added - behind


async def pause(scripts: Scripts, processor: Processor) -> int:
    """Stop the processor after the events in hand. Returns how many partitions ran."""
    numbers = range(processor.stream.partition_count)
    return await _each(scripts, processor, protocol.pause, numbers)


async def resume(scripts: Scripts, processor: Processor, partitions: list[int]) -> int:
    """End a pause or quarantine. Returns how many partitions it ended on."""
    return await _each(scripts, processor, protocol.resume, partitions)


async def _each(
    scripts: Scripts,
    processor: Processor,
    make: Callable[[Place], Call],
    partitions: Iterable[int],
) -> int:
    numbers, changed = list(partitions), 0
    for p in numbers:
        changed += int(await scripts.call(make(processor.place(p))))
    await _regrant(scripts, processor, numbers)
    return changed


async def skip(
    scripts: Scripts, processor: Processor, partition: int, sink: StreamSpec[DeadLetter] | None
) -> str | None:
    """Set the poison event of a quarantined partition aside, as a dead letter if there is a sink.

    Returns its id, or None if the partition is not quarantined on an event. The operator takes the
    lease for it, as any member would, so a worker that holds it is fenced.
    """
    place = processor.place(partition)
    picture = protocol.read_describe(await scripts.call(protocol.describe(place)))
    event = picture.get("error_event")
    if picture.get("quarantined") != "1" or not event:
        return None
    nonce = secrets.token_hex(16)
    grant = int(picture.get("grant", "0")) + 1
    agreement = processor.stream.agreement
    claimed = protocol.read_claim(
        await scripts.call(protocol.claim(place, agreement, "operator", grant, nonce))
    )
    if claimed.following != event:
        raise ConfigError(
            f"partition {partition}: the next event is {claimed.following or 'none'}, not the "
            f"failed {event}; resume without --skip"
        )
    token = Token(claimed.epoch, nonce)
    step = Step(claimed.checkpoint, event, 1, release=True)
    if sink is None:
        await scripts.call(protocol.commit(place, token, step))
        return event
    entries: Any = await scripts.client.xrange(keys.log(place.prefix), event, event)
    fields = [each for pair in entries[0][1].items() for each in pair]
    letter = DeadLetter.of(
        processor.stream.name,
        processor.name,
        partition,
        (event, fields),
        int(picture.get("attempts", "0")),
        (picture.get("error_type", ""), picture.get("error_message", "")),
    )
    await scripts.call(
        protocol.emit(
            place,
            token,
            step,
            sink.prefix(partition),
            sink.partition_size,
            "refuse",
            [sink.encode(letter)],
        )
    )
    return event


async def remove(scripts: Scripts, processor: Processor) -> int:
    """End the registration on every partition, with the position, and forget the group.

    Workers that still run it find out when they claim anew, and end. Returns on how many partitions
    it was registered.
    """
    removed = 0
    for p in range(processor.stream.partition_count):
        removed += int(await scripts.call(protocol.remove(processor.place(p))))
    group = processor.group
    roster = protocol.read_roster(await scripts.call(protocol.roster(group)))
    if any(member.left_ms > 0 for member in roster.members):
        await _regrant(scripts, processor)
    else:
        await scripts.client.unlink(keys.plan(group), keys.members(group), keys.sessions(group))
    await scripts.client.hdel(
        keys.processors(processor.app), f"{processor.stream.name}@{processor.name}"
    )
    return removed


async def delete_stream(scripts: Scripts, spec: StreamSpec[Any]) -> int:
    """Delete a stream with all its events, its processors' positions and their groups.

    Returns the number of events.
    """
    client, deleted, processors = scripts.client, 0, set()
    for p in range(spec.partition_count):
        prefix = spec.prefix(p)
        fields = [protocol.text(each) for each in await client.hkeys(keys.meta(prefix))]
        names = [each.removeprefix("passed:") for each in fields if each.startswith("passed:")]
        processors.update(names)
        deleted += int(await client.xlen(keys.log(prefix)))
        await client.unlink(
            keys.log(prefix),
            keys.meta(prefix),
            keys.producers(prefix),
            *(keys.state(prefix, name) for name in names),
        )
    for name in processors:
        group = keys.group(spec.app, spec.name, name)
        await client.unlink(keys.plan(group), keys.members(group), keys.sessions(group))
        await client.hdel(keys.processors(spec.app), f"{spec.name}@{name}")
    await client.hdel(keys.streams(spec.app), spec.name)
    return deleted


async def _regrant(
    scripts: Scripts, processor: Processor, partitions: list[int] | None = None
) -> None:
    numbers = partitions or list(range(processor.stream.partition_count))
    for at in range(0, len(numbers), 1000):
        await scripts.call(protocol.regrant(processor.group, numbers[at : at + 1000]))
