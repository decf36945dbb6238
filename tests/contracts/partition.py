"""What the state machines of a partition share: its keys, its model, its calls."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant

from tests.contracts.model import (
    ZERO,
    Fields,
    Log,
    Slot,
    check_log,
    check_meta,
    check_producers,
    check_slot,
    hash_of,
)
from tests.contracts.wire import Arg, Refused, Wire, order
from tests.contracts.world import CONTRACT
from tests.lua.conftest import LOG, META, NUMBERS, OUTBOX, PRODUCERS

CONTRACT_FIELDS = dict(zip(("protocol", "partitions", "hash"), map(str, CONTRACT), strict=True))
NAMES = ["printer", "mailer"]
NAME = st.sampled_from(["printer", "printer", "mailer"])


def outbox_key(name: str) -> str:
    """The outbox of a processor."""
    return OUTBOX.replace("printer", name)


def parked_keys(name: str) -> list[str]:
    """The keys of what a processor has parked."""
    return [
        f"{LOG.removesuffix(':log')}:{each}:{name}"
        for each in ("parked", "parked_keys", "replay", "postponed")
    ]


def state_key(name: str) -> str:
    """The key of a processor's state."""
    return f"{LOG.removesuffix(':log')}:processor:{name}"


def refusal(word: str, **details: object) -> Refused:
    """The refusal that a call must get."""
    pairs = "".join(f" {name}={value}" for name, value in details.items())
    return Refused(word, word + pairs)


