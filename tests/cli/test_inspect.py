"""The command `runnel inspect`, as a shell runs it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis as SyncRedis

from runnel.cli import tables
from tests.cli.conftest import GOOD, ROOT, Run
from tests.inspect_schema import validated
from tests.servers import Server

ORDERS, APP, PRINTER = "tests.cli.shop:orders", "tests.cli.shop:app", "tests.cli.shop:printer"
COMMAND = [sys.executable, "-m", "runnel", "inspect"]


@pytest.fixture
def admin(redis_url: str) -> Iterator[SyncRedis]:
    with SyncRedis.from_url(redis_url) as client:
        yield client


def test_inspect_works_without_code_and_judges_thresholds(run: Run, redis_url: str) -> None:
    run("processor", "add", PRINTER)
    run("send", ORDERS, GOOD)
    bare = run("inspect", "--redis-url", redis_url, "--json")
    seen = json.loads(bare.stdout)
    assert (bare.code, bare.stderr) == (0, "")
    assert seen["schema"] == "runnel.inspect/1"
    assert (seen["totals"]["lag_events"], seen["totals"]["unassigned"]) == (1, 4)
    (processor,) = seen["processors"]
    assert (processor["state"], processor["stream"]) == ("down", "orders")
    assert json.loads(run("inspect", "--json").stdout)["processors"][0]["name"] == "printer"
    assert json.loads(run("inspect", "--app", "shop", "--json").stdout)["processors"]
    for flags, code in (
        (["--max-lag", "1"], 0),
        (["--max-lag", "0"], 10),
        (["--max-lag", "0", "--fail-on", "unassigned"], 11),
        (["--fail-on", "quarantined,stalled"], 0),
        (["--max-lag", "0", "--fail-on", "unassigned", "--min-members", "1"], 12),
    ):
        judged = run("inspect", "--app", "shop", "--json", *flags)
        assert judged.code == code
        assert json.loads(judged.stdout)["totals"]["lag_events"] == 1


def test_an_app_that_nobody_has_started_shows_what_it_declares(run: Run, admin: SyncRedis) -> None:
    seen = json.loads(run("inspect", APP, "--json").stdout)
    assert {each["name"]: each["state"] for each in seen["processors"]} == {
        "printer": "down",
        "tightly": "down",
        "picky": "down",
        "strict": "down",
    }
    dead = {"tight.picky.dead", "vessel.strict.dead"}
    streams = {"orders", "named", "tight", "vessel", "logs", "brief", *dead}
    assert {each["name"] for each in seen["streams"]} == streams
    output = run("inspect", APP)
    assert output.code == 0
    assert "it is not registered" in output.stdout
    assert f"    runnel worker {APP}\n" in output.stdout
    assert run("inspect", APP, "--max-lag", "5").code == 10
    assert admin.keys() == []


def test_a_processor_that_the_code_no_longer_declares_is_shown_with_the_command_that_removes_it(
    run: Run,
) -> None:
    run("processor", "add", PRINTER)
    assert run("send", ORDERS, GOOD).code == 0
    assert "does not declare" not in run("inspect", APP).stdout
    renamed = "tests.cli.shop_renamed:app"
    output = run("inspect", renamed).stdout
    own = output.partition("shop/printer is down\n")[2].partition("\n\n")[0]
    command = "runnel processor remove orders@printer --app shop"
    assert own.splitlines() == [
        f"  {renamed} does not declare it, but events are kept for it; lag: 1 events",
        f"    {command}   # if it is gone for good",
        "    see docs/runbooks.md#a-wrong-deploy, #no-worker-runs",
    ]
    assert f"    runnel worker {renamed}\n" in output
    assert run(*command.split()[1:], "--yes").stdout == "removed printer from 4 partitions\n"
    assert "shop/printer " not in run("inspect", renamed).stdout


def test_an_unknown_app_is_reported_with_the_known_ones(run: Run) -> None:
    empty = run("inspect", "--app", "shop")
    assert (empty.code, empty.stdout) == (2, "")
    assert "there is none" in empty.stderr
    run("processor", "add", PRINTER)
    wrong = run("inspect", "--app", "shoop", "--json")
    assert (wrong.code, wrong.stdout) == (2, "")
    assert "there is no app 'shoop'" in wrong.stderr
    assert "there is shop" in wrong.stderr


def test_a_pipe_gets_plain_text_and_a_terminal_colours(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    run("processor", "add", PRINTER)
    assert "\x1b" not in run("inspect", APP).stdout
    assert "\x1b[31m" in run("inspect", APP, color=True).stdout
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("inspect", APP, color=True).stdout
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in run("inspect", APP, color=True).stdout


def test_the_reader_of_a_pipe_may_leave(run: Run, redis_url: str) -> None:
    run("processor", "add", PRINTER)
    for options in ([], ["--json"], ["--json", "--watch", "0.1"], ["--watch", "0.1"]):
        process = subprocess.Popen(
            [*COMMAND, "--redis-url", redis_url, *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        with process:
            assert process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""


def test_watching_as_json_prints_an_object_a_line_until_ctrl_c(run: Run, redis_url: str) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--redis-url", redis_url, "--json", "--watch", "0.1"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        for _ in range(3):
            assert json.loads(process.stdout.readline())["schema"] == "runnel.inspect/1"
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, b"")
    for line in rest.splitlines():
        json.loads(line)


def until(terminal: int, wanted: bytes, seen: bytes = b"") -> bytes:
    """The output of the terminal, up to what is wanted."""
    while wanted not in seen:
        assert select.select([terminal], [], [], 20)[0], seen
        seen += os.read(terminal, 65536)
    return seen


def test_watching_redraws_in_place_waits_for_redis_and_ends_on_ctrl_c(
    run: Run, server: Server
) -> None:
    run("processor", "add", PRINTER, url=server.url)
    terminal, inner = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "--redis-url", server.url, "--watch", "0.1"],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm"},
        stdin=inner,
        stdout=inner,
        stderr=inner,
        start_new_session=True,
    )
    os.close(inner)
    try:
        output = until(terminal, b"\x1b[H", until(terminal, b"\x1b[J"))
        assert b"\x1b[2J" not in output
        server.kill()
        until(terminal, b"error: No Redis at")
        server.start()
        until(terminal, b"\x1b[H\x1b[31m\x1b[1mDOWN")
        process.send_signal(signal.SIGINT)
        # What was on the terminal before comes back, and the last report stays.
        _, _, last = until(terminal, b"\x1b[?1049l").partition(b"\x1b[?1049l")
        assert b"shop/printer" in until(terminal, b"shop/orders", last)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def test_a_paused_partition_is_an_alarm_when_asked_for(run: Run) -> None:
    run("processor", "add", PRINTER)
    run("processor", "pause", PRINTER)
    app = PRINTER.partition(":")[0] + ":app"
    assert run("inspect", app, "--fail-on", "quarantined").code == 0
    done = run("inspect", app, "--fail-on", "paused")
    assert done.code == 11
    assert "paused" in done.stderr


def test_watch_may_come_before_the_target(run: Run, redis_url: str) -> None:
    run("processor", "add", PRINTER)
    app = PRINTER.partition(":")[0] + ":app"
    process = subprocess.Popen(
        [*COMMAND, "--redis-url", redis_url, "--json", "--watch", app],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["schema"] == "runnel.inspect/1"
        process.send_signal(signal.SIGINT)
    assert process.returncode == 0


def test_the_schema_names_and_explains_every_field(run: Run) -> None:
    done = run("inspect", "--schema", url=None)
    assert done.code == 0
    schema = json.loads(done.stdout)
    assert schema["title"] == "runnel.inspect/1"
    unexplained = []

    def look(part: Any, path: str) -> None:
        if isinstance(part, dict):
            for name, each in part.get("properties", {}).items():
                plain = each.get("const") or each.get("items") or each.get("description")
                unexplained.extend([] if plain else [f"{path}.{name}"])
            for name, each in part.items():
                look(each, f"{path}.{name}")

    look(schema, "")
    assert not unexplained
    run("processor", "add", PRINTER)
    run("send", ORDERS, GOOD)
    validated(json.loads(run("inspect", APP, "--json").stdout))
    validated(json.loads(run("inspect", PRINTER, "0", "--raw", "--json").stdout))
    seen = json.loads(run("inspect", "--json").stdout)
    with pytest.raises(AssertionError, match="extra"):
        validated({**seen, "extra": 1})
    seen["processors"][0]["partitions"][0]["state"] = "lost"
    with pytest.raises(AssertionError, match="'lost' is not one of"):
        validated(seen)


def test_every_column_is_explained_in_the_help(run: Run) -> None:
    text = run("inspect", "--help").stdout.partition("Columns:")[2].partition("Examples:")[0]
    words = set(re.findall(r"[A-Z][A-Z-]*", text))
    heads = set[str]()
    source = Path(tables.__file__).read_text()
    for found in re.findall(r'"([A-Z][A-Z: -]+)"', source):
        heads |= {each for each in re.split(r"[ :]", found) if each}
    assert {"CHECKPOINT", "HEARTBEAT", "DELAYED"} <= heads
    assert heads - words - {"PID", "WRITER"} == set()
