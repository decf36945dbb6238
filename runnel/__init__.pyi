from runnel.app import App
from runnel.codec.compressors import LZ4, Compressor, Gzip
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer, Serializer
from runnel.dead_letter import DeadLetter
from runnel.delayed import Delayed
from runnel.errors import (
    ConfigError,
    DecodeError,
    EarlierNotSent,
    EncodeError,
    Full,
    Halted,
    HandlerExit,
    LifespanFailed,
    LoopRunning,
    Mismatch,
    NotInHandler,
    NotLoaded,
    PartitionKeyError,
    ProducerInUse,
    ProtocolError,
    RecordError,
    RecordTooLarge,
    RunnelError,
    ServerError,
    ServerUnreachable,
    TooManyWrites,
    UnknownProducer,
    Unregistered,
)
from runnel.events import Event, Events
from runnel.middleware import DeadLetterMiddleware, Middleware
from runnel.processor import ExceptionPolicy
from runnel.producer.numbered_producer import NumberedProducer
from runnel.record import Record
from runnel.stream import Sent, Stream
from runnel.sync_app import SyncApp, SyncProducer
from runnel.table import Table
from runnel.worker.worker import Worker

__all__ = [
    "LZ4",
    "App",
    "Compressor",
    "ConfigError",
    "DeadLetter",
    "DeadLetterMiddleware",
    "DecodeError",
    "Delayed",
    "EarlierNotSent",
    "EncodeError",
    "Event",
    "Events",
    "ExceptionPolicy",
    "Full",
    "Gzip",
    "Halted",
    "HandlerExit",
    "JSONSerializer",
    "LifespanFailed",
    "LoopRunning",
    "Middleware",
    "Mismatch",
    "MsgpackSerializer",
    "NotInHandler",
    "NotLoaded",
    "NumberedProducer",
    "PartitionKeyError",
    "ProducerInUse",
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
    "SyncApp",
    "SyncProducer",
    "Table",
    "TooManyWrites",
    "UnknownProducer",
    "Unregistered",
    "Worker",
]
