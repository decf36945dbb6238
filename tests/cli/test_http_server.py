"""The HTTP server of probes and of `inspect --serve`."""

from __future__ import annotations

import http.client
import json
import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from runnel.cli import http_server
from runnel.cli.http_server import MOST_REQUESTS, HttpServer, as_json, is_loopback, serve


def ask(at: int | HttpServer, path: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
    host, port = ("127.0.0.1", at) if isinstance(at, int) else at.server_address[:2]
    connection = http.client.HTTPConnection(str(host) or "::1", int(port), timeout=10)
    connection.request(method, path, headers=headers)
    reply = connection.getresponse()
    text = reply.read()
    connection.close()
    return reply.status, json.loads(text) if text else {}


ROUTES = {
    "/": lambda query: as_json(200, "root"),
    "/one": lambda query: as_json(201, dict(query)),
    "/broken": lambda query: as_json(200, 1 // len(query)),
}


@pytest.fixture(params=["", "127.0.0.1", "::1"])
def server(request: pytest.FixtureRequest) -> Iterator[HttpServer]:
    with HttpServer(request.param, 0, ROUTES) as made:
        made.start()
        yield made
        made.shutdown()


def test_a_path_has_its_reply_with_or_without_a_slash(server: HttpServer) -> None:
    assert ask(server, "/")[1] == "root"
    assert ask(server, "/one/?a=1&b=x%20y") == (201, {"a": "1", "b": "x y"})
    assert ask(server, "/one", "HEAD") == (201, {})


def test_another_path_is_told_which_there_are(server: HttpServer) -> None:
    assert ask(server, "/two") == (404, {"error": "there is no /two; there is /, /one, /broken"})
    assert ask(server, f"/{'x' * 5000}")[0] == 404


def test_a_reply_that_cannot_be_made_is_an_error_with_its_reason(server: HttpServer) -> None:
    reason = "unexpected error: ZeroDivisionError: integer division or modulo by zero"
    assert ask(server, "/broken") == (500, {"error": reason})


def test_on_a_loopback_address_other_host_names_are_refused(server: HttpServer) -> None:
    status = 403 if server.local else 201
    assert ask(server, "/one", Host="evil.example")[0] == status
    assert ask(server, "/one", Host="[")[0] == status
    for name in ("localhost:80", "127.0.0.1", "[::1]:9"):
        assert ask(server, "/one", Host=name)[0] == 201


def test_clients_that_send_nothing_take_no_thread_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server._Request, "timeout", 0.2)
    with HttpServer("127.0.0.1", 0, ROUTES) as made:
        made.start()
        silent = [socket.create_connection(("127.0.0.1", made.port)) for _ in range(40)]
        # The first are closed when they have been silent for too long, the others at once.
        assert [each.recv(1) for each in silent] == [b""] * 40
        assert ask(made, "/one")[0] == 201
        assert len(silent) > MOST_REQUESTS
        for each in silent:
            each.close()
        made.shutdown()


def test_clients_that_send_little_by_little_do_not_keep_others_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server._Request, "timeout", 0.5)
    with HttpServer("127.0.0.1", 0, ROUTES) as made:
        made.start()
        slow = [socket.create_connection(("127.0.0.1", made.port)) for _ in range(MOST_REQUESTS)]
        for each in slow:
            each.sendall(b"GET /one HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        still_open = slow
        for _ in range(100):
            # A byte in a tenth of the time that a request has.
            closed = select.select(still_open, [], [], 0.05)[0]
            still_open = [each for each in still_open if each not in closed]
            if not still_open:
                break
            for each in still_open:
                with suppress(OSError):
                    each.sendall(b"a")
        assert not still_open
        assert ask(made, "/one")[0] == 201
        for each in slow:
            each.close()
        made.shutdown()


def test_a_port_that_is_taken_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as exit:
            serve("--serve", "127.0.0.1", port, ROUTES)
    assert exit.value.code == 2
    said = capsys.readouterr().err
    assert said == f"error: --serve: cannot listen at 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.2", True), ("::1", True), ("", False), ("10.0.0.1", False)],
)
def test_which_hosts_are_this_machine_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
