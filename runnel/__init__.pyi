from runnel.app import App
from runnel.codec.compressors import LZ4, Compressor, Gzip
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer, Serializer
from runnel.dead_letter import DeadLetter
from runnel.errors import (
    ConfigError,
    DecodeError,
    EncodeError,
    Full,
    Mismatch,
    PartitionKeyError,
    ProtocolError,
    RecordError,
    RecordTooLarge,
    RunnelError,
    ServerError,
    ServerUnreachable,
    UnknownProducer,
    Unregistered,
)
from runnel.events import Event, Events
from runnel.middleware import DeadLetterMiddleware, Middleware
from runnel.processor import ExceptionPolicy
from runnel.record import Record
from runnel.stream import Sent, Stream

__all__ = [
    "LZ4",
    "App",
    "Compressor",
    "ConfigError",
    "DeadLetter",
    "DeadLetterMiddleware",
    "DecodeError",
    "EncodeError",
    "Event",
    "Events",
    "ExceptionPolicy",
    "Full",
    "Gzip",
    "JSONSerializer",
    "Middleware",
    "Mismatch",
    "MsgpackSerializer",
    "PartitionKeyError",
    "ProtocolError",
    "Record",
    "RecordError",
    "RecordTooLarge",
    "RunnelError",
    "Sent",
    "Serializer",
    "ServerError",
    "ServerUnreachable",
    "Stream",
    "UnknownProducer",
    "Unregistered",
]
