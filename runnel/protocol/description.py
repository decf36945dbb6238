"""The reply of `describe`: one partition, and one processor on it, at one instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runnel.protocol.common import shown


@dataclass(frozen=True, slots=True)
class PartitionDescription:
    """Reply of `describe`. ``lua/README.md`` explains the fields of a processor's state.

    A value that Redis does not have is None, never 0. Times are in ms since 1970.
    """

    #: The instant of the reply, by the server's clock.
    now: int | None = None
    length: int | None = None
    #: Id of the oldest event that is still in the log.
    first: str | None = None
    #: Id of the newest event that was ever added; 0-0 if there is no log.
    last: str = "0-0"
    #: How many events were ever added.
    added: int | None = None
    #: The contract: the version of the protocol, the partition count, the name of the hash.
    protocol: int | None = None
    partition_count: int | None = None
    hash: str | None = None
    #: How many delayed events wait, when the first of them is due, and how many have disappeared.
    delayed: int | None = None
    delayed_due: int | None = None
    delayed_lost: int | None = None
    #: Of the consumer group.
    lag: int | None = None
    last_delivered: str | None = None
    #: Id of the first event after the checkpoint.
    next_id: str | None = None
    #: The rest is the state of the processor. Without a checkpoint it is not registered.
    checkpoint: str | None = None
    read: int | None = None
    processed: int | None = None
    lost: int | None = None
    lost_acknowledged: int | None = None
    moved_at: int | None = None
    epoch: int | None = None
    grant: int | None = None
    #: The member that claimed last; `released` is whether its lease has ended.
    owner: str | None = None
    released: bool = False
    attempts: int | None = None
    unclean_tenures: int | None = None
    error_type: str | None = None
    error_message: str | None = None
    error_event: str | None = None
    error_at: int | None = None
    paused: bool = False
    quarantined: bool = False
    #: The stream in which a commit finds no room, and why; at which checkpoint, and since when.
    #: That is over once the checkpoint is another one.
    wait_for: str | None = None
    wait_reason: str | None = None
    wait_at: str | None = None
    wait_since: int | None = None
    #: How many entries were written to the outbox, up to which none is left to forward, and how
    #: many were lost; the stream without room for the oldest of them, why, and since when.
    outbox_last: int | None = None
    outbox_done: int | None = None
    outbox_lost: int | None = None
    outbox_waits_for: str | None = None
    outbox_reason: str | None = None
    outbox_since: int | None = None
    #: How many events are parked, of how many keys, and how many of these keys are replayed.
    parked: int | None = None
    parked_keys: int | None = None
    replay: int | None = None
    #: How many of the parked events are postponed, and when the first of them is due, in ms.
    postponed: int | None = None
    postponed_due: int | None = None
    #: Table of the partition -> the processor that writes it.
    writers: Mapping[str, str] = field(default_factory=dict)
    #: Registered processor -> its checkpoint, and how many events `drop_oldest` removed before it
    #: had committed them.
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, int] = field(default_factory=dict)

    @property
    def overdue(self) -> bool:
        """Whether a delayed event is due and has not entered the log yet."""
        return self.delayed_due is not None and self.delayed_due <= (self.now or 0)

    @property
    def lease_owner(self) -> str | None:
        """The member that holds the lease, dead or alive."""
        return None if self.released else self.owner


def read_describe(reply: Sequence[Any]) -> PartitionDescription:
    values = [shown(each) for each in reply]
    found = dict(zip(values[::2], values[1::2], strict=True))
    return PartitionDescription(
        now=_integer(found, "now"),
        length=_integer(found, "length"),
        first=found.get("first"),
        last=found.get("last", "0-0"),
        added=_integer(found, "added"),
        protocol=_integer(found, "meta.protocol"),
        partition_count=_integer(found, "meta.partitions"),
        hash=found.get("meta.hash"),
        delayed=_integer(found, "meta.delayed"),
        delayed_due=_integer(found, "meta.delayed_due"),
        delayed_lost=_integer(found, "meta.delayed_lost"),
        lag=_integer(found, "lag"),
        last_delivered=found.get("last_delivered"),
        next_id=found.get("next_id"),
        checkpoint=found.get("checkpoint"),
        read=_integer(found, "read"),
        processed=_integer(found, "processed"),
        lost=_integer(found, "lost"),
        lost_acknowledged=_integer(found, "lost_acknowledged"),
        moved_at=_integer(found, "moved_at"),
        epoch=_integer(found, "epoch"),
        grant=_integer(found, "grant"),
        owner=found.get("owner"),
        released=found.get("released") == "1",
        attempts=_integer(found, "attempts"),
        unclean_tenures=_integer(found, "unclean_tenures"),
        error_type=found.get("error_type"),
        error_message=found.get("error_message"),
        error_event=found.get("error_event"),
        error_at=_integer(found, "error_at"),
        paused=found.get("paused") == "1",
        quarantined=found.get("quarantined") == "1",
        wait_for=found.get("wait_for"),
        wait_reason=found.get("wait_reason"),
        wait_at=found.get("wait_at"),
        wait_since=_integer(found, "wait_since"),
        outbox_last=_integer(found, "outbox_last"),
        outbox_done=_integer(found, "outbox_done"),
        outbox_lost=_integer(found, "outbox_lost"),
        outbox_waits_for=found.get("outbox_waits_for"),
        outbox_reason=found.get("outbox_reason"),
        outbox_since=_integer(found, "outbox_since"),
        parked=_integer(found, "parked"),
        parked_keys=_integer(found, "parked_keys"),
        replay=_integer(found, "replay"),
        postponed=_integer(found, "postponed"),
        postponed_due=_integer(found, "postponed_due"),
        writers=_under(found, "meta.table:"),
        checkpoints=_under(found, "meta.checkpoint:"),
        dropped={
            name: int(count)
            for name, count in _under(found, "meta.dropped:").items()
            if count.isdecimal()
        },
    )


def _under(found: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The fields whose names begin so, by the rest of their names."""
    return {
        name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)
    }


def _integer(found: Mapping[str, str], name: str) -> int | None:
    value = found.get(name, "")
    return int(value) if value.lstrip("-").isdigit() else None
