"""Servers that cannot be used, and contracts that differ: one sentence, and the exit code."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from redis import Redis as SyncRedis

from runnel.cli import exits
from tests.cli.commands import APP, ORDERS, PRINTER, TALKERS, WRITERS, one_sentence
from tests.cli.conftest import GOOD, Run
from tests.servers import Server
from tests.site.commands_page import commands, exit_codes_of


@pytest.mark.parametrize("arguments", TALKERS, ids=" ".join)
def test_no_redis_is_exit_3_and_says_what_to_do(run: Run, arguments: list[str]) -> None:
    done = run(*arguments, url="redis://:secret@127.0.0.1:1", stdin=GOOD)
    assert done.code == 3
    said = one_sentence(done.stderr)
    assert "No Redis at redis://***@127.0.0.1:1" in said
    assert "Start it again the way it was started, with its own data" in said
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
        ["processor", "reset", "tests.cli.shop_grown:printer", "--start", "0", "--execute"],
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


LISTED = {context.command_path: exit_codes_of(command) for context, command in commands()}
ASKS = ["0", "1", "2", "3", "4", "130"]


@pytest.mark.parametrize(
    ("command", "codes"),
    [
        ("runnel", [str(code) for code in exits.MEANINGS]),
        ("runnel completion", ["0", "1", "2"]),
        ("runnel lua show", ["0", "1", "2", "6"]),
        ("runnel processor", []),
        ("runnel processor pause", ASKS),
        ("runnel table get", ["0", "1", "2", "3", "4", "6", "130"]),
        ("runnel dead replay", ["0", "1", "2", "3", "4", "5", "130"]),
        ("runnel check", ["0", "1", "2", "3", "4", "10", "11", "12", "130"]),
    ],
)
def test_help_lists_the_exit_codes_that_the_command_can_have(
    command: str, codes: list[str]
) -> None:
    """That none is missing, every test here proves that runs a command: see `conftest.listed`."""
    assert LISTED[command] == codes
