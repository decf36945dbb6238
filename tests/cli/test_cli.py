"""The command line with wrong words, wrong servers and missing permissions."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis as SyncRedis

from runnel import __all__ as public
from runnel.cli import COMMANDS, main
from tests.cli.conftest import GOOD, ROOT, Run
from tests.servers import Server

ORDERS, APP, PRINTER = "tests.cli.shop:orders", "tests.cli.shop:app", "tests.cli.shop:printer"

#: Not a number of seconds, although Python reads it as a number.
NO_SECONDS = ["nan", "inf", "1e308"]

#: One of each kind of command that talks to Redis.
TALKERS = [
    ["send", ORDERS, GOOD],
    ["send", ORDERS, GOOD, "--json"],
    ["sendmany", ORDERS, "-"],
    ["sendmany", ORDERS, "-", "--json"],
    ["worker", APP],
    ["inspect", APP],
    ["inspect", APP, "--json"],
    ["inspect", APP, "--watch"],
    ["processor", "add", PRINTER],
    ["processor", "reset", PRINTER, "--start", "0"],
    ["processor", "pause", PRINTER],
    ["processor", "resume", PRINTER],
    ["processor", "remove", PRINTER, "--yes"],
    ["stream", "delete", ORDERS, "--yes"],
]
WRITERS = [each for each in TALKERS if each[0] != "inspect"]


def one_sentence(said: str) -> str:
    """The text of stderr. Fails unless it is one line, an error without a traceback."""
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["send", ORDERS, "{"], 5, "Invalid JSON"),
        (["send", ORDERS, ""], 5, "Invalid JSON"),
        (["send", ORDERS, "[]"], 5, "expected an object"),
        (["send", ORDERS, GOOD.replace("1,", '"x",')], 5, "Order.order_id"),
        (["send", ORDERS, GOOD.replace("2026", "soon")], 5, "Order.created_at"),
        (["send", ORDERS, GOOD[:-1] + ', "amont": 1}'], 5, "Order.amont: no such field (--ignore"),
        (["send", ORDERS, "{}"], 5, "Order.amount: missing"),
        (["send", "tests.cli.shop:named", '{"name": null}'], 5, "None cannot be a partition key"),
        (["send", "tests.cli.shop:small", '{"name": "' + "x" * 2000 + '"}'], 5, "max_record_bytes"),
        (["send", "tests.cli.shop:order", GOOD], 2, "did you mean 'orders'?"),
        (
            ["send", "tests.cli.shop:zzz", GOOD],
            2,
            "no attribute 'zzz'; there is tests.cli.shop:ord",
        ),
        (["send", "tests.cli.shop:other", GOOD], 2, "is an int, not a stream; there is"),
        (["send", APP, GOOD], 2, "is an App, not a stream; there is tests.cli.shop:orders"),
        (["send", PRINTER, GOOD], 2, "is a function, not a stream"),
        (["send", "tests.cli.shp:orders", GOOD], 2, "there is no module 'tests.cli.shp'"),
        (["send", "exemple:orders", GOOD], 2, "there is no module 'exemple' here"),
        (["send", ORDERS, "\udcff"], 5, "the RECORD is not UTF-8"),
        (["send", ORDERS, '{"a":'], 5, "Invalid JSON: EOF while parsing a value at column 5"),
        (["send", "example.py:orders", GOOD], 2, "write example:orders"),
        (["send", "./shop/example.py:orders", GOOD], 2, "write shop.example:orders"),
        (["send", f"{ROOT}/shop/example.py:orders", GOOD], 2, "write shop.example:orders"),
        (["send", "/srv/example.py:orders", GOOD], 2, "in /srv, write example:orders"),
        (["send", "../example:orders", GOOD], 2, f"in {ROOT.parent}, write example:orders"),
        (["send", ".example:orders", GOOD], 2, "named from the current directory, without dots"),
        (["send", "examples/example.py:orders", GOOD], 2, "write examples.example:orders"),
        (["send", "exam ple:or{ders}", GOOD], 2, "there is no module 'exam ple'"),
        (["send", "orders", GOOD], 2, "module:attribute"),
        (["send", ":orders", GOOD], 2, "module:attribute"),
        (["send", "tests.cli.shop:", GOOD], 2, "module:attribute"),
        (["send", "tests.cli.braces:orders", GOOD], 2, "stream name 'or{ders}' is not usable"),
        (["worker", "tests.cli.spaces:app"], 2, "app name 'my shop' is not usable"),
        (["sendmany", ORDERS, "absent.jsonl"], 2, "cannot read absent.jsonl: No such file"),
        (["sendmany", ORDERS, "tests"], 2, "cannot read tests: Is a directory"),
        (["worker", APP, "--processors", "prinr"], 2, "it has printer"),
        (["worker", APP, "--name", "a b"], 2, "name 'a b' is not usable"),
        (["worker", "tests.cli.shop:other"], 2, "is an int, not an App; there is tests.cli.shop:"),
        (["worker", "tests.cli.shop:bare"], 2, "declares no processors"),
        (["worker", APP, "--redis-url", "reds://h"], 2, "did you mean redis://"),
        (["inspect", "--redis-url", "localhost:6379"], 2, "write redis://localhost:6379"),
        (["inspect", "--redis-url", "redis://h:x"], 2, "has a port"),
        (["inspect", "--app", "shoop"], 2, "there is no app 'shoop'"),
        (["processor", "reset", PRINTER, "--start", "soon"], 2, "none of"),
        (["processor", "reset", PRINTER, "--start", "18446744073709551616"], 2, "none of"),
        (["processor", "reset", PRINTER, "--start", "1795916178568-\u00b2"], 2, "none of"),
        (["processor", "reset", PRINTER, "--start", "1795916178568-"], 2, "none of"),
        (["processor", "reset", PRINTER, "--start", "0"], 1, "is not registered"),
        (["processor", "pause", PRINTER], 1, "runnel processor add"),
        (["processor", "resume", PRINTER, "--skip"], 1, "is not registered"),
        (["processor", "resume", PRINTER, "--partition", "4"], 2, "0 to 3, not 4"),
        (["processor", "pause", PRINTER, "--partition", "0-9"], 2, "0 to 3, not 9"),
        (
            ["processor", "reset", PRINTER, "--start", "0", "--partition", "2", "--partition", "7"],
            2,
            "0 to 3, not 7",
        ),
        (["processor", "pause", APP], 2, "is an App, not a processor; there is tests.cli.shop:pr"),
        (["processor", "pause", "tests.cli.shop:print"], 2, "there is no processor"),
    ],
)
def test_bad_input_is_one_sentence_and_its_exit_code(
    run: Run, arguments: list[str], code: int, says: str
) -> None:
    done = run(*arguments)
    assert done.code == code, done.stderr
    assert says in one_sentence(done.stderr)
    assert done.stdout == ""


@pytest.mark.parametrize("group", ["processor", "stream"])
def test_a_list_of_commands_cuts_nothing_off(run: Run, group: str) -> None:
    listed = run(group, "--help").stdout.partition("Commands:")[2].partition("Example")[0]
    assert listed
    assert "..." not in listed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["wrker"], "No such command 'wrker'; did you mean 'worker'?"),
        (["nonsense"], "No such command 'nonsense'"),
        (["send"], "Missing argument 'TARGET'"),
        (["send", ORDERS], "Missing argument 'RECORD'"),
        (["inspect", APP, "--app", "shop"], "give a TARGET or --app, not both"),
        (["inspect", APP, "--watch", "0"], "--watch"),
        (["inspect", APP, "--max-lag", "x"], "not a valid integer"),
        *((["inspect", APP, "--watch", no], "--watch") for no in NO_SECONDS),
        *((["inspect", APP, "--stalled-after", no], "--stalled-after") for no in NO_SECONDS),
        (["inspect", APP, "--stalled-after", "-1"], "--stalled-after"),
        (["inspect", APP, "--max-lag", "-1"], "--max-lag"),
        (["inspect", APP, "--max-dead", "-1"], "--max-dead"),
        (["inspect", APP, "--min-members", "-1"], "--min-members"),
        (["worker", APP, "--burst", "--processors", ""], "--processors"),
        (["worker", APP, "--burst", "--processors", ","], "--processors"),
        (["processor", "reset", PRINTER], "Missing option '--start'"),
        (["processor", "nonsense"], "No such command"),
    ],
)
def test_wrong_usage_is_reported_with_the_command_for_help(
    run: Run, arguments: list[str], says: str
) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert says in done.stderr
    assert "--help" in done.stderr
    assert done.stdout == ""


def test_inspect_without_any_address_asks_for_one(run: Run) -> None:
    done = run("inspect", url=None)
    assert (done.code, done.stdout) == (2, "")
    assert "give a TARGET such as example:app, or --redis-url" in done.stderr


def test_an_app_whose_import_fails_shows_where(spawn: Run, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import runnel\nraise RuntimeError('no config here')\n")
    done = spawn("worker", "broken:app", cwd=tmp_path)
    assert done.code == 2
    assert 'broken.py", line 2' in done.stderr
    assert done.stderr.endswith("error: importing broken failed, see above\n")


@pytest.mark.parametrize(
    ("exit", "code"), [("'no key'", 1), ("", 2), ("0", 2), ("7", 7)], ids=["text", "", "0", "7"]
)
def test_an_app_whose_import_ends_the_program_is_reported(
    spawn: Run, tmp_path: Path, exit: str, code: int
) -> None:
    (tmp_path / "script.py").write_text(f"import sys\nsys.exit({exit})\n")
    done = spawn("worker", "script:app", cwd=tmp_path)
    assert (done.code, done.stdout) == (code, "")
    assert done.stderr == f"error: importing script ended with sys.exit({exit or None})\n"
    done = spawn("worker", "script:app", "--log-format", "json", cwd=tmp_path)
    assert json.loads(done.stderr)["exit"] == code


@pytest.mark.parametrize("arguments", TALKERS, ids=" ".join)
def test_no_redis_is_exit_3_and_says_what_to_do(run: Run, arguments: list[str]) -> None:
    done = run(*arguments, url="redis://:secret@127.0.0.1:1", stdin=GOOD)
    assert done.code == 3
    said = one_sentence(done.stderr)
    assert "No Redis at redis://***@127.0.0.1:1" in said
    assert "runnel server" in said
    assert "secret" not in said
    assert done.stdout == ""


Answer = Callable[[bytes], bytes | None]
OLD = b"redis_version:6.2.14\r\nredis_mode:standalone\r\nrole:master\r\n"
REPLICA = (
    b"redis_version:7.0.15\r\nredis_mode:standalone\r\nrole:slave\r\n"
    b"master_host:10.0.0.1\r\nmaster_port:6379\r\n"
)


@pytest.fixture
def impostor() -> Iterator[Callable[[Answer], str]]:
    """A program that listens like a server and answers every request with the same bytes."""
    listeners: list[socket.socket] = []

    def start(answer: Answer) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    while request := client.recv(65536):
                        said = answer(request)
                        if said is None:
                            break
                        client.sendall(said)

        threading.Thread(target=serve, daemon=True).start()
        return f"redis://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda _: b"$%d\r\n%s\r\n" % (len(OLD), OLD), "redis 6.2.14, which is too old"),
        (lambda _: b"$%d\r\n%s\r\n" % (len(REPLICA), REPLICA), "primary's URL (10.0.0.1:6379)"),
        (lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n", "is not Redis, so check the port"),
        (lambda _: None, "No Redis at"),
        (lambda _: b"-ERR max number of clients reached\r\n", "no connection left"),
        (lambda _: b"-NOAUTH Authentication required.\r\n", "wants a login"),
    ],
    ids=["old", "replica", "http", "closes", "crowded", "login"],
)
@pytest.mark.parametrize("arguments", [TALKERS[0], TALKERS[3], TALKERS[4], TALKERS[6], TALKERS[8]])
def test_what_cannot_be_used_is_exit_3_and_one_sentence(
    run: Run,
    impostor: Callable[[Answer], str],
    arguments: list[str],
    answer: Answer,
    says: str,
) -> None:
    done = run(*arguments, url=impostor(answer), stdin=GOOD)
    assert done.code == 3, done.stderr
    assert says in one_sentence(done.stderr)
    assert done.stdout == ""


@pytest.fixture
def admin(redis_url: str) -> Iterator[SyncRedis]:
    """The server's owner, between commands."""
    with SyncRedis.from_url(redis_url) as client:
        yield client


