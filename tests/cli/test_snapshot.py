"""The commands that take snapshots of tables, and go back to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from redis import Redis as SyncRedis

from runnel.cli.snapshot import ended_like_ctrl_c
from tests.cli.commands import COUNTER, TOTALS, one_sentence
from tests.cli.conftest import ROOT, Run
from tests.cli.test_reset import totals, visit

LOG, META = (f"runnel:{{shop:visits:%d}}:visits:{name}" for name in ("log", "meta"))


def found(admin: SyncRedis) -> set[str]:
    """Every key."""
    return {key.decode() for key in admin.scan_iter(count=1000)}


def test_to_go_back_to_a_snapshot_gives_the_right_totals_with_one_command(run: Run) -> None:
    visit(run, alice=5, bob=7)
    taken = run("table", "snapshot", COUNTER, "monday")
    assert (taken.code, taken.stderr) == (0, "")
    *lines, last = taken.stdout.splitlines()
    assert len(lines) == 4
    assert last == "took the snapshot monday of counter: totals (2 keys)"
    visit(run, alice=1, carol=3)
    after = totals(run)
    would = run("table", "restore", COUNTER, "monday")
    assert would.code == 0
    assert would.stdout.startswith("would restore counter to the snapshot monday of 20")
    assert "totals (2 keys); 2 events would be processed again. Nothing was" in would.stdout
    assert totals(run) == after
    done = run("table", "restore", COUNTER, "monday", "--execute")
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines()[:4] == lines
    assert "restored counter to the snapshot monday" in done.stdout.splitlines()[-1]
    assert totals(run) == {"alice": 5, "bob": 7}
    visit(run, dave=1)
    assert totals(run) == {**after, "dave": 1}


def test_snapshots_are_listed_with_their_age_and_keys(run: Run) -> None:
    empty = run("table", "snapshots", COUNTER).stdout.split()
    assert empty == ["SNAPSHOT", "TAKEN", "AGE", "COMPLETE", "KEYS", "TABLES"]
    visit(run, alice=5)
    for name in ("monday", "a-day"):
        assert run("table", "snapshot", COUNTER, name).code == 0
    first, second = map(
        json.loads, run("table", "snapshots", COUNTER, "--json").stdout.splitlines()
    )
    assert (first["name"], second["name"]) == ("a-day", "monday")
    assert 0 <= first["age_ms"] <= second["age_ms"] < 60_000
    assert (second["complete"], second["tables"]) == (True, {"totals": 1})
    row = run("table", "snapshots", COUNTER).stdout.splitlines()[2].split()
    assert (row[0], *row[3:]) == ("monday", "yes", "1", "totals")


def test_a_snapshot_is_deleted_only_with_execute(run: Run, admin: SyncRedis) -> None:
    visit(run, alice=5)
    before = found(admin)
    run("table", "snapshot", COUNTER, "monday")
    delete = ("table", "delete-snapshot", COUNTER, "monday")
    said = "would delete the snapshot monday of counter: totals (1 key). Nothing was deleted"
    assert run(*delete).stdout.startswith(said)
    assert found(admin) > before
    assert json.loads(run(*delete, "--execute", "--json").stdout)["executed"] is True
    assert found(admin) == before
    assert run(*delete, "--execute").code == 2
    assert totals(run) == {"alice": 5}


def test_a_name_that_is_taken_is_refused_and_one_that_there_is_not_is_named(run: Run) -> None:
    visit(run, alice=5)
    snapshot = ("table", "snapshot", COUNTER)
    assert run(*snapshot, "monday", "--json").code == 0
    again = run(*snapshot, "monday")
    assert (again.code, again.stdout) == (2, "")
    assert "delete it: `runnel table delete-snapshot" in one_sentence(again.stderr)
    for command in ("restore", "delete-snapshot"):
        missing = run("table", command, COUNTER, "tuesday")
        assert missing.code == 2
        assert "no snapshot 'tuesday'; it has monday" in one_sentence(missing.stderr)
    assert run(*snapshot, "a:b").code == 2


def test_events_that_have_left_the_log_must_be_accepted(run: Run, admin: SyncRedis) -> None:
    visit(run, alice=5)
    run("table", "snapshot", COUNTER, "monday")
    visit(run, **{f"visitor{n}": 1 for n in range(20)})
    lost = 0
    for number in range(4):
        lost += admin.xlen(LOG % number)
        admin.xtrim(LOG % number, 0)
    restore = ("table", "restore", COUNTER, "monday")
    for more in ((), ("--execute",)):
        refused = run(*restore, *more)
        assert (refused.code, refused.stdout) == (2, "")
        said = one_sentence(refused.stderr)
        assert said.startswith(f"error: {lost - 1} events after the snapshot monday have left")
    assert len(totals(run)) == 21
    done = json.loads(run(*restore, "--execute", "--accept-loss", "--json").stdout)
    assert (done["lost"], done["executed"]) == (lost - 1, True)
    assert totals(run) == {"alice": 5}


def test_an_interrupted_snapshot_is_not_restored_and_can_be_taken_again(
    run: Run, admin: SyncRedis
) -> None:
    visit(run, alice=5)
    run("table", "snapshot", COUNTER, "monday")
    admin.hdel("runnel:{shop:visits:2}:visits:snapshot:monday:counter", "at")
    listed = json.loads(run("table", "snapshots", COUNTER, "--json").stdout)
    assert listed["complete"] is False
    refused = run("table", "restore", COUNTER, "monday", "--execute")
    assert "is complete on 3 of 4 partitions" in one_sentence(refused.stderr)
    assert run("table", "snapshot", COUNTER, "monday").code == 0
    assert json.loads(run("table", "snapshots", COUNTER, "--json").stdout)["complete"] is True


def test_a_processor_that_is_not_registered_has_no_snapshot(run: Run) -> None:
    refused = run("table", "snapshot", COUNTER, "monday")
    assert refused.code == 1
    assert "counter is not registered on stream visits" in one_sentence(refused.stderr)
    assert run("table", "snapshots", COUNTER).code == 0
    assert "is a table" in run("table", "snapshot", TOTALS, "monday").stderr


def test_deleting_the_stream_deletes_its_snapshots(run: Run, admin: SyncRedis) -> None:
    visit(run, alice=5)
    run("table", "snapshot", COUNTER, "monday")
    deleted = run("stream", "delete", TOTALS.replace(":totals", ":visits"), "--yes")
    assert deleted.code == 0, deleted.stderr
    assert not {key for key in found(admin) if ":visits:" in key and not key.endswith(":meta")}


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_partition_paused(
    run: Run, admin: SyncRedis, redis_url: str, sent: signal.Signals
) -> None:
    visit(run, alice=5)
    state, stop = "runnel:{shop:visits:0}:visits:processor:counter", threading.Event()
    # A copy of it takes long enough for many claims.
    admin.hset(META % 0, "table:totals", "counter")
    many = {f"key {n}": "1" for n in range(50_000)}
    admin.hset("runnel:{shop:visits:0}:visits:table:totals", mapping=many)  # type: ignore[arg-type]

    def claim_again_and_again() -> None:
        """So that no copy is a whole one."""
        with SyncRedis.from_url(redis_url) as own:
            while not stop.is_set():
                own.hincrby(state, "epoch", 1)

    claiming = threading.Thread(target=claim_again_and_again)
    claiming.start()
    command = [sys.executable, "-m", "runnel", "table", "snapshot", COUNTER, "monday"]
    environment = {**os.environ, "RUNNEL_REDIS_URL": redis_url}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE) as process:
        try:
            while admin.hget(state, "paused") != b"1":
                assert process.poll() is None
            process.send_signal(sent)
            assert process.wait(30) == 130
        finally:
            stop.set()
            claiming.join()
            process.kill()
    assert admin.hget(state, "paused") == b"0"


def test_sigterm_is_handled_like_ctrl_c_for_as_long_as_the_command_works() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with ended_like_ctrl_c():
        assert signal.getsignal(signal.SIGTERM) is signal.getsignal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
