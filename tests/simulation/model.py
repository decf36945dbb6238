"""A model of the keys of partition scope: the scripts, implemented again in plain Python.

`Model.expect` takes an executed call and returns the reply that it must have; afterwards the model
holds what the keys must hold. The server chooses the ids of entries, so the model takes them from
the reply.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tests.simulation import delays
from tests.simulation.additions import (
    add,
    add_to_outbox,
    check_writer,
    effect_end,
    entries_in,
    entries_of,
    lowest_checkpoint,
    plan_trim,
    write,
)
from tests.simulation.stored import CONTRACT, Log, Partition, Refused, parts, split

#: The scripts about delayed events.
DELAYS = ("append_later", "promote", "cancel")


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
        if script in DELAYS:
            delayed = self._of_delayed(script, partition, keys, text, now, added)
            return list(delayed) if isinstance(delayed, tuple) else [delayed]
        call = getattr(self, f"_{script}")
        if script in ("attempt", "pause", "resume"):
            reply = call(partition.states.get(split(keys[0])[2], {}), text, now)
        elif script == "transact":
            reply = call(partition, keys, text, now, added)
        elif script in ("append", "append_numbered"):
            reply = call(partition, text, now, added.get(split(keys[0])[0], ()))
        elif script == "trim_outbox":
            processor = split(keys[0])[2]
            outbox = partition.outboxes.setdefault(processor, Log())
            reply = call(partition.states.get(processor, {}), outbox, text, now)
        else:
            reply = call(partition, text, now)
        return list(reply) if isinstance(reply, tuple) else [reply]

    def _of_delayed(
        self,
        script: str,
        partition: Partition,
        keys: Sequence[str],
        args: list[Any],
        now: int,
        added: Mapping[str, Sequence[str]],
    ) -> tuple[int, ...] | int:
        if script == "cancel":
            return delays.cancel(partition, args)
        check_contract(partition, args)
        if script == "promote":
            return delays.promote(partition, args, now, added.get(split(keys[0])[0], ()))
        reply = delays.append_later(partition, split(keys[2])[2], args, now)
        declare(partition, args)
        return reply

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
                check_writer(partition, processor, keys[key])
                writes.append(partial(write, partition, processor, keys[key], args[at:end]))
            elif args[at] == "outbox":
                outbox = partition.outboxes.setdefault(processor, Log())
                written = int(state.get("outbox_last", 0))
                if len(outbox.entries) + len(new) > int(args[at + 1]):
                    raise Refused("FULL")
                if parts(f"{epoch}-{written + 1}") <= parts(outbox.last):
                    raise Refused("CONFLICT")
                writes.append(partial(add_to_outbox, outbox, state, new))
            else:
                prefix = split(keys[key])[0]
                sink = self.at(prefix)
                if args[at] == "stream":
                    check_contract(sink, args[at + 4 : at + 7])
                    if not all(each in sink.meta for each in CONTRACT):
                        raise Refused("MISSING")
                # A commit makes room in the log that it reads, where one entry more fits.
                passed = {processor: next_id} if sink is partition else {}
                size, policy = args[at + 1], args[at + 2]
                excess = plan_trim(sink, size, len(new), policy, now, passed)
                writes.append(partial(add, sink, new, added.get(prefix, ()), excess))
            key, at = key + (1 if args[at] in ("table", "outbox") else 2), end
        _advance(partition, processor, next_id, int(count), now, always=False)
        state["released"] = release
        for each in writes:
            each()
        return 1, paused

    def _append(
        self, partition: Partition, args: list[Any], now: int, added: Sequence[str]
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
        if delays.overdue(partition, now):
            raise Refused("OVERDUE")
        excess = plan_trim(partition, size, len(entries), policy, now)
        declare(partition, args)
        add(partition, entries, added, excess)
        partition.producers[producer] = f"{sequence} {added[0]} {len(entries)}"
        return 1, added[0], len(entries)

    def _trim(self, partition: Partition, args: list[Any], now: int) -> tuple[int, int, str]:
        assert args[0] == "0", "workers trim by age"
        log, (lowest, holder) = partition.log or Log(), lowest_checkpoint(partition)
        young = f"{now - int(args[1])}-0"
        old = [each for each in log.entries if parts(each) < parts(young)]
        removed = [] if lowest is None else [each for each in old if parts(each) < parts(lowest)]
        kept = [each for each in old if lowest is None or parts(each) > parts(lowest)]
        if log.entries and lowest not in (None, "0-0"):
            partition.meta["trimmed_at"] = str(now)
        partition.remove_entries(removed)
        return len(removed), 0, (holder or "-") if kept else ""

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