def test_a_wrong_password_is_reported(run: Run, redis_url: str) -> None:
    url = redis_url.replace("redis://", "redis://nobody:wrong@")
    done = run("send", ORDERS, GOOD, url=url)
    assert done.code == 3
    assert "refuses the login: check user and password" in one_sentence(done.stderr)
    assert "wrong" not in done.stderr.replace("WRONGPASS", "")


@pytest.mark.parametrize("arguments", WRITERS, ids=" ".join)
def test_missing_permissions_are_named_and_nothing_is_written(
    run: Run, admin: SyncRedis, redis_url: str, arguments: list[str]
) -> None:
    admin.execute_command("ACL", "SETUSER", "clerk", "on", ">pw", "+@all", "~other:*")  # type: ignore[no-untyped-call]
    try:
        url = redis_url.replace("redis://", "redis://clerk:pw@")
        done = run(*arguments, url=url, stdin=GOOD)
    finally:
        admin.execute_command("ACL", "DELUSER", "clerk")  # type: ignore[no-untyped-call]
    assert done.code == 3, done.stderr
    said = one_sentence(done.stderr)
    assert "does not let its user clerk use the keys runnel:{shop:*" in said
    assert "~runnel:{shop:*" in said.partition(": ACL SETUSER clerk ")[2]
    assert done.stdout == ""
    assert admin.keys() == []


