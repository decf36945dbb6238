"""One worker's membership in one group: makes the calls of `sync` and interprets the replies."""

from __future__ import annotations

from dataclasses import dataclass, field

from runnel import protocol
from runnel.protocol import Action, Grant, Released, SyncReply
from runnel.protocol.scripts import Call


@dataclass(slots=True)
class Changes:
    """What follows from a reply: partitions to claim, and held ones to drain and release."""

    claim: list[Grant] = field(default_factory=list)
    drain: list[int] = field(default_factory=list)
    #: Call again at once: there is something to report.
    report: bool = False


class Membership:
    """Knows what this member holds and has released, and makes the next call from that.

    `times` are session timeout, rebalance timeout and rebalance delay in ms; `member` is id,
    incarnation and a description for people.
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
        #: Further words behind the description, for people.
        self.figures = ""
        self.session_ms = times[0]
        self.generation = 0
        self._call = 0
        #: Whether a call has been answered. Until then the first call is repeated: under a stable
        #: member id, a later call would be taken for one of the worker's previous start.
        self._joined = False
        self._held: dict[int, int] = {}
        self._claiming: dict[int, int] = {}
        self._released: dict[tuple[int, int], Released] = {}

    @property
    def held(self) -> dict[int, int]:
        """Partition -> grant, for each partition held."""
        return dict(self._held)

    @property
    def must_report(self) -> bool:
        """Was a partition released that the group does not know of yet?"""
        return bool(self._released)

    def next_call(self, action: Action = "stay") -> tuple[int, Call]:
        """The next call and its number."""
        if self._joined or not self._call or action == "leave":
            self._call += 1
        member, incarnation, description = self.member
        call = protocol.sync(
            self.group,
            self.partitions,
            self.times,
            (member, incarnation, f"{description} {self.figures}".rstrip()),
            self._call,
            action,
            self._held.items(),
            self._released.values(),
        )
        return self._call, call

    def replied(self, number: int, reported: set[tuple[int, int]], reply: SyncReply) -> Changes:
        """Take in the reply to call `number`, which reported that `reported` were released."""
        self._call = max(self._call, reply.call)
        self._joined = True
        if reply.call <= number:
            for each in reported:
                self._released.pop(each, None)
        self.session_ms = reply.session_ms
        self.generation = reply.generation
        changes = Changes()
        granted = {grant.partition: grant for grant in reply.grants}
        for partition, number_held in self._held.items():
            grant = granted.get(partition)
            if grant is None or grant.number != number_held or not grant.hold:
                changes.drain.append(partition)
        for partition, number_claimed in list(self._claiming.items()):
            grant = granted.get(partition)
            if grant is None or grant.number != number_claimed or not grant.hold:
                del self._claiming[partition]
        for grant in reply.grants:
            if grant.partition in self._held or (grant.partition, grant.number) in self._released:
                continue
            if not grant.hold:
                self.not_held(grant.partition, grant.number)
            elif self._claiming.get(grant.partition) != grant.number:
                self._claiming[grant.partition] = grant.number
                changes.claim.append(grant)
        changes.report = self.must_report
        return changes

    def all_listed(self, reply: SyncReply) -> bool:
        """Does this reply still list everything that this member holds, under the same grants?"""
        granted = {(grant.partition, grant.number) for grant in reply.grants}
        return all(each in granted for each in self._held.items())

    def reported(self) -> set[tuple[int, int]]:
        """Partition and grant of everything that the next call reports as released."""
        return set(self._released)

    def claiming(self, partition: int, grant: int) -> bool:
        """Is the partition still to be claimed, and under this grant?"""
        return self._claiming.get(partition) == grant

    def claimed(self, partition: int, grant: int) -> None:
        """The partition is held now."""
        self._claiming.pop(partition, None)
        self._held[partition] = grant

    def not_held(self, partition: int, grant: int, seen: int = 0) -> None:
        """The partition is not held under this grant, and the next call reports that. `seen` is the
        grant that a refused claim met there instead."""
        if self._held.get(partition) == grant:
            del self._held[partition]
        if self._claiming.get(partition) == grant:
            del self._claiming[partition]
        self._released[partition, grant] = Released(partition, grant, seen)

    def claim_failed(self, partition: int, grant: int) -> None:
        """A claim failed: repeat it after the next reply."""
        if self._claiming.get(partition) == grant:
            del self._claiming[partition]
