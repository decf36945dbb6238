"""What Redis would have: logs, tables, checkpoints. It carries out the calls that a test makes.

It is no Redis, and speaks no commands but the few that read. Each call is atomic, and refuses as
the script of its name does; what only several workers or a broken server lead to is left out.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from redis.exceptions import ResponseError

from runnel import keys
from runnel.core.reading import Raw
from runnel.protocol import PartitionKeys, Token, text
from runnel.protocol.ids import parts, reached
from runnel.protocol.scripts import Call, error_from
from runnel.testing.appending import Appending
from runnel.testing.parsing import (
    Added,
    Part,
    SetAside,
    Written,
    as_bytes,
    move_of,
    parts_of,
)
from runnel.testing.stored import Group
from runnel.testing.trimming import Limits


class Store(Appending):
    """All of one test. `now` gives the time in ms; threads may call it."""

    def __init__(self, now: Callable[[], int]) -> None:
        super().__init__(now)
        self._lock = threading.RLock()
        #: The key of a table -> its keys and values, and when each was written.
        self.tables: defaultdict[str, dict[bytes, bytes]] = defaultdict(dict)
        self._written: defaultdict[str, dict[bytes, int]] = defaultdict(dict)
        #: The key of a table -> the processor that writes it.
        self._writers: dict[str, str] = {}
        #: Called after each call, from any thread.
        self.on_call: Callable[[Call], None] = lambda call: None

    def register(self, names: PartitionKeys) -> Group:
        """What is stored for a processor, from now on."""
        return self._groups.setdefault(names.state, Group(names))

    def group(self, state: str) -> Group:
        """That with this key."""
        return self._groups[state]

    def lag(self, group: Group) -> int:
        """How many events are not committed."""
        return self.logs[group.keys.log].count_after(group.checkpoint)

    def run(self, call: Call) -> Any:
        """Carry out a call. Raises ProtocolError."""
        carry_out = getattr(self, f"_{call.script}", None)
        if carry_out is None:
            raise NotImplementedError(
                f"runnel.testing does not carry out the script {call.script}: use a server for this"
            )
        with self._lock:
            self.promote()
            reply = carry_out(call)
        self.on_call(call)
        return reply

    # The owner of a partition

    def _claim(self, call: Call) -> list[Any]:
        _, _, _, _, member, grant, nonce, _ = call.args
        group = self._groups[call.keys[2]]
        log, repeated = self.logs[group.keys.log], group.grant == grant and not group.released
        previous = ""
        if not repeated:
            if not group.released:
                # The worker before died.
                previous = group.owner
                group.unclean += bool(self.lag(group) or group.replay)
                if group.started:
                    same = group.event == group.started
                    group.attempts = (group.attempts if same else 0) + 1
                    group.deaths = (group.deaths if same else 0) + 1
                    group.event = group.started
            group.token = Token(max(group.token.epoch + 1, self._now()), str(nonce))
            group.grant, group.owner, group.started = int(grant), str(member), ""
            group.released = False
        first = log.after(group.checkpoint, 1)
        exists, next_id = int(log.has(group.checkpoint)), first[0].id if first else ""
        return [
            group.token.epoch,
            group.checkpoint,
            group.processed,
            group.attempts,
            group.event,
            group.unclean,
            0,
            int(group.quarantined),
            -1,
            1,
            exists,
            next_id,
            group.deaths,
            previous,
            0,
            len(group.still_parked()),
            len(group.replay),
        ]

    def _commit(self, call: Call) -> list[int]:
        return self._move(call, ())

    def _transact(self, call: Call) -> list[int]:
        return self._move(call, parts_of(call))

    def _move(self, call: Call, effects: Sequence[Part]) -> list[int]:
        processor, token, move = move_of(call)
        group = self._owned(call.keys[2], token, released=True)
        there = group.checkpoint == move.next
        if group.released and not (move.release and there):
            raise error_from(ResponseError(f"FENCED epoch={group.token.epoch} released=1"))
        if group.released or (there and move.next != move.prev and not move.release):
            return [0, 0]
        if group.checkpoint != move.prev:
            raise error_from(ResponseError(f"CONFLICT checkpoint={group.checkpoint}"))
        before, group.checkpoint = group.checkpoint, move.next
        try:
            for each in effects:
                self._check(group, processor, each)
        except Exception as refusal:
            group.checkpoint, group.waits = before, str(refusal)
            raise
        for each in effects:
            self._apply(group, processor, each)
        group.processed += move.count
        group.waits = ""
        if move.next != move.prev:
            group.unclean = 0
            if group.event and reached(move.next, group.event):
                group.event, group.attempts, group.deaths, group.started = "", 0, 0, ""
        group.released = move.release
        return [1, 0]

    def _owned(self, state: str, token: Token, *, released: bool = False) -> Group:
        group = self._groups[state]
        if group.token != token or (group.released and not released):
            raise error_from(ResponseError(f"FENCED epoch={group.token.epoch}"))
        return group

    def _check(self, group: Group, processor: str, part: Part) -> None:
        """Raise what refuses this effect."""
        if isinstance(part, Written):
            writer = self._writers.get(part.table, processor)
            if writer != processor:
                name = part.table.rpartition(":")[2]
                raise error_from(ResponseError(f"NOT_WRITER table={name} writer={writer}"))
        elif isinstance(part, Added):
            try:
                self._leaving(part.log, self._limits(group, part), len(part.entries))
            except Exception as error:
                raise error_from(ResponseError(f"{error} sink={part.log}")) from None
        elif (
            isinstance(part, SetAside) and len(group.still_parked()) + len(part.entries) > part.size
        ):
            sink = keys.parked(group.keys.prefix, processor)
            raise error_from(ResponseError(f"FULL processor= limit={part.size} sink={sink}"))

    def _limits(self, group: Group, part: Added) -> Limits:
        """Those of a log. Of the one that it reads, the entry at its checkpoint stays."""
        own = part.log == group.keys.log
        return part.limits._replace(size=part.limits.size + own)

    def _apply(self, group: Group, processor: str, part: Part) -> None:
        if isinstance(part, Written):
            self._write(processor, part)
        elif isinstance(part, Added):
            self._append_to(part.log, self._limits(group, part), part.entries)
        elif isinstance(part, SetAside):
            for entry in part.entries:
                id_ = group.parked.add(next(self._places), self._now(), entry)
                if part.ms is not None:
                    group.due[id_] = self._now() + part.ms
                self._count_parked(group, entry[1], 1)
        else:
            for id_ in part.entries:
                found = next((each for each in group.still_parked() if each.id == id_), None)
                if found is not None:
                    group.unparked.add(id_)
                    group.due.pop(id_, None)
                    self._count_parked(group, found.fields[1], -1)

    def _write(self, processor: str, part: Written) -> None:
        self._writers[part.table] = processor
        table, written, now = self.tables[part.table], self._written[part.table], self._now()
        if part.expire is not None:
            for key in [k for k, at in written.items() if at <= now - part.expire * 1000]:
                table.pop(key, None)
                del written[key]
        for key, value in part.sets:
            table[key], written[key] = value, now
        for key in part.deletes:
            table.pop(key, None)
            written.pop(key, None)

    def _count_parked(self, group: Group, key: bytes, change: int) -> None:
        count, space, failure = group.parked_keys.get(key, b"0").partition(b" ")
        left = int(count) + change
        if left:
            group.parked_keys[key] = b"%d%s%s" % (left, space, failure)
        else:
            group.parked_keys.pop(key, None)
            group.replay.discard(key)

    def _attempt(self, call: Call) -> int:
        epoch, nonce, kind, event, attempts, error_type, message = map(text, call.args[:7])
        group = self._owned(call.keys[0], Token(int(epoch), nonce))
        if kind == "wait":
            group.waits = f"{error_type}: {message}" if error_type else message
            return 0
        if kind != "start" or group.event != event:
            group.deaths = 0
        group.event, group.attempts = event, int(attempts)
        group.started = event if kind == "start" else ""
        group.quarantined |= kind == "quarantine"
        return 0

    def _park_again(self, call: Call) -> int:
        epoch, nonce, key, failure = map(as_bytes, call.args)
        group = self._owned(call.keys[0], Token(int(epoch), nonce.decode()))
        if key not in group.replay:
            return 0
        group.replay.discard(key)
        count, _, before = group.parked_keys[key].partition(b" ")
        group.parked_keys[key] = count + b" " + self._failure_stored(before, failure, True)
        self._know(group, text(failure))
        return 1

    def _know(self, group: Group, failure: str) -> None:
        """As the block `known` of the scripts."""
        if group.event == failure.partition(" ")[0]:
            group.event, group.attempts, group.deaths, group.started = "", 0, 0, ""

    def _failure_stored(self, before: bytes, failure: bytes, replayed: bool) -> bytes:
        """As the block `failed_again` of the scripts."""
        end = re.search(rb"\n(\d+) (\d+)\Z", before)
        same = end is not None and before.split(b" ")[0] == failure.split(b" ")[0]
        replays, at = (int(end[1]), int(end[2])) if end and same else (0, 0)
        if replayed:
            replays, at = min(replays + 1, 999_999), self._now()
        return b"%b\n%d %d" % (failure, replays, at) if replays else failure

    def _postpone(self, call: Call) -> int:
        epoch, nonce, entry, ms, failure = map(text, call.args)
        group = self._owned(call.keys[0], Token(int(epoch), nonce))
        found = next((each for each in group.still_parked() if each.id == entry), None)
        if found is None:
            return 0
        key, now = found.fields[1], self._now()
        count, _, before = group.parked_keys[key].partition(b" ")
        due = group.due.get(entry)
        as_wanted = (due is not None and due > now) if ms else due is None
        told, replayed = as_bytes(call.args[4]), key in group.replay
        if told in (before, re.sub(rb"\n\d+ \d+\Z", b"", before)) and as_wanted:
            return 0
        group.replay.discard(key)
        group.parked_keys[key] = count + b" " + self._failure_stored(before, told, replayed)
        group.due.pop(entry, None)
        if ms:
            group.due[entry] = now + int(ms)
        self._know(group, failure)
        return 1

    def _due(self, call: Call) -> list[Any]:
        group, now = self._groups[call.keys[0]], self._now()
        there = {each.id: each for each in group.still_parked()}
        due = sorted((at, parts(entry), entry) for entry, at in group.due.items())
        found: list[Any] = [next((at - now for at, _, _ in due if at > now), -1), 0]
        for at, _, entry in due[: int(text(call.args[0]))]:
            if at <= now:
                fields = there[entry].fields
                found += [entry.encode(), group.parked_keys[fields[1]], len(fields), *fields]
        return found

    # Operators

    def resume(self, group: Group) -> None:
        """End a quarantine, as `runnel processor resume` does."""
        group.quarantined, group.event = False, ""
        group.attempts = group.deaths = group.unclean = 0

    def replay(self, group: Group) -> None:
        """Have all that is parked processed, as `runnel dead replay` does. This ends the lease."""
        group.replay |= set(group.parked_keys)
        group.token, group.released = Token(group.token.epoch + 1, "replay"), True

    # Reading

    def query(self, *command: Any) -> Any:
        """The reply to a command that reads."""
        name, key, *arguments = command
        with self._lock:
            if name == "HMGET":
                table = self.tables.get(key, {})
                return [table.get(as_bytes(each)) for each in arguments]
            if name == "HGET":
                number = self._numbers.get((key, str(arguments[0])))
                return None if number is None else number.encode()
            if name == "HLEN":
                return 0
            group = next(self._parked_in(key), None)
            if name == "HGETALL" and group is not None:
                return [each for pair in group.parked_keys.items() for each in pair]
            if name == "HKEYS" and group is not None:
                return list(group.replay)
            if name == "XRANGE" and group is not None:
                start = str(arguments[0])
                after = start[1:] if start.startswith("(") else "0-0"
                found = [each for each in group.still_parked() if not reached(after, each.id)]
                return [[each.id.encode(), each.fields] for each in found[: int(arguments[-1])]]
        raise NotImplementedError(f"runnel.testing does not carry out {name} of {key}")

    def _parked_in(self, key: str) -> Iterator[Group]:
        """The group that has this key for what it has parked."""
        for each in self._groups.values():
            own = each.keys.prefix, each.keys.processor
            if key in (keys.parked(*own), keys.parked_keys(*own), keys.replay(*own)):
                yield each

    def read(self, log: str, after: str, limit: int) -> list[Raw]:
        """Entries of a log, as XREAD returns them."""
        with self._lock:
            found = self.logs[log].after(after, limit)
        return [[each.id.encode(), list(each.fields)] for each in found]