@pytest.mark.parametrize("arguments", [TALKERS[0], TALKERS[2], TALKERS[8]])
def test_a_full_server_is_reported(run: Run, arguments: list[str]) -> None:
    with Server(maxmemory="1", maxmemory_policy="noeviction") as server:
        done = run(*arguments, url=server.url, stdin=GOOD)
    assert done.code == (0 if arguments[0] == "processor" else 3)
    if done.code:
        assert "has reached its maxmemory" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["send", "tests.cli.shop_grown:orders", GOOD],
        ["sendmany", "tests.cli.shop_grown:orders", "-"],
        ["worker", "tests.cli.shop_grown:app", "--burst"],
        ["inspect", "tests.cli.shop_grown:app"],
        ["processor", "add", "tests.cli.shop_grown:printer"],
        ["processor", "reset", "tests.cli.shop_grown:printer", "--start", "0"],
        ["processor", "remove", "tests.cli.shop_grown:printer", "--yes"],
        ["stream", "delete", "tests.cli.shop_grown:orders", "--yes"],
    ],
    ids=" ".join,
)
def test_a_stream_with_another_contract_is_exit_4_with_both_values(
    run: Run, admin: SyncRedis, arguments: list[str]
) -> None:
    assert run("processor", "add", PRINTER).code == 0
    before = {key: admin.dump(key) for key in admin.keys()}  # noqa: SIM118
    done = run(*arguments, stdin=GOOD)
    assert done.code == 4, done.stderr
    assert "partition_count=4, the code says 8. Say 4" in done.stderr
    assert {key: admin.dump(key) for key in admin.keys()} == before  # noqa: SIM118


