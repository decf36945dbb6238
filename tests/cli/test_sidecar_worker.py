"""`runnel worker --exec`: the examples, as they are, and workers that end."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis as SyncRedis

from runnel import keys
from runnel.sidecar.wire import answered, read_result, to_json
from tests.cli.commands import ORDERS, one_sentence
from tests.cli.conftest import ROOT, Run
from tests.sidecars import OK, shell

EXAMPLES = ROOT / "examples/sidecar"
NAMES = ("--app", "shop", "--stream", "orders", "--processor", "counter")
COMMANDS = {
    "sh": "sh examples/sidecar/handler.sh",
    "ruby": "ruby examples/sidecar/handler.rb",
    "php": "php examples/sidecar/handler.php",
}
if shutil.which("Rscript"):
    COMMANDS["R"] = "Rscript examples/sidecar/handler.R"


def order(number: int) -> str:
    return json.dumps({"order_id": number, "created_at": "2026-11-23T12:00:09Z", "amount": number})


def counted(admin: SyncRedis) -> dict[str, int]:
    """The table of the examples."""
    found: dict[str, int] = {}
    for partition in range(4):
        prefix = keys.partition("shop", "orders", partition, "orders")
        rows = admin.hgetall(keys.table(prefix, "orders_of"))
        found |= {key.decode(): int(value) for key, value in rows.items()}  # type: ignore[union-attr]
    return found


@pytest.mark.parametrize("language", COMMANDS)
def test_an_example_counts_in_a_table(
    run: Run, spawn: Run, admin: SyncRedis, language: str
) -> None:
    program = COMMANDS[language].split()[0]
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here")
    lines = "\n".join(order(number % 3) for number in range(9))
    assert run("sendmany", ORDERS, "-", stdin=lines).code == 0
    options = ["--key", "order_id", "--table", "orders_of", "--burst"]
    done = spawn("worker", "--exec", COMMANDS[language], *NAMES, *options)
    assert done.code == 0, done.stderr
    assert counted(admin) == {"0": 3, "1": 3, "2": 3}
    assert done.stderr.count("handler 0: order 1 of 1\n") == 3
    # At the end its stdin is closed, and it ends by itself.
    assert "SIGTERM" not in done.stderr


def test_the_examples_in_the_page_are_those_files() -> None:
    page = (ROOT / "docs/sidecar.md").read_text()
    for path in sorted(EXAMPLES.glob("handler.*")):
        assert path.read_text().strip() in page, path.name


def test_the_lines_in_the_page_are_read_and_written_so() -> None:
    page = (ROOT / "docs/sidecar.md").read_text()
    lines = re.findall(r'^(?:\| `)?(\{"id":7,.*?\})(?:` \||$)', page, re.MULTILINE)
    asked, *answers = (json.loads(line) for line in lines)
    assert [read_result(each).result for each in answers] == ["ok", "retry", "dead", "ok"]
    assert [answered(json.dumps(each).encode())[0] for each in answers] == [7] * 4
    fields = re.findall(r"^\| `([a-z]+)`", page.partition("## Lines from")[0], re.MULTILINE)
    assert {*asked} | {"events"} == {*fields, "event"}
    assert page.count('"$$bytes": 1') == 1
    assert to_json({"$bytes": 1}) == {"$$bytes": 1}


def test_what_cannot_work_is_told_in_one_sentence(run: Run, tmp_path: Path) -> None:
    run("stream", "create", ORDERS)
    burst = (*NAMES, "--burst")
    missing = run("worker", "--exec", "./no-such-handler", *burst)
    assert missing.code == 2
    assert "there is no program './no-such-handler'" in one_sentence(missing.stderr)
    unknown = run("worker", "--exec", "sh", *NAMES[:3], "order", *NAMES[4:])
    assert unknown.code == 2
    assert "has no stream 'order'; its streams are" in one_sentence(unknown.stderr)
    excluded = run("worker", "--exec", "sh", *burst, "--table", "t")
    assert excluded.code == 2
    assert "--table needs --key FIELD" in one_sentence(excluded.stderr)
    wrong = run("worker", "--exec", "sh", "--app", "a b", *NAMES[2:])
    assert wrong.code == 2
    assert "app name 'a b' is not usable" in one_sentence(wrong.stderr)


def test_a_handler_that_cannot_start_is_told_once_and_without_a_traceback(
    run: Run, spawn: Run
) -> None:
    run("stream", "create", ORDERS)
    done = spawn("worker", "--exec", "sh -c 'exit 3'", *NAMES)
    assert done.code == 2
    assert "Traceback" not in done.stderr
    sentence = "stderr is in the log: the handler process ended with exit code 3\n"
    assert done.stderr.endswith(sentence)
    assert done.stderr.count("is in the log") == 1


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(redis_url: str, run: Run) -> Iterator[Start]:
    """Starts a worker, whose log can be read line by line."""
    run("stream", "create", ORDERS)
    started: list[subprocess.Popen[str]] = []

    def begin(body: str, *options: str) -> subprocess.Popen[str]:
        script = " ".join(f"'{each}'" if " " in each else each for each in shell(body))
        command = [sys.executable, "-m", "runnel", "worker", "--exec", script, *NAMES, *options]
        made = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"RUNNEL_REDIS_URL": redis_url},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(made)
        return made

    yield begin
    for each in started:
        each.kill()
        with each:  # Closes its pipe.
            pass


def until_logged(process: subprocess.Popen[str], text: str) -> None:
    """Read the log until a line has this text."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    pytest.fail(f"the worker ended without {text!r}")


