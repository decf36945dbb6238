"""`runnel send --delay` and `--at`, `runnel delayed`: events that wait until they are due."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis as SyncRedis

from tests.cli.commands import APP, ORDERS, one_sentence
from tests.cli.conftest import GOOD, Run

HERE = ("--app", "shop", "--stream", "orders")


def test_an_event_is_sent_later_listed_and_cancelled(run: Run, admin: SyncRedis) -> None:
    partition, id_, _, due = run("send", ORDERS, GOOD, "--delay", "2h").stdout.split()
    wait = datetime.fromisoformat(due) - datetime.now(UTC)
    assert timedelta(minutes=115) < wait < timedelta(minutes=125)
    at = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%dT%H:%M:%S}.000Z"
    later = json.loads(run("send", ORDERS, GOOD, "--at", at[:-5], "--json").stdout)
    assert set(later) == {"partition", "id", "due"}
    listed = run("delayed", "list", ORDERS)
    first = next(line for line in listed.stdout.splitlines() if id_ in line)
    assert first.startswith(f"{due}  {partition} {id_}  1  ")
    assert '"amount": 99' in first
    without = [
        json.loads(line)
        for line in run("delayed", "list", *HERE, "--json").stdout.split("\n")
        if line
    ]
    assert {each["id"] for each in without} == {id_, later["id"]}
    assert all(each["record"]["amount"] == 99 for each in without)

    dry = run("delayed", "cancel", ORDERS, partition, id_)
    assert dry.stdout.endswith("not cancelled: add --execute\n")
    done = run("delayed", "cancel", partition, id_, *HERE, "--execute")
    assert done.stdout.splitlines()[-1] == "cancelled"
    again = run("delayed", "cancel", ORDERS, partition, id_, "--execute")
    assert again.code == 6
    assert f"no event {id_} waits in partition {partition}" in one_sentence(again.stderr)
    assert id_ not in run("delayed", "list", ORDERS).stdout


def test_the_next_ones_are_listed_in_the_order_in_which_they_are_due(run: Run) -> None:
    ids = {}
    for minutes in (30, 10, 20):
        record = GOOD.replace("1,", f"{minutes},", 1)
        ids[minutes] = run("send", ORDERS, record, "--delay", f"{minutes}m").stdout.split()[1]
    listed = run("delayed", "list", ORDERS, "-n", "2")
    assert [line.split()[2] for line in listed.stdout.splitlines()] == [ids[10], ids[20]]
    assert listed.stderr == "there are more than 2: see -n\n"
    assert run("delayed", "list", ORDERS, "-n", "3").stderr == ""
    nothing = run("delayed", "list", ORDERS, "--partition", "0-3", "-n", "1")
    assert len(nothing.stdout.splitlines()) == 1


def test_what_is_due_is_processed_by_a_burst_and_inspect_shows_the_rest(run: Run) -> None:
    run("send", ORDERS, GOOD, "--delay", "0")
    run("send", ORDERS, GOOD, "--delay", "1h")
    assert run("worker", APP, "--processors", "printer", "--burst").code == 0
    seen = json.loads(run("inspect", APP, "--json").stdout)
    (orders,) = [each for each in seen["streams"] if each["name"] == "orders"]
    assert (orders["delayed"], orders["length"]) == (1, 1)
    assert orders["delayed_due_ms"] > seen["at_ms"]
    assert "DELAYED" in run("inspect", APP).stdout
    assert run("inspect", APP, "--fail-on", "overdue").code == 0


def test_an_event_that_is_overdue_is_an_alarm(run: Run, admin: SyncRedis) -> None:
    run("processor", "add", "tests.cli.shop:printer")
    partition = run("send", ORDERS, GOOD, "--delay", "1h").stdout.split()[0]
    key = f"runnel:{{shop:orders:{partition}}}:orders"
    found: Any = admin.zrange(f"{key}:delayed", 0, -1, withscores=True)
    ((member, due),) = found
    admin.zadd(f"{key}:delayed", {member: due - 3_700_000})
    admin.hset(f"{key}:meta", "delayed_due", str(int(due - 3_700_000)))
    failed = run("inspect", APP, "--fail-on", "overdue")
    assert failed.code == 11
    assert f"partition {partition} has overdue events (runnel inspect " in failed.stderr
    assert "delayed events are overdue by" in run("inspect", APP).stdout


def test_a_deleted_stream_takes_its_delayed_events_with_it(run: Run, admin: SyncRedis) -> None:
    run("send", ORDERS, GOOD, "--delay", "1h")
    asked = run("stream", "delete", ORDERS, stdin="n\n")
    assert ", and 1 delayed event?" in asked.stderr
    assert "dropped 1 delayed event\n" in run("stream", "delete", ORDERS, "--yes").stdout
    assert not admin.keys("*:delayed")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--delay", "soon"], 2, "'soon' is none of 30, 30s, 15m"),
        (["--delay", "-5"], 2, "'-5' is none of"),
        (["--delay", "9" * 400 + "d"], 2, "is too long"),
        (["--delay", "400d"], 2, "at most 366 days"),
        (["--at", "tomorrow"], 2, "'tomorrow' is no time such as 2026-12-24T18:00:00Z"),
        (["--at", "2999-01-01"], 2, "in the next 366 days"),
        (["--at", "2026-12-24", "--delay", "5"], 2, "not both"),
    ],
)
def test_a_wrong_time_is_refused(run: Run, arguments: list[str], code: int, says: str) -> None:
    done = run("send", ORDERS, GOOD, *arguments)
    assert (done.code, done.stdout) == (code, "")
    assert says in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["x", "1-0"], "PARTITION must be a number, not 'x'"),
        (["99", "1-0"], "PARTITION must be 0 to 3, not 99"),
        (["0", "junk"], "'junk' is no id of a delayed event"),
        (["0"], "give TARGET PARTITION ID"),
    ],
)
def test_what_names_no_delayed_event_is_refused(run: Run, words: list[str], says: str) -> None:
    done = run("delayed", "cancel", ORDERS, *words)
    assert (done.code, done.stdout) == (2, "")
    assert says in done.stderr
