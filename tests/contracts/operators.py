"""What operators do to a partition in use, and what other programs do to its keys."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from tests.contracts.model import ZERO, Fields
from tests.contracts.partition import NAME, PartitionMachine, outbox_key, parked_keys, state_key
from tests.contracts.wire import Arg, Refused, Wire, order
from tests.lua.conftest import LOG

#: Milliseconds until a repeat; mostly there is none.
AGAIN = st.sampled_from([0, 0, 1, 700])
BEYOND = "9000000000000-1"


class OperatorMachine(PartitionMachine):
    """A partition with events, and its operators."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        #: Calls that were applied and may arrive once more: script, keys, arguments, reply.
        self.sent: list[tuple[str, list[str], list[Arg], Any]] = []
        self.sequence = 0

    @initialize()
    def begin(self) -> None:
        self.append(4)
        self.do_register("printer", "0")

    @rule(count=st.integers(1, 4))
    def append(self, count: int) -> None:
        self.sequence += 1
        bodies: list[Fields] = [("msgpack", f"{self.sequence}.{i}") for i in range(count)]
        self.do_append("p", self.sequence, bodies, 10_000, "refuse", 0)

    @rule(
        what=st.sampled_from(["register", "pause", "resume", "remove"]),
        name=NAME,
        start=st.sampled_from("0$"),
        again=AGAIN,
    )
    def operate(self, what: str, name: str, start: str, again: int) -> None:
        if what == "register":
            self.do_register(name, start, again)
        elif what == "pause":
            self.pause(name, again)
        elif what == "resume":
            self.resume(name, again)
        else:
            self.remove(name, again)

    def pause(self, name: str, again: int) -> None:
        reply = self.call("pause", [state_key(name)], [], again)
        if slot := self.slots.get(name):
            assert reply == int(not slot.paused)
            slot.paused = True
        else:
            assert reply == Refused("UNREGISTERED")

    def resume(self, name: str, again: int) -> None:
        reply = self.call("resume", [state_key(name)], [], again)
        if not (slot := self.slots.get(name)):
            assert reply == Refused("UNREGISTERED")
            return
        assert reply == int(slot.paused or slot.quarantined)
        if reply:
            slot.paused = slot.quarantined = False
            slot.progress()

    def remove(self, name: str, again: int) -> None:
        reply = self.call(
            "remove", [*self.keys(name), outbox_key(name), *parked_keys(name)], [name], again
        )
        assert reply == int(name in self.log.checkpoints)
        if name in self.log.checkpoints:
            self.removed.add(name)
        self.slots.pop(name, None)
        self.log.checkpoints.pop(name, None)
        self.log.dropped.pop(name, None)
        self.log.groups.discard(name)
        self.log.advanced.pop(name, None)
        self.forget(name)

    @rule(
        name=NAME,
        start=st.sampled_from(["0", "$", "0-0", "1-0", BEYOND, "id", "id"]),
        which=st.integers(0, 30),
        again=AGAIN,
    )
    def seek(self, name: str, start: str, which: int, again: int) -> None:
        log, slot, nonce = self.log, self.slots.get(name), self.nonce()
        if start == "id":
            start = log.ids[which % len(log.ids)]
        reply = self.remembered("seek", self.keys(name), [name, start, "", nonce], again)
        if not slot or name not in log.checkpoints:
            assert reply == Refused("UNREGISTERED")
            return
        if name not in log.groups:
            assert reply == Refused("MISSING")
            return
        target = {"0": ZERO, "$": BEYOND}.get(start, start)
        before = [each for each in log.ids if order(each) < order(target)]
        slot.checkpoint = log.checkpoints[name] = before[-1] if before else ZERO
        slot.read = log.added - len(log.entries) + len(before)
        log.advanced.pop(name, None)
        slot.new_token(self.wire.now - again, nonce)
        slot.released, slot.quarantined = True, False
        slot.progress()
        assert reply == [slot.checkpoint, slot.read]

    @rule(name=NAME, what=st.sampled_from(["state", "group", "registration"]))
    def lose(self, name: str, what: str) -> None:
        """Another program deletes one thing that the partition stores of the processor."""
        whole = name in self.slots and name in self.log.groups and name in self.log.checkpoints
        if whole and what == "group":
            self.wire.redis.xgroup_destroy(LOG, name)
            self.log.groups.discard(name)
            self.log.advanced.pop(name, None)
        elif whole and what == "state":
            self.wire.redis.delete(state_key(name))
            self.log.group_read[name] = self.log.group_position(name, self.slots)[1]
            self.slots.pop(name)
            self.forget(name)
        elif whole:
            self.wire.redis.hdel(self.keys(name)[1], f"checkpoint:{name}")
            del self.log.checkpoints[name]
        self.wire.snapshot()

    @rule(ms=st.sampled_from([1, 60_000, -1, -60_000]))
    def time_passes(self, ms: int) -> None:
        self.wire.set_clock(self.wire.now + ms)

    @rule(name=NAME)
    def describe(self, name: str) -> None:
        flat = self.call("describe", self.keys(name), [name])
        description = dict(zip(flat[::2], flat[1::2], strict=True))
        assert description["length"] == str(len(self.log.entries))
        slot = self.slots.get(name)
        assert description.get("checkpoint") == (slot.checkpoint if slot else None)
        assert not {"nonce", "last_seek", "last_clear"} & set(description)
        if slot and name in self.log.groups:
            behind = self.log.behind(slot.checkpoint)
            assert description.get("next_id") == (behind[0] if behind else None)
            assert description["lag"] == str(self.wire.seen[LOG].groups[name].lag)

    def remembered(self, script: str, keys: list[str], args: list[Arg], again: int) -> Any:
        """Make the call. If it was applied, it may be repeated at any time."""
        reply = self.call(script, keys, args, again)
        if not isinstance(reply, Refused):
            if script == "seek":
                self.forget(str(args[0]), "seek")
            self.sent.append((script, keys, args, reply))
        return reply

    def forget(self, name: str, script: str = "") -> None:
        """Forget calls that cannot be recognised as repeats any more: those of a deleted state, and
        every seek but the last."""
        state = state_key(name)
        self.sent = [
            each for each in self.sent if state not in each[1] or script not in ("", each[0])
        ]
