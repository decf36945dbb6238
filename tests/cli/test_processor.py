"""The commands that administer a processor."""

from __future__ import annotations

import json

from redis import Redis as SyncRedis

from tests.cli.commands import APP, ORDERS, PRINTER, TOTALS, one_sentence
from tests.cli.conftest import GOOD, Run

#: What is said of lost events that were acknowledged.
OVER = "of printer: no alarm names them any more, and nothing sends them again by itself\n"


def test_keys_of_the_first_runnel_are_reported_when_a_processor_is_added(
    run: Run, admin: SyncRedis
) -> None:
    admin.xadd("__strm:shop.orders.3", {"data": "{}"})
    done = run("processor", "add", PRINTER)
    assert done.code == 0
    assert done.stdout == "printer is registered on 4 partitions\n"
    assert "warning: Redis holds 1 streams of the first Runnel (2020)" in done.stderr


def test_a_processor_is_administered(run: Run) -> None:
    assert run("processor", "remove", PRINTER, "--yes").stdout == "printer was not registered\n"
    assert "is registered on 4" in run("processor", "add", PRINTER).stdout
    assert run("processor", "pause", PRINTER).stdout == "paused 4 partitions of printer\n"
    assert run("processor", "pause", PRINTER).stdout == "paused 0 partitions of printer\n"
    resumed = run("processor", "resume", PRINTER, "--partition", "2")
    assert resumed.stdout == "resumed 1 partition of printer\n"
    assert run("processor", "reset", PRINTER, "--start", "0001-01-01", "--execute").code == 0
    assert run("processor", "reset", PRINTER, "--start", "$", "--execute").stdout.split() == (
        ["0", "0-0", "1", "0-0", "2", "0-0", "3", "0-0"]
    )
    assert run("processor", "remove", PRINTER, "--yes").stdout.endswith("from 4 partitions\n")


def test_a_removal_says_what_it_gives_up(run: Run) -> None:
    run("processor", "add", PRINTER)
    remove = ("processor", "remove", PRINTER)
    assert "printer has processed all its events; other" in run(*remove, stdin="n\n").stderr
    for count in ("1 unprocessed event;", "2 unprocessed events;"):
        run("send", ORDERS, GOOD)
        asked = run(*remove, stdin="n\n")
        assert asked.code == 1
        assert f"printer will never process its {count} other processors are not" in asked.stderr
        assert "Remove the checkpoints of printer on every partition? [y/N]" in asked.stderr
    assert run(*remove).code == 2, "nobody answers"
    assert run(*remove, stdin="y\n").stdout.endswith("from 4 partitions\n")


def test_a_processor_is_not_removed_while_what_it_has_emitted_waits(
    run: Run, admin: SyncRedis
) -> None:
    run("processor", "add", PRINTER)
    outbox = "runnel:{shop:orders:2}:orders:outbox:printer"
    admin.xadd(outbox, {"to": "alerts 0 1 xxh64 100"})
    for command in (("processor", "remove", PRINTER), ("stream", "delete", ORDERS)):
        refused = run(*command, "--yes")
        assert refused.code == 5
        assert f"1 of its emitted entries wait in {outbox}" in one_sentence(refused.stderr)
    admin.delete(outbox)
    assert run("processor", "remove", PRINTER, "--yes").stdout.endswith("from 4 partitions\n")


def test_lost_events_are_a_problem_until_they_are_acknowledged(run: Run, admin: SyncRedis) -> None:
    run("processor", "add", PRINTER)
    state = "runnel:{{shop:orders:{}}}:orders:processor:printer"
    assert run("processor", "acknowledge", PRINTER).stdout == f"acknowledged 0 lost events {OVER}"
    admin.hset(state.format(1), "lost", "1")
    admin.hset(state.format(3), "lost", "9")
    # Two of these were dropped, as somebody has asked for.
    admin.hset("runnel:{shop:orders:3}:orders:meta", "dropped:printer", "2")
    found = run("inspect", APP, "--fail-on", "lost")
    assert found.code == 11
    assert "partitions 1,3: 8 events were LOST" in found.stdout
    assert "8 events lost in partitions 1, 3" in found.stderr
    one = run("processor", "acknowledge", PRINTER, "--partition", "1")
    assert one.stdout == f"acknowledged 1 lost event {OVER}"
    rest = run("processor", "acknowledge", PRINTER)
    assert rest.stdout == f"acknowledged 7 lost events {OVER}"
    found = run("inspect", APP, "--fail-on", "lost")
    assert (found.code, "LOST before" in found.stdout) == (0, False)
    rows = json.loads(run("inspect", APP, "--json").stdout)["processors"][0]["partitions"]
    assert [(each["lost"], each["lost_acknowledged"]) for each in rows][1::2] == [(1, 1), (9, 7)]


