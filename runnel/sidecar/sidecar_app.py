"""Makes an app whose one processor asks a handler process what to do with its events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import RootModel

from runnel import keys
from runnel.app import App
from runnel.codec.entry import EntryCodec
from runnel.codec.serializers import MsgpackSerializer
from runnel.dead_letter import DeadLetter
from runnel.errors import ConfigError, DecodeError, HandlerError
from runnel.event import Event
from runnel.events import Events
from runnel.middleware import DeadLetterMiddleware
from runnel.operations.inspection import strings_at
from runnel.operations.registry_entry import Entry
from runnel.operations.stream_from_registry import spec_without_code, stream_from_registry
from runnel.protocol.scripts import Scripts
from runnel.record import adapt
from runnel.sidecar.handler_slot import Handlers
from runnel.sidecar.wire import Emit, Json, Result, Write, read_result, request
from runnel.stream import Stream, StreamSpec
from runnel.table import Table

#: The most events of a batch.
MOST_IN_BATCH = 1000


class Anything(RootModel[Any]):
    """The record of a stream whose code is in another language."""


@dataclass(frozen=True)
class Sidecar:
    """What `runnel worker --exec` says. `command` is the program with its arguments, `key` the
    field of a record that is its partition key. Times are in seconds."""

    command: Sequence[str]
    app: str
    stream: str
    processor: str
    key: str | None = None
    tables: Sequence[str] = ()
    policy: str = "quarantine"
    retries: int | None = None
    start: str = "earliest"
    concurrency: int = 1
    batch: int = 1
    handlers: int = 1
    timeout: float = 60.0

    def check(self) -> None:
        """Raise ConfigError for options that exclude each other."""
        needs_key = {
            "--concurrency": self.concurrency > 1,
            "--policy park": self.policy == "park",
            "--table": bool(self.tables),
        }
        for option, given in needs_key.items():
            if given and self.key is None:
                raise ConfigError(
                    f"{option} needs --key FIELD: the field of a record that decides its partition"
                )
        if self.batch > 1 and self.concurrency > 1:
            raise ConfigError("--batch and --concurrency exclude each other: choose one")
        if self.batch > 1 and self.tables:
            raise ConfigError(
                "--batch and --table exclude each other: an event would not see what those before "
                "it in the batch have written"
            )


async def streams_of(scripts: Scripts, sidecar: Sidecar) -> dict[str, StreamSpec[Any]]:
    """The stream that is read, and those that may be emitted to, as Redis knows them. Raises
    ConfigError if the stream is unknown."""
    spec = await stream_from_registry(scripts, sidecar.app, sidecar.stream)
    found = {spec.name: spec}
    for name, text in (await strings_at(scripts.client, keys.streams(sidecar.app))).items():
        entry = Entry.read(text, sidecar.app, name)
        own = entry.source == spec.source and not name.endswith(".dead")
        if name != spec.name and (entry.source == name or own):
            found[name] = spec_without_code(sidecar.app, name, entry)
    return found


class SidecarApp:
    """The app, with its streams, tables and processor. Raises ConfigError."""

    def __init__(self, sidecar: Sidecar, specs: Mapping[str, StreamSpec[Any]], url: str) -> None:
        sidecar.check()
        self.app = App(sidecar.app, redis_url=url)
        self._sidecar = sidecar
        #: The key of the record that is being emitted.
        self._emit_key: Any = None
        self._streams = {name: self._stream(spec) for name, spec in specs.items()}
        self._stream_read = source = self._streams[sidecar.stream]
        self._letters = source.dead_letters(sidecar.processor)
        self._tables: dict[str, Table[Any]] = {
            name: self.app.table(name, source, value=Any, default=None, processor=sidecar.processor)
            for name in sidecar.tables
        }
        self._handlers = Handlers(sidecar.command, sidecar.handlers, sidecar.timeout)
        self._declare()

    def _stream(self, spec: StreamSpec[Any]) -> Stream[Anything]:
        own = spec.name == self._sidecar.stream
        made = StreamSpec(
            spec.app,
            spec.name,
            EntryCodec(adapt(Anything), MsgpackSerializer()),
            self._own_key if own else lambda _: self._emit_key,
            spec.partition_count,
            # A registry of an older version does not say it.
            spec.partition_size if spec.partition_size > 2 else self.app.settings.partition_size,
            spec.hasher,
            spec.source,
            spec.retention,
        )
        stream = Stream(self.app, made)
        self.app.add(stream)
        return stream

    def _own_key(self, record: Anything) -> Any:
        """The key of a record that was read, or that is emitted to the stream that is read."""
        if self._emit_key is not None:
            return self._emit_key
        name, values = self._sidecar.key, record.root
        if name is None or not isinstance(values, dict) or name not in values:
            raise ConfigError(f"the record has no field {name!r}, which --key names")
        return values[name]

    def _declare(self) -> None:
        side, app = self._sidecar, self.app

        @app.lifespan
        async def handlers() -> AsyncIterator[None]:
            async with self._handlers.running():
                yield

        options: dict[str, Any] = {
            "name": side.processor,
            "exception_policy": side.policy,
            "retries": side.retries,
            "start": side.start,
            "middleware": [] if side.policy == "halt" else [DeadLetterMiddleware()],
        }
        if side.concurrency > 1:

            @app.on(self._stream_read, concurrency=side.concurrency, **options)
            async def one(record: Anything, event: Event[Anything]) -> None:
                await self._process([event])

        elif side.batch > 1:

            @app.processor(self._stream_read, **options)
            async def batches(events: Events[Anything]) -> None:
                async for batch in events.take(side.batch):
                    await self._process(batch, whole=True)

        else:

            @app.processor(self._stream_read, **options)
            async def each(events: Events[Anything]) -> None:
                async for event in events:
                    await self._process([event])

        # Commands name it by app and stream: it has no Python code.
        made = app.processors[side.processor]
        app.processors[side.processor] = replace(made, module="")

    async def _process(self, events: Sequence[Event[Anything]], whole: bool = False) -> None:
        """Ask the handler, and carry out what it says."""
        described = [self._described(each) for each in events]
        body = {"events": described} if whole else described[0]

        def line(number: int) -> bytes:
            try:
                return request({"id": number, **body})
            except RecursionError:
                raise DecodeError("the record is nested too deep for JSON") from None

        key = None if whole else described[0].get("key")
        try:
            found = read_result(await self._handlers.ask(events[0].partition, line))
            await self._carry_out(found, events, key)
        except HandlerError as error:
            # Where in this package it was raised says nothing about the handler.
            raise error.with_traceback(None) from None

    def _described(self, event: Event[Anything]) -> Json:
        """An event, as its line has it."""
        spec = self._stream_read.spec
        values = spec.codec.plain(event.fields)
        found: Json = {"partition": event.partition, "event": event.id}
        if self._sidecar.key is not None:
            record = Anything(values)
            belongs = spec.partition(record)
            if belongs != event.partition:
                raise ConfigError(
                    f"--key {self._sidecar.key} is not the partition key of stream {spec.name}: "
                    f"this record would be in partition {belongs}, and is in {event.partition}"
                )
            found["key"] = self._own_key(record)
        found |= {"record": values, "headers": event.headers}
        if self._tables:
            found["tables"] = {
                name: table.get(found["key"]) for name, table in self._tables.items()
            }
        return found

    async def _carry_out(self, found: Result, events: Sequence[Event[Any]], key: Any) -> None:
        if found.result == "retry":
            raise HandlerError(found.reason or "the handler gave no reason")
        if found.result == "dead":
            for event in events:
                self._set_aside(event, found.reason)
        for write in found.writes:
            await self._write(write, key)
        for emit in found.emits:
            self._emit(emit)

    async def _write(self, write: Write, own: Any) -> None:
        table, key = self._tables.get(write.table), own if write.key is None else write.key
        if table is None:
            names = ", ".join(self._tables) or "none"
            raise HandlerError(f"there is no table {write.table!r}; --table names {names}")
        if self._sidecar.concurrency == 1 and key != own:
            await table.load(key)
        if write.value is None:
            table.pop(key, None)
        else:
            table[key] = write.value

    def _emit(self, emit: Emit) -> None:
        stream = self._streams.get(emit.stream)
        if stream is None:
            raise HandlerError(
                f"there was no stream {emit.stream!r} in app {self._sidecar.app} when this worker "
                f"started; there was {', '.join(self._streams)}: `runnel stream create` makes one"
            )
        derived = stream.spec.source != stream.name
        if emit.key is None and not derived:
            raise HandlerError(f"what is emitted to {emit.stream} needs a key, for its partition")
        self._emit_key = emit.key
        try:
            stream.emit(Anything(emit.record), headers=emit.headers)
        finally:
            self._emit_key = None

    def _set_aside(self, event: Event[Any], reason: str) -> None:
        """Make a dead letter of an event, in the commit that finishes it."""
        side = self._sidecar
        letter = DeadLetter.of(
            side.stream,
            side.processor,
            event.partition,
            (event.id, event.fields),
            1,
            ("Dead", reason or "the handler gave no reason"),
        )
        self._letters.emit(letter)