@pytest.mark.fault(50)
@pytest.mark.parametrize(
    "arguments",
    [
        ["send", ORDERS, GOOD],
        ["sendmany", ORDERS, "-"],
        ["worker", APP, "--burst"],
        ["inspect", APP],
        ["inspect"],
        ["processor", "add", PRINTER],
    ],
    ids=" ".join,
)
def test_a_newer_protocol_is_exit_4_and_says_upgrade(
    run: Run, admin: SyncRedis, arguments: list[str]
) -> None:
    assert run("processor", "add", PRINTER).code == 0
    admin.hset("runnel:{shop:orders:0}:orders:meta", "protocol", 9)
    done = run(*arguments, stdin=GOOD)
    assert done.code == 4, done.stderr
    assert "protocol version 9, this Runnel speaks 1: upgrade Runnel" in one_sentence(done.stderr)
    assert done.stdout == "" or done.stdout.startswith("sent 0")


def test_an_embedded_server_that_cannot_start_is_reported(
    run: Run, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # The server's data goes where the command is run.
    monkeypatch.setenv("RUNNEL_SERVER_BIN", "/bin/true")
    url = f"unix://{tmp_path}/s.sock"
    done = run("worker", APP, "--embedded", "--redis-url", url)
    assert done.code == 2
    assert "RUNNEL_SERVER_BIN=/bin/true is not a redis-server" in one_sentence(done.stderr)
    done = run("server", "--redis-url", server.url, "--data", str(tmp_path))
    assert done.code == 2
    assert "a server already listens at" in one_sentence(done.stderr)


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


def test_keys_of_the_first_runnel_are_reported_when_a_processor_is_added(
    run: Run, admin: SyncRedis
) -> None:
    admin.xadd("__strm:shop.orders.3", {"data": "{}"})
    done = run("processor", "add", PRINTER)
    assert done.code == 0
    assert done.stdout == "printer is registered on 4 partitions\n"
    assert "warning: Redis holds 1 streams of the first Runnel (2020)" in done.stderr


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


def test_a_stream_is_deleted_with_all_that_belongs_to_it(run: Run, admin: SyncRedis) -> None:
    run("processor", "add", PRINTER)
    run("send", ORDERS, GOOD)
    asked = run("stream", "delete", ORDERS, stdin="n\n")
    assert (asked.code, asked.stdout) == (1, "")
    assert "Delete all events of stream orders at redis://" in asked.stderr
    deleted = run("stream", "delete", ORDERS, "--yes")
    assert deleted.stdout == "deleted orders: 1 event\n"
    # The remaining keys tell workers that still run, for a day.
    left: set[Any] = set(admin.keys()) - {b"runnel:apps"}
    assert all(key.endswith(b":orders:meta") and admin.ttl(key) > 0 for key in left)
    assert all(admin.hexists(key, "deleted") for key in left)


def test_a_processor_is_administered(run: Run) -> None:
    assert run("processor", "remove", PRINTER, "--yes").stdout == "printer was not registered\n"
    assert "is registered on 4" in run("processor", "add", PRINTER).stdout
    assert run("processor", "pause", PRINTER).stdout == "paused 4 partitions of printer\n"
    assert run("processor", "pause", PRINTER).stdout == "paused 0 partitions of printer\n"
    resumed = run("processor", "resume", PRINTER, "--partition", "2")
    assert resumed.stdout == "resumed 1 partition of printer\n"
    assert run("processor", "reset", PRINTER, "--start", "0001-01-01").code == 0
    assert run("processor", "reset", PRINTER, "--start", "$").stdout.split() == (
        ["0", "0-0", "1", "0-0", "2", "0-0", "3", "0-0"]
    )
    assert run("processor", "remove", PRINTER, "--yes").stdout.endswith("from 4 partitions\n")


def test_partitions_are_chosen_one_by_one_or_as_ranges(run: Run) -> None:
    run("processor", "add", PRINTER)
    some = ("--partition", "3", "--partition", "0-1,3")
    assert run("processor", "pause", PRINTER, *some).stdout == "paused 3 partitions of printer\n"
    states = json.loads(run("inspect", APP, "--json").stdout)["processors"][0]["partitions"]
    assert [each["state"] for each in states] == ["paused", "paused", "unassigned", "paused"]
    one = run("processor", "resume", PRINTER, "--partition", "0,2")
    assert one.stdout == "resumed 1 partition of printer\n"
    reset = run("processor", "reset", PRINTER, "--start", "$", "--partition", "1-2")
    assert reset.stdout.splitlines() == ["1 0-0", "2 0-0"]
    bad = run("processor", "pause", PRINTER, "--partition", "3-1")
    assert (bad.code, "'3-1' goes down: write 1-3" in bad.stderr) == (2, True)


def test_removing_from_the_wrong_stream_names_the_right_one(run: Run, redis_url: str) -> None:
    run("processor", "add", PRINTER)
    run("processor", "add", "tests.cli.shop:tightly")
    here = ("--app", "shop", "--redis-url", redis_url, "--yes")
    wrong = run("processor", "remove", "orders@tightly", *here)
    assert wrong.stdout == "tightly was not registered; the registry has tight@tightly\n"
    assert run("processor", "remove", "tight@tightly", *here).stdout.endswith("1 partition\n")


def test_removing_a_misspelt_name_names_the_existing_ones(run: Run, redis_url: str) -> None:
    run("processor", "add", "tests.cli.shop:picky")
    run("processor", "add", "tests.cli.shop:strict")
    run("processor", "add", PRINTER)
    here = ("--app", "shop", "--redis-url", redis_url, "--yes")
    for typed, meant in (("orders@printr", "orders@printer"), ("orders@strct", "vessel@strict")):
        wrong = run("processor", "remove", typed, *here)
        said, _, names = wrong.stdout.strip().partition("; the registry has ")
        assert said == f"{typed.partition('@')[2]} was not registered"
        assert names.split(", ")[0] == meant
        assert set(names.split(", ")) == {"orders@printer", "tight@picky", "vessel@strict"}


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
        in run("processor", "resume", strict, "--skip").stdout
    )
    fill(1)
    run("processor", "resume", strict, "--skip", "--partition", full)
    fill(1)
    empty = next(p for key in range(2, 50) if (p := fill(key)) != full)
    done = run("processor", "resume", strict, "--skip")
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


