"""The worker command: how it ends, by a signal and in a burst."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

from tests.cli.commands import APP, ORDERS, PRINTER
from tests.cli.conftest import GOOD, ROOT, Run


def test_a_worker_ends_well_on_ctrl_c(run: Run, redis_url: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "runnel", "worker", APP, "--redis-url", redis_url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stderr is not None
        while b"claimed" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout) == (0, b"")
    assert b"Traceback" not in stderr


def test_send_prints_partition_and_id_and_a_burst_processes_it(spawn: Run) -> None:
    sent = spawn("send", ORDERS, GOOD)
    assert sent.code == 0, sent.stderr
    partition, id_ = sent.stdout.split()
    assert partition.isdigit()
    assert "-" in id_
    as_json = spawn("send", ORDERS, GOOD, "--json")
    assert json.loads(as_json.stdout)["partition"] == int(partition)
    worker = spawn("worker", APP, "--burst")
    assert (worker.code, worker.stdout) == (0, "99\n99\n"), worker.stderr
    assert "app shop" in worker.stderr


def test_a_burst_that_is_blocked_names_the_partitions_and_the_command(run: Run, spawn: Run) -> None:
    app, command = "tests.cli.shop:app", ("worker", "tests.cli.shop:app", "--burst")
    for key in range(8):
        run("send", ORDERS, GOOD.replace("1,", f"{key},", 1))
    run("processor", "add", PRINTER)
    run("processor", "pause", PRINTER, "--partition", "1-2")
    blocked = spawn(*command, "--processors", "printer")
    assert blocked.code == 11
    said = blocked.stderr.strip().splitlines()[-1]
    assert said.startswith("error: processor printer: partition")
    assert "paused: `runnel processor resume tests.cli.shop:printer --partition" in said
    ended = said.split("`")[1].removeprefix("runnel ").split()
    assert run(*ended).stdout.startswith("resumed ")
    assert spawn(*command, "--processors", "printer").code == 0
    run("processor", "resume", PRINTER)
    nothing = run("processor", "resume", PRINTER)
    expected = "resumed 0 partitions of printer: none of them is paused or quarantined\n"
    assert nothing.stdout == expected
    assert run("inspect", app, "--fail-on", "paused").code == 0
