"""One worker's membership in one group: the conversation with `sync`."""

from __future__ import annotations

from dataclasses import dataclass, field

from runnel import protocol
from runnel.protocol import Action, Grant, Released, SyncReply
from runnel.protocol.scripts import Call


@dataclass(slots=True)
class Actions:
    """What follows from a reply: partitions to claim, and held ones to drain and release."""

    claim: list[Grant] = field(default_factory=list)
    drain: list[int] = field(default_factory=list)
    #: Call again at once: there is something to report.
    report: bool = False


class Membership:
    """Knows what this member holds and has let go, and makes the next call from it.

    `times` are the session, drain and collect times in ms, `member` is id, incarnation and a
    description for people.
    """

    def __init__(
        self,
        group: str,
        partitions: int,
        times: tuple[int, int, int],
        member: tuple[str, str, str],
    ) -> None:
        self.group = group
        self.partitions = partitions
        self.times = times
        self.member = member
        self.session_ms = times[0]
        self.generation = 0
        self._call = 0
        #: Has a call been answered? Until then the first one is repeated: a later one, under a
        #: stable id, would be taken for one of the start before.
        self._joined = False
        self._held: dict[int, int] = {}
        self._claiming: dict[int, int] = {}
        self._let_go: dict[tuple[int, int], Released] = {}

    @property
    def held(self) -> dict[int, int]:
        """Partition -> grant of what is held."""
        return dict(self._held)

    @property
    def must_report(self) -> bool:
        """Is there anything that the group does not know yet?"""
        return bool(self._let_go)

    def next_call(self, action: Action = "stay") -> tuple[int, Call]:
        """The next call and its number."""
        if self._joined or not self._call or action == "leave":
            self._call += 1
        call = protocol.sync(
            self.group,
            self.partitions,
            self.times,
            self.member,
            self._call,
            action,
            self._held.items(),
            self._let_go.values(),
        )
        return self._call, call

    def replied(self, number: int, reported: set[tuple[int, int]], synced: SyncReply) -> Actions:
        """Take in the reply to call `number`, which reported the `reported` partitions let go."""
        self._call = max(self._call, synced.call)
        self._joined = True
        if synced.call <= number:
            for each in reported:
                self._let_go.pop(each, None)
        self.session_ms = synced.session_ms
        self.generation = synced.generation
        orders = Actions()
        wanted = {grant.partition: grant for grant in synced.grants}
        for partition, number_held in self._held.items():
            grant = wanted.get(partition)
            if grant is None or grant.number != number_held or not grant.hold:
                orders.drain.append(partition)
        for partition, number_claimed in list(self._claiming.items()):
            grant = wanted.get(partition)
            if grant is None or grant.number != number_claimed or not grant.hold:
                del self._claiming[partition]
        for grant in synced.grants:
            if grant.partition in self._held or (grant.partition, grant.number) in self._let_go:
                continue
            if not grant.hold:
                self.let_go(grant.partition, grant.number)
            elif self._claiming.get(grant.partition) != grant.number:
                self._claiming[grant.partition] = grant.number
                orders.claim.append(grant)
        orders.report = self.must_report
        return orders

    def holds_what_is_granted(self, synced: SyncReply) -> bool:
        """Does the group still count on this member for all that it holds?"""
        granted = {(grant.partition, grant.number) for grant in synced.grants}
        return all(each in granted for each in self._held.items())

    def reported(self) -> set[tuple[int, int]]:
        """What the next call will report as let go."""
        return set(self._let_go)

    def claims(self, partition: int, grant: int) -> bool:
        """Is the partition still to be claimed under this grant, and no other?"""
        return self._claiming.get(partition) == grant

    def claimed(self, partition: int, grant: int) -> None:
        """The partition is held now."""
        self._claiming.pop(partition, None)
        self._held[partition] = grant

    def let_go(self, partition: int, grant: int, seen: int = 0) -> None:
        """The partition is not held under this grant; `seen` is the grant found there instead."""
        if self._held.get(partition) == grant:
            del self._held[partition]
        if self._claiming.get(partition) == grant:
            del self._claiming[partition]
        self._let_go[partition, grant] = Released(partition, grant, seen)

    def claim_again(self, partition: int, grant: int) -> None:
        """A claim did not come through: try it again with the next reply."""
        if self._claiming.get(partition) == grant:
            del self._claiming[partition]
