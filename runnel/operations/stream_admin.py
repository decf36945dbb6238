"""Creates streams, shows them, and trims them by hand. Needs no user code."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from typing import Any

from runnel import keys, protocol
from runnel.operations.figures import Json, lag_of, total
from runnel.operations.inspection import describe_all, stream_row, strings_at
from runnel.operations.log_pages import PageSize
from runnel.operations.registry import announce_stream, entry_of
from runnel.operations.registry_entry import Entry
from runnel.operations.table_sizes import usage
from runnel.protocol import PartitionDescription, PartitionKeys
from runnel.protocol.ids import parts
from runnel.protocol.scripts import Call, Scripts
from runnel.stream import StreamSpec

#: Calls in one round trip.
PAGE = 256


async def create(scripts: Scripts, spec: StreamSpec[Any]) -> bool:
    """Declare the stream on each partition, and its size and retention in the registry. Returns
    whether it is new. Raises Mismatch if it exists with another partition count or hash."""
    first, *others = (
        protocol.declare(spec.prefix(p), spec.contract) for p in range(spec.partition_count)
    )
    new = bool(await scripts.call(first))
    await _all(scripts, others)
    await announce_stream(scripts, spec)
    return new


async def _all(scripts: Scripts, calls: list[Call]) -> list[Any]:
    replies: list[Any] = []
    for at in range(0, len(calls), PAGE):
        replies += await scripts.call_all(calls[at : at + PAGE])
    for each in replies:
        if isinstance(each, Exception):
            raise each
    return replies


async def show(scripts: Scripts, spec: StreamSpec[Any]) -> Json:
    """A stream as one JSON object: its contract, what it holds, who reads it. What is unknown is
    None."""
    prefixes = [spec.prefix(p) for p in range(spec.partition_count)]
    found = await describe_all(scripts, prefixes, "")
    # What somebody has declared in Redis, or what this code says.
    known = (await strings_at(scripts.client, keys.streams(spec.app))).get(spec.name)
    entry = Entry.read(known, spec.app, spec.name) if known else entry_of(spec)
    bytes_used = await usage(scripts, [keys.log(each) for each in prefixes])
    row = stream_row(spec.app, spec.name, entry, found)
    for partition, size in zip(row["partitions"], bytes_used, strict=True):
        partition["bytes"] = size
    return {
        **row,
        "source": spec.source,
        "hash": next((each.hash for each in found if each.hash), None),
        "protocol": next((each.protocol for each in found if each.protocol), None),
        "bytes": total(bytes_used),
        "readers": await _readers(scripts, prefixes, found),
    }


async def tables(scripts: Scripts, spec: StreamSpec[Any]) -> list[str]:
    """The tables that processors have written on the partitions of a stream."""
    prefixes = [spec.prefix(number) for number in range(spec.partition_count)]
    return sorted(
        {name for each in await describe_all(scripts, prefixes, "") for name in each.writers}
    )


async def _readers(
    scripts: Scripts, prefixes: list[str], found: list[PartitionDescription]
) -> list[Json]:
    """The registered processors. `keeps` are the partitions whose oldest events stay for them."""
    readers = []
    for name in sorted({name for each in found for name in each.checkpoints}):
        of = await describe_all(scripts, prefixes, name)
        lowest = [
            number
            for number, each in enumerate(of)
            if name in each.checkpoints and each.next_id and _lowest(each) == each.checkpoints[name]
        ]
        readers.append(
            {
                "processor": name,
                "partitions": sum(name in each.checkpoints for each in of),
                "lag_events": total(lag_of(each) for each in of if name in each.checkpoints),
                "dropped": sum(each.dropped.get(name, 0) for each in of),
                "keeps": lowest,
            }
        )
    return readers


def _lowest(description: PartitionDescription) -> str | None:
    return min(description.checkpoints.values(), key=parts, default=None)


@dataclass(frozen=True)
class Trim:
    """What leaves: all but the newest `size` events of a partition, and events older than
    `max_age_ms`; 0 is neither. Unless `drop` is set, nothing leaves that a processor has not
    committed; while nobody reads, nothing leaves unless `unread` is set."""

    size: int = 0
    max_age_ms: int = 0
    drop: bool = False
    unread: bool = False

    @property
    def when_full(self) -> str:
        """The policy, as the script takes it."""
        return "drop_oldest" if self.drop else "drop_unread" if self.unread else "refuse"


@dataclass
class Trimmed:
    """What left, or would leave: events of each partition, and how many of them each processor had
    not committed. `kept_for` are the processors for which others stay; "-" if they stay because
    nobody reads the stream."""

    removed: dict[int, int] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    kept_for: dict[int, str] = field(default_factory=dict)


async def trim(
    scripts: Scripts, spec: StreamSpec[Any], what: Trim, partitions: Iterable[int]
) -> Trimmed:
    """Remove old events of these partitions, in many small steps."""
    done = Trimmed()
    for p in partitions:
        before = await _describe(scripts, spec, p)
        done.removed[p] = 0
        for size, age in ((0, what.max_age_ms), (what.size, 0)):
            more = size + age > 0
            while more:
                call = protocol.trim(spec.prefix(p), size, age, what.when_full)
                removed, more, kept_for = protocol.read_trim(await scripts.call(call))
                done.removed[p] += removed
                if kept_for:
                    done.kept_for[p] = kept_for
        after = await _describe(scripts, spec, p)
        for name, count in after.dropped.items():
            if lost := count - before.dropped.get(name, 0):
                done.lost[name] += lost
    return done


async def would_trim(
    scripts: Scripts, spec: StreamSpec[Any], what: Trim, partitions: Iterable[int]
) -> Trimmed:
    """What `trim` would remove now. It reads the events that would leave, in small pages."""
    found = Trimmed()
    for p in partitions:
        described = await _describe(scripts, spec, p)
        holder, lowest = await _holder(scripts, keys.log(spec.prefix(p)), described, what)
        length, now, removed = described.length or 0, described.now or 0, 0
        ids = _oldest(scripts, keys.log(spec.prefix(p)))
        async for id_ in ids:
            excess = 0 < what.size < length - removed
            too_old = what.max_age_ms > 0 and parts(id_)[0] < now - what.max_age_ms
            if not (excess or too_old) or (what.drop and length - removed == 1):
                break
            if holder is not None and parts(id_) >= parts(lowest):
                if parts(id_) == parts(lowest):
                    continue  # It stays so that losses can be found, and not for a processor.
                found.kept_for[p] = holder
                break
            removed += 1
            for name, checkpoint in described.checkpoints.items():
                found.lost[name] += parts(id_) > parts(checkpoint)
        await ids.aclose()
        found.removed[p] = removed
    found.lost = +found.lost
    return found


async def _holder(
    scripts: Scripts, log: str, described: PartitionDescription, what: Trim
) -> tuple[str | None, str]:
    """The processor for which events stay, and its checkpoint, behind which they do. "-" if they
    stay because nobody reads; None if all may leave."""
    if what.drop or not described.length:
        return None, "0-0"
    (groups,) = await scripts.deployment.ask([(log, ("XINFO", "GROUPS", log))])
    named = {protocol.text(each[1]) for each in groups}  # Each begins with its name.
    if not described.checkpoints:
        return (None if what.unread and not named else "-"), "0-0"
    for name in described.checkpoints:
        if name not in named:
            return name, "0-0"
    name = min(described.checkpoints, key=lambda each: parts(described.checkpoints[each]))
    return name, described.checkpoints[name]


async def _describe(
    scripts: Scripts, spec: StreamSpec[Any], partition: int
) -> PartitionDescription:
    call = protocol.describe(PartitionKeys(spec.prefix(partition), ""))
    return protocol.read_describe(await scripts.call(call))


async def _oldest(scripts: Scripts, log: str) -> AsyncGenerator[str, None]:
    """The ids of a log, from the oldest on."""
    page, start = PageSize(1), "-"
    while True:
        command = ("XRANGE", log, start, "+", "COUNT", page.limit)
        (entries,) = await scripts.deployment.ask([(log, command)])
        for id_, _ in entries:
            yield protocol.text(id_)
        if not entries:
            return
        page.saw(entries)
        start = f"({protocol.text(entries[-1][0])}"
