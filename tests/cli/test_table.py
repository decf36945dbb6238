"""The commands that read and administer tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from redis import Redis as SyncRedis

from runnel.cli.table import line, value_text
from runnel.errors import RunnelError
from tests.cli.commands import TOTALS, one_sentence
from tests.cli.conftest import Run

APP, VISITS = TOTALS.replace(":totals", ":app"), TOTALS.replace(":totals", ":visits")
LONGEST = TOTALS.replace(":totals", ":longest")
#: The key of the totals of one partition.
KEY = "runnel:{shop:visits:%d}:visits:table:totals"


def visit(run: Run, **seconds: int) -> None:
    """Send visits, and let a worker count them."""
    lines = [json.dumps({"name": name, "seconds": each}) for name, each in seconds.items()]
    assert run("sendmany", VISITS, "-", stdin="\n".join(lines)).code == 0
    done = run("worker", APP, "--burst")
    assert done.code == 0, done.stderr


def test_the_value_of_a_key_is_printed(run: Run) -> None:
    visit(run, alice=5, bob=7)
    assert run("table", "get", TOTALS, "alice").stdout == "5\n"
    shown = json.loads(run("table", "get", TOTALS, "bob", "--json").stdout)
    assert (shown["key"], shown["value"], set(shown)) == ("bob", 7, {"key", "value", "partition"})


def test_a_key_is_looked_for_beside_the_events_that_write_it(run: Run, admin: SyncRedis) -> None:
    visit(run, alice=5)
    number = json.loads(run("table", "get", TOTALS, "alice", "--json").stdout)["partition"]
    admin.hset(KEY % number, "limit", "9")
    admin.hset(KEY % ((number + 1) % 4), "limit", "8")
    done = run("table", "get", TOTALS, "limit", "--of", "alice", "--json")
    assert json.loads(done.stdout) == {"key": "limit", "value": 9, "partition": number}


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_key_without_a_value_is_exit_6(run: Run, more: list[str]) -> None:
    visit(run, alice=5)
    for table in (TOTALS, LONGEST):
        done = run("table", "get", table, "carol", *more)
        assert (done.code, done.stdout) == (6, "")
        assert "has no value for 'carol'" in one_sentence(done.stderr)


def test_tables_are_listed_with_their_writers(run: Run, admin: SyncRedis) -> None:
    empty = run("table", "list", APP).stdout.splitlines()
    assert [each.split() for each in empty] == [
        ["TABLE", "STREAM", "WRITER", "KEYS", "BYTES"],
        ["totals", "visits", "-", "0", "0"],
        ["longest", "visits", "-", "0", "0"],
    ]
    visit(run, alice=5, bob=7, carol=9)
    listed = run("table", "list", APP, "--json").stdout.splitlines()
    totals, longest = (json.loads(each) for each in listed)
    memory = sum(admin.memory_usage(KEY % number) or 0 for number in range(4))
    assert totals == {
        "name": "totals",
        "stream": "visits",
        "declared_writer": None,
        "writers": ["counter"],
        "keys": 3,
        "bytes": memory,
    }
    assert (longest["declared_writer"], longest["writers"], longest["keys"]) == ("counter", [], 0)
    row = run("table", "list", APP).stdout.splitlines()[1].split()
    assert row == ["totals", "visits", "counter", "3", str(memory)]


def test_all_keys_are_exported_as_json_lines(run: Run, admin: SyncRedis) -> None:
    assert run("table", "export", TOTALS).stdout == ""
    amounts = {f"visitor {number}": number for number in range(1, 1500)}
    visit(run, **amounts)
    rows = [json.loads(each) for each in run("table", "export", TOTALS).stdout.splitlines()]
    assert {each["key"]: each["value"] for each in rows} == amounts
    for each in rows[::100]:
        assert admin.hget(KEY % each["partition"], each["key"]) == b"%d" % each["value"]
    assert run("table", "export", TOTALS, "--json").code == 0


def test_keys_that_are_no_text_are_exported_too() -> None:
    assert json.loads(line(3, b"\xff", b"[1]")) == {
        "key_base64": "/w==",
        "value": [1],
        "partition": 3,
    }
    assert json.loads(line(3, 'a"\u2028b'.encode(), b"1"))["key"] == 'a"\u2028b'


def test_a_value_stays_as_it_is_stored_in_one_line() -> None:
    assert value_text(0, b"k", b'{"a":\r\n 1.50}') == '{"a":   1.50}'
    assert value_text(0, b"k", b"12345678901234567890.10") == "12345678901234567890.10"
    assert value_text(0, b"k", '\n"a\u2028b"'.encode()) == ' "a\u2028b"'
    for wrong in (b"", b"\xff", b"{", b"1 2"):
        with pytest.raises(RunnelError, match="partition 7 is not JSON"):
            value_text(7, b"k", wrong)


def test_a_value_that_is_not_json_ends_the_export_with_an_error(run: Run, admin: SyncRedis) -> None:
    admin.hset(KEY % 2, "alice", "{")
    done = run("table", "export", TOTALS)
    assert (done.code, done.stdout) == (1, "")
    assert "the value of b'alice' in partition 2 is not JSON" in one_sentence(done.stderr)
    assert "sent" not in done.stderr


@contextmanager
def member(admin: SyncRedis) -> Iterator[None]:
    """A worker that runs the processor, as its group knows it."""
    left = "runnel:{shop:visits@counter}:sessions"
    seconds, _ = admin.time()
    admin.zadd(left, {"a": (int(seconds) + 60) * 1000})
    admin.hset("runnel:{shop:visits@counter}:members", "a", "i 1 stay 0 host")
    yield
    admin.zrem(left, "a")


def test_clear_deletes_only_with_execute(run: Run) -> None:
    visit(run, alice=5, bob=7)
    would = run("table", "clear", TOTALS)
    assert would.stdout == (
        "would clear totals: 2 keys, written by counter. Nothing was deleted: give --execute\n"
    )
    assert json.loads(run("table", "clear", TOTALS, "--json").stdout)["executed"] is False
    assert run("table", "get", TOTALS, "alice").stdout == "5\n"
    cleared = run("table", "clear", TOTALS, "--execute")
    assert cleared.stdout == "cleared totals: 2 keys, written by counter\n"
    assert run("table", "get", TOTALS, "alice").code == 6
    assert run("table", "clear", TOTALS, "--execute").stdout == "cleared totals: 0 keys\n"
    visit(run, alice=1)
    assert run("table", "get", TOTALS, "alice").stdout == "1\n"


def test_clear_refuses_while_a_worker_runs_the_writer(run: Run, admin: SyncRedis) -> None:
    visit(run, alice=5)
    with member(admin):
        would = run("table", "clear", TOTALS)
        assert (would.code, would.stderr) == (
            0,
            "warning: 1 worker runs counter: stop them first, or give --force\n",
        )
        done = run("table", "clear", TOTALS, "--execute")
        assert (done.code, done.stdout) == (2, "")
        assert "1 worker runs counter, which writes it" in one_sentence(done.stderr)
        assert run("table", "get", TOTALS, "alice").stdout == "5\n"
        forced = json.loads(run("table", "clear", TOTALS, "--execute", "--force", "--json").stdout)
        assert forced == {
            "name": "totals",
            "writers": ["counter"],
            "keys": 1,
            "members": 1,
            "executed": True,
        }
    assert run("table", "get", TOTALS, "alice").code == 6


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (APP, "is an App, not a table; there is tests.cli.shop_tables:totals"),
        (VISITS, "is a stream, not a table"),
        (TOTALS.replace("totals", "total"), "did you mean 'totals'?"),
    ],
)
def test_a_target_that_is_no_table_is_refused(run: Run, target: str, says: str) -> None:
    done = run("table", "get", target, "alice")
    assert done.code == 2
    assert says in one_sentence(done.stderr)
    assert "is a table, not a stream" in run("send", TOTALS, "{}").stderr


def test_every_command_has_an_example(run: Run) -> None:
    for command in (
        *("list", "get", "export", "clear"),
        *("snapshot", "snapshots", "restore", "delete-snapshot"),
    ):
        said = run("table", command, "--help").stdout
        assert f"$ runnel table {command} example:" in said
        assert "Exit codes:" in said


def test_some_keys_are_shown(run: Run) -> None:
    visit(run, **{f"visitor-{each}": each for each in range(30)}, bob=7)
    shown = run("table", "scan", TOTALS).stdout.splitlines()
    assert shown[0].split() == ["KEY", "PARTITION", "VALUE"]
    assert len(shown) == 21
    (row,) = run("table", "scan", TOTALS, "--match", "b?b").stdout.splitlines()[1:]
    assert (row.split()[0], row.split()[2]) == ("bob", "7")
    lines = run("table", "scan", TOTALS, "--match", "visitor-1*", "--limit", "100", "--json").stdout
    found = {each["key"]: each["value"] for each in map(json.loads, lines.splitlines())}
    assert found == {f"visitor-{each}": each for each in (1, *range(10, 20))}
    assert run("table", "scan", TOTALS, "--match", "nobody").stdout.split() == shown[0].split()
    assert run("table", "scan", TOTALS, "--limit", "0").code == 2
