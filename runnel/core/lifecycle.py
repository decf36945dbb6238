"""What may still happen to a partition that is held: see the states in `runnel.core`."""

from __future__ import annotations

from runnel.core.reading import Reading


class Lifecycle(Reading):
    """A partition is open, stopped, draining or ended."""

    #: Quarantined or paused: held, but nothing is handed out until it is claimed anew.
    stopped = False
    #: Stopped because an event or the handler has failed for good, and not by an operator.
    quarantined = False
    #: Nothing more is handed out; then the lease is released.
    draining = False
    #: Nothing more is written under the token.
    ended = False
    #: The handler is not running and will not start again under this token.
    handler_ended = False
    #: The current event is being given up, and it is not known yet whether Redis applied that.
    skip_in_flight = False
    #: User code was cancelled but may still be running.
    left_running = False
    #: Entries of the outbox are being forwarded: the lease is not released meanwhile.
    forwarding = False
    #: A commit of this partition is scheduled.
    commit_scheduled = False

    def stop(self, *, quarantined: bool = False) -> None:
        """Hand out nothing more: the partition is quarantined or paused."""
        self.stopped, self.open = True, False
        self.quarantined = quarantined

    @property
    def held_stopped(self) -> bool:
        """Is it held, but nothing is processed until an operator resumes it?"""
        return self.stopped and not self.draining and not self.ended

    def drain(self) -> None:
        """Hand out nothing more, and release the lease once all is committed."""
        self.draining, self.open = True, False

    def end(self) -> None:
        """Write nothing more under the token."""
        self.ended, self.open = True, False
