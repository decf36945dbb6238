"""The commands that create, list, show, trim and delete streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis import Redis as SyncRedis

from tests.cli.commands import APP, ORDERS, PRINTER, TOTALS
from tests.cli.conftest import GOOD, Run

LOGS, BRIEF = "tests.cli.shop:logs", "tests.cli.shop:brief"
LOG = "runnel:{shop:orders:%d}:orders:log"
WITHOUT_CODE = ["--app", "shop", "--stream", "orders"]


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
    assert asked.stderr.partition("?")[0].endswith(", with the table totals")
    assert run("stream", "delete", visits, "--yes").stdout == "deleted visits: 1 event\n"
    assert run("table", "get", TOTALS, "alice").code == 6
    left: set[Any] = set(admin.keys())
    assert not {each for each in left if b":table:" in each}


def test_a_stream_is_administered_without_its_code(run: Run, redis_url: str) -> None:
    run("processor", "add", PRINTER)
    run("send", ORDERS, GOOD)
    at = ["shop/orders", "--redis-url", redis_url]
    assert "orders" in run("stream", "show", *at, url=None).stdout
    assert run("stream", "trim", *at, "--to-size", "9", url=None).code == 0
    asked = run("stream", "delete", *at, url=None, stdin="n\n")
    assert "Delete all events of stream orders at redis://" in asked.stderr
    deleted = run("stream", "delete", *at, "--yes", url=None)
    assert (deleted.code, deleted.stdout) == (0, "deleted orders: 1 event\n")
    assert run("stream", "show", *at, url=None).code == 2


def old(admin: SyncRedis, number: int, log: str = LOG % 0) -> None:
    """Events of 1970."""
    for i in range(number):
        admin.xadd(log, {"json": "{}"}, id=f"100000000-{i + 1}")


def test_a_stream_is_created_as_its_code_says(run: Run, admin: SyncRedis) -> None:
    said = run("stream", "create", BRIEF)
    line = "brief: 2 partitions of 100 events, max_age 7d, retain until_full\n"
    assert (said.code, said.stdout) == (0, f"created {line}")
    assert run("stream", "create", BRIEF).stdout == f"exists: {line}"
    metas: Any = [f"runnel:{{shop:brief:{p}}}:brief:meta" for p in (0, 1)]
    assert all(admin.hget(each, "partitions") == b"2" for each in metas)
    seen = json.loads(run("stream", "create", BRIEF, "--json").stdout)
    assert seen == {"app": "shop", "name": "brief", "partition_count": 2, "created": False}
    refused = run("stream", "create", BRIEF, "--partitions", "2")
    assert (refused.code, refused.stdout) == (2, "")


def test_a_stream_is_created_without_code(run: Run) -> None:
    assert run("stream", "create", *WITHOUT_CODE).code == 2
    made = ["--partitions", "4", "--max-age", "12h", "--retain", "until_full"]
    assert run("stream", "create", *WITHOUT_CODE, *made).code == 0
    seen = json.loads(run("stream", "show", *WITHOUT_CODE, "--json").stdout)
    assert (seen["partition_count"], seen["partition_size"]) == (4, 50_000)
    assert (seen["max_age_ms"], seen["retain"]) == (43_200_000, "until_full")
    differs = run("stream", "create", *WITHOUT_CODE, "--partitions", "5")
    assert (differs.code, differs.stdout) == (4, "")
    assert "partition_count=4" in differs.stderr
    assert run("send", ORDERS, GOOD).code == 0, "the code has the same contract"
    assert run("stream", "create", "--app", "a b", "--stream", "s", "--partitions", "1").code == 2


def test_the_streams_of_an_app_are_listed(run: Run) -> None:
    run("stream", "create", BRIEF)
    run("send", ORDERS, GOOD)
    run("stream", "create", ORDERS)
    lines = run("stream", "list", APP).stdout.splitlines()
    assert lines[0].split() == [
        *("STREAM", "PARTITIONS", "SIZE", "MAX_AGE", "RETAIN", "EVENTS", "OLDEST")
    ]
    assert lines[1].split() == ["shop/brief", "2", "100", "7d", "until_full", "0", "-"]
    assert lines[2].split()[:6] == ["shop/orders", "4", "50000", "none", "always", "1"]
    found = json.loads(run("stream", "list", "--app", "shop", "--json").stdout)["streams"]
    assert [each["name"] for each in found] == ["brief", "orders"]
    wrong = run("stream", "list", "--app", "shoop")
    assert (wrong.code, wrong.stdout) == (2, "")
    assert "there is no app 'shoop' at redis://" in wrong.stderr
    assert wrong.stderr.endswith("; there is shop\n")


def test_a_stream_is_shown_with_those_who_read_it(run: Run, admin: SyncRedis) -> None:
    run("send", ORDERS, GOOD)
    alone = run("stream", "show", ORDERS).stdout
    assert "nobody reads it: its events stay, and a full partition refuses to take more" in alone
    run("processor", "add", PRINTER)
    old(admin, 1, LOG % 1)
    shown = run("stream", "show", ORDERS).stdout
    assert "max_age     none" in shown
    reader = next(line for line in shown.splitlines() if line.startswith("printer"))
    assert reader.split()[:4] == ["printer", "4", "2", "0"]
    seen = json.loads(run("stream", "show", *WITHOUT_CODE, "--json").stdout)
    assert (seen["length"], seen["source"], seen["hash"]) == (2, "orders", "xxh64")
    assert seen["oldest_ms"] > 10**12
    assert seen["bytes"] == sum(each["bytes"] for each in seen["partitions"]) > 0
    assert seen["readers"][0]["lag_events"] == 2
    assert len(seen["readers"][0]["keeps"]) == 2


def test_what_nobody_reads_makes_room_if_the_stream_says_so(run: Run) -> None:
    for _ in range(6):
        assert run("send", LOGS, GOOD).code == 0
    shown = run("stream", "show", LOGS).stdout
    assert "nobody reads it: the oldest events make room when a partition is full" in shown
    full = [run("send", "tests.cli.shop:tight", GOOD) for _ in range(11)][-1]
    assert full.code == 5
    assert 'or declare the stream with retain="until_full"' in full.stderr


def test_s4_trim_shows_first_and_removes_only_what_is_committed(run: Run, admin: SyncRedis) -> None:
    run("processor", "add", PRINTER)
    old(admin, 9)
    by_age = ["stream", "trim", ORDERS, "--older-than", "7d"]
    dry = run(*by_age)
    assert dry.code == 0
    assert dry.stdout.splitlines() == [
        "would remove 0 events of orders",
        "more stays in partition 0: processor printer has not committed it",
        "nothing was removed: add --execute to do it",
    ]
    run("processor", "reset", PRINTER, "--start", "100000000-6", "--execute", "--partition", "0")
    assert run(*by_age).stdout.splitlines()[0] == "would remove 4 events of orders from partition 0"
    assert admin.xlen(LOG % 0) == 9
    done = run(*by_age, "--execute")
    assert done.stdout.splitlines() == [
        "removed 4 events of orders from partition 0",
        "more stays in partition 0: processor printer has not committed it",
    ]
    assert admin.xlen(LOG % 0) == 5


@pytest.mark.parametrize("how", [["--older-than", "7d"], ["--to-size", "1"]])
def test_s7_what_processors_have_not_committed_is_dropped_by_name_only_and_counted(
    run: Run, admin: SyncRedis, how: list[str]
) -> None:
    run("processor", "add", PRINTER)
    old(admin, 120)
    by_name = ["stream", "trim", *WITHOUT_CODE, *how, "--drop-unprocessed"]
    dry, done = run(*by_name), run(*by_name, "--execute")
    assert dry.stdout.splitlines()[:2] == [
        "would remove 119 events of orders from partition 0",
        "processor printer would LOSE 119 events of these",
    ]
    assert done.stdout.splitlines() == [
        "removed 119 events of orders from partition 0",
        "processor printer has LOST 119 events of these",
    ]
    again = json.loads(run(*by_name, "--execute", "--json").stdout)
    assert (again["removed"], again["lost"], again["executed"]) == (0, {}, True)
    (reader,) = json.loads(run("stream", "show", ORDERS, "--json").stdout)["readers"]
    assert (reader["dropped"], reader["lag_events"]) == (119, 1)


def test_trim_takes_the_age_that_is_declared_and_says_if_there_is_none(
    run: Run, admin: SyncRedis
) -> None:
    old(admin, 3, "runnel:{shop:brief:1}:brief:log")
    assert run("stream", "trim", BRIEF, "--execute").stdout == (
        "removed 3 events of brief from partition 1\n"
    ), "nobody reads it, and it retains its events until it is full"
    refused = run("stream", "trim", ORDERS)
    assert (refused.code, refused.stdout) == (2, "")
    assert "has no max_age: give --older-than or --to-size" in refused.stderr
    assert run("stream", "trim", ORDERS, "--to-size", "3", "--partition", "9").code == 2


def test_what_nobody_reads_stays_unless_it_is_declared_otherwise(
    run: Run, admin: SyncRedis
) -> None:
    old(admin, 3)
    for execute in ([], ["--execute"]):
        done = run("stream", "trim", ORDERS, "--older-than", "1d", *execute).stdout
        assert "more stays in partition 0, because nobody reads the stream (retain always)" in done
    assert admin.xlen(LOG % 0) == 3
