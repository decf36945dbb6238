"""The command that deletes a stream."""

from __future__ import annotations

from typing import Any

from redis import Redis as SyncRedis

from tests.cli.commands import ORDERS, PRINTER, TOTALS
from tests.cli.conftest import GOOD, Run


def test_a_stream_is_deleted_with_all_that_belongs_to_it(run: Run, admin: SyncRedis) -> None:
    run("processor", "add", PRINTER)
    run("send", ORDERS, GOOD)
    asked = run("stream", "delete", ORDERS, stdin="n\n")
    assert (asked.code, asked.stdout) == (1, "")
    assert "Delete all events of stream orders at redis://" in asked.stderr
    deleted = run("stream", "delete", ORDERS, "--yes")
    assert deleted.stdout == "deleted orders: 1 event\n"
    # The remaining keys tell workers that still run, for a day.
    left: set[Any] = set(admin.keys()) - {b"runnel:apps"}
    assert all(key.endswith(b":orders:meta") and admin.ttl(key) > 0 for key in left)
    assert all(admin.hexists(key, "deleted") for key in left)


def test_a_stream_is_deleted_with_its_tables(run: Run, admin: SyncRedis) -> None:
    app, visits = TOTALS.replace(":totals", ":app"), TOTALS.replace(":totals", ":visits")
    run("send", visits, '{"name": "alice", "seconds": 5}')
    assert run("worker", app, "--burst").code == 0
    assert run("table", "get", TOTALS, "alice").stdout == "5\n"
    asked = run("stream", "delete", visits, stdin="n\n")
    assert asked.stderr.partition("?")[0].endswith(", with the tables totals, longest")
    assert run("stream", "delete", visits, "--yes").stdout == "deleted visits: 1 event\n"
    assert run("table", "get", TOTALS, "alice").code == 6
    left: set[Any] = set(admin.keys())
    assert not {each for each in left if b":table:" in each}
