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
    write,
)
from tests.simulation.leases import (
    LeaseModel,
    check_contract,
    check_token,
    declare,
    forget_failures,
)
from tests.simulation.removals import lowest_checkpoint, plan_trim
from tests.simulation.stored import CONTRACT, Log, Partition, Refused, parts, split

#: The scripts about delayed events.
DELAYS = ("append_later", "promote", "cancel")


class Model(LeaseModel):
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

    def _commit(self, partition: Partition, args: list[Any], now: int) -> tuple[int, int]:
        processor, epoch, nonce, prev, next_id, count, release = args[:7]
        state = partition.states.get(processor, {})
        paused = int(state.get("paused", 0))
        if not _may_commit(state, epoch, nonce, prev, next_id, release):
            return 0, paused
        _check_entry_exists(partition.log, state, prev, next_id, int(count))
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
        _check_entry_exists(partition.log, state, prev, next_id, int(count))
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
                removal = plan_trim(sink, size, len(new), policy, now, passed)
                writes.append(partial(add, sink, new, added.get(prefix, ()), removal))
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
        removal = plan_trim(partition, size, len(entries), policy, now)
        declare(partition, args)
        add(partition, entries, added, removal)
        partition.producers[producer] = f"{sequence} {added[0]} {len(entries)}"
        return 1, added[0], len(entries)

    def _trim(self, partition: Partition, args: list[Any], now: int) -> tuple[int, int, str]:
        assert args[0] == "0", "workers trim by age"
        log, (lowest, holder) = partition.log or Log(), lowest_checkpoint(partition, args[2])
        young = f"{now - int(args[1])}-0"
        old = [each for each in log.entries if parts(each) < parts(young)]
        removed = [] if lowest is None else [each for each in old if parts(each) < parts(lowest)]
        kept = [each for each in old if lowest is None or parts(each) > parts(lowest)]
        if log.entries and lowest not in (None, "0-0"):
            partition.meta["trimmed_at"] = str(now)
        partition.remove_entries(removed)
        return len(removed), 0, (holder or "-") if kept else ""


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


def _check_entry_exists(
    log: Log | None, state: dict[str, str], prev: str, next_id: str, count: int
) -> None:
    """A checkpoint must be an entry that the log has, or had before it was trimmed."""
    if log is None or prev == next_id or next_id in log.entries:
        return
    removed = log.added - len(log.entries)
    never = removed < int(state["read"]) + count
    if never or parts(next_id) > parts(log.first() if log.entries else log.last):
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
        forget_failures(state)
    elif event or state.get("unclean_tenures", "0") != "0":
        ahead = event != "" and parts(event) > parts(next_id)
        if not ahead:
            forget_failures(state)
        state["unclean_tenures"] = "0"