def test_showing_dead_letters_registers_nothing(run: Run, spawn: Run, admin: SyncRedis) -> None:
    app, picky = "tests.cli.shop:app", "tests.cli.shop:picky"
    for amount in (1, 2):
        assert run("send", "tests.cli.shop:tight", GOOD.replace("99", str(amount))).code == 0
    assert spawn("worker", app, "--processors", "picky", "--burst").code == 0
    before = sorted(admin.keys())
    listed = run("processor", "dead-letters", picky)
    (first, record, second, _) = listed.stdout.splitlines()
    assert "failed 1 time: ValueError: 1 is too much" in first
    assert json.loads(record)["amount"] == 1
    assert "2 is too much" in second
    as_json = run("processor", "dead-letters", picky, "--limit", "1", "--json")
    (letter,) = map(json.loads, as_json.stdout.splitlines())
    assert (letter["partition"], letter["record"]["amount"]) == (0, 2)
    assert (letter["error_type"], letter["attempts"], letter["processor"]) == (
        "ValueError",
        1,
        "picky",
    )
    without = run("processor", "dead-letters", PRINTER)
    assert without.code == 2
    assert "printer keeps no dead letters" in one_sentence(without.stderr)
    assert sorted(admin.keys()) == before
    inspected = run("inspect", app)
    said = "2 dead letters wait in tight.picky.dead, and no processor reads the stream"
    assert said in inspected.stdout
    assert f"runnel processor dead-letters {picky}" in inspected.stdout
    assert run("inspect", app, "--max-dead", "2").code == 0
    passed = run("inspect", app, "--max-dead", "1")
    assert (passed.code, "shop/picky: 2 dead letters wait, allowed 1" in passed.stderr) == (
        10,
        True,
    )