def test_partitions_are_chosen_one_by_one_or_as_ranges(run: Run) -> None:
    run("processor", "add", PRINTER)
    some = ("--partition", "3", "--partition", "0-1,3")
    assert run("processor", "pause", PRINTER, *some).stdout == "paused 3 partitions of printer\n"
    states = json.loads(run("inspect", APP, "--json").stdout)["processors"][0]["partitions"]
    assert [each["state"] for each in states] == ["paused", "paused", "unassigned", "paused"]
    one = run("processor", "resume", PRINTER, "--partition", "0,2")
    assert one.stdout == "resumed 1 partition of printer\n"
    reset = run("processor", "reset", PRINTER, "--start", "$", "--partition", "1-2", "--execute")
    assert reset.stdout.splitlines() == ["1 0-0", "2 0-0"]
    bad = run("processor", "pause", PRINTER, "--partition", "3-1")
    assert (bad.code, "'3-1' goes down: write 1-3" in bad.stderr) == (2, True)


def test_skip_continues_after_a_partition_without_room_for_its_dead_letter(
    run: Run, spawn: Run
) -> None:
    strict, vessel = "tests.cli.shop:strict", "tests.cli.shop:vessel"
    burst = ("worker", "tests.cli.shop:app", "--processors", "strict", "--burst")

    def fill(key: int) -> str:
        sent = run("send", vessel, GOOD.replace("1,", f"{key},", 1))
        assert sent.code == 0, sent.stderr
        blocked = spawn(*burst)
        assert blocked.code == 11
        assert "is quarantined: `runnel processor resume tests.cli.shop:strict" in blocked.stderr
        return sent.stdout.split()[0]

    full = fill(1)
    assert (
        "kept as a dead letter in vessel.strict.dead"
        in run("processor", "resume", strict, "--skip", "--yes").stdout
    )
    fill(1)
    run("processor", "resume", strict, "--skip", "--yes", "--partition", full)
    fill(1)
    empty = next(p for key in range(2, 50) if (p := fill(key)) != full)
    done = run("processor", "resume", strict, "--skip", "--yes")
    assert done.code == 5
    assert f"partition {empty}: event" in done.stdout
    assert "resumed 1 partition of strict" in done.stdout
    assert "a partition of vessel.strict.dead is full (2 events) because no" in one_sentence(
        done.stderr
    )
    states = json.loads(run("inspect", "tests.cli.shop:app", "--json").stdout)["processors"]
    rows = next(each["partitions"] for each in states if each["name"] == "strict")
    assert rows[int(full)]["state"] == "quarantined"
    assert rows[int(empty)]["state"] == "unassigned"


def test_a_removed_processor_leaves_its_tables_and_says_so(run: Run) -> None:
    counter, visits = (TOTALS.replace(":totals", each) for each in (":counter", ":visits"))
    run("send", visits, '{"name": "alice", "seconds": 5}')
    assert run("worker", TOTALS.replace(":totals", ":app"), "--burst").code == 0
    assert run("processor", "remove", counter, "--yes").stdout == (
        "removed counter from 4 partitions\n"
        "kept the table totals: `runnel table clear` deletes the keys, so that another processor "
        "may write\n"
    )
    assert run("table", "get", TOTALS, "alice").stdout == "5\n"
    assert run("table", "clear", TOTALS, "--execute").code == 0
    run("processor", "add", counter)
    assert run("processor", "remove", counter, "--yes").stdout.count("\n") == 1
