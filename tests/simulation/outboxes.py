"""Outboxes: the scripts that write and forward them, in plain Python, and what must come of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runnel import keys
from runnel.protocol.scripts import Call
from tests.simulation.additions import add, entries_in, sinks_of
from tests.simulation.leases import check_contract, check_token, declare
from tests.simulation.model import Model
from tests.simulation.removals import plan_trim
from tests.simulation.stored import Fields, Log, Partition, Refused, parts, split
from tests.simulation.trace import Violation


class OutboxModel(Model):
    """A model that knows the scripts of outboxes, too."""

    def _append_numbered(
        self, partition: Partition, args: list[Any], now: int, added: Sequence[str]
    ) -> tuple[int, str, int, str]:
        check_contract(partition, args)
        size, policy, sender = args[3:6]
        numbers, new = numbered(args)
        skipped = 0
        if before := partition.numbers.get(sender):
            last, known_first, known_count, first_number = before.split()
            skipped = sum(parts(each) <= parts(last) for each in numbers)
            if skipped == len(numbers):
                index = skipped - int(known_count)
                repeats = numbers[-1] == last and index >= 0 and numbers[index] == first_number
                return (0, known_first, int(known_count), last) if repeats else (0, "", 0, last)
        removal = plan_trim(partition, size, len(new) - skipped, policy, now)
        declare(partition, args)
        add(partition, new[skipped:], added, removal)
        count = len(new) - skipped
        partition.numbers[sender] = f"{numbers[-1]} {added[0]} {count} {numbers[skipped]}"
        return count, added[0], count, numbers[-1]

    def _trim_outbox(
        self, state: dict[str, str], outbox: Log, args: Sequence[Any], now: int
    ) -> tuple[int, int]:
        epoch, nonce, last, done, lost, waits_for, reason = args
        check_token(state, epoch, nonce)
        if state.get("released") == "1":
            raise Refused("FENCED")
        outbox_last, outbox_done = (
            int(state.get("outbox_last", 0)),
            int(state.get("outbox_done", 0)),
        )
        if int(done) > outbox_last:
            raise Refused("CONFLICT")
        if int(done) > outbox_done and int(lost) > int(done) - outbox_done:
            raise Refused("BADARG")
        removed = [each for each in outbox.entries if parts(each) <= parts(last)]
        for each in removed:
            del outbox.entries[each]
        if int(done) > outbox_done:
            outbox_done = int(done)
            state["outbox_done"] = done
            if lost != "0":
                state["outbox_lost"] = str(int(state.get("outbox_lost", 0)) + int(lost))
        if waits_for != state.get("outbox_waits_for", ""):
            names = ("outbox_waits_for", "outbox_reason", "outbox_since")
            for name, value in zip(names, (waits_for, reason, str(now)), strict=True):
                state.pop(name, None)
                if waits_for:
                    state[name] = value
        return len(removed), outbox_last - outbox_done


def numbered(args: Sequence[Any]) -> tuple[list[str], list[Fields]]:
    """The numbers and the entries in the arguments of `append_numbered`."""
    numbers, flat, at = [], list[Any](), 6
    while at < len(args):
        width = int(args[at + 1])
        numbers.append(str(args[at]))
        flat += args[at + 1 : at + 2 + width]
        at += 2 + width
    return numbers, entries_in(flat)


def emitted_by(call: Call) -> dict[str, list[Fields]]:
    """The entries of a commit for each partition, by its prefix, those in the outbox included."""
    found: dict[str, list[Fields]] = {}
    for key, entries in sinks_of(call):
        for entry in entries:
            if split(key)[1] == "outbox":
                found.setdefault(_target_of(call, entry), []).append(entry[2:])
            else:
                found.setdefault(split(key)[0], []).append(entry)
    return found


def waits_in_outbox(call: Call) -> set[str]:
    """The prefixes of partitions for which a commit has written to the outbox."""
    return {
        _target_of(call, entry)
        for key, entries in sinks_of(call)
        if split(key)[1] == "outbox"
        for entry in entries
    }


def _target_of(call: Call, entry: Fields) -> str:
    """The prefix of the partition for which an entry waits in the outbox."""
    assert entry[0] == b"to"
    stream, number = entry[1].decode().split()[:2]
    return keys.partition(keys.scope(call.keys[0])[0], stream, int(number), stream)


def sender_of(prefix: str, processor: str) -> str:
    """The sender as which a processor forwards what it has emitted in a partition."""
    return f"outbox:{prefix.rpartition(':')[2]}:{keys.scope(prefix)[2]}:{processor}"


#: Sender, prefix of a partition -> what was ever emitted to it.
Ever = dict[tuple[str, str], set[Fields]]


def check_forwarded(model: Model, call: Call, added: int, ever: Ever | None) -> None:
    """S11: what is forwarded to a partition is what commits have emitted to it, each entry once, in
    their order. If keys were lost, it must be something that was `ever` emitted."""
    sender, prefix = str(call.args[5]), split(call.keys[0])[0]
    _, stream, number, processor = sender.split(":")[:4]
    app = keys.scope(prefix)[0]
    source = model.at(keys.partition(app, stream, int(number), stream))
    owed = source.owed.get(processor, {}).get(prefix, [])
    entries = numbered(call.args)[1]
    entries = entries[len(entries) - added :]
    target = model.at(prefix)
    before = target.forwarded[sender]
    target.forwarded[sender] += added
    if ever is None:
        holds = owed[before : before + added] == entries
    else:
        holds = ever.get((sender, prefix), set()).issuperset(entries)
    if not holds:
        text = f"{entries} came from {sender} after {before}, {owed[before:]} was to come"
        raise Violation("S11", f"{prefix}: {text}")


def unforwarded(model: Model) -> list[str]:
    """The outboxes that are not empty, for people."""
    return [
        f"{prefix} {name}: {len(outbox.entries)} in the outbox"
        for prefix, partition in model.partitions.items()
        for name, outbox in partition.outboxes.items()
        if outbox.entries
    ]


def check_all_forwarded(model: Model) -> None:
    """S11: all that was owed has come."""
    for source, partition in model.partitions.items():
        for processor, of in partition.owed.items():
            for prefix, owed in of.items():
                came = model.at(prefix).forwarded[sender_of(source, processor)]
                if came != len(owed):
                    text = f"{came} of {len(owed)} entries came from {source} {processor}"
                    raise Violation("S11", f"{prefix}: {text}")
