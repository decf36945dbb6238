"""Reads replies of `describe`."""

from __future__ import annotations

from dataclasses import asdict

from runnel.protocol import PartitionDescription, read_describe


def reply(**fields: str) -> list[bytes]:
    """A reply with these fields; a double underscore in a name stands for a dot."""
    return [part.encode() for name in fields for part in (name.replace("__", "."), fields[name])]


def test_what_redis_does_not_have_is_none_and_not_zero() -> None:
    read = read_describe(reply(now="1700000000000", length="0"))
    assert read == PartitionDescription(now=1700000000000, length=0)
    unknown = {"length", "now", "last", "released", "paused", "quarantined", "writers"}
    unknown |= {"checkpoints", "dropped"}
    assert {name for name, value in asdict(read).items() if value is not None} == unknown
    assert read.last == "0-0"


def test_numbers_are_numbers_and_flags_are_flags() -> None:
    read = read_describe(
        reply(
            now="5",
            meta__protocol="1",
            meta__partitions="16",
            meta__hash="xxh64",
            checkpoint="1-1",
            lag="3",
            attempts="2",
            paused="1",
            quarantined="0",
            error_message="",
        )
    )
    assert (read.protocol, read.partition_count, read.hash) == (1, 16, "xxh64")
    assert (read.lag, read.attempts, read.paused, read.quarantined) == (3, 2, True, False)
    assert read.error_message == ""
    assert read.error_type is None


def test_a_lease_has_an_owner_until_it_is_released() -> None:
    assert read_describe(reply(owner="w1", released="0")).lease_owner == "w1"
    assert read_describe(reply(owner="w1", released="1")).lease_owner is None
    assert read_describe(reply(now="1")).lease_owner is None


def test_the_writers_of_tables_are_those_of_meta() -> None:
    fields = {"meta.table:totals": "book", "meta.expires:totals": "60", "table:x": "y"}
    assert read_describe(reply(**fields)).writers == {"totals": "book"}
