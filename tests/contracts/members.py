"""Members of a group. They do what a worker does with the replies of `sync`, but slowly."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.contracts.wire import Arg, Refused, Wire
from tests.contracts.world import GROUP
from tests.lua.conftest import PLAN

SESSION_TIMEOUT, REBALANCE_TIMEOUT = 10_000, 4_000


@dataclass
class Share:
    """A partition in the plan."""

    owner: str
    target: str
    grant: int
    asked_at: int


@dataclass
class Member:
    """The state of one member: what it holds, what it must report, its last call."""

    id: str
    incarnation: str
    call: int = 0
    #: "stay", or "retire": then it releases what it holds and gets no grants.
    action: str = "stay"
    held: dict[int, int] = field(default_factory=dict)
    released: list[tuple[int, int, int]] = field(default_factory=list)
    #: Partition -> grant of what it must release.
    revoked: dict[int, int] = field(default_factory=dict)
    sent: list[Arg] = field(default_factory=list)
    reply: list[int] = field(default_factory=list)

    def arguments(self, partitions: int, rebalance_delay: int) -> list[Arg]:
        """The arguments of the next call."""
        self.call += 1
        pairs: list[Arg] = [each for pair in self.held.items() for each in pair]
        rest: list[Arg] = [each for triple in self.released for each in triple]
        times: list[Arg] = [SESSION_TIMEOUT, REBALANCE_TIMEOUT, rebalance_delay]
        named: list[Arg] = [self.id, self.incarnation, self.call, self.action, "host 1 test 1"]
        self.sent = [partitions, *times, *named, len(self.held), *pairs, *rest]
        return self.sent

    def obey(self, reply: list[int]) -> None:
        """Claim what is granted. What is not granted any more is still held, but revoked."""
        self.reply, self.released = reply, []
        granted = grants(reply)
        for partition, grant in list(self.held.items()):
            if granted.get(partition) != (grant, 1):
                self.revoked[partition] = grant
        for partition, (grant, hold) in granted.items():
            if hold and partition not in self.held:
                self.held[partition] = grant

    def release(self) -> None:
        """The current event is finished: release what is revoked. The next call reports it."""
        for partition, grant in self.revoked.items():
            if self.held.get(partition) == grant:
                del self.held[partition]
                self.released.append((partition, grant, 0))
        self.revoked = {}


def grants(reply: list[int]) -> dict[int, tuple[int, int]]:
    """Partition -> grant, and 1 to hold it or 0 to release it."""
    return {reply[i]: (reply[i + 1], reply[i + 2]) for i in range(4, len(reply), 3)}


def shares(plan: dict[str, str]) -> dict[int, Share]:
    """The partitions in a plan."""
    found = {}
    for name, value in plan.items():
        if name.startswith("p:"):
            owner, target, grant, asked_at = value.split()
            found[int(name[2:])] = Share(owner, target, int(grant), int(asked_at))
    return found


def sync(wire: Wire, args: list[Arg]) -> list[int] | Refused:
    """One call."""
    reply: list[int] | Refused = wire.call("sync", GROUP, *args)
    return reply


def plan_of(wire: Wire) -> dict[int, Share]:
    """The partitions in the plan as it stands."""
    return shares(wire.seen.get(PLAN, {}))
