"""Calls about postponed events, and their replies."""

from __future__ import annotations

import pytest

from runnel.protocol import (
    Due,
    key_of_postponed,
    parked_entry,
    postponed_key,
    read_due,
    read_due_times,
)

EVENT = "1795877224744-0"


@pytest.mark.parametrize("key", [b"", b"alice", b"\0", b"a\0b\n\xff", b"\x001-0\0x"])
def test_a_parked_key_of_a_postponed_event_tells_its_key(key: bytes) -> None:
    assert key_of_postponed(postponed_key(EVENT, key)) == key


@pytest.mark.parametrize("key", [b"", b"alice", b"\0", b"\0alice", b"1-0\0alice", b"\x001\0a"])
def test_other_parked_keys_are_none(key: bytes) -> None:
    assert key_of_postponed(key) is None


def test_the_reply_of_due_is_read_with_the_newest_number_of_attempts() -> None:
    name = postponed_key(EVENT, b"alice")
    fields = parked_entry(name, EVENT, [b"json", b"{}"], 1, ("E", "m"))
    again = f"1 {EVENT} 3 ValueError no such".encode()
    reply = [250, 1, b"5-0", b"1", len(fields), *fields, b"6-0", again, len(fields), *fields]
    found = read_due(reply)
    assert (found.next_in, found.gone) == (250, 1)
    assert [(each.entry, each.attempts) for each in found.events] == [("5-0", 1), ("6-0", 3)]
    assert found.events[0].fields == [b"json", b"{}"]
    assert read_due([-1, 0]) == Due(None, 0, [])


def test_due_times_are_read_from_scores() -> None:
    assert read_due_times([b"5-0", b"1795877224744"]) == {"5-0": 1795877224744}