class PartitionMachine(RuleBasedStateMachine):
    """A partition in Redis, beside a model of it. Every call goes through `call`."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.wire = wire
        self.log = Log()
        self.slots: dict[str, Slot] = {}
        self.removed: set[str] = set()
        self.nonces = 0
        wire.clear()
        wire.snapshot()

    def call(self, script: str, keys: list[str], args: list[Arg], again: int = 0) -> Any:
        """One call. It is repeated `again` ms later, unless that is 0."""
        reply = self.wire.call(script, keys, *args)
        if again:
            self.wire.set_clock(self.wire.now + again)
            self.wire.repeat(reply, script, keys, *args)
        return reply

    def keys(self, name: str) -> list[str]:
        """The keys of a processor on the partition."""
        return [LOG, META, state_key(name)]

    def nonce(self) -> str:
        """A new one."""
        self.nonces += 1
        return f"nonce-{self.nonces:026d}"

    def do_register(self, name: str, start: str, again: int = 0) -> None:
        """Register a processor. It keeps its checkpoint, and what it lost is made again."""
        reply = self.call("register", self.keys(name), [*CONTRACT, name, start], again)
        log, known = self.log, name in self.log.checkpoints
        whole = known and name in self.slots and name in log.groups
        if name in self.slots:
            log.checkpoints[name] = self.slots[name].checkpoint
            created = 0 if whole else 2
        elif not known:
            created, at_end = 1, start == "$"
            checkpoint = log.last if at_end else ZERO
            read = log.added if at_end else log.added - len(log.entries)
            self.slots[name] = Slot(checkpoint, read)
            log.checkpoints[name] = checkpoint
        else:
            created, checkpoint = 2, log.checkpoints[name]
            self.slots[name] = Slot(checkpoint, log.group_read[name])
        if name not in log.groups:
            log.advanced.pop(name, None)
        log.groups.add(name)
        self.removed.discard(name)
        assert reply == [created, self.slots[name].checkpoint]

    def do_append(
        self,
        producer: str,
        sequence: int,
        bodies: list[Fields],
        size: int,
        when_full: str,
        again: int,
        age: int | None = None,
    ) -> None:
        """Append in order, once for each number of a producer, and only if there is room."""
        now = self.wire.now
        flat: list[Arg] = []
        for fields in bodies:
            flat += [len(fields), *fields]
        limits: Arg = size if age is None else f"{size},{age}"
        args: list[Arg] = [*CONTRACT, limits, when_full, producer, sequence, *flat]
        reply = self.call("append", [LOG, META, PRODUCERS], args, again)
        log, before = self.log, self.log.producers.get(producer)
        if before and sequence == before[0]:
            assert reply == [0, before[1], before[2]], "DUP, with the ids of the first time"
        elif before and sequence != before[0] + 1:
            assert reply == Refused("OUTOFORDER")
            assert reply.details["last"] == str(before[0])
        elif not before and sequence != 1:
            assert reply == Refused("UNKNOWN_PRODUCER")
        elif isinstance(room := log.room(size, len(bodies), when_full), Refused):
            assert reply == room
            self.check_full_because(reply.details["processor"], size, len(bodies))
        else:
            applied, first, count = reply
            assert (applied, count) == (1, len(bodies))
            room = room or log.age(age, now, when_full)
            log.add(first, bodies)
            log.drop(room, self.slots)
            assert self.wire.seen[META].items() >= CONTRACT_FIELDS.items(), (
                "the contract of the stream is stored"
            )
            log.producers[producer] = (sequence, first, count)

    def do_append_numbered(
        self, sender: str, numbers: list[int], size: int, when_full: str, again: int
    ) -> None:
        """Append the events whose numbers are larger than the last one of the sender."""
        log, before = self.log, self.log.numbers.get(sender)
        new = [each for each in numbers if not before or each > before[0]]
        flat = [value for each in numbers for value in (f"0-{each}", 2, "json", f"{sender} {each}")]
        args: list[Arg] = [*CONTRACT, size, when_full, sender, *flat]
        reply = self.call("append_numbered", [LOG, META, NUMBERS], args, again)
        if before and not new:
            last, first, count, first_number = before
            known = numbers[-1] == last and numbers[-count:][0] == first_number
            known = known and len(numbers) >= count
            assert reply == [0, first if known else "", count if known else 0, f"0-{last}"]
        elif isinstance(room := log.room(size, len(new), when_full), Refused):
            assert reply == room
            self.check_full_because(reply.details["processor"], size, len(new))
        else:
            added, first, count, last_number = reply
            assert (added, count, last_number) == (len(new), len(new), f"0-{numbers[-1]}")
            log.add(first, [("json", f"{sender} {each}") for each in new])
            log.drop(room, self.slots)
            log.numbers[sender] = (numbers[-1], first, count, new[0])
        assert hash_of(self.wire.seen, NUMBERS) == {
            name: f"0-{last} {first} {count} 0-{first_number}"
            for name, (last, first, count, first_number) in log.numbers.items()
        }

    def do_trim(self, size: int, age: int, when_full: str, again: int) -> None:
        """Remove the oldest events: to a size, or what is older than an age."""
        log, now = self.log, self.wire.now
        reply = self.call("trim", [LOG, META], [size, age, when_full], again)
        over = max(len(log.entries) - size, 0)
        if age:
            over = sum(order(each) < (now - age, 0) for each in log.ids)
        elif when_full != "drop_oldest":
            lowest = log.too_old(10**15, when_full)
            over = min(over, lowest)
        free = log.too_old(now - age, when_full) if age else over
        if when_full == "drop_oldest":
            free = min(over, len(log.entries) - 1)
        elif age and log.free(when_full) not in (None, (0, 0)):
            log.trimmed_at = now
        assert reply[:2] == [free, 0]
        holders = {"", "-"} if not log.checkpoints else {"", *log.checkpoints}
        assert reply[2] in holders
        log.drop(free, self.slots)

    def check_full_because(self, name: str, size: int, more: int) -> None:
        """The refusal of a full log names a processor that keeps it full, if there is one."""
        log = self.log
        if not log.checkpoints:
            assert name == ""
            return
        without = Log(log.entries, log.added, {name: log.checkpoints[name]}, {}, log.groups)
        assert without.room(size, more, "refuse") == Refused("FULL"), (
            f"{name} does not keep it full"
        )

    @invariant()
    def redis_holds_what_the_model_says(self) -> None:
        snapshot = self.wire.seen
        check_log(self.log, snapshot.get(LOG), self.slots)
        check_meta(self.log, hash_of(snapshot, META))
        check_producers(self.log, hash_of(snapshot, PRODUCERS))
        for name in NAMES:
            check_slot(self.slots.get(name), snapshot.get(state_key(name)))
