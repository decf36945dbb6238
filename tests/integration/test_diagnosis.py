"""What `runnel doctor` finds."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Redis

from runnel.connection.connect import connect
from runnel.operations.diagnosis import (
    Finding,
    clock,
    megabytes,
    memory,
    of_servers,
    of_state,
    persistence,
    redis_cli,
    redis_clis,
)
from runnel.protocol.scripts import Scripts
from tests.cli.reports import partition, report
from tests.servers import Server

CLI = "redis-cli -h redis -p 6380"


@pytest.mark.parametrize(
    ("offset", "error", "well"),
    [(0.4, 0.0, True), (-1.0, 0.0, True), (1.5, 0.0, False), (1.5, 0.6, True), (-90.0, 0.1, False)],
)
def test_a_clock_agrees_within_a_second_and_the_error(
    offset: float, error: float, well: bool
) -> None:
    found = clock(offset, error)
    assert found.well is well
    assert (("ahead of" in found.text) or well) if offset > 0 else ("behind" in found.text or well)


@pytest.mark.parametrize(
    ("used", "most", "well", "said"),
    [
        (5_000_000, 0, False, "maxmemory is not set): it uses 5 MB,"),
        (79, 100, True, "(79%)"),
        (80, 100, False, "(80%)"),
    ],
)
def test_memory_has_a_limit_and_room(used: int, most: int, well: bool, said: str) -> None:
    (found,) = memory({"used_memory": used, "maxmemory": most}, CLI)
    assert (found.well, bool(found.fix)) == (well, not well)
    assert said in found.text


AOF = {"aof_enabled": 1, "aof_last_write_status": "ok"}
NEVER = {"aof_enabled": 0, "rdb_last_save_time": 0}
SNAPSHOTS = {"aof_enabled": 0, "rdb_last_save_time": 1, "rdb_saves": 3}


@pytest.mark.parametrize(
    ("info", "texts"),
    [
        (AOF, ["an append-only file"]),
        ({**AOF, "aof_last_write_status": "err"}, ["the append-only file cannot be written"]),
        (NEVER, ["neither an append-only file nor snapshots"]),
        (SNAPSHOTS, ["no append-only file: a restart loses what came after"]),
        (
            {**AOF, "rdb_last_bgsave_status": "err"},
            ["an append-only file", "the last snapshot failed"],
        ),
    ],
)
def test_what_a_restart_would_lose(info: dict[str, Any], texts: list[str]) -> None:
    found = list(persistence(info, CLI))
    assert len(found) == len(texts)
    for each, text in zip(found, texts, strict=True):
        assert each.text.startswith(text)
        assert each.well is (each.text == "an append-only file")


async def test_a_server_is_asked_for_all_of_it(redis: Redis) -> None:
    subjects = {each.subject for each in await of_servers(Scripts(redis))}
    assert {"clock", "memory", "persistence"} <= subjects


def stream(name: str, **fields: Any) -> dict[str, Any]:
    return {"app": "shop", "name": name, "length": 3, "retain": "always", **fields}


def test_a_stream_that_nobody_reads_is_told_unless_its_oldest_make_room() -> None:
    seen = report()
    seen["streams"] = [stream("orders"), stream("audit"), stream("log", retain="until_full")]
    (found,) = of_state(seen, None)
    assert (found.subject, found.well) == ("stream shop/audit", False)


@pytest.mark.parametrize(
    ("state", "row", "declared", "said"),
    [
        ("ok", {}, None, None),
        ("down", {}, None, "no worker runs it; lag 1204 events"),
        ("down", {"checkpoint": None}, None, "it is not registered"),
        ("degraded", {}, None, "it is degraded"),
        ("ok", {}, frozenset[tuple[str, str]](), "the code does not declare it"),
        ("down", {"checkpoint": None}, frozenset[tuple[str, str]](), "it is not registered"),
        ("ok", {}, frozenset({("orders", "billing")}), None),
    ],
)
def test_a_processor_that_nobody_runs_or_declares_is_told(
    state: str, row: dict[str, Any], declared: frozenset[tuple[str, str]] | None, said: str | None
) -> None:
    seen = report(state, partition(**row))
    seen["streams"] = []
    found: list[Finding] = list(of_state(seen, declared))
    assert [each.text[: len(said or "")] for each in found] == ([said] if said else [])


def test_the_fix_for_memory_without_a_limit_can_be_pasted() -> None:
    info = {"used_memory": 1_500_000, "maxmemory": 0}
    (found,) = memory({**info, "total_system_memory": 8_000_000_000}, CLI)
    assert found.fix.startswith(f"{CLI} CONFIG SET maxmemory 6000mb   # three quarters")
    (unknown,) = memory(info, CLI)
    assert unknown.fix.startswith(f"{CLI} CONFIG SET maxmemory BYTES   # three quarters")
    used = {"used_memory": 900, "maxmemory": 1000}
    (full,) = memory({**used, "total_system_memory": 8_000_000_000}, CLI)
    assert full.fix == f"{CLI} CONFIG SET maxmemory 6000mb   # more than it has now"
    # A machine that is no larger gives no number.
    (small,) = memory({**used, "total_system_memory": 1000}, CLI)
    assert small.fix == f"{CLI} CONFIG SET maxmemory BYTES   # more than it has now"


@pytest.mark.parametrize(
    ("url", "cli"),
    [
        ("redis://h:6380/2", "redis-cli -h h -p 6380"),
        ("redis://h", "redis-cli -h h -p 6379"),
        ("rediss://user:secret@h:1", "redis-cli -h h -p 1 --tls"),
        ("unix:///tmp/it's.sock", """redis-cli -s '/tmp/it'"'"'s.sock'"""),
    ],
)
def test_a_command_names_its_server_and_no_login(url: str, cli: str) -> None:
    assert redis_cli(connect(url)) == cli


async def test_servers_with_the_same_fault_are_one_finding_with_a_command_to_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Server(appendonly="no") as server:
        async with connect(server.url) as one, connect(server.socket_url) as other:

            async def two() -> list[Any]:
                return [one, other]

            scripts = Scripts(one)
            monkeypatch.setattr(scripts.deployment, "primaries", two)
            seen = await of_servers(scripts)
            clis = await redis_clis(scripts)
    (fix,) = (each.fix for each in seen if each.subject == "persistence")
    lines = fix.splitlines()
    assert [line.partition(" CONFIG ")[0] for line in lines[::2]] == clis
    assert [line.partition(" CONFIG ")[2] for line in lines] == 2 * [
        "SET appendonly yes",
        "REWRITE   # for its next start",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 MB"), (1_048_576, "1.05 MB"), (500_000_000, "500 MB"), (8_123_000_000, "8,123 MB")],
)
def test_bytes_are_told_in_megabytes(count: int, text: str) -> None:
    assert megabytes(count) == text
