"""A planted change is seen by each runner that can see it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import xxhash

from runnel.codec import partitioning
from runnel.codec.serializers import MsgpackSerializer
from runnel.protocol.scripts import folder
from tests.conformance import test_vectors
from tests.conformance.reports import CASES, RUNNERS, missing
from tests.conformance.test_vectors import (
    KEYS,
    READABLE,
)
from tests.conformance.test_vectors import (
    test_a_key_goes_to_its_partition as check_key,
)
from tests.conformance.test_vectors import (
    test_an_entry_is_read as check_entry,
)
from tests.conformance.test_vectors import (
    test_an_entry_is_written_byte_for_byte as check_writing,
)
from tests.servers import Server

#: Script, what stands in it, what is planted, and the case that sees it.
PLANTED = [
    ("commit", "return {1, paused}", "return {0, paused}", "commit: the checkpoint moves"),
    (
        "commit",
        "stored_epoch ~= epoch or stored_nonce ~= nonce",
        "stored_epoch ~= epoch",
        "commit: refused calls",
    ),
    (
        "commit",
        "  redis.call('HSET', meta, 'checkpoint:' .. processor, next_id)\n",
        "",
        "commit: the checkpoint moves",
    ),
    (
        "commit",
        "    return redis.error_reply('MISSING processor=' .. processor)",
        "    redis.call('HSET', state, 'read', '9')\n"
        "    return redis.error_reply('MISSING processor=' .. processor)",
        "commit: refused calls",
    ),
    (
        "sync",
        "math.max(now + tonumber(group_timeout), promised)",
        "math.max(now + tonumber(group_timeout) / 2, promised)",
        "session clock",
    ),
    (
        "transact",
        " or removed < read + count then",
        " then",
        "transact: an event that only a former primary had writes nothing",
    ),
    ("sync", "if not live[owner[p]] or", "if", "session expiry"),
    (
        "claim",
        "math.max((tonumber(epoch) or 0) + 1, now)",
        "tonumber(epoch) or now",
        "claim: a grant becomes a lease",
    ),
    ("append", "tonumber(sequence) ~= last + 1", "false", "append: sequences have no gaps"),
    (
        "append",
        "return {0, first, tonumber(number)}",
        "return {1, first, tonumber(number)}",
        "append: events",
    ),
    ("transact", "if release == '0' and checkpoint == next_id", "if false", "effects repeated"),
    ("postpone", "if known and as_wanted", "if false", "postponed event"),
    ("due", "'-inf', string.format('%.0f', now)", "'-inf', '+inf'", "due: postponed events"),
    ("pause", "'UNREGISTERED processor='", "'UNREGISTERED name='", "pause:"),
]


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize(("script", "old", "new", "case"), PLANTED)
def test_a_planted_change_of_a_script_is_seen(
    case_server: Server, tmp_path: Path, runner: str, script: str, old: str, new: str, case: str
) -> None:
    if program := missing(runner):
        pytest.skip(f"there is no {program} here")
    name = next(each for each in CASES if each.startswith(case))
    copy = tmp_path / "lua"
    shutil.copytree(folder(), copy)
    path = copy / f"{script}.lua"
    source = path.read_text()
    assert old in source
    path.write_text(source.replace(old, new, 1))
    found = RUNNERS[runner](case_server, copy, name)
    assert list(found) == [name]
    assert found[name]


@pytest.mark.parametrize("runner", RUNNERS)
def test_the_same_run_without_a_change_passes(case_server: Server, runner: str) -> None:
    if program := missing(runner):
        pytest.skip(f"there is no {program} here")
    name = next(each for each in CASES if each.startswith("pause:"))
    assert RUNNERS[runner](case_server, folder(), name) == {name: ""}


def _seed_1(data: bytes) -> int:
    return xxhash.xxh64_intdigest(data, seed=1)


def test_a_planted_change_of_the_hash_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitioning.XXH64, "__call__", staticmethod(_seed_1))
    for line in KEYS:
        with pytest.raises(AssertionError):
            check_key(line)


def test_a_planted_change_of_the_bytes_of_a_key_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def little_endian(key: Any) -> bytes:
        return key.to_bytes(16, "little", signed=True) if type(key) is int else key_bytes(key)

    key_bytes = partitioning.key_bytes
    monkeypatch.setattr(test_vectors, "key_bytes", little_endian)
    seen = [line for line in KEYS if line["key"]["type"] == "integer"]
    assert seen
    for line in seen:
        with pytest.raises(AssertionError):
            check_key(line)


def test_a_planted_change_of_the_form_of_an_entry_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def more(self: MsgpackSerializer, value: dict[str, Any]) -> bytes:
        return dumps(self, {**value, "version": 2})

    dumps = MsgpackSerializer.dumps
    monkeypatch.setattr(MsgpackSerializer, "dumps", more)
    written = [
        each for each in READABLE if each["name"].startswith("msgpack, ") and each.get("canonical")
    ]
    for line in written:
        with pytest.raises(AssertionError):
            check_writing(line)
    monkeypatch.undo()
    headers = next(each for each in READABLE if each.get("headers"))
    monkeypatch.setattr(test_vectors.CODEC, "headers", lambda entry: {})
    with pytest.raises(AssertionError):
        check_entry(headers)
