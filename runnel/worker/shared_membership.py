"""A membership that the event loop of a worker shares with its heartbeat thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

from runnel.core.membership import Changes, Membership
from runnel.delivery.session import Session
from runnel.protocol import Action, SyncReply
from runnel.protocol.scripts import Call


@dataclass(frozen=True, slots=True)
class SyncCall:
    """One call of `sync`: its number, and the released partitions that it reports.

    `sent` is when this call was first sent, by the member's clock. A repeated call does not renew
    the session, so the session is counted from then.
    """

    number: int
    reported: set[tuple[int, int]]
    call: Call
    sent: float


class SharedMembership:
    """A membership behind a lock, with the session that it renews.

    `clock` gives monotonic seconds.
    """

    def __init__(self, membership: Membership, clock: Callable[[], float]) -> None:
        self._membership = membership
        self._clock = clock
        self._lock = threading.Lock()
        #: The number of the last call, and when it was first sent.
        self._last_call = 0, 0.0
        self.session = Session(clock)
        #: Set when the next heartbeat must be sent at once: there is something to report or to
        #: learn.
        self.sync_now = asyncio.Event()
        #: The worker shuts down: it takes no partition any more.
        self.retiring = False

    @property
    def member(self) -> tuple[str, str, str]:
        """The member's id, its incarnation, and a description for people."""
        return self._membership.member

    @property
    def session_seconds(self) -> float:
        """How long a session of the group lasts. The member that joined last sets it."""
        return self._membership.session_ms / 1000

    @property
    def held(self) -> dict[int, int]:
        """Partition -> grant, for each partition held."""
        return self._membership.held

    @property
    def must_report(self) -> bool:
        """Was a partition released that the group does not know of yet?"""
        return self._membership.must_report

    def tell(self, figures: str) -> None:
        """Say this with the next calls, behind the description."""
        with self._lock:
            self._membership.figures = figures

    def next_call(self, action: Action) -> SyncCall:
        """The next call of `sync`."""
        with self._lock:
            reported = self._membership.reported()
            number, call = self._membership.next_call(action)
            if number != self._last_call[0]:
                self._last_call = number, self._clock()
            return SyncCall(number, reported, call, self._last_call[1])

    def replied(self, sent: SyncCall, reply: SyncReply) -> Changes:
        """Take in the reply to a call; returns what follows from it."""
        with self._lock:
            return self._membership.replied(sent.number, sent.reported, reply)

    def confirms_all(self, reply: SyncReply) -> bool:
        """Take in a reply that the heartbeat thread got. Does it grant all that is held?"""
        with self._lock:
            self._membership.session_ms = reply.session_ms
            return self._membership.all_listed(reply)

    def claiming(self, partition: int, grant: int) -> bool:
        """Is the partition still to be claimed, and under this grant?"""
        with self._lock:
            return self._membership.claiming(partition, grant)

    def claimed(self, partition: int, grant: int) -> bool:
        """The claim succeeded. Returns False if the grant is not the current one any more."""
        with self._lock:
            current = self._membership.claiming(partition, grant)
            if current:
                self._membership.claimed(partition, grant)
        return current

    def claim_failed(self, partition: int, grant: int) -> None:
        """The claim failed: repeat it after the next reply."""
        with self._lock:
            self._membership.claim_failed(partition, grant)

    def not_held(self, partition: int, grant: int, seen: int = 0) -> None:
        """The partition is not held under this grant. Report that at once; `seen` is the grant
        that was found there instead."""
        with self._lock:
            self._membership.not_held(partition, grant, seen)
        self.sync_now.set()
