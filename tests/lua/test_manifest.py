"""lua/manifest.json says what the headers say, and the client calls the scripts like that."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from runnel import keys, protocol
from runnel.protocol import CheckpointMove, PartitionKeys, StreamContract, Token
from runnel.protocol.apps import check_acl, elect, tick
from runnel.protocol.delayed import append_later, cancel, promote
from runnel.protocol.effects import OutboxTrim, trim_outbox
from runnel.protocol.groups import describe_group, revoke, sync
from runnel.protocol.parked import drop_parked, park_again, replay, take_letters
from runnel.protocol.scripts import Call, sources
from runnel.protocol.snapshots import SnapshotKeys, copy_table, restore, snapshot
from runnel.protocol.streams import append, append_numbered, append_once, declare, delete, trim
from tests.lua.manifest import MANIFEST, described, generate, main

SCRIPTS: dict[str, dict[str, Any]] = {
    each["name"]: each for each in json.loads(MANIFEST.read_text())["scripts"]
}
PREFIX = keys.partition("APP", "SOURCE", "N", "STREAM")  # type: ignore[arg-type]
OF = PartitionKeys(PREFIX, "PROCESSOR")
GROUP = keys.group("APP", "STREAM", "PROCESSOR")
CONTRACT, TOKEN, MOVE = (
    StreamContract(12, "HASH"),
    Token(34, "NONCE"),
    CheckpointMove("1-1", "2-2", 5),
)
SNAPSHOT = SnapshotKeys(OF, "SNAPSHOT")
ENTRY = [b"json", b"{}"]

#: What the calls below give for an argument of this name.
VALUES = {
    "protocol": "1",
    "partitions": "12",
    "hash": "HASH",
    "size": "9",
    "when_full": "refuse",
    "processor": "PROCESSOR",
    "epoch": "34",
    "nonce": "NONCE",
    "prev": "1-1",
    "next": "2-2",
    "count": "5",
    "release": "0",
    "member": "MEMBER",
    "grant": "6",
    "accept": "7",
    "start": "$",
    "kind": "start",
    "event": "3-3",
    "attempts": "8",
    "error_type": "TYPE",
    "read": "10",
    "error_message": "MESSAGE",
    "session_timeout": "11",
    "rebalance_timeout": "13",
    "call": "15",
    "rebalance_delay": "14",
    "incarnation": "INCARNATION",
    "action": "stay",
    "held": "1",
    "description": "DESCRIPTION",
    "task": "TASK",
    "instant": "16",
    "schedule": "SCHEDULE",
    "producer": "PRODUCER",
    "sequence": "17",
    "max_age": "23",
    "sender": "SENDER",
    "key": "KEY",
    "window": "18",
    "step": "begin",
    "id": "ID",
    "cursor": "19",
    "shift": "20",
    "lost": "21",
    "done": "22",
    "last": "4-4",
    "waits_for": "WAITS",
    "reason": "REASON",
    "failure": "3-3 8 TYPE MESSAGE",
    "accepted": "21",
    "ms": "23",
    "entry": "5-5",
    "limit": "9",
    "due": "23",
    "order": "24",
}
CALLS: dict[str, Call] = {
    "acknowledge": protocol.acknowledge(OF, 21),
    "append": append(PREFIX, CONTRACT, 9, "refuse", "PRODUCER", 17, [ENTRY]),
    "append_later": append_later(PREFIX, CONTRACT, 9, ("at", 23), "KEY", 18, [ENTRY]),
    "append_numbered": append_numbered(PREFIX, CONTRACT, 9, "refuse", "SENDER", [("1-1", ENTRY)]),
    "append_once": append_once(PREFIX, CONTRACT, 9, "refuse", "KEY", 18, ENTRY),
    "attempt": protocol.attempt(OF, TOKEN, "start", "3-3", 8, ("TYPE", "MESSAGE"), "TRACEBACK"),
    "cancel": cancel(PREFIX, 23, 24),
    "check_acl": check_acl([["GET"]]),
    "claim": protocol.claim(OF, CONTRACT, "MEMBER", 6, "NONCE", 7),
    "clear_table": protocol.clear_table(OF, "NAME", "NONCE"),
    "commit": protocol.commit(OF, TOKEN, MOVE),
    "copy_table": copy_table(SNAPSHOT, ["v", "e", "v", "e"], "ID", "19", 5, 20),
    "declare": declare(PREFIX, CONTRACT),
    "delete": delete(PREFIX),
    "describe": protocol.describe(OF),
    "describe_group": describe_group(GROUP),
    "drop_parked": drop_parked(OF, ["1-1"], "NONCE"),
    "due": protocol.due(OF, 9),
    "elect": elect("APP", "MEMBER", "NONCE", 11),
    "park_again": park_again(OF, TOKEN, b"KEY", "3-3", 8, ("TYPE", "MESSAGE")),
    "pause": protocol.pause(OF),
    "postpone": protocol.postpone(OF, TOKEN, "5-5", 23, ("3-3", 8, ("TYPE", "MESSAGE"))),
    "promote": promote(PREFIX, CONTRACT, 9),
    "register": protocol.register(OF, CONTRACT, "$"),
    "remove": protocol.remove(OF),
    "replay": replay(OF, [b"KEY"], "NONCE"),
    "restore": restore(SNAPSHOT, (), "ID", 21, "NONCE"),
    "resume": protocol.resume(OF),
    "revoke": revoke(GROUP, [1]),
    "seek": protocol.seek(OF, "$", 10, "NONCE"),
    "snapshot": snapshot(SNAPSHOT, (), "begin", "ID"),
    "sync": sync(
        GROUP, 12, (11, 13, 14), ("MEMBER", "INCARNATION", "DESCRIPTION"), 15, "stay", [(1, 2)], ()
    ),
    "take_letters": take_letters(OF, PREFIX, [("1-1", ENTRY)], 9, "NONCE"),
    "tick": tick("APP", "TASK", 16, "NONCE", "SCHEDULE"),
    "transact": protocol.transact(OF, TOKEN, MOVE, []),
    "trim": trim(PREFIX, 9, 23, "refuse"),
    "trim_outbox": trim_outbox(OF, TOKEN, OutboxTrim("4-4", 22, 21, "WAITS", "REASON")),
}
#: Where a name means something else than in the other scripts.
OTHER = {
    ("elect", "action"): "hold",
    ("append_later", "kind"): "at",
    ("check_acl", "commands"): "1",
}


def texts(values: Iterable[Any]) -> list[str]:
    return [each.decode() if isinstance(each, bytes) else str(each) for each in values]


def test_the_manifest_is_what_the_headers_say() -> None:
    assert MANIFEST.read_text() == generate(), "run scripts/lua-manifest"
    assert list(SCRIPTS) == list(sources()) == list(CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_the_client_passes_keys_and_arguments_in_the_order_of_the_manifest(name: str) -> None:
    call, script = CALLS[name], SCRIPTS[name]
    fixed = [each for each in script["args"] if not each.get("repeated")]
    expected = [OTHER.get((name, each["name"]), VALUES.get(each["name"])) for each in fixed]
    assert texts(call.args)[: len(fixed)] == expected
    assert len(call.args) > len(fixed) or len(fixed) == len(script["args"]) or name == "transact"
    patterns = [each["pattern"] for each in script["keys"] if not each.get("repeated")]
    assert list(call.keys)[: len(patterns)] == patterns
    assert len(call.keys) == len(patterns) or len(patterns) < len(script["keys"])


def test_limits_and_units_are_read_from_the_headers() -> None:
    arguments = {
        (script, each["name"]): each for script in SCRIPTS for each in SCRIPTS[script]["args"]
    }
    entries = arguments["append", "entries"]
    assert (entries["repeated"], entries["min_items"], entries["max_items"]) == (True, 1, 1000)
    partitions = arguments["declare", "partitions"]
    assert (partitions["type"], partitions["min"], partitions["max"]) == ("int", 1, 10_000)
    nonce = arguments["claim", "nonce"]
    assert (nonce["type"], nonce["min_length"], nonce["max_length"]) == ("str", 16, 64)
    assert arguments["sync", "description"]["max_length"] == 1000
    assert arguments["sync", "session_timeout"]["unit"] == "ms"


def test_a_header_becomes_one_item_of_the_manifest() -> None:
    source = (
        b"#!lua flags=no-writes\n"
        b"-- peek -- look at a group,\n"
        b"--         and change nothing.\n"
        b"-- KEYS[1]  plan   hash   runnel:{APP:STREAM@PROCESSOR}:plan\n"
        b"-- KEYS[2+] tables mixed  one: runnel:{APP:SOURCE:N}:STREAM:table:NAME; and no more\n"
        b"-- ARGV[1]  at     int    server time in ms, 1 to 9\n"
        b"-- REPLY    found  str    its text\n"
        b"-- ERROR    BADARG an argument\n"
        b"--                 is malformed\n"
        b"-- PUBLISHES runnel:{APP:STREAM@PROCESSOR}:wake\n"
        b"-- REPEAT   recognised by plan, at: 0,\n"
        b"--          and no more\n"
        b"-- WRITES   no\n"
        b"-- BOUND    constant\n"
        b"-- VERSION  1\n"
        b"-- a comment of the body\n"
        b"return redis.call('XINFO', 'GROUPS', KEYS[1]) + redis.pcall('GET', KEYS[1])\n"
    )
    found = described("peek", source)
    assert found == {
        "name": "peek",
        "file": "peek.lua",
        "sha1": found["sha1"],
        "summary": "look at a group,\nand change nothing.",
        "flags": ["no-writes"],
        "scope": "group",
        "writes": False,
        "keys": [
            {"name": "plan", "type": "hash", "pattern": "runnel:{APP:STREAM@PROCESSOR}:plan"},
            {
                "name": "tables",
                "type": "mixed",
                "text": "one: runnel:{APP:SOURCE:N}:STREAM:table:NAME; and no more",
                "patterns": [
                    {"type": "hash", "pattern": "runnel:{APP:SOURCE:N}:STREAM:table:NAME"}
                ],
                "repeated": True,
            },
        ],
        "args": [
            {
                "name": "at",
                "type": "int",
                "text": "server time in ms, 1 to 9",
                "unit": "ms",
                "min": 1,
                "max": 9,
            }
        ],
        "replies": [{"name": "found", "type": "str", "text": "its text"}],
        "errors": [{"word": "BADARG", "text": "an argument\nis malformed"}],
        "commands": ["GET", "XINFO GROUPS"],
        "publishes": ["runnel:{APP:STREAM@PROCESSOR}:wake"],
        "idempotence": {"kind": "recognised", "by": ["plan", "at"], "text": "0,\nand no more"},
        "bound": "constant",
        "version": 1,
    }


@pytest.mark.parametrize("text", ["by nonce: 0", "recognised by nonse: 0", "harmless", "safe: 0"])
def test_what_a_repeat_does_is_said_in_one_form(text: str) -> None:
    source = sources()["pause"].decode().replace("-- REPEAT   harmless: 0", f"-- REPEAT   {text}")
    assert source != sources()["pause"].decode()
    with pytest.raises(ValueError, match="REPEAT must be"):
        described("pause", source.encode())


def test_a_header_without_a_line_is_told() -> None:
    source = sources()["pause"].decode().replace("-- REPEAT   harmless: 0\n", "")
    with pytest.raises(ValueError, match=r"pause.lua: the header must have one line REPEAT"):
        described("pause", source.encode())


def test_scripts_that_only_read_have_no_repeat() -> None:
    kinds = {name: script["idempotence"]["kind"] for name, script in SCRIPTS.items()}
    assert {name for name in kinds if kinds[name] == "reads"} == {
        name for name in SCRIPTS if not SCRIPTS[name]["writes"]
    }


def test_every_key_has_a_type() -> None:
    types: dict[str, set[str]] = {}
    for script in SCRIPTS.values():
        for key in script["keys"]:
            for each in key.get("patterns", [key]):
                types.setdefault(each["pattern"], set()).add(each["type"])
    assert {pattern: found for pattern, found in types.items() if len(found) > 1} == {}
    assert set().union(*types.values()) == {"hash", "stream", "string", "zset"}


def test_check_tells_a_stale_manifest(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    with pytest.raises(SystemExit, match="run scripts/lua-manifest"):
        main(["--check"], path)
    main([], path)
    main(["--check"], path)
    path.write_text(path.read_text().replace('"count"', '"number"', 1))
    with pytest.raises(SystemExit, match="run scripts/lua-manifest"):
        main(["--check"], path)
