"""A real server whose scripts run in virtual time.

The scripts are loaded with their clock line replaced (see `clock`); callers still name them by the
SHA-1 of the shipped files. A call returns once the server has executed it, and no virtual time
passes in a call.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from redis.connection import UnixDomainSocketConnection
from redis.exceptions import ResponseError

from runnel.protocol.scripts import sha, sources
from tests.servers import Server
from tests.simulation.clock import CLOCK_KEY, clock_fields, with_virtual_clock

Command = Sequence[Any]

#: The database of a primary that was replaced.
_FORMER = 1
#: The start of virtual time, ms since 1970.
EPOCH_MS = 2_000_000_000_000

#: Sets the clock even while the server's memory is full.
_SET_CLOCK = b"""#!lua flags=allow-oom
return redis.call('HSET', KEYS[1], unpack(ARGV))
"""


class Store:
    """The server that virtual processes talk to.

    `edit` changes scripts as they are loaded: script name and source in, source out.
    """

    def __init__(self, server: Server, edit: Callable[[str, bytes], bytes] | None = None) -> None:
        path = server.socket_url.removeprefix("unix://")
        # Untyped: redis-py does not annotate the methods used here.
        connection: Any = UnixDomainSocketConnection
        self._connection = connection(path=path, protocol=2, socket_timeout=30)
        self._hints = connection(path=path, protocol=2, socket_timeout=30)
        #: What a primary has that was replaced is in another database.
        self._former = connection(path=path, protocol=2, socket_timeout=30, db=_FORMER)
        self._sources = {
            name: with_virtual_clock(edit(name, source) if edit else source)
            for name, source in sources().items()
        }
        self._names = {sha(name): name for name in self._sources}
        self._virtual = {sha(name): _sha(source) for name, source in self._sources.items()}
        self._set_clock = _sha(_SET_CLOCK)
        self._clock_ms = 0
        self._connection.connect()
        self._hints.connect()
        self._former.connect()
        self._hints.send_command("PSUBSCRIBE", "runnel:*")
        self._hints.read_response()
        self.reset()

    def close(self) -> None:
        """Close the connections."""
        self._connection.disconnect()
        self._hints.disconnect()
        self._former.disconnect()

    def reset(self) -> None:
        """Erase all data of the server."""
        self.run([("CONFIG", "SET", "maxmemory", 0), ("FLUSHALL",)])
        self.flush_scripts()
        self._clock_ms = 0

    def flush_scripts(self) -> None:
        """The server forgets all scripts."""
        self.run([("SCRIPT", "FLUSH"), ("SCRIPT", "LOAD", _SET_CLOCK)])

    def at(self, ms: int, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands, executed at the virtual time `ms` since 1970."""
        if ms == self._clock_ms:
            return self.run(commands)
        self._clock_ms = ms
        pairs = [each for pair in clock_fields(ms).items() for each in pair]
        reply, *replies = self.run([("EVALSHA", self._set_clock, 1, CLOCK_KEY, *pairs), *commands])
        if isinstance(reply, Exception):
            raise reply
        return replies

    def script(self, command: Command) -> str | None:
        """The name of the script that a command calls, or None."""
        return self._names[command[1]] if command[0] == "EVALSHA" else None

    def run(self, commands: Sequence[Command]) -> list[Any]:
        """The replies, errors included."""
        replies = _exchange(self._connection, list(map(self._translated, commands)))
        for i, command in enumerate(commands):
            if command[:2] == ("SCRIPT", "LOAD") and command[2] is not _SET_CLOCK:
                replies[i] = _sha(command[2]).encode()
        return replies

    def _translated(self, command: Command) -> Command:
        if command[0] == "EVALSHA":
            return ("EVALSHA", self._virtual.get(command[1], command[1]), *command[2:])
        if command[:2] == ("SCRIPT", "LOAD") and command[2] is not _SET_CLOCK:
            return ("SCRIPT", "LOAD", self._sources[self._names[_sha(command[2])]])
        return command

    def published(self) -> list[str]:
        """The channels of messages that were published since the last call."""
        self._hints.send_command("PING")
        channels: list[str] = []
        while True:
            message = _read(self._hints)
            if message[0] == b"pong":
                return channels
            channels.append(message[2].decode())

    def dump(self) -> dict[bytes, bytes]:
        """The current values of all keys of the scripts, from DUMP."""
        keys = sorted(self.run([("KEYS", "runnel:*{*}*")])[0])
        values = self.run([("DUMP", key) for key in keys])
        return dict(zip(keys, values, strict=True))

    def restore(self, dumped: Mapping[bytes, bytes], tags: Container[str]) -> None:
        """Reset the keys with these hash tags to older values, as after a failover."""
        self.let_a_millisecond_pass()
        for key in self.run([("KEYS", "runnel:*{*}*")])[0]:
            if tag(key.decode()) in tags:
                self.run([("DEL", key)])
        for key, value in dumped.items():
            (reply,) = self.run([("RESTORE", key, 0, value)])
            assert not isinstance(reply, Exception), reply

    def copy_logs(self, logs: Sequence[str]) -> None:
        """From now on, the former primary has these logs as they are now."""
        _exchange(self._former, [("FLUSHDB",)])
        self.run([("COPY", log, log, "DB", _FORMER) for log in logs])

    def run_on_former(self, commands: Sequence[Command]) -> list[Any]:
        """The replies of the former primary, errors included."""
        return _exchange(self._former, commands)

    def add_to_former(self, log: str, entries: Sequence[Command], sequence: int) -> list[str]:
        """Add entries to a log of the former primary. Returns their ids, from this sequence on."""
        (info,) = _exchange(self._former, [("XINFO", "STREAM", log)])
        ms = time.time_ns() // 1_000_000
        if not isinstance(info, Exception):
            last = info[info.index(b"last-generated-id") + 1]
            ms = max(ms, int(last.split(b"-")[0]))
        ids = [f"{ms}-{sequence + i}" for i in range(len(entries))]
        added = zip(ids, entries, strict=True)
        _exchange(self._former, [("XADD", log, id_, *entry) for id_, entry in added])
        self.let_a_millisecond_pass()
        return ids

    def let_a_millisecond_pass(self) -> None:
        """Wait, so that new entries get larger ids: ids come from the real clock."""
        time.sleep(0.002)


def _sha(source: bytes) -> str:
    return hashlib.sha1(source, usedforsecurity=False).hexdigest()


def _exchange(connection: Any, commands: Sequence[Command]) -> list[Any]:
    connection.send_packed_command(connection.pack_commands(commands))
    return [_read(connection) for _ in commands]


def _read(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def tag(key: str) -> str:
    """The hash tag of a key: all keys with the same tag are lost and restored together."""
    return key[key.index("{") : key.index("}") + 1]
