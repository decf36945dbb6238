"""What happened to a partition under one token."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Tenure:
    """The events of one owner's time with a partition: started, in hand and finished."""

    in_hand: list[str] = field(default_factory=list)
    #: Finished events, until the handler asks for more: middleware may still make them fail.
    unconfirmed: list[str] = field(default_factory=list)
    started: set[str] = field(default_factory=set)
    #: Finished event -> when it was finished.
    finished: dict[str, float] = field(default_factory=dict)
    #: All events finished under this token, also those that a rollback has undone.
    done: set[str] = field(default_factory=set)
    last: str = "0-0"
    #: Key -> the last event of it that started, where several events are handled at once.
    last_of: dict[str, str] = field(default_factory=dict)
    #: The server has lost commits of this tenure.
    rolled_back: bool = False
    #: The last commit was refused, because a stream had no room for what it emits.
    no_room: bool = False
    #: Time of the claim.
    claimed: float = 0.0
    #: The claim said that the partition is paused or quarantined.
    paused: bool = False
