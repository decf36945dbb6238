"""A small HTTP server that answers from threads of its own: probes, metrics, a page. It only
reads."""

from __future__ import annotations

import io
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from runnel.cli import exits

#: Seconds that a client has to send its whole request, and then to take the answer.
PATIENCE = 2.0
#: Requests at the same time; further connections are closed at once.
MOST_REQUESTS = 16


class Reply(NamedTuple):
    """What a client gets."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


#: Makes the reply to a request with this query.
Route = Callable[[Mapping[str, str]], Reply]


def as_json(status: int, value: Any) -> Reply:
    """A reply with a JSON value."""
    return Reply(status, "application/json", json.dumps(value).encode() + b"\n")


def unexpected(error: Exception) -> str:
    """A sentence about an error that nothing else explains."""
    return f"unexpected error: {type(error).__name__}: {error}"


class HttpServer(ThreadingHTTPServer):
    """Serves routes, path -> what replies, at a host, or at all addresses of the machine if that is
    empty, and a port; port 0 is any free one. Raises OSError if the port cannot be used.

    On a loopback address it refuses requests for other host names: a page from elsewhere, whose
    name suddenly has that address, must not read from here.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, routes: Mapping[str, Route]) -> None:
        self.routes = routes
        self.local = is_loopback(host)
        self._free = threading.BoundedSemaphore(MOST_REQUESTS)
        if host:
            self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        elif socket.has_dualstack_ipv6():
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Request)

    @property
    def port(self) -> int:
        """The port that it has."""
        return int(self.server_address[1])

    def server_bind(self) -> None:
        if not self.server_address[0] and self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def start(self) -> None:
        """Answer requests from now on, until the process ends."""
        threading.Thread(target=self.serve_forever, name="runnel-http", daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error."""


class _Incoming(io.RawIOBase):
    """What a client sends. All of it must come within so many seconds: else a client that sends a
    little from time to time keeps its thread, and a few of them keep all others away."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._ends_at = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Request(BaseHTTPRequestHandler):
    """One request."""

    server: HttpServer
    server_version, sys_version = "runnel", ""
    timeout = PATIENCE

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_Incoming(self.connection, self.timeout))

    def do_GET(self) -> None:
        reply = self._reply()
        self.connection.settimeout(self.timeout)
        self._write(reply)

    do_HEAD = do_GET

    def _reply(self) -> Reply:
        if self.server.local and not is_loopback(_host_name(self.headers.get("Host", ""))):
            return as_json(403, {"error": "this address is for http://localhost only"})
        asked = urlsplit(self.path)
        route = self.server.routes.get(asked.path.rstrip("/") or "/")
        if route is None:
            paths = ", ".join(self.server.routes)
            return as_json(404, {"error": f"there is no {asked.path[:100]}; there is {paths}"})
        try:
            return route(dict(parse_qsl(asked.query)))
        except Exception as error:  # Without this the client gets an empty reply.
            return as_json(500, {"error": unexpected(error)})

    def _write(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        for name, value in reply.headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged."""


def is_loopback(host: str) -> bool:
    """Is this host name or address that of this machine alone?"""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host_name(header: str) -> str:
    """The name in a Host header, without its port; empty if it is malformed."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""


def serve(option: str, host: str, port: int, routes: Mapping[str, Route]) -> int:
    """Answer requests from now on. Returns the port. Exits with code 2 if it cannot be used;
    `option` is how the user has chosen it."""
    try:
        server = HttpServer(host, port, routes)
    except OSError as error:
        where = f"{host}:{port}" if host else str(port)
        exits.fail(f"{option}: cannot listen at {where}: {error.strerror}", exits.USAGE)
    server.start()
    return server.port
