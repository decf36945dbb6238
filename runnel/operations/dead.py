"""Finds what a processor has set aside, parked events and dead letters alike; has it processed
after all, or drops it. All of it is safe while workers run."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from runnel import keys, protocol
from runnel.errors import Conflict, RecordError, RunnelError
from runnel.operations.admin import revoke
from runnel.processor import Processor
from runnel.protocol import ParkedKey
from runnel.protocol.ids import parts
from runnel.protocol.scripts import Call, Scripts

#: Entries of one read, so that Redis serves other clients in between.
PAGE = 100
#: Bytes of the letters of one call.
MOST_BYTES = 1_000_000
#: Keys of one call, and letters or parked events of one call.
MOST_KEYS, MOST_ENTRIES = 500, 100


@dataclass(frozen=True, slots=True)
class Item:
    """An event that was set aside. `kind` is "parked", "postponed" or "dead letter", `entry` the id
    of its entry there, `event` its own id. `attempts` is 0 if it only comes after another one of
    its key. `parked_key` is the key under which it is parked, `due_ms` when a postponed one is
    tried again. `replays` is how many replays of it have failed, the last one at `replayed_ms` if
    that is known. `traceback` is that of the failure for which it was set aside, so an older one
    than the error if it was `parked` and a replay has failed; empty if the client kept none."""

    kind: str
    partition: int
    entry: str
    event: str
    key: bytes
    attempts: int
    error_type: str
    error_message: str
    fields: Sequence[bytes]
    replaying: bool = False
    parked_key: bytes = b""
    due_ms: int | None = None
    replays: int = 0
    replayed_ms: int | None = None
    traceback: str = ""

    @property
    def at_ms(self) -> int:
        """When it was set aside."""
        return parts(self.entry)[0]


class Wanted(NamedTuple):
    """Which of them are meant: those of these partitions, None for all; of this key; set aside
    since that time, in ms; with this id."""

    partitions: Sequence[int] | None = None
    key: bytes | None = None
    since_ms: int = 0
    event: str | None = None

    def has(self, item: Item) -> bool:
        """Is this one meant?"""
        return (
            (self.key is None or item.key == self.key)
            and (self.event is None or item.event == self.event)
            and item.at_ms >= self.since_ms
        )


async def parked_keys(
    scripts: Scripts, processor: Processor, number: int
) -> dict[bytes, ParkedKey]:
    """The parked keys of a partition."""
    name = protocol.parked_names(processor.keys(number))[1]
    flat = await _ask(scripts, name, "HGETALL", name)
    values = zip(flat[::2], flat[1::2], strict=True)
    return {key: protocol.read_parked_key(value) for key, value in values}


async def find(scripts: Scripts, processor: Processor, wanted: Wanted) -> AsyncIterator[Item]:
    """Those that are meant, partition by partition, parked ones first, in their order."""
    count = processor.stream.partition_count
    for number in range(count) if wanted.partitions is None else wanted.partitions:
        async for item in _parked(scripts, processor, number):
            if wanted.has(item):
                yield item
        if processor.sink is not None:
            async for item in _letters(scripts, processor, number, wanted.since_ms):
                if wanted.has(item):
                    yield item


async def _parked(scripts: Scripts, processor: Processor, number: int) -> AsyncIterator[Item]:
    log, _, marks = protocol.parked_names(processor.keys(number))
    known = await parked_keys(scripts, processor, number)
    if not known:
        return
    replaying = set(await _ask(scripts, marks, "HKEYS", marks))
    postponed = processor.keys(number).postponed
    pairs = await _ask(scripts, postponed, "ZRANGE", postponed, 0, -1, "WITHSCORES")
    due = protocol.read_due_times(pairs)
    async for entry, values in _entries(scripts, log, "-"):
        found, again = protocol.read_parked(entry, values), None
        if (of_key := known.get(found.key)) and of_key.event == found.event:
            again = of_key  # Its last replay failed: that is newer than what the entry says.
        source = again or found
        of_postponed = protocol.key_of_postponed(found.key)
        yield Item(
            "postponed" if found.entry in due else "parked",
            number,
            found.entry,
            found.event,
            found.key if of_postponed is None else of_postponed,
            source.attempts,
            source.error_type,
            source.error_message,
            found.fields,
            found.key in replaying,
            found.key,
            due.get(found.entry),
            found.failed.replays + (again.replays if again else 0),
            (again.at_ms or None) if again else None,
            found.failed.traceback,
        )


async def _letters(
    scripts: Scripts, processor: Processor, number: int, since_ms: int
) -> AsyncIterator[Item]:
    sink, stream = processor.sink, processor.stream
    assert sink is not None
    log = keys.log(sink.prefix(number))
    async for entry, values in _entries(scripts, log, f"{since_ms}-0"):
        try:
            letter = sink.codec.decode(values)
        except RecordError:
            continue  # `runnel processor dead-letters` shows it.
        if letter.processor != processor.name:
            continue  # A sink may be shared.
        try:
            key = stream.key(stream.codec.decode(letter.fields))
        except Exception:  # The key of an event that cannot be decoded is empty.
            key = b""
        failed, _ = protocol.read_failed(values)
        yield Item(
            "dead letter",
            number,
            protocol.text(entry),
            letter.event,
            key,
            letter.attempts,
            letter.error_type,
            letter.error_message,
            letter.fields,
            replays=failed.replays,
            replayed_ms=parts(protocol.text(entry))[0] if failed.replays else None,
            traceback=failed.traceback,
        )


async def _entries(scripts: Scripts, log: str, start: str) -> AsyncIterator[tuple[Any, Any]]:
    while page := await _ask(scripts, log, "XRANGE", log, start, "+", "COUNT", PAGE):
        for entry, values in page:
            yield entry, values
        start = f"({protocol.text(page[-1][0])}"


async def _ask(scripts: Scripts, key: str, *command: Any) -> Any:
    (reply,) = await scripts.deployment.ask([(key, command)])
    return reply


def with_whole_keys(items: Iterable[Item]) -> dict[int, set[bytes]]:
    """Partition -> the keys of which parked events are among these. A key is replayed as a whole,
    since its events must stay in order."""
    found: defaultdict[int, set[bytes]] = defaultdict(set)
    for item in items:
        if item.kind != "dead letter":
            found[item.partition].add(item.parked_key)
    return found


async def replay(scripts: Scripts, processor: Processor, items: Sequence[Item]) -> None:
    """Have these events, and all parked events of their keys, processed by this processor before
    it reads on. Raises Full if the letters do not fit among the parked events, and RunnelError
    naming a reader of the letters that has not read one of these."""
    calls: list[tuple[int, Call]] = []
    for number, chosen in with_whole_keys(items).items():
        each = sorted(chosen)
        for at in range(0, len(each), MOST_KEYS):
            part = each[at : at + MOST_KEYS]
            calls.append((number, protocol.replay(processor.keys(number), part, _nonce())))
    await _call(scripts, processor, [*calls, *_taken(processor, items, drop=False)])


async def drop(scripts: Scripts, processor: Processor, items: Sequence[Item]) -> int:
    """Delete these events for good. Returns how many there were. Raises as `replay` does."""
    entries: defaultdict[int, list[str]] = defaultdict(list)
    for item in items:
        if item.kind != "dead letter":
            entries[item.partition].append(item.entry)
    calls: list[tuple[int, Call]] = []
    for number, each in entries.items():
        for at in range(0, len(each), MOST_ENTRIES):
            part = each[at : at + MOST_ENTRIES]
            calls.append((number, protocol.drop_parked(processor.keys(number), part, _nonce())))
    return await _call(scripts, processor, [*calls, *_taken(processor, items, drop=True)])


def _taken(
    processor: Processor, items: Iterable[Item], *, drop: bool
) -> Iterable[tuple[int, Call]]:
    """The calls that take letters out of their stream."""
    letters: defaultdict[int, list[Item]] = defaultdict(list)
    for item in items:
        if item.kind == "dead letter":
            letters[item.partition].append(item)
    for number, several in letters.items():
        part: list[tuple[str, Sequence[bytes]]] = []
        size = 0
        for item in several:
            error = item.error_type, item.error_message
            failed = protocol.Failed(item.replays, item.traceback)
            entry = protocol.parked_entry(
                item.key, item.event, item.fields, item.attempts, error, failed
            )
            size += sum(map(len, entry))
            if part and (len(part) == MOST_ENTRIES or size > MOST_BYTES):
                yield number, _take(processor, number, part)
                part, size = [], sum(map(len, entry))
            part.append((item.entry, [] if drop else entry))
        yield number, _take(processor, number, part)


def _take(processor: Processor, number: int, part: Sequence[tuple[str, Sequence[bytes]]]) -> Call:
    assert processor.sink is not None
    prefix, size = processor.sink.prefix(number), processor.park_limit
    return protocol.take_letters(processor.keys(number), prefix, part, size, _nonce())


async def _call(scripts: Scripts, processor: Processor, calls: Iterable[tuple[int, Call]]) -> int:
    changed, partitions = 0, set[int]()
    try:
        for number, call in calls:
            partitions.add(number)
            try:
                changed += int(await scripts.call(call))
            except Conflict as error:
                reader = error.details.get("processor")
                raise RunnelError(
                    f"partition {number}: the processor {reader} reads the dead letters, and has "
                    "not read all of these: let it, or remove it"
                ) from error
    finally:  # Also after an error: the owners were fenced, and must claim again.
        if partitions:
            await revoke(scripts, processor, partitions)
    return changed


def _nonce() -> str:
    return secrets.token_hex(16)
