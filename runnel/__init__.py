"""Runnel: distributed event processing for Python on Redis Streams.

A name is imported at its first use. So the command line shows `--help` and completes words without
redis and pydantic, which take ten times as long to import as the rest. Type checkers and editors
read the names in `__init__.pyi`; a test compares the two files.
"""

from importlib import import_module

_MODULES = {
    "App": "app",
    "Compressor": "codec.compressors",
    "ConfigError": "errors",
    "DeadLetter": "dead_letter",
    "DeadLetterMiddleware": "middleware",
    "DecodeError": "errors",
    "Delayed": "delayed",
    "EarlierNotSent": "errors",
    "EncodeError": "errors",
    "Event": "events",
    "Events": "events",
    "ExceptionPolicy": "processor",
    "Full": "errors",
    "Gzip": "codec.compressors",
    "JSONSerializer": "codec.serializers",
    "Halted": "errors",
    "HandlerExit": "errors",
    "LZ4": "codec.compressors",
    "LifespanFailed": "errors",
    "LoopRunning": "errors",
    "Middleware": "middleware",
    "Mismatch": "errors",
    "MsgpackSerializer": "codec.serializers",
    "NotInHandler": "errors",
    "NotLoaded": "errors",
    "NumberedProducer": "producer.numbered_producer",
    "PartitionKeyError": "errors",
    "ProducerInUse": "errors",
    "ProtocolError": "errors",
    "Record": "record",
    "RecordError": "errors",
    "RecordTooLarge": "errors",
    "RunnelError": "errors",
    "Sent": "stream",
    "Serializer": "codec.serializers",
    "ServerError": "errors",
    "ServerUnreachable": "errors",
    "Stream": "stream",
    "SyncApp": "sync_app",
    "SyncProducer": "sync_app",
    "Table": "table",
    "TooManyWrites": "errors",
    "UnknownProducer": "errors",
    "Unregistered": "errors",
    "Worker": "worker.worker",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
