"""The private names of redis-py exist in the installed version, and one module alone uses them."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis
from redis.asyncio import Connection, ConnectionPool
from redis.exceptions import ResponseError

from runnel.connection import redis_internals
from tests.matrix import redis_versions

ROOT = Path(__file__).parent.parent.parent
#: Private names of redis-py and of asyncio's streams.
PRIVATE = re.compile(
    r"\._(writer|reader|parser|available_connections|in_use_connections|sock|loop\b(?!\.)|"
    r"call_connection_lost)\b"
)


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Connection, list[bytes]]]:
    """A connection to a program that reads, and the bytes that it has read."""
    read: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            read.append(data)
        writer.close()
        ended.set()

    ended = asyncio.Event()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        options = {"protocol": 2, **redis_internals.UNNAMED_LIBRARY}
        port = server.sockets[0].getsockname()[1]
        yield Connection(host="127.0.0.1", port=port, **options), read  # type: ignore[arg-type]
        await ended.wait()


def test_the_installed_redis_py_is_one_that_pyproject_allows() -> None:
    oldest, below = redis_versions()
    installed = tuple(map(int, redis.__version__.split(".")[:2]))
    assert tuple(map(int, oldest.split("."))) <= installed < (int(below), 0)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"redis[hiredis]>={oldest},<{below}" in project["dependencies"]


async def test_an_open_connection_has_a_transport_and_a_parser_and_sends_nothing_by_itself() -> (
    None
):
    async with listening() as (connection, read):
        await connection.connect()  # type: ignore[no-untyped-call]
        transport = redis_internals.transport_of(connection)
        assert transport.get_extra_info("peername")[1] == connection.port
        error = redis_internals.error_parser(connection)("ERR something")
        assert isinstance(error, ResponseError)
        redis_internals.close_now(connection)
        assert not connection.is_connected
        assert transport.is_closing()
        redis_internals.close_now(connection)  # Again does nothing.
    assert read == []


async def test_all_connections_of_a_pool_are_found() -> None:
    pool = ConnectionPool(Connection)
    assert redis_internals.connections_of(pool) == []
    made = pool.make_connection()  # type: ignore[no-untyped-call]
    pool._available_connections.append(made)
    assert redis_internals.connections_of(pool) == [made]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "runnel").rglob("*.py")), ids=lambda path: path.stem
)
def test_no_other_module_uses_private_names(path: Path) -> None:
    if path.name != "redis_internals.py" and "redis" in path.read_text():
        lines = path.read_text().splitlines()
        assert not [line for line in lines if PRIVATE.search(line) and "self._" not in line]
