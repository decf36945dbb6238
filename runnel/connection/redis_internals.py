"""redis-py's private names, and what differs between its versions: no other module knows them.

They are checked with the redis-py that is installed, and `scripts/matrix --redis-py` runs these
checks with the oldest and the newest version that `pyproject.toml` allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from typing import Any

from redis.connection import AbstractConnection

#: Options of a connection that keep it from sending CLIENT SETINFO when it connects: some servers
#: and users refuse that command.
UNNAMED_LIBRARY: dict[str, None] = (
    {"driver_info": None}
    if "driver_info" in inspect.signature(AbstractConnection.__init__).parameters
    else {"lib_name": None, "lib_version": None}
)


def transport_of(connection: Any) -> asyncio.Transport:
    """The transport of an open connection."""
    transport: asyncio.Transport = connection._writer.transport
    return transport


def descriptor_of(connection: Any) -> int:
    """The file descriptor of a connection; -1 if it is not open."""
    writer = connection._writer
    if writer is None or writer.transport.is_closing():
        return -1
    number: int = writer.transport.get_extra_info("socket").fileno()
    return number


def error_parser(connection: Any) -> Callable[[str], Exception]:
    """Makes the exception for the text of an error reply."""
    parser: Callable[[str], Exception] = connection._parser.parse_error
    return parser


def connections_of(pool: Any) -> list[Any]:
    """All connections of a pool, in use or not."""
    return [*pool._available_connections, *pool._in_use_connections]


def close_now(connection: Any) -> None:
    """Close a connection at once, even if its event loop does not run any more, or was closed
    without notice: then nothing else would free its socket."""
    writer = connection._writer
    if writer is None:
        return
    connection._reader = connection._writer = None
    transport, loop = writer.transport, writer._loop
    socket = transport.get_extra_info("socket")
    try:
        transport.abort()
        if not loop.is_running():
            _close_socket(socket)
    except RuntimeError:  # The loop is closed: it cannot do the rest.
        finish = getattr(transport, "_call_connection_lost", None)
        with contextlib.suppress(RuntimeError):
            finish(None) if finish else _close_socket(socket)


def _close_socket(socket: Any) -> None:
    """Close the socket behind asyncio's wrapper. uvloop has closed its socket by then."""
    inner = getattr(socket, "_sock", None)
    if inner is not None:
        inner.close()
