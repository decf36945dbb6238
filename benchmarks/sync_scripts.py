"""Times the scripts of consumer groups: `sync` in groups of several sizes, `describe_group` and
`revoke` at the largest input that their headers allow."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from functools import partial

from benchmarks.script_timer import Timer, case
from runnel import protocol
from runnel.core.membership import Membership

#: A session that ends after all measures, in ms.
SESSION = 600_000


class Group:
    """A group whose members call `sync`."""

    def __init__(self, timer: Timer, name: str, partitions: int) -> None:
        self.timer = timer
        self.name = f"runnel:{{bench:{name}@p}}"
        self.partitions = partitions
        self.members: list[Membership] = []
        self.generation = 1
        #: The server's time for each call that changed who holds or should hold a partition.
        self.changes: list[float] = []

    def join(self) -> float:
        """Let one more join, with a `rebalance_delay` of 0. Returns the server's time."""
        self.members.append(self._member(f"m{len(self.members):03}"))
        return self.sync(self.members[-1])

    def leave(self) -> float:
        """Let the last one leave. Returns the server's time."""
        return self.sync(self.members.pop(), leave=True)

    def sync(self, member: Membership, leave: bool = False) -> float:
        """One call of `sync`; the member does at once what the reply asks. Returns the server's
        time."""
        reported = member.reported()
        number, call = member.next_call("leave" if leave else "stay")
        reply, spent = self.timer.timed_reply(call)
        synced = protocol.read_sync(reply)
        actions = member.replied(number, reported, synced)
        for grant in actions.claim:
            member.claimed(grant.partition, grant.number)
        for partition in actions.drain:
            member.not_held(partition, member.held[partition])
        if synced.generation != self.generation:
            self.generation = synced.generation
            self.changes.append(spent)
        return spent

    def settle(self) -> None:
        """Sync until no member has a partition to release or to claim."""
        while True:
            generation = self.generation
            for each in self.members:
                self.sync(each)
            if generation == self.generation and not any(m.must_report for m in self.members):
                return

    def _member(self, name: str) -> Membership:
        return Membership(
            self.name,
            self.partitions,
            (SESSION, SESSION, 0),
            (name, secrets.token_hex(8), "host 1 python 1.0"),
        )

    def assemble(self, members: int) -> None:
        """Have so many members share the partitions, as if they had joined.

        One joins; the others and their shares are written as copies of what the script has stored
        for it. If they joined one by one, each would cost a rebalance.
        """
        redis = self.timer.redis
        plan, known, sessions = (f"{self.name}:{key}" for key in ("plan", "members", "sessions"))
        self.join()
        self.settle()
        first, incarnation, _ = self.members[0].member
        grants = self.members[0].held
        record, ends = redis.hget(known, first).decode(), redis.zscore(sessions, first)
        stored = {key.decode(): text.decode() for key, text in redis.hgetall(plan).items()}
        self.members = [self._member(f"m{number:03}") for number in range(members)]
        for number, member in enumerate(self.members):
            name, own, _ = member.member
            redis.hset(known, name, record.replace(incarnation, own))
            redis.zadd(sessions, {name: ends})
            share = range(number, self.partitions, members)
            fields = {f"p:{p}": stored[f"p:{p}"].replace(first, name) for p in share}
            fields[f"grants:{name}"] = " ".join(f"{p} {grants[p]} 1" for p in share)
            redis.hset(plan, mapping=fields)
            for partition in share:
                member.claimed(partition, grants[partition])
            # Its record has the call number of the first member. The reply to a first call, which
            # counts as a repeat, tells it that number.
            self.sync(member)


@case("revoke", "revoke, 1,000 partitions", 15_000, one_in=10)
def revoke(timer: Timer, repeats: int) -> Iterator[float]:
    group = Group(timer, "revoke", 1000)
    group.join()
    for _ in range(repeats):
        yield timer.timed(protocol.revoke(group.name, range(1000)))
        group.settle()


@case("describe_group", "describe_group, 10,000 partitions, 1,000 members", 500_000, one_in=10)
def describe_group(timer: Timer, repeats: int) -> Iterator[float]:
    group = Group(timer, "describe_group", 10_000)
    group.assemble(1000)
    for _ in range(repeats):
        yield timer.timed(protocol.describe_group(group.name))


def heartbeats(members: int, partitions: int, timer: Timer, repeats: int) -> Iterator[float]:
    """A heartbeat of each of so many members that share the partitions, or several: at least a
    hundred in all."""
    group = Group(timer, "steady", partitions)
    group.assemble(members)
    for _ in range(max(1, 100 // members)):
        for each in group.members:
            yield group.sync(each)


def rebalances(members: int, timer: Timer, repeats: int) -> Iterator[float]:
    """Each call that changes an assignment when a member joins such a group with 1,000 partitions,
    and when one leaves."""
    group = Group(timer, "rebalance", 1000)
    group.assemble(members)
    for _ in range(repeats):
        group.join()
        group.settle()
        group.leave()
        group.settle()
    yield from group.changes


for name, members, partitions, budget in (
    ("sync-steady-1", 1, 1000, 10_000),
    ("sync-steady-10", 10, 1000, 1_000),
    ("sync-steady", 100, 1000, 400),
    ("sync-steady-1000", 1000, 10_000, 400),
):
    plural = "s" if members > 1 else ""
    title = f"sync, heartbeat, {partitions:,} partitions, {members:,} member{plural}"
    case(name, title, budget)(partial(heartbeats, members, partitions))

for name, members in (("sync-rebalance-10", 10), ("sync-rebalance", 100)):
    title = f"sync, one joins or leaves, 1,000 and {members}"
    case(name, title, 8_000, one_in=10)(partial(rebalances, members))


@case("sync-alone", "sync, heartbeat, 10,000 partitions held by one", 250_000, one_in=10)
def sync_alone(timer: Timer, repeats: int) -> Iterator[float]:
    group = Group(timer, "alone", 10_000)
    group.assemble(1)
    for _ in range(repeats):
        yield group.sync(group.members[0])


@case("sync-largest", "sync, one leaves or joins, 10,000 and 1,000", 200_000, one_in=10)
def sync_largest(timer: Timer, repeats: int) -> Iterator[float]:
    group = Group(timer, "largest", 10_000)
    group.assemble(1000)
    for _ in range(repeats):
        yield group.leave()
        yield group.join()