@pytest.mark.timeout(60)
def test_at_sigterm_the_event_in_hand_is_finished_and_committed(
    run: Run, start: Start, admin: SyncRedis, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    body = f"echo has it >&2; read go < {gate}; {OK}"
    worker = start(body)
    run("send", ORDERS, order(1))
    until_logged(worker, "has it")
    worker.send_signal(signal.SIGTERM)
    until_logged(worker, "stopping: finishing what is running")
    gate.write_text("go\n")
    until_logged(worker, "now holds none")
    assert worker.wait() == 0
    seen = json.loads(run("inspect", "--app", "shop", "--json").stdout)
    (processor,) = (each for each in seen["processors"] if each["name"] == "counter")
    assert processor["lag_events"] == 0
    assert sum(row["attempts"] for row in processor["partitions"]) == 0


@pytest.mark.timeout(60)
def test_a_handler_that_does_not_finish_is_cut_off_and_its_event_stays(
    run: Run, start: Start
) -> None:
    worker = start("echo has it >&2; sleep 600", "--shutdown-timeout", "0.5")
    run("send", ORDERS, order(1))
    until_logged(worker, "has it")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    seen = json.loads(run("inspect", "--app", "shop", "--json").stdout)
    (processor,) = (each for each in seen["processors"] if each["name"] == "counter")
    assert processor["lag_events"] == 1


@pytest.mark.timeout(60)
def test_if_the_worker_is_killed_its_handler_ends(run: Run, start: Start) -> None:
    worker = start(f"echo pid $$ >&2; {OK}")
    run("send", ORDERS, order(1))
    assert worker.stderr is not None
    said = next(line for line in worker.stderr if "handler 0: pid" in line)
    pid = int(said.split()[-1])
    ended = os.pidfd_open(pid)  # Can be read from once the process has ended.
    worker.kill()
    worker.wait()
    assert select.select([ended], [], [], 30)[0] == [ended]
    os.close(ended)


@pytest.mark.timeout(60)
def test_several_processes_get_the_options(run: Run, spawn: Run, admin: SyncRedis) -> None:
    lines = "\n".join(order(number) for number in range(8))
    run("sendmany", ORDERS, "-", stdin=lines)
    options = ["--key", "order_id", "--table", "orders_of", "--table", "other", "--burst"]
    done = spawn("worker", "--exec", COMMANDS["sh"], *NAMES, *options, "--processes", "2")
    assert done.code == 0, done.stderr
    assert counted(admin) == {str(number): 1 for number in range(8)}
