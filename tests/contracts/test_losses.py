"""S7: whatever leaves the log behind Runnel's back is found, and counted exactly where it can be.

A worker reads and commits while foreign hands trim, delete, recreate the log and set it back. The
machine knows the fate of every event; what `claim` says is compared with it.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from tests.contracts.model import ZERO, Fields
from tests.contracts.partition import PartitionMachine, state_key
from tests.contracts.profile import TIMEOUT, search
from tests.contracts.wire import Arg, Wire, order
from tests.contracts.world import CONTRACT
from tests.lua.conftest import LOG, META

pytestmark = pytest.mark.timeout(TIMEOUT)
NAME = "printer"
KEYS = [LOG, META, state_key(NAME)]


class LossMachine(PartitionMachine):
    """One worker, and hands that do not know of it."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self.sequence = 0
        self.grant = 0
        self.held = self.nonce()
        self.epoch = 0
        self.checkpoint = ZERO
        #: The events that exist, and those that disappeared and are not accepted yet.
        self.alive: list[str] = []
        self.missing: set[str] = set()
        self.counted = 0
        #: The log was replaced: numbers are lower bounds until a loss has been accepted.
        self.replaced = False
        self.deleted = ZERO
        self.old: Any = None

    @initialize()
    def begin(self) -> None:
        self.wire.call("register", KEYS, *CONTRACT, NAME, "0")
        self.append(5)
        self.claim(True, False)

    @rule(count=st.integers(1, 4))
    def append(self, count: int) -> None:
        self.sequence += 1
        bodies: list[Fields] = [("msgpack", f"{self.sequence}.{i}") for i in range(count)]
        before = set(self.ids())
        self.log.groups = {NAME}
        args: list[Arg] = [*CONTRACT, 10_000, "refuse", f"p{self.sequence}", 1]
        for fields in bodies:
            args += [2, *fields]
        reply = self.wire.call("append", [LOG, META, f"{LOG}-producers"], *args)
        assert reply[0] == 1
        self.alive += [each for each in self.ids() if each not in before]

    @rule(count=st.integers(1, 4))
    def work(self, count: int) -> None:
        """What a worker does: read on behind the checkpoint, and commit what it found."""
        if self.replaced:
            self.claim(False, True)
        if not self.wire.seen[LOG].behind(self.checkpoint):
            self.append(2)
        found = self.wire.seen[LOG].behind(self.checkpoint)[:count]
        if found:
            args: list[Arg] = [NAME, self.epoch, self.held, self.checkpoint, found[-1]]
            assert self.wire.call("commit", KEYS, *args, len(found), 0) == [1, 0]
            self.checkpoint = found[-1]

    @rule()
    def catch_up(self) -> None:
        """Everything that is there is done."""
        self.work(1000)

    @rule(keep=st.integers(0, 6))
    def trim(self, keep: int) -> None:
        self.wire.redis.xtrim(LOG, maxlen=keep, approximate=False)
        self.took_away()

    @rule(which=st.integers(0, 30), last=st.booleans())
    def delete(self, which: int, last: bool) -> None:
        if ids := self.ids():
            event = ids[-1 if last else which % len(ids)]
            self.wire.redis.xdel(LOG, event)
            self.deleted = max(event, self.deleted, key=order)
            self.took_away()

    def took_away(self) -> None:
        """Unfinished events that are not there any more are lost."""
        self.wire.snapshot()
        there = set(self.ids())
        lost = {each for each in self.alive if order(each) > order(self.checkpoint)} - there
        self.missing |= lost
        self.alive = [each for each in self.alive if each in there]

    @rule(count=st.integers(0, 3), ms=st.sampled_from([-1_000_000, 1_000]))
    def recreate(self, count: int, ms: int) -> None:
        """The log is deleted, perhaps filled by others under lower or higher ids, and mended."""
        self.wire.redis.delete(LOG)
        start = max(order(self.checkpoint)[0] + ms, 5)
        for i in range(count):
            self.wire.redis.xadd(LOG, {"f": "v"}, id=f"{start}-{i}")
        self.wire.snapshot()
        assert self.wire.call("register", KEYS, *CONTRACT, NAME, "0") == [2, self.checkpoint]
        # What was there up to the checkpoint counts as deleted in a log that was mended.
        self.deleted = max(self.checkpoint, self.deleted, key=order)
        self.begin_again()
        self.replaced = count > 0 or self.checkpoint == ZERO

    @rule()
    def set_back(self) -> None:
        """A failover that lost writes, of the log alone: to what it was at the last such call."""
        older, dumped = self.old, self.wire.redis.dump(LOG)
        self.old = dumped
        if older:
            self.wire.redis.restore(LOG, 0, older, replace=True)
            self.wire.snapshot()
            self.begin_again()
            self.replaced = True

    def begin_again(self) -> None:
        """The log is another one: its earlier events are unknown."""
        self.alive, self.missing = self.ids(), set()

    @rule(new_claim=st.booleans(), accept=st.booleans())
    def claim(self, new_claim: bool, accept: bool) -> None:
        """Find the loss, and accept it if `accept`: then it is not reported again."""
        if new_claim:
            self.grant, self.held = self.grant + 1, self.nonce()
        found = self.ask("")
        lost, exact = found[8:10]
        self.check_loss(lost, exact)
        self.check_anchor(found[10], found[11])
        if lost < 0 or not accept:
            assert (lost, exact) == tuple(self.ask(str(lost + 1))[8:10]), "only by its own number"
            return
        accepted = self.ask(str(lost))
        assert accepted[8] == -1
        self.counted += lost
        self.checkpoint, self.replaced = accepted[1], False
        self.missing.clear()
        self.alive = self.ids()
        assert self.wire.seen[KEYS[2]].get("lost", "0") == str(self.counted)
        log = self.wire.seen[LOG]
        # A server cannot tell the lag while an entry ahead was deleted from the middle.
        unknown = [None] if order(self.deleted) > order(self.checkpoint) else []
        assert log.groups[NAME].lag in [len(log.behind(self.checkpoint)), *unknown], "lag is right"

    def ask(self, accept: str) -> list[Any]:
        """A claim and its repeat."""
        args: list[Arg] = [*CONTRACT, NAME, "me", self.grant, self.held, accept]
        reply: list[Any] = self.wire.call("claim", KEYS, *args)
        self.wire.repeat(reply, "claim", KEYS, *args)
        self.epoch = reply[0]
        return reply

    def check_loss(self, lost: int, exact: int) -> None:
        """The number is exact after trimming. It is reported at once if the next event disappeared,
        otherwise at the latest when no event is left. In another log it is a lower bound."""
        log = self.wire.seen[LOG]
        if order(self.checkpoint) > order(log.last):
            assert (lost, exact) == (0, 0), "the log went back in time"
            return
        if self.replaced:
            return
        at_head = not self.alive or order(self.alive[0]) > order(self.checkpoint)
        if at_head or not log.behind(self.checkpoint):
            assert (lost, exact) == (len(self.missing) or -1, 1)
        else:
            assert lost == -1, "there is more to be read before that can be known"

    def check_anchor(self, checkpoint_exists: int, next_id: str) -> None:
        """What a reader needs to see the next loss by itself."""
        log = self.wire.seen[LOG]
        assert checkpoint_exists == (self.checkpoint in self.ids())
        assert next_id == [*log.behind(self.checkpoint), ""][0]

    def ids(self) -> list[str]:
        """What is in the log."""
        log = self.wire.seen.get(LOG)
        return [each for each, _ in log.entries] if log else []

    @invariant()
    def redis_holds_what_the_model_says(self) -> None:
        """The checkpoint that retention goes by is the one that the state has."""
        if KEYS[2] in self.wire.seen:
            assert self.wire.seen[META][f"checkpoint:{NAME}"] == self.checkpoint
            assert self.wire.seen[KEYS[2]]["checkpoint"] == self.checkpoint


@pytest.mark.fault(34, 35, 36)
def test_s7_whatever_leaves_the_log_is_found_and_counted_once(wire: Wire) -> None:
    search(lambda: LossMachine(wire))
