"""`runnel inspect`: for people, for programs, for alerting."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import click
import pytest
from redis import Redis as SyncRedis

from runnel.cli import view
from runnel.cli.dead_letters import as_text
from runnel.cli.limits import Limits, judge
from runnel.cli.screen import fit
from tests.cli.conftest import GOOD, ROOT, Run
from tests.servers import Server

ORDERS, APP, PRINTER = "tests.cli.shop:orders", "tests.cli.shop:app", "tests.cli.shop:printer"
COMMAND = [sys.executable, "-m", "runnel", "inspect"]


@pytest.fixture
def admin(redis_url: str) -> Iterator[SyncRedis]:
    with SyncRedis.from_url(redis_url) as client:
        yield client


def partition(number: int = 0, **fields: Any) -> dict[str, Any]:
    """One partition in a report, without problems by default."""
    return {
        "id": number,
        "state": "owned",
        "owner": "billing-worker-5d9c7b9f4-abcde",
        "epoch": 1795435471123,
        "session_left_ms": 9000,
        "checkpoint": "1795435471123-0",
        "last": "1795435471999-12",
        "lag_events": 1204,
        "lag_ms": 61_000,
        "processed": 40213,
        "lost": 0,
        "attempts": 0,
        "tenures": 0,
        "failing": False,
        "current_event_ms": 900,
        "error": None,
        **fields,
    }


def report(state: str = "ok", *rows: dict[str, Any]) -> dict[str, Any]:
    """A report on one processor."""
    partitions = list(rows) or [partition()]
    owners = {row["owner"] for row in partitions} - {None}
    lag = sum(row["lag_events"] or 0 for row in partitions)
    return {
        "schema": "runnel.inspect/1",
        "at_ms": 1795435499000,
        "server": {"kind": "valkey", "version": "9.1.2", "mode": "standalone"},
        "totals": {
            "lag_events": lag,
            "lag_ms": 61_000,
            "unassigned": 0,
            "quarantined": 0,
            "failing": 0,
            "dead_letters": 0,
            "members": len(owners),
        },
        "processors": [
            {
                "app": "shop",
                "name": "billing",
                "stream": "orders",
                "state": state,
                "lag_events": lag,
                "lag_ms": 61_000,
                "dead_letters": None,
                "partitions": partitions,
            }
        ],
        "members": [
            {
                "id": owner,
                "app": "shop",
                "processor": "billing",
                "host": "node-7",
                "pid": 41,
                "lang": "python",
                "version": "1.0.0",
                "partitions": [row["id"] for row in partitions if row["owner"] == owner],
                "last_heartbeat_ms": 1200,
            }
            for owner in sorted(owners)
        ],
        "streams": [],
    }


def lines(seen: dict[str, Any], **options: Any) -> list[str]:
    """The report for people, without colours."""
    names = view.Names("example", "example:app")
    shown = view.lines(seen, "redis://h:6379", names, **options)
    return [click.unstyle(line) for line in shown]


def test_the_first_line_is_a_summary() -> None:
    assert lines(report())[0] == (
        "OK · lag 1204, 1m1s behind · 1 worker · valkey 9.1.2 at redis://h:6379 · 12:04:59Z"
    )
    quiet = report("ok", partition(lag_events=0))
    quiet["totals"]["lag_ms"] = 0
    assert lines(quiet)[0].startswith("OK · lag 0 · 1 worker · ")
    assert lines(report("stalled"))[0].startswith("STALLED: 1 of 1 processors · lag 1204")
    nothing = {**report(), "processors": [], "members": []}
    assert lines(nothing)[0].startswith("EMPTY: nothing is registered yet · valkey")
    unknown = report()
    waiting = lines(with_dead_letters(3, []))[0]
    assert " · lag 1204, 1m1s behind · dead letters 3 · 1 worker" in waiting
    unknown["totals"]["lag_events"] = unknown["totals"]["lag_ms"] = None
    assert lines(unknown)[0].startswith("OK · lag ? · ")


def test_a_processor_without_problems_is_only_in_the_tables() -> None:
    assert lines(report())[1:3] == [
        "",
        "PROCESSOR     STREAM  STATE  PARTITIONS  OWNED  MEMBERS  LAG   BEHIND  DEAD",
    ]


AT = "1795435471123-0"


def with_dead_letters(waiting: int | None, readers: list[str]) -> dict[str, Any]:
    """A processor whose dead letters wait."""
    seen = report("degraded")
    found = {"stream": "orders.billing.dead", "waiting": waiting, "readers": readers}
    seen["processors"][0]["dead_letters"] = found
    seen["totals"]["dead_letters"] = waiting
    return seen


ERROR = {"type": "ValueError", "message": "no price", "event": "1795435471200-0", "at_ms": 1}


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (
            report(
                "degraded", partition(3, state="quarantined", error=ERROR, current_event_ms=None)
            ),
            [
                "shop/billing is degraded",
                "  partition 3 is quarantined: ValueError at 1795435471200-0: no price",
                "    runnel processor resume example:billing --partition 3"
                "   (--skip skips the failed event)",
            ],
        ),
        (
            report("stalled", partition(1), partition(2, current_event_ms=75_000)),
            [
                "shop/billing is stalled",
                "  partition 2 has not moved for 1m15s: billing-worker-5d9c7b9f4-abcde (node-7:41) "
                "is still processing the event after 1795435471123-0",
                "    see what its handler waits for; if you stop that worker, the others take over",
            ],
        ),
        (
            report("down", partition(owner=None, state="unassigned", lag_events=7)),
            [
                "shop/billing is down",
                "  no live member; lag: 7 events",
                "    runnel worker example:app",
            ],
        ),
        (
            report(
                "down", partition(owner=None, state="unassigned", checkpoint=None, lag_events=None)
            ),
            [
                "shop/billing is down",
                "  it is not registered: no events are kept for it",
                "    runnel worker example:app   (or runnel processor add example:billing)",
            ],
        ),
        (
            report("degraded", *(partition(n, state="paused") for n in (0, 1, 2, 5))),
            [
                "shop/billing is degraded",
                "  partitions 0-2,5 paused by an operator",
                "    runnel processor resume example:billing",
            ],
        ),
        (
            report("degraded", partition(0), partition(1, state="unassigned", owner=None)),
            [
                "shop/billing is degraded",
                "  partition 1 unassigned: a worker claims them within a heartbeat; if none does, "
                "see the workers' logs",
            ],
        ),
        (
            report(
                "degraded",
                *(
                    partition(n, state="quarantined", error={**ERROR, "event": f"{n}-0"})
                    for n in (1, 2, 5)
                ),
                partition(9),
            ),
            [
                "shop/billing is degraded",
                *(
                    f"  partition {n} is quarantined: ValueError at {n}-0: no price"
                    for n in (1, 2, 5)
                ),
                "    runnel processor resume example:billing --partition 1-2,5"
                "   (--skip skips the failed events)",
            ],
        ),
        (
            report(
                "degraded",
                partition(0, state="quarantined", error=ERROR),
                *(
                    partition(n, state="quarantined", error={**ERROR, "event": AT})
                    for n in (1, 2, 5)
                ),
            ),
            [
                "shop/billing is degraded",
                "  partition 0 is quarantined: ValueError at 1795435471200-0: no price",
                "  partitions 1-2,5 quarantined: the handler fails before its first event: "
                "ValueError: no price",
                "    runnel processor resume example:billing   (--skip skips the failed event)",
            ],
        ),
        (
            report("degraded", partition(0, state="quarantined", error={**ERROR, "event": AT})),
            [
                "shop/billing is degraded",
                "  partition 0 quarantined: the handler fails before its first event: "
                "ValueError: no price",
                "    runnel processor resume example:billing --partition 0",
            ],
        ),
        (
            report(
                "degraded",
                *(partition(n, failing=True, error={**ERROR, "event": AT}) for n in range(3)),
            ),
            [
                "shop/billing is degraded",
                "  partitions 0-2: the handler fails before its first event: ValueError: no price",
            ],
        ),
        (
            report("degraded", partition(0, failing=True, error={**ERROR, "event": AT})),
            [
                "shop/billing is degraded",
                "  partition 0: the handler fails before its first event: ValueError: no price",
            ],
        ),
        (
            report(
                "degraded",
                partition(0, state="unassigned", owner=None, failing=True, attempts=4, error=ERROR),
            ),
            [
                "shop/billing is degraded",
                "  partition 0 has failed 4 times: ValueError at 1795435471200-0: no price",
                "    runnel processor resume example:billing --partition 0 --skip   (skips the "
                "failed event; a worker that starts retries it)",
                "  partition 0 unassigned: a worker claims them within a heartbeat; if none does, "
                "see the workers' logs",
            ],
        ),
        (
            report("degraded", partition(0, failing=True, tenures=2)),
            [
                "shop/billing is degraded",
                "  partition 0: workers died one after the other while they processed the next "
                "event: see the end of their logs, and their memory",
            ],
        ),
        (
            with_dead_letters(3, []),
            [
                "shop/billing is degraded",
                "  3 dead letters wait in orders.billing.dead, and no processor reads the stream",
                "    runnel processor dead-letters example:billing",
            ],
        ),
        (
            with_dead_letters(1, ["complaints"]),
            [
                "shop/billing is degraded",
                "  1 dead letter waits in orders.billing.dead, for complaints",
                "    runnel processor dead-letters example:billing",
            ],
        ),
        (
            report("ok", partition(0, lost=3), partition(1, lost=4)),
            [
                "shop/billing is ok",
                "  partitions 0-1: 7 events were LOST before they were processed",
            ],
        ),
        (
            report("ok", partition(0, attempts=2, error=ERROR)),
            [
                "shop/billing is ok",
                "  partition 0 has failed 2 times: ValueError at 1795435471200-0: no price",
            ],
        ),
    ],
    ids=[
        "quarantined",
        "stalled",
        "down",
        "unregistered",
        "paused",
        "unassigned",
        "several quarantined",
        "quarantined, some before the first event",
        "quarantined before the first event",
        "several failing before the first event",
        "failing before the first event",
        "halted",
        "deaths",
        "dead letters",
        "a dead letter that somebody reads",
        "lost",
        "failing",
    ],
)
def test_a_problem_is_shown_with_the_command_that_helps(
    seen: dict[str, Any], says: list[str]
) -> None:
    shown = lines(seen)
    assert shown[1] == ""
    assert shown[2 : 2 + len(says)] == says
    assert shown[2 + len(says)] == ""


@pytest.mark.parametrize("wide", [False, True])
def test_no_id_is_ever_shortened(wide: bool) -> None:
    shown = "\n".join(lines(report("degraded", partition(12345, error=ERROR)), wide=wide))
    for whole in ("billing-worker-5d9c7b9f4-abcde", "1795435471123-0", "1795435471200-0"):
        assert whole in shown
    assert "…" not in shown
    assert ("1795435471999-12" in shown) is wide


def test_common_tables_fit_into_80_columns() -> None:
    rows = [partition(n, owner="w-359b9b", lag_events=12345) for n in range(100)]
    seen = report("ok", *rows)
    assert max(map(len, lines(seen)[1:])) <= 80


def test_durations_are_short() -> None:
    told = {None: "?", 0: "0", 7: "7ms", 1000: "1s", 61_000: "1m1s", 3_600_000: "1h"}
    assert {ms: view.duration(ms) for ms in told} == told
    assert view.duration(90_061_000) == "1d1h"


def test_a_frame_has_as_many_lines_as_the_terminal() -> None:
    told = [f"line {number}" for number in range(10)]
    assert fit(told, 80, 10) == told
    assert fit(told, 80, 4) == [*told[:3], "… and 7 more lines: enlarge the window"]
    assert fit(["x" * 30, *told], 20, 4)[:2] == ["x" * 30, "line 0"]


def judged(seen: dict[str, Any], **limits: Any) -> int:
    none: dict[str, Any] = dict.fromkeys(("max_lag", "max_dead", "min_members"))
    return judge(seen, Limits(**{"states": [], "stalled_after": 60.0, **none, **limits}))


def test_the_highest_limit_exceeded_is_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    unassigned = report("down", partition(state="unassigned", owner=None))
    assert judged(unassigned) == 0
    assert judged(report(), max_lag=1204) == 0
    assert judged(report(), max_lag=1203) == 10
    assert judged(report("ok", partition(current_event_ms=61_000)), states=["stalled"]) == 11
    assert judged(report("ok", partition(current_event_ms=59_000)), states=["stalled"]) == 0
    assert judged(unassigned, max_lag=0, states=["unassigned"]) == 11
    assert judged(unassigned, max_lag=0, states=["quarantined"]) == 10
    assert judged(unassigned, max_lag=0, states=["unassigned"], min_members=1) == 12
    assert judged(report(), min_members=1) == 0
    assert judged(report(), min_members=2) == 12
    unknown = report()
    unknown["processors"][0]["lag_events"] = None
    capsys.readouterr()
    assert judged(unknown, max_lag=10) == 10
    assert capsys.readouterr().err == "shop/billing: lag is unknown, allowed 10\n"
    assert judged({**report(), "processors": []}, min_members=1) == 12
    assert judged(report("degraded", partition(failing=True)), states=["failing"]) == 11
    assert judged(report("degraded", partition(failing=True))) == 0
    assert judged(report(), states=["failing"], max_dead=0) == 0
    assert judged(with_dead_letters(3, []), max_dead=3) == 0
    assert judged(with_dead_letters(3, []), max_dead=2) == 10
    capsys.readouterr()
    assert judged(with_dead_letters(None, ["complaints"]), max_dead=2) == 10
    said = "shop/billing: an unknown number of dead letters wait, allowed 2\n"
    assert capsys.readouterr().err == said
    assert judged(with_dead_letters(1, []), max_dead=0) == 10
    assert capsys.readouterr().err == "shop/billing: 1 dead letter waits, allowed 0\n"


def test_control_characters_in_errors_do_not_reach_the_terminal() -> None:
    error = {**ERROR, "type": "Błąd", "message": "no\n  price \x1b[31m\x07 ż"}
    seen = report("degraded", partition(0, state="quarantined", error=error))
    told = "Błąd at 1795435471200-0: no price \\x1b[31m\\x07 ż"
    assert f"  partition 0 is quarantined: {told}" in lines(seen)
    dead_letter = {
        **dict.fromkeys(("at", "partition", "event"), ""),
        "attempts": 1,
        "record": {},
        "error_type": error["type"],
        "error_message": error["message"],
    }
    assert "Błąd: no price \\x1b[31m\\x07 ż\n" in as_text(dead_letter)


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
    streams = {"orders", "named", "tight", "vessel", *dead}
    assert {each["name"] for each in seen["streams"]} == streams
    shown = run("inspect", APP)
    assert shown.code == 0
    assert "it is not registered" in shown.stdout
    assert f"(or runnel processor add {PRINTER})" in shown.stdout
    assert run("inspect", APP, "--max-lag", "5").code == 10
    assert admin.keys() == []


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
    """What the terminal has shown, once it has shown what is wanted."""
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
        shown = until(terminal, b"\x1b[H", until(terminal, b"\x1b[J"))
        assert b"\x1b[2J" not in shown
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


def test_watch_may_stand_before_the_target(run: Run, redis_url: str) -> None:
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
