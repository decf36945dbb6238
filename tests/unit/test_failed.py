"""What is known of a failure is the last field of an entry, and never one of the event."""

from __future__ import annotations

from runnel.protocol.failed import (
    MOST_ENTRY,
    MOST_TRACEBACK,
    Failed,
    read_failed,
    with_failed,
)

FIELDS = [b"msgpack", b"x", b"@trace", b"1"]


def test_it_is_read_as_it_was_written_and_nothing_is_written_of_nothing() -> None:
    for failed in (Failed(0, "line 1\n  line 2"), Failed(3), Failed(3, "\xe9 \u20ac")):
        assert read_failed(with_failed(FIELDS, failed)) == (failed, FIELDS)
    assert with_failed(FIELDS, Failed()) is FIELDS
    assert read_failed(FIELDS) == (Failed(), FIELDS)
    assert read_failed([]) == (Failed(), [])


def test_a_field_of_the_same_name_that_the_event_has_stays_its_own() -> None:
    for own in (b"3 x", b"other"):
        event = [*FIELDS, b"@failed", own]
        for failed in (Failed(), Failed(1, "trace")):
            assert read_failed(with_failed(event, failed)) == (failed, event)
    other = [*FIELDS, b"@failed", b"what another program means by it"]
    assert read_failed(other) == (Failed(), other)


def test_a_traceback_is_bounded_and_keeps_its_last_whole_lines() -> None:
    long = "".join(f"line {number}\n" for number in range(1000))
    failed, _ = read_failed(with_failed(FIELDS, Failed(0, long)))
    assert len(failed.traceback) <= MOST_TRACEBACK
    assert long.endswith(failed.traceback)
    assert failed.traceback.startswith("line ")
    failed, _ = read_failed(with_failed(FIELDS, Failed(0, "\u20ac" * 5000 + "\ud800")))
    assert MOST_TRACEBACK - 10 < len(failed.traceback.encode()) <= MOST_TRACEBACK + 10


def test_an_entry_that_is_large_already_gets_no_traceback() -> None:
    large = [b"msgpack", b"x" * MOST_ENTRY]
    assert with_failed(large, Failed(0, "trace")) == large
    assert read_failed(with_failed(large, Failed(2, "trace"))) == (Failed(2), large)
