"""What Redis itself says of a trial, read from outside on a connection of the kit's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import Any, TypeVar

from redis.exceptions import ConnectionError, RedisError, TimeoutError

from runnel import protocol
from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import MsgpackSerializer
from runnel.conformance.contract import GROUP, PARTS, Item, parse_id
from runnel.conformance.history import Entry, History, where
from runnel.conformance.stalls import Stalls
from runnel.connection.connect import connect
from runnel.errors import DecodeError, RunnelError
from runnel.protocol import PartitionDescription
from runnel.protocol.scripts import Call, Scripts
from runnel.record import adapt

T = TypeVar("T")
#: Seconds for which a call is repeated while the connection is cut, or the machine stands still.
_STEADY = 30.0
#: Commands and scripts that change nothing.
_READS = ("XRANGE", "XLEN", "describe", "describe_group")
#: Reads every form of an entry as plain values.
READER: EntryCodec[Item] = EntryCodec(adapt(Item), MsgpackSerializer())


class Watch:
    """Looks at the server at `url`. What was in a log goes into the history and stays there."""

    def __init__(self, url: str, history: History, stalls: Stalls | None = None) -> None:
        self.client = connect(url, 30.0)
        self.scripts = Scripts(self.client)
        self._history = history
        self._stalls = stalls or Stalls(history, inf)
        self._read = ["-"] * len(PARTS)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.aclose()

    async def collect(self) -> None:
        """Note the events that the logs have got."""
        for partition, part in enumerate(PARTS):
            entries = await self.ask("XRANGE", part.log, self._read[partition], "+")
            log = self._history.log.setdefault(partition, {})
            for id_, fields in entries:
                log[parse_id(id_.decode())] = _entry(id_.decode(), fields)
                self._read[partition] = f"({id_.decode()}"

    async def ask(self, *command: Any) -> Any:
        """The raw reply to a command that may be carried out twice. Raises redis-py's errors."""
        if command[0] not in _READS:
            self._history.note(f"fault: {' '.join(map(str, command))[:200]}")
        work = partial(self.client.roundtrip, [command])
        (reply,) = await self._steady(str(command[0]), work)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def call(self, call: Call) -> Any:
        """The reply to a call, which is repeated if its connection was cut."""
        if call.script not in _READS:
            on = where([str(each).encode() for each in call.keys])
            self._history.note(f"kit: {call.script}{on}")
        return await self._steady(call.script, lambda: self.scripts.call(call))

    async def _steady(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do it again while connections are cut, as trials do to those of the kit, too."""
        deadline = time.monotonic() + _STEADY
        while True:
            try:
                with self._stalls.call(name):
                    return await work()
            except (ConnectionError, TimeoutError, OSError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.02)

    async def states(self) -> list[PartitionDescription]:
        """Each partition, and the processor on it."""
        return [protocol.read_describe(await self.call(protocol.describe(each))) for each in PARTS]

    async def members(self) -> set[str]:
        """The members whose sessions have not ended."""
        group = protocol.read_describe_group(await self.call(protocol.describe_group(GROUP)))
        return {each.id for each in group.members if each.left_ms > 0}

    async def owners(self) -> list[str]:
        """For each partition the living member that holds its lease, or nobody: an empty text."""
        members = await self.members()
        owners = [each.lease_owner or "" for each in await self.states()]
        return [each if each in members else "" for each in owners]

    async def lag(self) -> int:
        """How many events are behind the checkpoints."""
        found = 0
        for part, state in zip(PARTS, await self.states(), strict=True):
            after = f"({state.checkpoint or '0-0'}"
            if await self.ask("XRANGE", part.log, after, "+", "COUNT", 1):
                found += state.lag or 1
        return found

    async def left(self) -> list[str]:
        """For each partition that is not processed to its end, where it stands."""
        return [
            f"partition {number}: checkpoint {state.checkpoint}, last event {state.last}, "
            f"held by {state.lease_owner or 'nobody'}{_stopped(state)}"
            f"{self._next_codec(number, state.next_id)}"
            for number, state in enumerate(await self.states())
            if state.checkpoint != state.last
        ]

    def _next_codec(self, partition: int, id_: str | None) -> str:
        """How the event is written at which a partition stands."""
        entry = self._history.log.get(partition, {}).get(parse_id(id_)) if id_ else None
        return f"; the next event is {id_}, with the codec {entry.codec}" if entry else ""

    async def until(
        self, condition: Callable[[], Awaitable[bool]], seconds: float, poll: float = 0.05
    ) -> bool:
        """Whether the condition comes to hold within so many seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if await condition():
                    return True
            except (RedisError, RunnelError, OSError):
                pass  # The server is away, or its scripts are.
            await asyncio.sleep(poll)
        return False


def _stopped(state: PartitionDescription) -> str:
    """Why nobody goes on with a partition, if that is on purpose."""
    if state.quarantined:
        return f", quarantined at {state.error_event}: {state.error_type}: {state.error_message}"
    return ", paused" if state.paused else ""


def _entry(id_: str, fields: list[bytes]) -> Entry:
    try:
        record = READER.plain(fields)
        if not isinstance(record, dict):
            raise DecodeError(f"the payload is {type(record).__name__}, not a map of fields")
        return Entry(parse_id(id_), fields, record, "")
    except DecodeError as error:
        return Entry(parse_id(id_), fields, None, str(error))
