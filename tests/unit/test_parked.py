"""Entries of parked events, and values of the hash of parked keys."""

from __future__ import annotations

from runnel.protocol import (
    Failed,
    PartitionKeys,
    Token,
    drop_parked,
    park_again,
    parked_entry,
    read_parked,
    read_parked_key,
    replay,
    take_letters,
)

KEYS = PartitionKeys("runnel:{shop:orders:3}:orders", "bill")
NAMES = [f"runnel:{{shop:orders:3}}:orders:{each}:bill" for each in ("parked_keys", "replay")]


def test_a_parked_event_is_read_as_it_was_written() -> None:
    fields = [b"msgpack", b"\xff\x00", b"@trace", b"1"]
    entry = parked_entry(b"\xfe key", "5-1", fields, 3, ("Boom", "it went off"))
    found = read_parked(b"9-0", entry)
    assert (found.entry, found.key, found.event, found.attempts) == ("9-0", b"\xfe key", "5-1", 3)
    assert (found.error_type, found.error_message) == ("Boom", "it went off")
    assert list(found.fields) == fields


def test_an_event_behind_another_one_has_no_attempts_and_no_error() -> None:
    found = read_parked("9-0", parked_entry(b"", "5-1", [b"json", b"{}"]))
    assert (found.attempts, found.error_type, found.error_message) == (0, "", "")


def test_long_errors_are_cut_and_odd_characters_are_no_obstacle() -> None:
    found = read_parked("9-0", parked_entry(b"k", "5-1", [], 1, ("T" * 300, "\ud800" * 2000)))
    assert (len(found.error_type), len(found.error_message)) == (200, 1000)


def test_a_parked_key_tells_how_its_last_replay_failed() -> None:
    assert read_parked_key(b"3").count == 3
    call = park_again(KEYS, Token(7, "n"), b"alice", "5-1", 4, ("Boom", "it  went off"))
    assert call.keys == (KEYS.state, *NAMES)
    *_, key, failure = call.args
    assert isinstance(failure, bytes)
    found = read_parked_key(b"3 " + failure)
    assert (key, found.count, found.event, found.attempts) == (b"alice", 3, "5-1", 4)
    assert (found.error_type, found.error_message) == ("Boom", "it  went off")


def test_a_parked_key_tells_how_many_replays_have_failed_and_when_the_last_one_did() -> None:
    found = read_parked_key(b"3 5-1 4 Boom it  went off\n2 1795435471123")
    assert (found.error_message, found.replays, found.at_ms) == ("it  went off", 2, 1795435471123)
    found = read_parked_key(b"3 5-1 4 Boom two\nlines 2 x")
    assert (found.error_message, found.replays) == ("two\nlines 2 x", 0)


def test_what_else_is_known_of_a_failure_is_no_field_of_the_event() -> None:
    fields = [b"msgpack", b"x", b"@trace", b"1"]
    entry = parked_entry(b"k", "5-1", fields, 3, ("Boom", "off"), Failed(2, "line 1\nline 2"))
    found = read_parked(b"9-0", entry)
    assert (list(found.fields), found.failed) == (fields, Failed(2, "line 1\nline 2"))
    assert read_parked(b"9-0", parked_entry(b"k", "5-1", fields)).failed == Failed()


def test_a_failure_of_any_length_fits_into_the_call() -> None:
    call = park_again(KEYS, Token(7, "n"), b"alice", "5-1", 4, ("Two words", "ż" * 2000))
    failure = call.args[-1]
    assert isinstance(failure, bytes)
    assert len(failure) == 1200
    found = read_parked_key(b"1 " + failure)
    assert (found.error_type, found.attempts) == ("Twowords", 4)


def test_calls_of_operators_name_what_they_are_about() -> None:
    assert replay(KEYS, [b"a", b"b"], "n").args == ("n", b"a", b"b")
    assert drop_parked(KEYS, ["1-0"], "n").args == ("n", "1-0")
    letters = [("1-0", [b"key", b"a"]), ("2-0", [])]
    call = take_letters(KEYS, "runnel:{shop:orders:3}:dead", letters, 9, "n")
    assert call.args == ["n", 9, "1-0", 2, b"key", b"a", "2-0", 0]
    assert call.keys[:2] == ("runnel:{shop:orders:3}:dead:log", "runnel:{shop:orders:3}:dead:meta")