def test_a_processor_without_code_is_removed_by_its_name(run: Run, redis_url: str) -> None:
    run("processor", "add", PRINTER)
    here = ("--app", "shop", "--redis-url", redis_url)
    wrong = run("processor", "remove", "order@printer", *here, "--yes")
    assert wrong.code == 2
    assert "app 'shop' has no stream 'order'; its streams are orders" in one_sentence(wrong.stderr)
    assert run("processor", "remove", "printer", *here, "--yes").code == 2
    removed = run("processor", "remove", "orders@printer", *here, "--yes")
    assert removed.stdout == "removed printer from 4 partitions\n"
    again = run("processor", "remove", "orders@printer", *here, "--yes")
    assert again.stdout == "printer was not registered\n"
    assert run("processor", "remove", PRINTER, "--yes").stdout == "printer was not registered\n"


@pytest.mark.parametrize("arguments", [["--help"], ["send", "--help"]])
def test_the_example_of_send_is_an_event_that_the_readme_stream_takes(
    run: Run, arguments: list[str]
) -> None:
    assert f"runnel send example:orders '{GOOD}'" in run(*arguments).stdout


def test_help_has_commands_exit_codes_and_examples(run: Run) -> None:
    text = run("--help").stdout
    for word in (*COMMANDS, "12", "live members", "$ runnel worker example:app", "Completion"):
        assert word in text


