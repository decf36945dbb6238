"""S6: one leader at a time by the server's clock, and each instant of a cron task at most once."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.contracts.profile import TIMEOUT, search
from tests.contracts.wire import START, Arg, Wire
from tests.contracts.world import LEADER, TICKS

pytestmark = pytest.mark.timeout(TIMEOUT)
AGAIN = st.booleans()


class AppMachine(RuleBasedStateMachine):
    """Workers that ask to lead, and whether a scheduled instant may fire."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.wire = wire
        self.leader = ""
        self.ends = 0
        self.session = 0
        #: Task -> its last instant that fired, or since when it is known; for whom; its schedule.
        self.fired: dict[str, tuple[int, str, str]] = {}
        wire.clear()
        wire.snapshot()

    @rule(
        who=st.sampled_from("abc"),
        session=st.sampled_from([1_000, 5_000]),
        action=st.sampled_from(["hold", "hold", "hold", "leave"]),
        again=AGAIN,
    )
    def elect(self, who: str, session: int, action: str, again: bool) -> None:
        args: list[Arg] = [f"member-{who}", who, session, action]
        reply = self.wire.call("elect", [LEADER], *args)
        # A clock that went back must not make the lease longer than it was meant to be.
        left = min(self.ends - self.wire.now, self.session) if self.leader else 0
        if self.leader != who and left > 0:
            assert reply == [0, left]
        elif action == "leave":
            assert reply == [0, 0]
            if self.leader == who:
                self.leader = ""
                assert LEADER not in self.wire.seen
        else:
            assert reply == [1, session]
            self.leader, self.session = who, session
            self.ends = self.wire.now + session
            assert self.wire.seen[LEADER]["member"] == f"member-{who}"
        if again:
            self.wire.repeat(reply, "elect", [LEADER], *args)

    @rule(
        task=st.sampled_from(["report", "clean"]),
        due=st.sampled_from([0, 1, 2, 3]),
        who=st.sampled_from("abc"),
        schedule=st.sampled_from(["0 2 * * * UTC", "0 3 * * * UTC"]),
        again=AGAIN,
    )
    def tick(self, task: str, due: int, who: str, schedule: str, again: bool) -> None:
        instant = START + due * 1_000
        args: list[Arg] = [task, instant, who, schedule]
        reply = self.wire.call("tick", [TICKS], *args)
        last, by, _ = self.fired.get(task, (0, "", ""))
        if instant > self.wire.now:
            assert reply == [2, instant - self.wire.now]
        elif instant > last:
            assert reply == [1, 0]
            self.fired[task] = (instant, who, schedule)
        else:
            assert reply == [int((instant, who) == (last, by)), 0], "at most once"
        if again:
            self.wire.repeat(reply, "tick", [TICKS], *args)

    @rule(
        task=st.sampled_from(["report", "clean"]),
        who=st.sampled_from("abc"),
        schedule=st.sampled_from(["0 2 * * * UTC", "0 3 * * * UTC"]),
        again=AGAIN,
    )
    def make_known(self, task: str, who: str, schedule: str, again: bool) -> None:
        """What was due before the task was known under its schedule never fires."""
        args: list[Arg] = [task, 0, who, schedule]
        reply = self.wire.call("tick", [TICKS], *args)
        assert reply == [0, 0]
        last, _, known = self.fired.get(task, (0, "", ""))
        if known != schedule:
            self.fired[task] = (max(last, self.wire.now), "", schedule)
        if again:
            self.wire.repeat(reply, "tick", [TICKS], *args)

    @rule(ms=st.sampled_from([1, 500, 1_000, 5_000, -1_000, -3_600_000]))
    def time_passes(self, ms: int) -> None:
        self.wire.set_clock(self.wire.now + ms)


def test_s6_one_leads_and_an_instant_fires_once(wire: Wire) -> None:
    search(lambda: AppMachine(wire))
