"""`runnel send` and `runnel sendmany`: good records are sent, and bad ones are reported."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from runnel import App, Record
from runnel.cli import send
from tests.cli.commands import ORDERS, one_sentence
from tests.cli.conftest import GOOD, ROOT, Run
from tests.worker.workers import until

LINE = GOOD.encode() + b"\n"
MANY = b"".join(LINE.replace(b"1,", b"%d," % (10_000 + i * 7919), 1) for i in range(3000))
PACKED = gzip.compress(MANY)
IDS = (
    "empty blank plain no-newline crlf bom gzip bad-json wrong-type latin-1 utf-16 nul long "
    "long-record array scalars many many-gzip"
)


class Item(Record):
    id: int


def stored(client: SyncRedis) -> int:
    """How many events there are."""
    names = client.keys("*:log")
    return sum(int(client.xlen(name)) for name in names)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([ORDERS, "{"], "Invalid JSON"),
        ([ORDERS, ""], "Invalid JSON"),
        ([ORDERS, "[]"], "expected an object"),
        ([ORDERS, GOOD.replace("1,", '"x",')], "Order.order_id"),
        ([ORDERS, GOOD.replace("2026", "soon")], "Order.created_at"),
        ([ORDERS, GOOD[:-1] + ', "amont": 1}'], "Order.amont: no such field (--ignore"),
        ([ORDERS, "{}"], "Order.amount: missing"),
        (["tests.cli.shop:named", '{"name": null}'], "None cannot be a partition key"),
        (["tests.cli.shop:small", '{"name": "' + "x" * 2000 + '"}'], "max_record_bytes"),
        ([ORDERS, "\udcff"], "the RECORD is not UTF-8"),
        ([ORDERS, '{"a":'], "Invalid JSON: EOF while parsing a value at column 5"),
    ],
)
def test_a_record_that_cannot_be_sent_is_one_sentence(
    run: Run, arguments: list[str], says: str
) -> None:
    done = run("send", *arguments)
    assert done.code == 5, done.stderr
    assert says in one_sentence(done.stderr)
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("content", "sent", "rejected", "says"),
    [
        (b"", 0, 0, []),
        (b"\n\n  \n", 0, 0, []),
        (LINE * 3, 3, 0, []),
        (LINE * 2 + LINE.rstrip(), 3, 0, []),
        (LINE.replace(b"\n", b"\r\n") * 3, 3, 0, []),
        (b"\xef\xbb\xbf" + LINE, 1, 0, []),
        (gzip.compress(LINE * 3), 3, 0, []),
        (LINE + b"{\n" + LINE, 2, 1, ["line 2: Order: Invalid JSON"]),
        (LINE + LINE.replace(b"99", b'"x"') + b"\n" + LINE, 2, 1, ["line 2: Order.amount"]),
        (LINE + LINE.replace(b'"am', b'"caf\xe9": 1, "am'), 1, 1, ["line 2: not UTF-8: byte 0xe9"]),
        ((GOOD + "\n").encode("utf-16"), 0, 2, ["line 1: not UTF-8: byte 0xff at position 1"]),
        (b"\0\0\0\n" + LINE, 1, 1, ["line 1: Order: Invalid JSON"]),
        (b"x" * 1_000_000 + b"\n" + LINE, 1, 1, ["line 1: Order: Invalid JSON"]),
        (b'{"n": "' + b"x" * 1_000_000 + b'"}\n' + LINE, 1, 1, ["line 1: Order.order_id: missing"]),
        (b"[" + LINE.rstrip() + b"]\n", 0, 1, ["line 1: ", "jq -c '.[]'"]),
        (b'"text"\n5\n', 0, 2, ["line 1: Order: expected an object", "line 2: Order: expected"]),
        (MANY, 3000, 0, []),
        (PACKED, 3000, 0, []),
    ],
    ids=IDS.split(),
)
@pytest.mark.parametrize("name", ["file", "stdin", "file.gz"])
def test_good_lines_are_sent_and_bad_ones_reported(
    run: Run,
    admin: SyncRedis,
    tmp_path: Path,
    name: str,
    content: bytes,
    sent: int,
    rejected: int,
    says: list[str],
) -> None:
    (tmp_path / name).write_bytes(content)
    file, stdin = ("-", content) if name == "stdin" else (str(tmp_path / name), b"")
    done = run("sendmany", ORDERS, file, "--json", stdin=stdin)
    counts = json.loads(done.stdout)
    assert (counts["sent"], counts["rejected"]) == (sent, rejected)
    assert done.code == (5 if rejected else 0)
    errors = done.stderr.splitlines()
    assert len(errors) == rejected
    assert all(len(line) < 400 for line in errors)
    for each in says:
        assert each in done.stderr
    assert stored(admin) == sent


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (PACKED[: len(PACKED) // 2], "is cut off: its compressed data ends too early"),
        (PACKED[:20], "is cut off"),
        (PACKED[:-4] + b"\0\0\0\0", "cannot be read to its end"),
        (PACKED + b"\x1f\x8bnot gzip", "cannot be read to its end"),
    ],
    ids=["half", "start", "length", "behind"],
)
def test_a_damaged_file_is_reported_with_the_number_sent(
    run: Run, admin: SyncRedis, tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "orders.gz").write_bytes(content)
    strict = run("sendmany", ORDERS, str(tmp_path / "orders.gz"), "--strict")
    assert (strict.code, strict.stdout, stored(admin)) == (5, "", 0)
    assert says in strict.stderr
    assert strict.stderr.endswith("; nothing was sent\n")
    done = run("sendmany", ORDERS, str(tmp_path / "orders.gz"), "--json")
    assert done.code == 5
    assert json.loads(done.stdout)["sent"] == stored(admin)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("; the good lines before that were sent\n")


def test_an_unknown_field_is_refused_without_ignore_unknown(run: Run, admin: SyncRedis) -> None:
    lines = LINE + LINE.replace(b'"amount"', b'"amont": 5, "amount"') + LINE
    done = run("sendmany", ORDERS, "-", stdin=lines)
    assert (done.code, done.stdout.split(",")[0], stored(admin)) == (5, "sent 2", 2)
    assert done.stderr == (
        "line 2: Order.amont: no such field (--ignore-unknown leaves out such fields)\n"
    )
    strict = run("sendmany", ORDERS, "-", "--strict", stdin=lines)
    assert (strict.code, stored(admin)) == (5, 2)
    left_out = run("sendmany", ORDERS, "-", "--ignore-unknown", stdin=lines)
    assert (left_out.code, left_out.stdout.split(",")[0], stored(admin)) == (0, "sent 3", 5)


def test_only_a_file_that_begins_with_an_array_is_answered_with_the_command_for_arrays(
    run: Run,
) -> None:
    done = run("sendmany", ORDERS, "-", stdin=LINE + b"[" + LINE.rstrip() + b"]\n")
    assert (done.code, done.stdout.split(",")[0]) == (5, "sent 1")
    assert done.stderr.startswith("line 2: Order: expected an object")
    assert "jq" not in done.stderr


def test_strict_sends_nothing_if_a_line_is_bad(run: Run, admin: SyncRedis) -> None:
    bad = run("sendmany", ORDERS, "-", "--strict", stdin=LINE * 3 + b"{\n")
    assert (bad.code, bad.stdout, stored(admin)) == (5, "", 0)
    assert "line 4: " in bad.stderr
    assert "bad lines: 1; none of 4 was sent" in bad.stderr
    assert run("sendmany", ORDERS, "-", "--strict", stdin=LINE * 3).stdout.startswith("sent 3, ")


@pytest.mark.fault(47)
def test_a_record_that_is_too_large_is_one_bad_line(run: Run) -> None:
    lines = '{"name": "a"}\n{"name": "' + "x" * 2000 + '"}\n{"name": "b"}\n'
    done = run("sendmany", "tests.cli.shop:small", "-", stdin=lines)
    assert (done.code, done.stdout.split(",")[0]) == (5, "sent 2")
    assert "line 2: the record takes" in done.stderr
    assert "max_record_bytes allows 1000" in done.stderr


def test_a_missing_partition_key_is_one_bad_line(run: Run) -> None:
    done = run("sendmany", "tests.cli.shop:named", "-", stdin='{"name": null}\n{"name": "b"}\n')
    assert (done.code, done.stdout.split(",")[0]) == (5, "sent 1")
    assert "line 1: stream named" in done.stderr
    assert "None cannot be a partition key" in done.stderr


def test_a_record_for_which_partition_by_raises_is_one_bad_line(run: Run) -> None:
    done = run("sendmany", "tests.cli.shop:initials", "-", stdin='{"name": ""}\n{"name": "b"}\n')
    assert (done.code, done.stdout.split(",")[0]) == (5, "sent 1")
    assert "line 1: stream initials" in done.stderr
    assert "partition_by raised IndexError: string index out of range" in done.stderr


def test_a_full_partition_is_reported_with_the_slow_processor_and_the_number_sent(
    run: Run, admin: SyncRedis
) -> None:
    tight = "tests.cli.shop:tight"
    nobody = run("sendmany", tight, "-", "--no-wait", "--json", stdin=LINE * 30)
    assert nobody.code == 5
    assert "a partition is full (10 events) because no processor is registered" in nobody.stderr
    assert json.loads(nobody.stdout)["sent"] == stored(admin) == 10
    admin.flushall()
    assert run("processor", "add", "tests.cli.shop:tightly").code == 0
    held = run("sendmany", tight, "-", "--no-wait", stdin=LINE * 30)
    assert held.code == 5
    assert (
        "because the registered processor tightly has not committed its oldest events"
        in held.stderr
    )
    assert held.stdout.startswith("sent at least 10, rejected 0")
    one = run("send", tight, GOOD)
    assert (one.code, one.stdout) == (5, "")
    assert "because the registered processor tightly" in one.stderr


def test_a_slow_pipe_is_sent_as_it_comes_and_ctrl_c_says_how_many(
    run: Run, admin: SyncRedis, redis_url: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "runnel", "sendmany", ORDERS, "-", "--redis-url", redis_url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    try:
        process.stdin.write(LINE * 2 + b'{"order_id"')
        process.stdin.flush()
        logs: Any = dict.fromkeys((f"runnel:{{shop:orders:{p}}}:orders:log" for p in range(4)), "0")
        while stored(admin) < 2:
            admin.xread(logs, block=10_000)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert stdout.startswith((b"sent 2, rejected 0", b"sent at least "))
    assert stderr == b""


@pytest.mark.parametrize("arguments", [["--help"], ["send", "--help"]])
def test_the_example_of_send_is_an_event_that_the_readme_stream_takes(
    run: Run, arguments: list[str]
) -> None:
    assert f"runnel send example:orders '{GOOD}'" in run(*arguments).stdout


async def test_a_wait_for_room_is_reported_once(
    redis: Redis,
    redis_url: str,
    app_name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(send, "_PATIENCE", 0.05)
    app = App(app_name, redis_url=redis_url)
    items = app.stream("items", record=Item, partition_by="id", partition_count=1, partition_size=2)
    said = ""

    def warned() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return "no progress for 0 s: is a partition full, and do workers run?" in said

    async with app:
        sending = send.Sending(items, wait=True, ignore_unknown=False, headers={})
        await sending.send([(1, b'{"id": 1}'), (2, b'{"id": 2}')])
        assert not warned()
        waiting = asyncio.create_task(sending.send([(3, b'{"id": 3}')]))
        await until(warned, "it is reported")
        waiting.cancel()
        await asyncio.wait([waiting])
    assert sending.sent == 2
    sending.summary(as_json=False)
    assert capsys.readouterr().out.startswith("sent at least 2, rejected 0")


def entries(client: SyncRedis) -> list[dict[Any, Any]]:
    """The fields of all events."""
    logs: list[Any] = [client.xrange(name) for name in client.keys("*:log")]
    return [fields for log in logs for _, fields in log]


def test_a_record_from_stdin_and_its_headers_are_sent(run: Run, admin: SyncRedis) -> None:
    headers = ("--header", "trace=a=b", "--header", "empty=")
    done = run("send", ORDERS, "-", *headers, stdin=b"\xef\xbb\xbf" + LINE)
    assert (done.code, done.stderr) == (0, "")
    (fields,) = entries(admin)
    assert (fields[b"@trace"], fields[b"@empty"]) == (b"a=b", b"")
    assert run("sendmany", ORDERS, "-", *headers, stdin=LINE * 2).code == 0
    assert [each[b"@trace"] for each in entries(admin)] == [b"a=b"] * 3


@pytest.mark.parametrize(
    ("stdin", "says"),
    [(b"", "Invalid JSON"), (b"\xff", "not UTF-8"), (LINE * 2, "`runnel sendmany` sends one")],
)
def test_what_is_no_record_on_stdin_is_refused(run: Run, stdin: bytes, says: str) -> None:
    done = run("send", ORDERS, "-", stdin=stdin)
    assert (done.code, done.stdout) == (5, "")
    assert says in one_sentence(done.stderr)


@pytest.mark.parametrize("header", ["trace", "=x", "", "trace=\udcff"])
@pytest.mark.parametrize("command", ["send", "sendmany"])
def test_a_malformed_header_is_refused(run: Run, command: str, header: str) -> None:
    done = run(command, ORDERS, "-", "--header", header, stdin=LINE)
    assert done.code == 2
    assert "NAME=VALUE" in done.stderr or "is not UTF-8" in done.stderr


def test_send_waits_for_room_as_long_as_it_is_told(
    run: Run, admin: SyncRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "_PATIENCE", 0.05)
    tight = "tests.cli.shop:tight"
    assert run("send", tight, GOOD, "--wait").code == 0
    assert run("send", tight, "--wait", GOOD).code == 0
    assert run("send", tight, "--wait", "1", GOOD).code == 0
    assert run("sendmany", tight, "-", stdin=LINE * 7).code == 0
    full = run("send", tight, GOOD, "--wait", "0.3")
    assert (full.code, full.stdout) == (5, "")
    assert "no progress for 0 s: is a partition full" in full.stderr
    assert "a partition is full (10 events)" in full.stderr
    assert "no progress" not in run("send", tight, GOOD).stderr
