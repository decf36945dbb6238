"""Members of a group: they do what a worker does with the replies of `sync`, if slowly."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.contracts.wire import Arg, Refused, Wire
from tests.contracts.world import GROUP
from tests.lua.conftest import PLAN

SESSION, DRAIN = 10_000, 4_000


@dataclass
class Share:
    """A partition in the plan."""

    owner: str
    target: str
    grant: int
    asked_at: int


@dataclass
class Member:
    """One member as itself sees it: what it holds, what it must report, its last call."""

    id: str
    incarnation: str
    call: int = 0
    #: Stays, or is on its way out: then it gives back what it holds and is granted nothing.
    action: str = "stay"
    held: dict[int, int] = field(default_factory=dict)
    let_go: list[tuple[int, int, int]] = field(default_factory=list)
    #: Partition -> grant of what is to be given back.
    unwanted: dict[int, int] = field(default_factory=dict)
    sent: list[Arg] = field(default_factory=list)
    reply: list[int] = field(default_factory=list)

    def arguments(self, partitions: int, collect: int) -> list[Arg]:
        """What the next call carries."""
        self.call += 1
        pairs: list[Arg] = [each for pair in self.held.items() for each in pair]
        rest: list[Arg] = [each for triple in self.let_go for each in triple]
        times: list[Arg] = [SESSION, DRAIN, collect]
        named: list[Arg] = [self.id, self.incarnation, self.call, self.action, "host 1 test 1"]
        self.sent = [partitions, *times, *named, len(self.held), *pairs, *rest]
        return self.sent

    def obey(self, reply: list[int]) -> None:
        """Claim what is granted; what is not granted any more is still held, but unwanted."""
        self.reply, self.let_go = reply, []
        granted = grants(reply)
        for partition, grant in list(self.held.items()):
            if granted.get(partition) != (grant, 1):
                self.unwanted[partition] = grant
        for partition, (grant, hold) in granted.items():
            if hold and partition not in self.held:
                self.held[partition] = grant

    def give_back(self) -> None:
        """The event in hand is finished: what is unwanted is released, to be reported next."""
        for partition, grant in self.unwanted.items():
            if self.held.get(partition) == grant:
                del self.held[partition]
                self.let_go.append((partition, grant, 0))
        self.unwanted = {}


def grants(reply: list[int]) -> dict[int, tuple[int, int]]:
    """Partition -> grant, and 1 to hold it or 0 to give it back."""
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
