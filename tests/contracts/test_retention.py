"""S3, S4, S6: what `append` and `trim` add, refuse and remove, and which processor a refusal names.

Three producers number their appends, sometimes wrongly; two senders number their events; two
processors register, commit, lag and are removed, in a partition with few entries.
"""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.contracts.model import Fields
from tests.contracts.operators import AGAIN, OperatorMachine
from tests.contracts.profile import TIMEOUT, search
from tests.contracts.wire import Arg, Refused, Wire, order
from tests.contracts.world import DEDUPE
from tests.lua.conftest import LOG, META, NONCE, NUMBERS, PRODUCERS

pytestmark = pytest.mark.timeout(TIMEOUT)


class RetentionMachine(OperatorMachine):
    """A small partition that is always about to be full."""

    @rule(
        producer=st.sampled_from("pqr"),
        ahead=st.sampled_from([1, 1, 1, 1, 1, 0, 2, -1]),
        count=st.integers(1, 3),
        size=st.sampled_from([6, 6, 6, 4, 9]),
        when_full=st.sampled_from(["refuse", "refuse", "drop_unread", "drop_oldest"]),
        again=AGAIN,
        old=st.sampled_from([None, None, 0, 2, 4]),
    )
    def send(
        self,
        producer: str,
        ahead: int,
        count: int,
        size: int,
        when_full: str,
        again: int,
        old: int | None = None,
    ) -> None:
        last = self.log.producers.get(producer, (0, "", 0))[0]
        sequence = max(last + ahead, 1)
        bodies: list[Fields] = [
            ("json", f"{producer}{sequence}.{i}", "@from", producer) for i in range(count)
        ]
        age = None if old is None else self.age_of(old)
        self.do_append(producer, sequence, bodies, size, when_full, again, age)

    def age_of(self, which: int) -> int | None:
        """An age at which this event, and those after it, are just young enough."""
        if not self.log.ids:
            return None
        ms, _ = order(self.log.ids[which % len(self.log.ids)])
        return self.wire.now - ms

    @rule(
        which=st.integers(0, 8),
        by_age=st.booleans(),
        when_full=st.sampled_from(["refuse", "refuse", "drop_unread", "drop_oldest"]),
        again=AGAIN,
    )
    def trim(self, which: int, by_age: bool, when_full: str, again: int) -> None:
        if by_age and (age := self.age_of(which)):
            self.do_trim(0, age, when_full, 0)
        elif not by_age:
            self.do_trim(max(which, 1), 0, when_full, again)

    @rule(
        sender=st.sampled_from(["producer:p", "outbox:p"]),
        ahead=st.sampled_from([1, 1, 1, 0, -1, -2, 3]),
        gaps=st.lists(st.sampled_from([1, 1, 1, 2]), max_size=3),
        size=st.sampled_from([6, 6, 6, 5, 9]),
        when_full=st.sampled_from(["refuse", "refuse", "drop_unread", "drop_oldest"]),
        again=AGAIN,
    )
    def send_numbered(
        self, sender: str, ahead: int, gaps: list[int], size: int, when_full: str, again: int
    ) -> None:
        last = self.log.numbers.get(sender, (0, "", 0, 0))[0]
        numbers = list(accumulate([max(last + ahead, 0), *gaps]))
        self.do_append_numbered(sender, numbers, size, when_full, again)

    def append(self, count: int) -> None:
        bodies: list[Fields] = [("msgpack", str(i)) for i in range(count)]
        self.do_append("first", 1, bodies, 6, "refuse", 0)

    @rule(
        which=st.integers(1, 5),
        producer=st.sampled_from("pqr"),
        count=st.integers(1, 3),
        group_lost=st.sampled_from([False, False, False, True]),
    )
    def move_and_send(self, which: int, producer: str, count: int, group_lost: bool) -> None:
        """All registered processors commit the first few; then a producer sends to a full log."""
        for name in sorted(self.log.checkpoints):
            if name in self.slots and name in self.log.groups:
                self.seek(name, "id", which, 0)
        if group_lost:
            self.lose("printer", "group")
        self.send(producer, 1, count, 6, "refuse", 1)

    @rule(
        script=st.sampled_from(
            ["declare", "append", "append_numbered", "append_once", "claim", "register"]
        ),
        seen=st.sampled_from([(0, 8, "xxh64"), (1, 9, "xxh64"), (1, 8, "md5")]),
    )
    def another_view(self, script: str, seen: tuple[Arg, ...]) -> None:
        """A client that sees the stream otherwise is refused before anything is written."""
        calls: dict[str, tuple[list[str], list[Arg]]] = {
            "declare": ([META], []),
            "append": ([LOG, META, PRODUCERS], [100, "drop_oldest", "p", 1, 2, "f", "v"]),
            "append_numbered": (
                [LOG, META, NUMBERS],
                [100, "drop_oldest", "producer:p", "0-1", 2, "f", "v"],
            ),
            "append_once": ([LOG, META, DEDUPE], [100, "drop_oldest", 9, 2, "f", "v"]),
            "claim": (self.keys("printer"), ["printer", "me", 10**9, NONCE, ""]),
            "register": (self.keys("mailer"), ["mailer", "0"]),
        }
        keys, rest = calls[script]
        assert self.call(script, keys, [*seen, *rest]) == Refused("MISMATCH")


def test_s3_s4_s6_what_is_sent_and_what_may_be_trimmed(wire: Wire) -> None:
    search(lambda: RetentionMachine(wire))
