"""Checks the group at each `sync` and `revoke`: grants, sessions and balance.

Nothing here repeats how the script decides. It checks the properties of every decision: a partition
is taken from a member only for a cause, a grant is never issued twice, members differ by at most
one partition, and no more partitions move than that needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from redis.exceptions import ResponseError

from runnel import keys
from runnel.protocol.scripts import Call
from tests.simulation.store import Command
from tests.simulation.trace import Violation

UNASSIGNED = "-"


@dataclass(frozen=True)
class Assigned:
    """The plan for one partition."""

    owner: str = UNASSIGNED
    target: str = UNASSIGNED
    grant: int = 0
    asked_at: int = 0


@dataclass(frozen=True)
class MemberRecord:
    """The stored record of one member."""

    incarnation: str
    previous: str
    call: int
    action: str


@dataclass(frozen=True)
class GroupKeys:
    """The keys of a group at one moment."""

    fields: dict[str, str] = field(default_factory=dict)
    members: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, int] = field(default_factory=dict)

    def partition(self, number: int) -> Assigned:
        owner, target, grant, asked_at = self.fields.get(f"p:{number}", "- - 0 0").split()
        return Assigned(owner, target, int(grant), int(asked_at))

    def member(self, name: str) -> MemberRecord | None:
        if name not in self.members:
            return None
        incarnation, previous, call, _, action = self.members[name].split()[:5]
        return MemberRecord(incarnation, previous, int(call), action)

    def staying(self) -> set[str]:
        """Members that may be assigned partitions."""
        records = {name: self.member(name) for name in self.sessions}
        return {name for name, each in records.items() if each is None or each.action == "stay"}

    def number(self, name: str) -> int:
        return int(self.fields.get(name, 0))


@dataclass(frozen=True)
class _Sync:
    """The arguments of a `sync`, by name."""

    partitions: int
    session_timeout: int
    rebalance_timeout: int
    rebalance_delay: int
    member: str
    incarnation: str
    call: int
    action: str
    held: dict[int, int]
    released: set[tuple[int, int]]

    @staticmethod
    def of(args: Sequence[Any]) -> _Sync:
        numbers = [int(each) for each in args[10:]]
        split = 2 * int(args[9])
        held = dict(zip(numbers[:split:2], numbers[1:split:2], strict=True))
        released = set(zip(numbers[split::3], numbers[split + 1 :: 3], strict=True))
        first = [int(each) for each in args[:4]]
        return _Sync(
            first[0],
            first[1],
            first[2],
            first[3],
            str(args[4]),
            str(args[5]),
            int(args[6]),
            str(args[7]),
            held,
            released,
        )


class Assignments:
    """Checks one group. Holds its keys as they were after the last call."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.now = GroupKeys()
        #: The largest grant that was ever issued in this history.
        self.highest_grant = 0
        #: Keys were lost: members rejoin one by one, so the balance is not checked any more.
        self.keys_lost = False

    def probes(self) -> list[Command]:
        """Commands that read the keys of the group."""
        return [
            ("HGETALL", keys.plan(self.group)),
            ("HGETALL", keys.members(self.group)),
            ("ZRANGE", keys.sessions(self.group), 0, -1, "WITHSCORES"),
        ]

    def judge(self, call: Call, reply: Any, probed: list[Any], now: int) -> bool:
        """Check a call. Returns whether it published a change to the members."""
        before, after = self.now, read_group(probed)
        self.now = after
        if call.script == "revoke":
            for number in map(int, call.args):
                old = before.partition(number)
                cut = old.owner != old.target and after.partition(number) != old
                self._check(not cut, "S2", f"the move of partition {number} was interrupted: {old}")
            return True
        request = _Sync.of(call.args)
        record, changed = before.member(request.member), after != before
        if isinstance(reply, ResponseError):
            self._check(not changed, "S5", f"a refused sync changed the group: {reply}")
            replaced = record is not None and (
                record.incarnation != request.incarnation
                and (record.previous == request.incarnation or request.call > 1)
            )
            self._check(replaced and str(reply).startswith("REPLACED"), "S5", f"sync: {reply}")
            return False
        same = record is not None and record.incarnation == request.incarnation
        known = same and "session_timeout" in before.fields and request.member in before.sessions
        leaving = request.action == "leave"
        left = before.members.get(f"left:{request.member}", "").split()[:1] == [request.incarnation]
        older = record is not None and same and request.call <= record.call
        if record and older:
            self._check(not leaving, "S6", "a later call was executed before the one that leaves")
            self._check(not changed, "S6", "an older call was applied")
            self._check(
                reply[0] == record.call,
                "S6",
                "the reply to an older call does not show the newest call",
            )
        elif record is None and left:
            self._check(not changed, "S6", "a member that has left came back")
        else:
            replaced = record is not None and not same
            replaced &= request.call > 1 or (
                record is not None and record.previous == request.incarnation
            )
            self._check(not replaced, "S6", "a call of a replaced incarnation was applied")
            self._sessions(before, after, request, known, now)
            self._owners(after, request)
            for number in range(request.partitions):
                self._transition(number, before, after, request, known, now)
            if not self.keys_lost:
                self._rebalance(before, after, request)
            self._due(after, request, now)
        self._reply_head(after, reply, now)
        # The reply to an older call that is due at once may lack the grants after a `revoke`: the
        # next call has them.
        if not (older and reply[3] == 0):
            self._grants(after, request, reply, leaving)
        return after.number("generation") != before.number("generation")

    def _check(self, holds: bool, invariant: str, text: str) -> None:
        if not holds:
            raise Violation(invariant, f"group {self.group}: {text}")

    def _sessions(
        self, before: GroupKeys, after: GroupKeys, request: _Sync, known: bool, now: int
    ) -> None:
        """Live members keep their sessions, and no session is longer than a session timeout."""
        session = before.number("session_timeout") if known else request.session_timeout
        longest = max(before.number("longest_session"), request.session_timeout)
        expected = {
            name: min(end, now + longest)
            for name, end in before.sessions.items()
            if end > now and name != request.member
        }
        if request.action != "leave":
            expected[request.member] = now + (session or request.session_timeout)
        self._check(
            after.sessions == expected, "L1", f"sessions must be {expected}, are {after.sessions}"
        )

    def _owners(self, after: GroupKeys, request: _Sync) -> None:
        """Every owner of a partition has a session that can end."""
        owners = {after.partition(number).owner for number in range(request.partitions)}
        sessionless = sorted(owners - {UNASSIGNED} - set(after.sessions))
        self._check(not sessionless, "L1", f"{sessionless} own partitions and have no session")

    def _transition(
        self,
        number: int,
        before: GroupKeys,
        after: GroupKeys,
        request: _Sync,
        known: bool,
        now: int,
    ) -> None:
        """A partition changes its owner only for a cause, and under a grant of its own."""
        old, new = before.partition(number), after.partition(number)
        if (old.owner, old.grant) == (new.owner, new.grant):
            return
        own = old.owner == request.member
        cause = (
            old.owner == UNASSIGNED
            or (own and (number, old.grant) in request.released)
            or (own and not known and request.call == 1)
            or old.owner not in after.sessions
            or now >= (old.asked_at or now) + request.rebalance_timeout
        )
        self._check(cause, "S2", f"partition {number} was taken from {old.owner}: {old} {new}")
        if new.owner == UNASSIGNED:
            return
        adopted = not known and request.call > 1 and request.held.get(number) == new.grant
        if adopted and new.owner == request.member and new.grant > old.grant:
            self.highest_grant = max(self.highest_grant, new.grant)
            return
        self._check(new.grant > self.highest_grant, "S2", f"grant {new.grant} was issued before")
        self._check(new.owner in after.staying(), "L1", f"{new.owner} is no member and got {new}")
        given = [after.partition(each).grant for each in range(request.partitions)]
        self._check(given.count(new.grant) == 1, "S2", f"grant {new.grant} was issued twice")
        if number == max(range(request.partitions), key=given.__getitem__):
            self.highest_grant = max(given)

    def _rebalance(self, before: GroupKeys, after: GroupKeys, request: _Sync) -> None:
        """L2: members differ by at most one partition, and the fewest move."""
        staying = after.staying()
        targets = [after.partition(p).target for p in range(request.partitions)]
        if not staying:
            return
        old_targets = []
        for p in range(request.partitions):
            old = before.partition(p)
            kept = [each for each in (old.target, old.owner) if each in staying]
            old_targets.append(kept[0] if kept else UNASSIGNED)
        if after.number("rebalance_at"):
            moved = [p for p in range(request.partitions) if old_targets[p] != targets[p]]
            self._check(not moved, "L2", f"{moved} moved during the rebalance delay")
            return
        counts = {each: targets.count(each) for each in sorted(staying)}
        self._check(sum(counts.values()) == len(targets), "L2", f"not all assigned: {targets}")
        self._check(max(counts.values()) - min(counts.values()) <= 1, "L2", f"unequal: {counts}")
        base, extra = divmod(request.partitions, len(staying))
        held = sorted((old_targets.count(each) for each in staying), reverse=True)
        fewest = sum(max(0, n - base - (i < extra)) for i, n in enumerate(held))
        moved = [
            p for p in range(request.partitions) if old_targets[p] not in (UNASSIGNED, targets[p])
        ]
        if (
            not set(old_targets) & {UNASSIGNED}
            and staying == before.staying()
            and not before.number("rebalance_at")
        ):
            fewest = 0
        self._check(len(moved) <= fewest, "L2", f"{moved} moved where {fewest} were enough")

    def _due(self, after: GroupKeys, request: _Sync, now: int) -> None:
        """`due` is when something is to be done, and never past: members would call in a loop."""
        plan = [after.partition(p) for p in range(request.partitions)]
        times = [
            p.asked_at + request.rebalance_timeout
            for p in plan
            if p.asked_at and p.target != UNASSIGNED
        ]
        if rebalance_at := after.number("rebalance_at"):
            times.append(rebalance_at)
        expected = min(times, default=0)
        self._check(after.number("due") == expected, "L1", f"due {expected}: {after.fields}")
        self._check(not 0 < expected <= now, "L1", f"due {now - expected} ms ago: {after.fields}")

    def _reply_head(self, after: GroupKeys, reply: list[int], now: int) -> None:
        """The reply has the generation and the due time of the plan."""
        due = after.number("due")
        head = [after.number("generation"), max(due - now, 0) if due else -1]
        self._check(
            [reply[1], reply[3]] == head, "L1", f"replied {reply[:4]}, the plan says {head}"
        )

    def _grants(self, after: GroupKeys, request: _Sync, reply: list[int], leaving: bool) -> None:
        """The reply lists the partitions that the plan assigns to the member."""
        grants = []
        if not leaving and request.member in after.sessions:
            for p in range(request.partitions):
                each = after.partition(p)
                if each.owner == request.member:
                    grants += [p, each.grant, int(each.target == request.member)]
        self._check(reply[4:] == grants, "L1", f"replied {reply[4:]}, the plan says {grants}")


def read_group(probed: list[Any]) -> GroupKeys:
    """The keys of a group from the replies to `Assignments.probes`."""
    plan, members, sessions = ([each.decode() for each in flat] for flat in probed)
    return GroupKeys(
        dict(zip(plan[::2], plan[1::2], strict=True)),
        dict(zip(members[::2], members[1::2], strict=True)),
        {name: round(float(end)) for name, end in zip(sessions[::2], sessions[1::2], strict=True)},
    )
