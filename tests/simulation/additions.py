"""What calls add to partitions and write to tables, as the model of the simulator does it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runnel.protocol.scripts import Call
from tests.simulation.stored import Fields, Log, Partition, Refused, parts, split


def check_writer(partition: Partition, processor: str, key: str) -> None:
    """Another processor must not have written a table."""
    if partition.meta.get(f"table:{split(key)[2]}", processor) != processor:
        raise Refused("NOT_WRITER")


def write(partition: Partition, processor: str, key: str, effect: Sequence[Any]) -> None:
    """Write to a table."""
    name, table = split(key)[2], partition.tables.setdefault(split(key)[2], {})
    partition.meta[f"table:{name}"] = processor
    values = [_bytes(each) for each in effect[3:]]
    pairs = 2 * int(effect[1])
    table.update(zip(values[:pairs:2], values[1:pairs:2], strict=True))
    for deleted in values[pairs:]:
        table.pop(deleted, None)


def sinks_of(call: Call) -> list[tuple[str, list[Fields]]]:
    """The keys of the logs, and of the outbox, to which a commit adds entries, and these."""
    found: list[tuple[str, list[Fields]]] = []
    at, key = 7, 3
    while call.script == "transact" and at < len(call.args):
        end, first = effect_end(call.args, at), entries_of(call.args, at)
        if first:
            found.append((call.keys[key], entries_in(call.args[first:end])))
        key, at = key + (2 if call.args[at] in ("derived", "stream") else 1), end
    return found


def entries_of(args: Sequence[Any], at: int) -> int:
    """Where the entries begin of the effect that begins at `at`; 0 if it has none."""
    return {"table": 0, "derived": at + 4, "stream": at + 7, "outbox": at + 3}[str(args[at])]


def effect_end(args: Sequence[Any], at: int) -> int:
    """Where the effect ends that begins at `at`."""
    if not (end := entries_of(args, at)):
        return at + 3 + 2 * int(args[at + 1]) + int(args[at + 2])
    for _ in range(int(args[at + (2 if args[at] == "outbox" else 3)])):
        end += int(args[end]) + 1
    return end


def entries_in(flat: Sequence[Any]) -> list[Fields]:
    """The entries in arguments: for each the number of its fields and values, then these."""
    entries, at = [], 0
    while at < len(flat):
        width = int(flat[at])
        entries.append(tuple(_bytes(each) for each in flat[at + 1 : at + 1 + width]))
        at += width + 1
    return entries


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def plan_trim(
    partition: Partition,
    limits: str,
    more: int,
    policy: str,
    now: int,
    passed: Mapping[str, str] | None = None,
) -> int:
    """How many entries must be dropped, for room, or, if there is room, because of their age.
    `limits` are the size and the age; `passed` has checkpoints that the call moves in its own log,
    where one entry more fits. Raises Refused if that is not allowed."""
    log = partition.log or Log()
    size, _, age = limits.partition(",")
    excess = min(len(log.entries) + more - int(size) - len(passed or {}), 1000)
    if excess <= 0:
        return _plan_age(partition, int(age), now) if age else 0
    ids = list(log.entries)
    checkpoints = {n[11:]: at for n, at in partition.meta.items() if n.startswith("checkpoint:")}
    checkpoints.update({n: at for n, at in (passed or {}).items() if n in checkpoints})
    if len(ids) <= excess or (policy == "refuse" and not checkpoints):
        raise Refused("FULL")
    for processor, checkpoint in checkpoints.items():
        unread = sum(parts(id_) > parts(checkpoint) for id_ in ids[:excess])
        behind = processor not in log.groups or parts(ids[excess]) > parts(checkpoint)
        if policy == "refuse" and behind:
            raise Refused("FULL")
        if unread:
            dropped = int(partition.meta.get(f"dropped:{processor}", 0)) + unread
            partition.meta[f"dropped:{processor}"] = str(dropped)
            _count_as_read(log, processor, ids[:excess])
    return excess


def lowest_checkpoint(partition: Partition) -> tuple[str | None, str]:
    """The lowest checkpoint and its processor. None if nothing may leave, with the processor whose
    group is missing, if it is that."""
    log, lowest, holder = partition.log or Log(), None, ""
    for name, at in partition.meta.items():
        if not name.startswith("checkpoint:"):
            continue
        if name[11:] not in log.groups:
            return None, name[11:]
        if lowest is None or parts(at) < parts(lowest):
            lowest, holder = at, name[11:]
    return lowest, holder


def _plan_age(partition: Partition, age: int, now: int) -> int:
    """How many entries leave because they are older than `age`, in ms."""
    looked = partition.meta.get("trimmed_at")
    if looked is not None and 0 <= now - int(looked) < age / 100:
        return 0
    partition.meta["trimmed_at"] = str(now)
    log, (lowest, _) = partition.log or Log(), lowest_checkpoint(partition)
    bound = min(parts(f"{now - age}-0"), parts(lowest or "0-0"))
    return sum(parts(each) < bound for each in log.entries)


def _count_as_read(log: Log, processor: str, ids: Sequence[str]) -> None:
    """Entries that retention drops do not count as lag of the consumer group."""
    group_id, read = log.groups.get(processor, (ids[-1], 0))
    if unread := sum(parts(id_) > parts(group_id) for id_ in ids):
        log.groups[processor] = (ids[-1], read + unread)


def add_to_outbox(outbox: Log, state: dict[str, str], new: Sequence[Fields]) -> None:
    written = int(state.get("outbox_last", 0))
    for i, entry in enumerate(new):
        outbox.last = f"{state['epoch']}-{written + i + 1}"
        outbox.entries[outbox.last] = entry
    state["outbox_last"] = str(written + len(new))


def add(partition: Partition, entries: Iterable[Fields], ids: Sequence[str], excess: int) -> None:
    log = partition.log = partition.log or Log()
    for id_, entry in zip(ids, entries, strict=True):
        assert parts(id_) > parts(log.last), f"{id_} is not larger than {log.last}"
        log.entries[id_] = entry
        log.last = id_
        log.added += 1
        partition.known[id_] = entry
    partition.remove_entries(list(log.entries)[:excess])
