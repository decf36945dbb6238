"""Builds a `Processor` from a decorator's arguments, and refuses those that cannot work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from runnel import keys
from runnel.dead_letter import DeadLetter
from runnel.declaration.signatures import check_handler
from runnel.errors import ConfigError
from runnel.handlers import callables
from runnel.handlers.callables import named
from runnel.middleware import DeadLetterMiddleware, Middleware
from runnel.processor import CommitMode, ExceptionPolicy, Processor
from runnel.protocol.ids import ENDS
from runnel.settings import Settings, check
from runnel.stream import Stream, StreamSpec
from runnel.table import Table

_HANDLERS = {"processor": callables.of_events, "on": callables.of_records}


@dataclass(frozen=True, slots=True)
class Options:
    """The keywords of `App.processor` and `App.on`."""

    name: str | None = None
    exception_policy: ExceptionPolicy | str = ExceptionPolicy.QUARANTINE
    retries: int | None = None
    backoff: float | None = None
    backoff_max: float | None = None
    commit: CommitMode = "auto"
    prefetch: int | None = None
    middleware: Iterable[Middleware] = ()
    start: str = "earliest"
    timeout: float | None = None
    park_limit: int | None = None
    concurrency: int = 1


def check_stream(stream: Any, decorator: str) -> None:
    """Raise ConfigError unless a decorator got a stream."""
    if not isinstance(stream, Stream):
        raise ConfigError(
            f"@app.{decorator} takes the stream that it reads, as in @app.{decorator}(orders), "
            f"not {named(stream)}"
        )


def check_tables(tables: Iterable[Table[Any]], processors: Mapping[str, Processor]) -> None:
    """Raise ConfigError if a table is declared for a processor that reads another stream: nobody
    could write it."""
    for table in tables:
        found = processors.get(table.processor or "")
        if found is not None and found.stream is not table.stream:
            known = [name for name, each in processors.items() if each.stream is table.stream]
            raise ConfigError(
                f"table {table.name} belongs to the stream {table.stream.name}, but "
                f"processor={table.processor!r} reads {found.stream.name}; the processors of "
                f"{table.stream.name} are {', '.join(known) or 'none'}"
            )


def check_current(
    streams: Mapping[str, Stream[Any]],
    tables: Iterable[Table[Any]],
    processors: Iterable[Processor],
) -> None:
    """Raise ConfigError for a processor of a stream that was declared again later, and for a table
    of the stream of a processor."""
    chosen = list(processors)
    read = {each.stream.name for each in chosen}
    found: list[tuple[str, str, StreamSpec[Any]]] = [
        *(("processor", each.name, each.stream) for each in chosen),
        *(("table", each.name, each.stream) for each in tables if each.stream.name in read),
    ]
    for kind, name, spec in found:
        current = streams.get(spec.name)
        if current is None or current.spec is not spec:
            raise ConfigError(
                f"{kind} {name} belongs to the stream {spec.source} as it was before that was "
                f"declared again: declare the {kind} again, too; in a notebook, run its cell"
            )


def with_tables(processor: Processor, tables: Iterable[Table[Any]]) -> Processor:
    """The processor with those of the tables that it may write."""
    own = [
        each
        for each in tables
        if each.stream is processor.stream and each.processor in (None, processor.name)
    ]
    expire = {each.name: each.expire for each in own if each.expire is not None}
    return replace(processor, tables=tuple(each.name for each in own), expire=expire)


#: Keyword of `App.stream` -> the attributes that its object must have.
_PARTS = {
    "serializer": ("name", "dumps", "loads"),
    "compressor": ("name", "compress", "decompress"),
    "hasher": ("name", "__call__"),
}


def check_parts(where: str, partition_by: Any, **parts: Any) -> None:
    """Raise ConfigError unless the keywords of a stream have objects that can be used. The class of
    such an object cannot."""
    if not (isinstance(partition_by, str) or callable(partition_by)):
        raise ConfigError(
            f"{where}: partition_by must be the name of a field or a function of a record, not "
            f"{named(partition_by)}"
        )
    for keyword, value in parts.items():
        if value is not None and not _is_a(keyword, value):
            raise ConfigError(
                f"{where}: {keyword} must be an object with {', '.join(_PARTS[keyword])}, not "
                f"{named(value)}"
            )


def checked_codecs(where: str, codecs: Any) -> tuple[Any, ...]:
    """Check serializers and compressors from any iterable. Raises ConfigError."""
    if not isinstance(codecs, Iterable) or isinstance(codecs, (str, bytes)):
        raise ConfigError(f"{where}: codecs must be a list, not {named(codecs)}")
    found = tuple(codecs)
    for each in found:
        if not (_is_a("serializer", each) or _is_a("compressor", each)):
            raise ConfigError(
                f"{where}: codecs must be serializers and compressors, and {named(each)} is none"
            )
    return found


def _is_a(keyword: str, value: Any) -> bool:
    return not isinstance(value, type) and all(hasattr(value, each) for each in _PARTS[keyword])


def declare(
    settings: Settings,
    stream: Stream[Any],
    function: Callable[..., Any],
    decorator: str,
    options: Options,
) -> Processor:
    """The processor for a function with a `decorator` ("processor" or "on"). Raises ConfigError."""
    spec = stream.spec
    name = callables.name_of(function, options.name, decorator)
    keys.check_name("processor", name)
    check_handler(function, decorator, stream.name, spec.codec.record_type.form)
    where, chosen = f"processor {name}", settings.chosen
    chosen_start = check(where, "start", options.start)
    policy = _policy(name, options.exception_policy)
    middleware = _middleware(name, options.middleware)
    return Processor(
        app=spec.app,
        name=name,
        stream=spec,
        handler=_HANDLERS[decorator](function),
        function=function,
        module=callables.module_of(function),
        policy=policy,
        retries=chosen(where, "retries", options.retries),
        backoff=chosen(where, "backoff", options.backoff),
        backoff_max=chosen(where, "backoff_max", options.backoff_max),
        park_limit=chosen(where, "park_limit", options.park_limit),
        commit=check(where, "commit", options.commit),
        prefetch=chosen(where, "prefetch", options.prefetch),
        middleware=middleware,
        sink=_sink(name, stream, policy, middleware),
        start=ENDS.get(chosen_start, chosen_start),
        timeout=None if options.timeout is None else check(where, "timeout", options.timeout),
        concurrency=_concurrency(where, stream, decorator, options, middleware),
    )


def _concurrency(
    where: str,
    stream: Stream[Any],
    decorator: str,
    options: Options,
    middleware: Sequence[Middleware],
) -> int:
    """The checked keyword. Raises ConfigError for what cannot be done with several events."""
    found: int = check(where, "concurrency", options.concurrency)
    if found == 1:
        return found
    if decorator != "on":
        raise ConfigError(
            f"{where}: concurrency is for functions of one record, @app.on: a function of events "
            "iterates over them by itself, one after the other"
        )
    if stream.spec.source != stream.name:
        raise ConfigError(
            f"{where}: concurrency keeps the order of each key, and records of the stream "
            f"{stream.name}, which is derived from {stream.spec.source}, have none"
        )
    if options.commit == "each":
        raise ConfigError(
            f'{where}: commit="each" and concurrency={found} exclude each other: events behind one '
            "that is not done cannot be committed before the next; leave one of them out"
        )
    others = [each for each in middleware if not isinstance(each, DeadLetterMiddleware)]
    if others:
        raise ConfigError(
            f"{where}: middleware sees the events of a partition one after the other, and with "
            f"concurrency={found} they are processed at the same time: only DeadLetterMiddleware "
            f"may be used, not {type(others[0]).__name__}; wrap the function instead"
        )
    return found


def _policy(name: str, policy: ExceptionPolicy | str) -> ExceptionPolicy:
    try:
        return ExceptionPolicy(policy.lower() if isinstance(policy, str) else policy)
    except ValueError:
        raise ConfigError(
            f"processor {name}: exception_policy must be QUARANTINE, PARK, RETRY_LATER, IGNORE or "
            f"HALT, not {policy!r}"
        ) from None


def _middleware(name: str, middleware: Any) -> tuple[Middleware, ...]:
    if isinstance(middleware, Middleware):
        raise ConfigError(f"processor {name}: middleware must be a list, as in middleware=[…]")
    if not isinstance(middleware, Iterable):
        raise ConfigError(
            f"processor {name}: middleware must be a list of Middleware objects, not "
            f"{named(middleware)}"
        )
    found = tuple(middleware)  # It may come from an iterator.
    for each in found:
        if not isinstance(each, Middleware):
            raise ConfigError(
                f"processor {name}: middleware must be a list of Middleware objects, and "
                f"{named(each)} is none"
            )
    return found


def _sink(
    name: str, stream: Stream[Any], policy: ExceptionPolicy, middleware: Sequence[Middleware]
) -> StreamSpec[DeadLetter] | None:
    """The stream for the processor's dead letters: the given one, or its own."""
    asked = [each for each in middleware if isinstance(each, DeadLetterMiddleware)]
    if not asked:
        return None
    if policy is ExceptionPolicy.HALT:
        raise ConfigError(
            f"processor {name}: the policy HALT skips no event, so nothing would become a dead "
            "letter: use QUARANTINE (with `resume --skip`) or IGNORE"
        )
    if len(asked) > 1:
        raise ConfigError(f"processor {name}: one DeadLetterMiddleware is enough, not {len(asked)}")
    sink = asked[0].sink
    if sink is None:
        return stream.dead_letters(name).spec
    fix = (
        f"leave `sink` out, or declare it with {stream.name}.dead_letters(…) or "
        f"{stream.name}.derive(…, DeadLetter)"
    )
    if not isinstance(sink, Stream):
        raise ConfigError(f"processor {name}: the sink is {named(sink)}, which is no stream: {fix}")
    spec: StreamSpec[Any] = sink.spec
    if spec.app != stream.spec.app or spec.source != stream.spec.source or spec.name == spec.source:
        raise ConfigError(
            f"processor {name}: the sink {spec.name} is not derived from {stream.spec.source}, so "
            f"a dead letter and the checkpoint could not be written in one commit: {fix}"
        )
    if spec.name == stream.name:
        raise ConfigError(
            f"processor {name}: the sink {spec.name} is the stream that it reads, so it would get "
            f"its own dead letters: {fix}"
        )
    if spec.codec.record_type.form is not DeadLetter:
        raise ConfigError(
            f"processor {name}: the sink {spec.name} holds {spec.codec.record_type.name}, and must "
            f"hold DeadLetter: {fix}"
        )
    return spec
