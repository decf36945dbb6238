"""The command line as a stranger meets it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from redis.asyncio import Redis

ROOT = Path(__file__).parent.parent.parent
GOOD = '{"order_id": 1, "created_at": "2026-11-23T12:00:09Z", "amount": 99}'
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(redis: Redis, redis_url: str) -> Run:
    """Runs a command to its end."""

    def command(*arguments: str, url: str = redis_url, stdin: str = "") -> Run:
        return subprocess.run(  # type: ignore[return-value]
            [sys.executable, "-m", "runnel", *arguments],
            cwd=ROOT,
            env={**os.environ, "RUNNEL_REDIS_URL": url, "COLUMNS": "100"},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    return command  # type: ignore[return-value]


def test_send_prints_partition_and_id_and_a_burst_processes_it(run: Run) -> None:
    sent = run("send", "tests.cli.shop:orders", GOOD)
    assert sent.returncode == 0, sent.stderr
    partition, id_ = sent.stdout.split()
    assert partition.isdigit()
    assert "-" in id_
    as_json = run("send", "tests.cli.shop:orders", GOOD, "--json")
    assert json.loads(as_json.stdout)["partition"] == int(partition)
    worker = run("worker", "tests.cli.shop:app", "--burst")
    assert (worker.returncode, worker.stdout) == (0, "99\n99\n"), worker.stderr
    assert "app shop" in worker.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["send", "tests.cli.shop:orders", "{"], 5, "Invalid JSON"),
        (["send", "tests.cli.shop:orders", GOOD.replace("1,", '"x",')], 5, "Order.order_id"),
        (["send", "tests.cli.shop:orders", "{}"], 5, "Order.amount: missing"),
        (["send", "tests.cli.shop:order", GOOD], 2, "did you mean"),
        (["send", "tests.cli.shop:other", GOOD], 2, "not a stream"),
        (["send", "tests.cli.nowhere:orders", GOOD], 2, "no module"),
        (["send", "orders", GOOD], 2, "module:attribute"),
        (["sendmany", "tests.cli.shop:orders", "absent.jsonl"], 2, "cannot read"),
        (["worker", "tests.cli.shop:app", "--processors", "prinr"], 2, "it has printer"),
        (["worker", "tests.cli.shop:app", "--name", "a b"], 2, "name 'a b' is not usable"),
        (["worker", "tests.cli.shop:app", "--redis-url", "reds://h"], 2, "did you mean redis://"),
        (["inspect"], 2, "--redis-url"),
        (["processor", "reset", "tests.cli.shop:printer", "--start", "soon"], 2, "none of"),
        (["processor", "reset", "tests.cli.shop:printer", "--start", "0"], 1, "UNREGISTERED"),
    ],
)
def test_bad_input_is_one_sentence_and_its_exit_code(
    run: Run, arguments: list[str], code: int, says: str
) -> None:
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["send", "tests.cli.shop:orders", GOOD],
        ["worker", "tests.cli.shop:app"],
        ["inspect", "tests.cli.shop:app"],
        ["processor", "pause", "tests.cli.shop:printer"],
    ],
)
def test_no_redis_is_exit_3_and_says_what_to_do(run: Run, arguments: list[str]) -> None:
    done = run(*arguments, url="redis://:secret@127.0.0.1:1")
    assert done.returncode == 3, done.stderr
    assert "runnel server" in done.stderr
    assert "secret" not in done.stderr


def test_sendmany_reports_bad_lines_and_sends_the_good_ones(run: Run, tmp_path: Path) -> None:
    lines = [GOOD, "{", GOOD.replace("99", '"x"'), "", GOOD]
    file = tmp_path / "orders.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(lines).encode()))
    strict = run("sendmany", "tests.cli.shop:orders", str(file), "--strict")
    assert strict.returncode == 5
    assert "none of 4 was sent" in strict.stderr
    done = run("sendmany", "tests.cli.shop:orders", str(file), "--json")
    assert done.returncode == 5
    assert "line 2: " in done.stderr
    assert "line 3: Order.amount" in done.stderr
    counts = json.loads(done.stdout)
    assert (counts["sent"], counts["rejected"]) == (2, 2)
    assert run("sendmany", "tests.cli.shop:orders", "-", stdin=GOOD).returncode == 0


def test_another_partition_count_is_exit_4_with_both_values(run: Run, tmp_path: Path) -> None:
    run("send", "tests.cli.shop:orders", GOOD)
    source = (ROOT / "tests/cli/shop.py").read_text()
    (tmp_path / "grown.py").write_text(source.replace("partition_count=4", "partition_count=8"))
    for arguments in (["send", "grown:orders", GOOD], ["worker", "grown:app", "--burst"]):
        done = subprocess.run(
            [sys.executable, "-m", "runnel", *arguments],
            cwd=tmp_path,
            env={**os.environ, "RUNNEL_REDIS_URL": _url(run)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 4, done.stderr
        assert "partition_count=4" in done.stderr
        assert "says 8" in done.stderr


def _url(run: Run) -> str:
    shown = run("inspect", "tests.cli.shop:app").stdout.splitlines()[0]
    return shown.split(" · ")[1]


def test_inspect_works_without_code_and_judges_thresholds(run: Run, redis_url: str) -> None:
    run("processor", "add", "tests.cli.shop:printer")
    run("send", "tests.cli.shop:orders", GOOD)
    bare = run("inspect", "--redis-url", redis_url, "--json")
    picture = json.loads(bare.stdout)
    assert bare.returncode == 0
    assert picture["schema"] == "runnel.inspect/1"
    assert picture["totals"]["lag_events"] == 1
    assert picture["totals"]["free"] == 4
    (processor,) = picture["processors"]
    assert (processor["state"], processor["stream"]) == ("down", "orders")
    assert {row["checkpoint"] for row in processor["partitions"]} == {"0-0"}
    for flags, code in (
        (["--max-lag", "1"], 0),
        (["--max-lag", "0"], 10),
        (["--max-lag", "0", "--no-free"], 11),
        (["--max-lag", "0", "--no-free", "--min-members", "1"], 12),
    ):
        assert run("inspect", "tests.cli.shop:app", *flags).returncode == code


def test_a_stream_is_deleted_with_all_that_belongs_to_it(run: Run) -> None:
    run("processor", "add", "tests.cli.shop:printer")
    run("send", "tests.cli.shop:orders", GOOD)
    assert run("stream", "delete", "tests.cli.shop:orders", stdin="n\n").returncode == 1
    deleted = run("stream", "delete", "tests.cli.shop:orders", "--yes")
    assert deleted.stdout == "deleted orders: 1 events\n"


def test_help_lists_commands_and_exit_codes(run: Run) -> None:
    shown = run("--help").stdout
    for word in ("worker", "sendmany", "inspect", "processor", "demo", "12", "no live member"):
        assert word in shown
