"""A model of the keys of partition scope: the scripts, implemented again in plain Python.

`Model.expect` takes an executed call and returns the reply that it must have; afterwards the model
holds what the keys must hold. The server chooses the ids of entries, so the model takes them from
the reply.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

from runnel.protocol import ids
from runnel.protocol.scripts import Call
from tests.simulation.counting import Truth

#: An id as a pair of integers.
parts = lru_cache(100_000)(ids.parts)

Fields = tuple[bytes, ...]
#: The fields of meta that all clients must agree on.
CONTRACT = ("protocol", "partitions", "hash")


@dataclass
class Log:
    """A Redis stream: its entries by id, and what XINFO reports."""

    entries: dict[str, Fields] = field(default_factory=dict)
    added: int = 0
    last: str = "0-0"
    #: Consumer group -> last delivered id, entries read.
    groups: dict[str, tuple[str, int]] = field(default_factory=dict)

    def first(self) -> str:
        return next(iter(self.entries), "0-0")

    def after(self, id_: str) -> list[str]:
        """The ids of the entries after this id."""
        return [each for each in self.entries if parts(each) > parts(id_)]


@dataclass
class Partition:
    """One partition of one stream."""

    log: Log | None = None
    meta: dict[str, str] = field(default_factory=dict)
    producers: dict[str, str] = field(default_factory=dict)
    states: dict[str, dict[str, str]] = field(default_factory=dict)
    #: Table -> its fields.
    tables: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    #: Processor -> what its table must have, by the events that were committed.
    truths: dict[str, Truth] = field(default_factory=dict)
    #: Processor -> how many items of each key its commits have emitted to the stream with other
    #: keys.
    moved: dict[str, Counter[str]] = field(default_factory=dict)
    #: Processor -> its outbox, and for each partition in another slot, by its prefix, what
    #: commits have written there for it.
    outboxes: dict[str, Log] = field(default_factory=dict)
    owed: dict[str, dict[str, list[Fields]]] = field(default_factory=dict)
    #: Sender -> what is remembered of it, and how many of its entries were added here.
    numbers: dict[str, str] = field(default_factory=dict)
    forwarded: Counter[str] = field(default_factory=Counter)
    #: All entries ever added, including removed ones.
    known: dict[str, Fields] = field(default_factory=dict)
    #: Processor -> ids that were removed before it had committed them: those that it has not yet
    #: counted as lost, and those that it has.
    uncounted: dict[str, set[str]] = field(default_factory=dict)
    counted: dict[str, set[str]] = field(default_factory=dict)
    #: Ids that were deleted one by one. Only the counts show that, no read does.
    deleted: set[str] = field(default_factory=set)
    #: Processor -> ids that an operator has skipped by a seek.
    skipped_by_seek: dict[str, set[str]] = field(default_factory=dict)
    #: Processors that were registered here and not removed, in order.
    processors: dict[str, None] = field(default_factory=dict)
    #: Keys were lost: the counts need not be exact any more.
    keys_lost: bool = False

    def remove_entries(self, ids: Iterable[str]) -> None:
        """Remove entries that retention, an operator or a fault removed."""
        for id_ in ids:
            del self.log.entries[id_]  # type: ignore[union-attr]
            for processor in self.processors:
                meta_checkpoint = self.meta.get(f"checkpoint:{processor}", "0-0")
                checkpoint = self.states.get(processor, {}).get("checkpoint", meta_checkpoint)
                if parts(id_) > parts(checkpoint):
                    self.uncounted.setdefault(processor, set()).add(id_)


class Refused(Exception):
    """The script must refuse the call with this error code."""


def split(key: str) -> tuple[str, str, str]:
    """The parts of a key: the prefix of its partition, its kind, and its processor."""
    prefix, _, rest = key.partition("}:")
    stream, _, kind = rest.partition(":")
    kind, _, processor = kind.partition(":")
    return f"{prefix}}}:{stream}", kind, processor


class Model:
    """All partitions."""

    def __init__(self) -> None:
        self.partitions: dict[str, Partition] = {}

    def at(self, prefix: str) -> Partition:
        """The partition whose keys have this prefix."""
        return self.partitions.setdefault(prefix, Partition())

    def copy(self) -> dict[str, Partition]:
        """A copy of the current state, as a replica has it."""
        return copy.deepcopy(self.partitions)

    def expect(
        self,
        script: str,
        keys: Sequence[str],
        args: Sequence[Any],
        now: int,
        added: Mapping[str, Sequence[str]],
    ) -> list[Any]:
        """The reply that the script must return. `added` has the ids of its new entries, by the
        prefix of their partition.

        Raises Refused, and then changes nothing.
        """
        partition = self.at(split(keys[0])[0])
        text = [each if isinstance(each, bytes) else str(each) for each in args]
        call = getattr(self, f"_{script}")
        if script in ("attempt", "pause", "resume"):
            reply = call(partition.states.get(split(keys[0])[2], {}), text, now)
        elif script == "transact":
            reply = call(partition, keys, text, now, added)
        elif script in ("append", "append_numbered"):
            reply = call(partition, text, added.get(split(keys[0])[0], ()))
        elif script == "trim_outbox":
            processor = split(keys[0])[2]
            outbox = partition.outboxes.setdefault(processor, Log())
            reply = call(partition.states.get(processor, {}), outbox, text, now)
        else:
            reply = call(partition, text, now)
        return list(reply) if isinstance(reply, tuple) else [reply]

    # One function for each script

    def _declare(self, partition: Partition, args: list[Any], now: int) -> int:
        check_contract(partition, args)
        return declare(partition, args)

    def _register(self, partition: Partition, args: list[Any], now: int) -> tuple[int, str]:
        check_contract(partition, args)
        processor, start = args[3:5]
        state, log = partition.states.get(processor, {}), partition.log
        meta_checkpoint = partition.meta.get(f"checkpoint:{processor}")
        group_exists = log is not None and processor in log.groups
        if "checkpoint" in state and meta_checkpoint and group_exists:
            return 0, state["checkpoint"]
        added, length, last = (log.added, len(log.entries), log.last) if log else (0, 0, "0-0")
        group_id, group_read = log.groups[processor] if log and group_exists else (None, None)
        checkpoint, created = state.get("checkpoint") or meta_checkpoint or group_id, 2
        if checkpoint and group_read is None:
            group_read = added - len(log.after(checkpoint)) if log else added
        read = int(state.get("read", min(group_read or 0, added)))
        if not checkpoint:
            created = 1
            checkpoint, read = (last, added) if start == "$" else ("0-0", added - length)
        declare(partition, args)
        partition.processors[processor] = None
        if not group_exists:
            if log is None:
                log = partition.log = Log()
                if checkpoint != "0-0":
                    log.last, log.added = checkpoint, read
            log.groups[processor] = (checkpoint, read)
        partition.states.setdefault(processor, {}).update(checkpoint=checkpoint, read=str(read))
        partition.meta[f"checkpoint:{processor}"] = checkpoint
        partition.meta.pop(f"removed:{processor}", None)
        return created, checkpoint

    def _claim(self, partition: Partition, args: list[Any], now: int) -> tuple[Any, ...]:
        check_contract(partition, args)
        processor, member, grant, nonce, accept = args[3:8]
        state, log = partition.states.get(processor, {}), partition.log
        if "checkpoint" not in state or f"checkpoint:{processor}" not in partition.meta:
            raise Refused("UNREGISTERED")
        repeated = state.get("grant") == grant and state.get("nonce") == nonce
        repeated = repeated and state.get("released") != "1"
        if int(grant) <= int(state.get("grant", 0)) and not repeated:
            raise Refused("STALE_GRANT")
        if log is None or processor not in log.groups:
            raise Refused("MISSING")
        lost, exact, position, new_read = _loss(log, state["checkpoint"], int(state["read"]))
        if not repeated:
            attempts, event = int(state.get("attempts", 0)), state.get("event", "")
            unclean_tenures, started = (
                int(state.get("unclean_tenures", 0)),
                state.get("started", ""),
            )
            deaths, after = int(state.get("deaths", 0)), ""
            if "epoch" in state and state.get("released") != "1":
                after = state.get("owner", "")
                unclean_tenures += bool(log.after(state["checkpoint"]))
                if started:
                    attempts = attempts + 1 if event == started else 1
                    deaths = deaths + 1 if event == started else 1
                    event = started
            state.update(
                owner=member,
                epoch=str(max(int(state.get("epoch", 0)) + 1, now)),
                nonce=nonce,
                grant=grant,
                released="0",
                attempts=str(attempts),
                deaths=str(deaths),
                event=event,
                unclean_tenures=str(unclean_tenures),
                started="",
                previous_owner=after,
                moved_at=str(now),
            )
        if lost >= 0 and accept == str(lost):
            total = int(state.get("lost", 0)) + lost
            state.update(checkpoint=position, read=str(new_read), lost=str(total))
            partition.meta[f"checkpoint:{processor}"] = position
            lost, exact = -1, 1
        checkpoint = state["checkpoint"]
        if lost < 0:  # Else the group stays where retention may have moved it.
            log.groups[processor] = (checkpoint, int(state["read"]))
        return (
            int(state["epoch"]),
            checkpoint,
            int(state.get("processed", 0)),
            int(state["attempts"]),
            state["event"],
            int(state["unclean_tenures"]),
            int(state.get("paused", 0)),
            int(state.get("quarantined", 0)),
            lost,
            exact,
            int(checkpoint in log.entries),
            next(iter(log.after(checkpoint)), ""),
            int(state.get("deaths", 0)),
            state.get("previous_owner", ""),
            int(state.get("outbox_last", 0)) - int(state.get("outbox_done", 0)),
            int(state.get("parked", 0)),
            int(state.get("replay", 0)),
        )

    def _commit(self, partition: Partition, args: list[Any], now: int) -> tuple[int, int]:
        processor, epoch, nonce, prev, next_id, count, release = args[:7]
        state = partition.states.get(processor, {})
        paused = int(state.get("paused", 0))
        if not _may_commit(state, epoch, nonce, prev, next_id, release):
            return 0, paused
        _check_entry_exists(partition.log, prev, next_id)
        if prev != next_id:
            _advance(partition, processor, next_id, int(count), now, always=False)
        if release == "1":
            state["released"] = "1"
        return 1, paused

    def _transact(
        self,
        partition: Partition,
        keys: Sequence[str],
        args: list[Any],
        now: int,
        added: Mapping[str, Sequence[str]],
    ) -> tuple[int, int]:
        processor, epoch, nonce, prev, next_id, count, release = args[:7]
        state = partition.states.get(processor, {})
        paused = int(state.get("paused", 0))
        if not _may_commit(state, epoch, nonce, prev, next_id, release):
            return 0, paused
        _check_entry_exists(partition.log, prev, next_id)
        writes: list[Callable[[], None]] = []
        at, key = 7, 3
        while at < len(args):
            end, first = effect_end(args, at), entries_of(args, at)
            new = entries_in(args[first:end]) if first else []
            if args[at] == "table":
                _check_writer(partition, processor, keys[key])
                writes.append(partial(_write, partition, processor, keys[key], args[at:end]))
            elif args[at] == "outbox":
                outbox = partition.outboxes.setdefault(processor, Log())
                written = int(state.get("outbox_last", 0))
                if len(outbox.entries) + len(new) > int(args[at + 1]):
                    raise Refused("FULL")
                if parts(f"{epoch}-{written + 1}") <= parts(outbox.last):
                    raise Refused("CONFLICT")
                writes.append(partial(_add_to_outbox, outbox, state, new))
            else:
                prefix = split(keys[key])[0]
                sink = self.at(prefix)
                if args[at] == "stream":
                    check_contract(sink, args[at + 4 : at + 7])
                    if not all(each in sink.meta for each in CONTRACT):
                        raise Refused("MISSING")
                # A commit makes room in the log that it reads, where one entry more fits.
                passed = {processor: next_id} if sink is partition else {}
                size, policy = int(args[at + 1]) + len(passed), args[at + 2]
                excess = plan_trim(sink, size, len(new), policy, passed)
                writes.append(partial(add, sink, new, added.get(prefix, ()), excess))
            key, at = key + (1 if args[at] in ("table", "outbox") else 2), end
        _advance(partition, processor, next_id, int(count), now, always=False)
        state["released"] = release
        for write in writes:
            write()
        return 1, paused

    def _append(
        self, partition: Partition, args: list[Any], added: Sequence[str]
    ) -> tuple[int, str, int]:
        check_contract(partition, args)
        size, policy, producer, sequence = args[3:7]
        entries = entries_in(args[7:])
        before = partition.producers.get(producer)
        if before:
            last, first, number = before.split()
            if last == sequence:
                return 0, first, int(number)
            if int(sequence) != int(last) + 1:
                raise Refused("OUTOFORDER")
        elif sequence != "1":
            raise Refused("UNKNOWN_PRODUCER")
        excess = plan_trim(partition, int(size), len(entries), policy)
        declare(partition, args)
        add(partition, entries, added, excess)
        partition.producers[producer] = f"{sequence} {added[0]} {len(entries)}"
        return 1, added[0], len(entries)

    def _attempt(self, state: dict[str, str], args: list[Any], now: int) -> int:
        epoch, nonce, kind, event, attempts, error_type, error_message = args[:7]
        check_token(state, epoch, nonce)
        if state.get("released") == "1":
            raise Refused("FENCED")
        if kind == "wait":
            if state.get("wait_at") != event:
                state["wait_since"] = str(now)
            state.update(wait_at=event, wait_for=error_type, wait_reason=error_message)
            return int(state.get("paused", 0))
        if kind != "start" or state.get("event", "") != event:
            state["deaths"] = "0"
        state.update(started=event if kind == "start" else "", event=event, attempts=attempts)
        if kind != "start":
            state.update(
                error_type=error_type,
                error_message=error_message,
                error_event=event,
                error_at=str(now),
            )
        if kind == "quarantine":
            state["quarantined"] = "1"
        return int(state.get("paused", 0))

    def _pause(self, state: dict[str, str], args: list[Any], now: int) -> int:
        if "checkpoint" not in state:
            raise Refused("UNREGISTERED")
        ran = state.get("paused") != "1"
        state["paused"] = "1"
        return int(ran)

    def _seek(self, partition: Partition, args: list[Any], now: int) -> tuple[str, int]:
        processor, start, _, nonce = args
        state, log = partition.states.get(processor, {}), partition.log
        if "checkpoint" not in state or f"checkpoint:{processor}" not in partition.meta:
            raise Refused("UNREGISTERED")
        found, read, by = (state.get("last_seek") or "- 0 -").split()
        if by == nonce:
            return found, int(read)
        if log is None or processor not in log.groups:
            raise Refused("MISSING")
        first = {"0": "0-0", "$": f"{parts(log.last)[0] + 1}-0"}.get(start, start)
        before = [each for each in log.entries if parts(each) < parts(first)]
        if len(before) == len(log.entries) and (before or start == "$"):
            checkpoint, position = log.last, log.added
        else:
            checkpoint = before[-1] if before else "0-0"
            position = log.added - len(log.entries) + len(before)
        log.groups[processor] = (checkpoint, position)
        partition.meta[f"checkpoint:{processor}"] = checkpoint
        _forget_failures(state)
        state.update(
            checkpoint=checkpoint,
            read=str(position),
            epoch=str(max(int(state.get("epoch", 0)) + 1, now)),
            nonce=nonce,
            released="1",
            quarantined="0",
            last_seek=f"{checkpoint} {position} {nonce}",
        )
        return checkpoint, position

    def _remove(self, partition: Partition, args: list[Any], now: int) -> int:
        (processor,) = args
        if processor in partition.outboxes and partition.outboxes.pop(processor).entries:
            raise Refused("UNFORWARDED")
        removed = f"checkpoint:{processor}" in partition.meta
        if partition.log is not None:
            partition.log.groups.pop(processor, None)
        partition.states.pop(processor, None)
        for name in ("checkpoint", "dropped"):
            partition.meta.pop(f"{name}:{processor}", None)
        if removed:
            partition.meta[f"removed:{processor}"] = str(now)
        return int(removed)

    def _resume(self, state: dict[str, str], args: list[Any], now: int) -> int:
        if "checkpoint" not in state:
            raise Refused("UNREGISTERED")
        if "1" not in (state.get("paused"), state.get("quarantined")):
            return 0
        _forget_failures(state)
        state.update(paused="0", quarantined="0")
        return 1


def _check_writer(partition: Partition, processor: str, key: str) -> None:
    """Another processor must not have written a table."""
    if partition.meta.get(f"table:{split(key)[2]}", processor) != processor:
        raise Refused("NOT_WRITER")


def _write(partition: Partition, processor: str, key: str, effect: Sequence[Any]) -> None:
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


def check_contract(partition: Partition, args: Sequence[str]) -> None:
    stored = (partition.meta.get("partitions", args[1]), partition.meta.get("hash", args[2]))
    if int(partition.meta.get("protocol", 0)) > int(args[0]) or stored != tuple(args[1:3]):
        raise Refused("MISMATCH")


def declare(partition: Partition, args: Sequence[str]) -> int:
    first = "protocol" not in partition.meta
    for name, value in zip(CONTRACT, args, strict=False):
        partition.meta.setdefault(name, value)
    return int(first)


def _loss(log: Log, checkpoint: str, read: int) -> tuple[int, int, str, int]:
    """Lost events (-1 for none), whether that is exact, and the new checkpoint and read count."""
    before_all = log.added - len(log.entries)
    if parts(checkpoint) > parts(log.last):
        return 0, 0, "0-0", before_all
    if not log.entries or parts(log.first()) > parts(checkpoint):
        return (*_gap(before_all - read), checkpoint, before_all)
    if not log.after(checkpoint):
        return (*_gap(log.added - read), checkpoint, log.added)
    return -1, 1, checkpoint, read


def _gap(gap: int) -> tuple[int, int]:
    if gap == 0:
        return -1, 1
    return (gap, 1) if gap > 0 else (0, 0)


def check_token(state: dict[str, str], epoch: str, nonce: str) -> None:
    if (state.get("epoch"), state.get("nonce")) != (epoch, nonce):
        raise Refused("FENCED")


def _may_commit(
    state: dict[str, str], epoch: str, nonce: str, prev: str, next_id: str, release: str
) -> bool:
    """True for a new commit, False for the repeat of an applied one. Raises Refused."""
    check_token(state, epoch, nonce)
    released = state.get("released") == "1"
    if (
        state["checkpoint"] == next_id
        and release == str(int(released))
        and (released or prev != next_id)
    ):
        return False
    if released:
        raise Refused("FENCED")
    if state["checkpoint"] != prev:
        raise Refused("CONFLICT")
    if prev != next_id and parts(next_id) < parts(prev):
        raise Refused("BADARG")
    return True


def _check_entry_exists(log: Log | None, prev: str, next_id: str) -> None:
    """A checkpoint must be an entry that the log has, or had before it was trimmed."""
    if log is None or prev == next_id or next_id in log.entries:
        return
    if parts(next_id) > parts(log.first() if log.entries else log.last):
        raise Refused("CONFLICT")


def _advance(
    partition: Partition, processor: str, next_id: str, count: int, now: int, *, always: bool
) -> None:
    registered = f"checkpoint:{processor}" in partition.meta
    if not registered or partition.log is None or processor not in partition.log.groups:
        raise Refused("MISSING")
    state = partition.states[processor]
    read = int(state["read"]) + count
    if next_id in partition.log.entries or parts(partition.log.groups[processor][0]) <= parts(
        next_id
    ):
        partition.log.groups[processor] = (next_id, read)
    partition.meta[f"checkpoint:{processor}"] = next_id
    processed = int(state.get("processed", 0)) + count
    state.update(checkpoint=next_id, read=str(read), processed=str(processed), moved_at=str(now))
    event = state.get("event", "")
    if always:
        _forget_failures(state)
    elif event or state.get("unclean_tenures", "0") != "0":
        ahead = event != "" and parts(event) > parts(next_id)
        if not ahead:
            _forget_failures(state)
        state["unclean_tenures"] = "0"


def _forget_failures(state: dict[str, str]) -> None:
    state.update(attempts="0", deaths="0", event="", unclean_tenures="0", started="")
    for name in ("error_type", "error_message", "error_event", "error_at"):
        state.pop(name, None)


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
    partition: Partition, size: int, more: int, policy: str, passed: Mapping[str, str] | None = None
) -> int:
    """How many entries must be dropped. `passed` has checkpoints that the call moves. Raises
    Refused if that is not allowed."""
    log = partition.log or Log()
    excess = min(len(log.entries) + more - size, 1000)
    if excess <= 0:
        return 0
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


def _count_as_read(log: Log, processor: str, ids: Sequence[str]) -> None:
    """Entries that retention drops do not count as lag of the consumer group."""
    group_id, read = log.groups.get(processor, (ids[-1], 0))
    if unread := sum(parts(id_) > parts(group_id) for id_ in ids):
        log.groups[processor] = (ids[-1], read + unread)


def _add_to_outbox(outbox: Log, state: dict[str, str], new: Sequence[Fields]) -> None:
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
