"""S6, L1, L2, L3: a group of members that join, sleep, retire, leave, die and are forgotten.

The group only advises. So the machine checks, for every call, that no partition is taken from
somebody without a reason, that every partition has a live owner after each heartbeat, and that
the reply says what the plan says; and, once all is quiet, that the members are balanced and that
a single change has moved the fewest partitions that it could.
"""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.contracts.members import (
    REBALANCE_TIMEOUT,
    SESSION_TIMEOUT,
    Member,
    Share,
    grants,
    plan_of,
    shares,
)
from tests.contracts.profile import TIMEOUT, search
from tests.contracts.wire import Arg, Refused, Snapshot, Wire
from tests.contracts.world import GROUP
from tests.lua.conftest import MEMBERS, PLAN, SESSIONS

pytestmark = pytest.mark.timeout(TIMEOUT)
NOBODY = "-"
ID = st.sampled_from("abcde")
FREE = Share(NOBODY, NOBODY, 0, 0)


class GroupMachine(RuleBasedStateMachine):
    """Members, honest but not always quick, and a group that must serve them."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.wire = wire
        self.partitions = 1
        self.rebalance_delay = 0
        self.members: dict[str, Member] = {}
        self.replaced: list[Member] = []
        self.left: list[Member] = []
        self.starts = 0
        wire.clear()

    @initialize(
        partitions=st.sampled_from([1, 3, 4, 7]), rebalance_delay=st.sampled_from([0, 0, 2_000])
    )
    def begin(self, partitions: int, rebalance_delay: int) -> None:
        self.partitions, self.rebalance_delay = partitions, rebalance_delay
        self.join("a")

    @rule(id_=ID)
    def join(self, id_: str) -> None:
        """A start of a worker; if one with this id runs, it is replaced."""
        self.starts += 1
        if old := self.members.pop(id_, None):
            self.replaced = [old]
        self.left = [each for each in self.left if each.id != id_]
        self.members[id_] = Member(id_, f"start{self.starts}")
        self.beat(id_, quick=True)

    @precondition(lambda self: self.members)
    @rule(id_=ID, quick=st.booleans())
    def beat(self, id_: str, quick: bool) -> None:
        """A heartbeat; a quick member gives back at once what it is asked for, and says so."""
        if member := self.members.get(id_):
            self.sync(member)
            if quick and member.revoked:
                member.release()
                self.sync(member)

    @rule(
        ms=st.sampled_from(
            [
                1,
                SESSION_TIMEOUT // 3,
                SESSION_TIMEOUT // 3,
                REBALANCE_TIMEOUT,
                SESSION_TIMEOUT,
                -SESSION_TIMEOUT,
                -3_600_000,
            ]
        )
    )
    def time_passes(self, ms: int) -> None:
        self.wire.set_clock(self.wire.now + ms)

    @precondition(lambda self: self.members)
    @rule(id_=ID)
    def leave(self, id_: str) -> None:
        if member := self.members.pop(id_, None):
            member.action = "leave"
            self.sync(member)
            self.left = [*self.left[-2:], member]

    @precondition(lambda self: self.members)
    @rule(id_=ID, quick=st.booleans())
    def retire(self, id_: str, quick: bool) -> None:
        """It is on its way out, finishes what it has in hand, and will leave."""
        if member := self.members.get(id_):
            member.action = "retire"
            self.beat(id_, quick)

    @rule(id_=ID)
    def die(self, id_: str) -> None:
        """Nothing is heard of it any more."""
        self.members.pop(id_, None)

    @rule(id_=ID, which=st.integers(0, 6), seen=st.sampled_from([1, 100_000]))
    def find_a_grant_stale(self, id_: str, which: int, seen: int) -> None:
        """The partition had seen a newer grant; the next that is given is newer still."""
        member, partition = self.members.get(id_), which % self.partitions
        if member and partition in member.held:
            grant, share = member.held.pop(partition), plan_of(self.wire).get(partition, FREE)
            believed = (share.owner, share.grant) == (member.id, grant)
            member.released.append((partition, grant, grant + seen))
            self.sync(member)
            share = plan_of(self.wire)[partition]
            if believed and share.owner != NOBODY:
                assert share.grant > grant + seen

    @rule(partitions=st.sets(st.integers(0, 6), min_size=1), again=st.booleans())
    def revoke(self, partitions: set[int], again: bool) -> None:
        """The owners of these partitions get new grants; those that are moving keep moving."""
        before = plan_of(self.wire)
        args: list[Arg] = sorted(partitions)
        reply = self.wire.call("revoke", [PLAN], *args)
        was = {p: before.get(p, FREE) for p in partitions}
        held = [p for p in partitions if NOBODY != was[p].owner == was[p].target]
        assert reply == len(held)
        if again:
            self.wire.repeat(reply, "revoke", [PLAN], *args)
        for p in partitions:
            now = plan_of(self.wire).get(p, FREE)
            assert now.owner == NOBODY if p in held else now == was[p]
        for member in self.members.values():
            self.sync(member)
            break
        after = plan_of(self.wire)
        for p in held:
            assert after[p].owner == NOBODY or after[p].grant > before[p].grant

    @precondition(lambda self: self.members)
    @rule(id_=ID, back=st.integers(1, 3))
    def an_old_call_arrives_late(self, id_: str, back: int) -> None:
        """S6: a stale call is answered with the present and changes nothing."""
        member = self.members.get(id_)
        if not member or not self.knows(member) or member.call <= back:
            return
        args = list(member.sent)
        args[6], before = member.call - back, self.wire.seen
        reply = self.wire.call("sync", GROUP, *args)
        assert self.wire.seen == before, "a stale call was obeyed"
        assert reply[0] == member.call, "the reply says that the call is stale"

    @rule(call=st.integers(1, 3))
    def the_replaced_and_the_left_speak(self, call: int) -> None:
        """They do not come back, and the reply says so."""
        for member in self.replaced:
            if self.heir(member):
                args = list(member.sent)
                args[6] = call
                assert self.wire.call("sync", GROUP, *args) == Refused("REPLACED")
        for member in self.left:
            buried = self.wire.seen.get(MEMBERS, {}).get(f"left:{member.id}", "")
            if buried.startswith(f"{member.incarnation} "):
                before = self.wire.seen
                reply = self.wire.call("sync", GROUP, *member.sent)
                assert (self.wire.seen, grants(reply)) == (before, {})

    @rule(key=st.sampled_from([PLAN, MEMBERS, SESSIONS]))
    def lose(self, key: str) -> None:
        """A key of the group vanishes: it costs time, never more."""
        self.wire.redis.delete(key)
        self.wire.snapshot()

    @rule()
    def rest(self) -> None:
        """L2, L3: when nothing changes any more, all is held, evenly, and stays where it is."""
        if not self.stayers():
            return
        self.settle()
        plan = plan_of(self.wire)
        counts = dict.fromkeys(self.stayers(), 0)
        for p in range(self.partitions):
            share = plan[p]
            assert share.owner == share.target, "it is where it should be"
            counts[share.owner] += 1
            assert self.members[share.owner].held[p] == share.grant, "its owner knows"
        assert max(counts.values()) - min(counts.values()) <= 1, f"L2: {counts}"
        assert sum(len(member.held) for member in self.members.values()) == self.partitions
        for member in self.members.values():
            self.sync(member)
        assert plan_of(self.wire) == plan, "calm"

    @rule(ids=st.lists(ID, min_size=2, max_size=5))
    def several_come_and_go_at_once(self, ids: list[str]) -> None:
        """Before those who hold something have heard of it."""
        for id_ in ids:
            self.leave(id_) if id_ in self.members else self.join(id_)
        self.rest()

    @precondition(lambda self: self.members)
    @rule(id_=ID, change=st.sampled_from(["join", "leave", "die", "retire"]))
    def one_change_moves_the_fewest(self, id_: str, change: str) -> None:
        """L2: who stays keeps all it can, and is not interrupted."""
        self.rest()
        before = {each: dict(member.held) for each, member in self.stayers().items()}
        if change == "join" and id_ not in self.members:
            self.join(id_)
        elif change != "join" and id_ in before and len(before) > 1:
            {"leave": self.leave, "die": self.die}.get(change, self.retire_quickly)(id_)
        else:
            return
        self.rest()
        stay = sorted((len(before.get(each, {})) for each in self.stayers()), reverse=True)
        base, extra = divmod(self.partitions, len(stay))
        could_stay = sum(min(held, base + (i < extra)) for i, held in enumerate(stay))
        stayed = sum(
            member.held.get(p) == grant
            for each, member in self.stayers().items()
            for p, grant in before.get(each, {}).items()
        )
        assert stayed == could_stay, "L2: more has moved than must"

    @rule()
    def look_at_it(self) -> None:
        group_description = self.wire.call("describe_group", GROUP[:3])
        now, generation, session, count = group_description[:4]
        assert now == self.wire.now
        plan, sessions = self.wire.seen.get(PLAN, {}), self.wire.seen.get(SESSIONS, {})
        assert (generation, session) == (
            int(plan.get("generation", 0)),
            int(plan.get("session_timeout", 0)),
        )
        rows = [group_description[4 + 6 * i : 10 + 6 * i] for i in range(count)]
        assert {row[0] for row in rows} == set(sessions)
        assert all(int(row[1]) <= SESSION_TIMEOUT for row in rows)
        rest = group_description[4 + 6 * count :]
        replied = {int(rest[i]): tuple(rest[i + 1 : i + 4]) for i in range(0, len(rest), 4)}
        assert replied == {
            p: (share.owner, share.target, str(share.grant)) for p, share in shares(plan).items()
        }

    @invariant()
    def each_grant_has_a_number_of_its_own(self) -> None:
        plan = plan_of(self.wire)
        assert len(plan) in (0, self.partitions)
        numbers = [share.grant for share in plan.values() if share.grant]
        assert len(numbers) == len(set(numbers)), "each grant has a number of its own"

    def settle(self) -> None:
        """Heartbeats at their pace until a whole session has changed nothing."""
        quiet = 0
        while quiet < 5:
            before = plan_of(self.wire), set(self.wire.seen.get(SESSIONS, {}))
            self.wire.set_clock(self.wire.now + SESSION_TIMEOUT // 3)
            for id_ in list(self.members):
                self.beat(id_, quick=True)
            same = before == (plan_of(self.wire), set(self.wire.seen[SESSIONS]))
            quiet = quiet + 1 if same else 0

    def stayers(self) -> dict[str, Member]:
        """Those that are to hold something."""
        return {each: member for each, member in self.members.items() if member.action == "stay"}

    def retire_quickly(self, id_: str) -> None:
        self.retire(id_, True)

    def sync(self, member: Member) -> None:
        """One call of a member, its repeat, and what must hold of every such call."""
        before, known, now = self.wire.seen, self.knows(member), self.wire.now
        args = member.arguments(self.partitions, self.rebalance_delay)
        reply = self.wire.call("sync", GROUP, *args)
        assert not isinstance(reply, Refused), reply
        after = self.wire.seen
        self.wire.set_clock(now + 1)
        again = self.wire.call("sync", GROUP, *args)
        assert self.wire.seen == after, "S6: a repeat wrote"
        assert again[:3] + again[4:] == reply[:3] + reply[4:], "S6: but for the time that is left"
        assert reply[0] == member.call
        assert reply[1] == int(after[PLAN]["generation"])
        assert reply[2] == SESSION_TIMEOUT
        self.check_plan(before, after, member, known, now)
        mine = {p: s for p, s in plan_of(self.wire).items() if s.owner == member.id}
        if member.action == "leave":
            assert not mine
            assert grants(reply) == {}
            return
        assert grants(reply) == {p: (s.grant, int(s.target == member.id)) for p, s in mine.items()}
        assert float(after[SESSIONS][member.id]) == now + SESSION_TIMEOUT
        member.obey(reply)

    def check_plan(
        self, before: Snapshot, after: Snapshot, member: Member, known: bool, now: int
    ) -> None:
        """L1: what is free is given out; nothing is taken from its owner without a reason."""
        old, new = shares(before.get(PLAN, {})), shares(after[PLAN])
        assert not 0 < int(after[PLAN]["due"]) <= now, "L1: all would call at once, for ever"
        live, was_live = (
            {id_ for id_, end in snapshot.get(SESSIONS, {}).items() if float(end) > now}
            for snapshot in (after, before)
        )
        ends = map(float, after.get(SESSIONS, {}).values())
        assert all(end <= now + SESSION_TIMEOUT for end in ends), (
            "no session is longer than it may be"
        )
        records = after.get(MEMBERS, {})
        stay = {id_ for id_ in live if id_ not in records or records[id_].split()[4] == "stay"}
        counter = int(before.get(PLAN, {}).get("counter", 0))
        released = {(p, grant) for p, grant, _ in member.released}
        for p in range(self.partitions):
            was, is_ = old.get(p, FREE), new[p]
            if stay:
                assert is_.owner in live, f"L1: {p} has no live owner"
                assert is_.target in stay
            else:
                assert is_.owner in {NOBODY, *live}
                assert is_.target == NOBODY, "no member can take it"
            if is_.owner != is_.target and stay:
                assert now - REBALANCE_TIMEOUT < is_.asked_at <= now, (
                    "its owner has the timeout, no more"
                )
                assert now < int(after[PLAN]["due"]) <= is_.asked_at + REBALANCE_TIMEOUT
            if (was.owner, was.grant) == (is_.owner, is_.grant) or is_.owner == NOBODY:
                continue
            if is_.owner == member.id and member.held.get(p) == is_.grant:
                assert not known, "learnt from a member that the group had forgotten"
                continue
            assert is_.grant > max(was.grant, counter), "a grant that is new to everybody"
            assert is_.owner == is_.target
            gone = was.owner not in was_live and not (was.owner == member.id and known)
            own = was.owner == member.id and (
                member.action == "leave" or (p, was.grant) in released or not known
            )
            late = was.asked_at > 0 and (
                now >= was.asked_at + REBALANCE_TIMEOUT or was.asked_at > now
            )
            assert was.owner == NOBODY or gone or own or late, f"{p} was taken from {was.owner}"

    def knows(self, member: Member) -> bool:
        """Has the group this very member in its records?"""
        seen = self.wire.seen
        record = seen.get(MEMBERS, {}).get(member.id, "")
        return (
            record.startswith(f"{member.incarnation} ")
            and member.id in seen.get(SESSIONS, {})
            and PLAN in seen
        )

    def heir(self, member: Member) -> bool:
        """Is there one in the records that has replaced this member?"""
        record = self.wire.seen.get(MEMBERS, {}).get(member.id, "").split()
        return len(record) > 1 and record[1] == member.incarnation


@pytest.mark.fault(42)
def test_s6_l1_l2_l3_the_life_of_a_group(wire: Wire) -> None:
    search(lambda: GroupMachine(wire))