@pytest.mark.parametrize(
    "command",
    [[name] for name in COMMANDS]
    + [["processor", each] for each in ("add", "reset", "pause", "resume", "remove")]
    + [["stream", "delete"]],
    ids=" ".join,
)
def test_each_commands_help_has_an_example_and_the_exit_codes(run: Run, command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.code == 0
    assert "Example" in done.stdout
    assert "$ runnel" in done.stdout or "| runnel" in done.stdout
    assert "Exit codes:" in done.stdout
    short = COMMANDS[command[0]][1]
    if len(command) == 1:  # What `runnel --help` says is how the command's own help begins.
        text = " ".join(done.stdout.split("\n\n")[1].split())
        assert [each.strip(",:.") for each in text.split()[:3]] == [
            each.strip(",:.") for each in short.split()[:3]
        ]


def test_the_words_of_the_command_line_are_completed(spawn: Run) -> None:
    env = {"_RUNNEL_COMPLETE": "bash_complete", "COMP_WORDS": "runnel se", "COMP_CWORD": "1"}
    assert spawn(env=env).stdout.split() == ["plain,send", "plain,sendmany", "plain,server"]


def test_help_and_completion_import_neither_redis_nor_pydantic() -> None:
    script = (
        "import sys, runnel\n"
        "from runnel.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([each for each in ('redis', 'pydantic', 'asyncio', 'rich') if each in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_table_of_commands_is_right(run: Run) -> None:
    context = main.make_context("runnel", [], resilient_parsing=True)
    for name in COMMANDS:
        command = main.get_command(context, name)
        assert command is not None
        assert command.name == name


def test_the_names_of_the_package_are_those_that_type_checkers_see() -> None:
    stub = (ROOT / "runnel" / "__init__.pyi").read_text()
    names: dict[str, object] = {}
    exec(stub, names)
    assert sorted(public) == sorted(names["__all__"])  # type: ignore[call-overload]
    import runnel

    assert set(public) <= set(dir(runnel))
    for name in public:
        assert getattr(runnel, name) is names[name]
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        runnel.Nothing  # type: ignore[attr-defined]  # noqa: B018
