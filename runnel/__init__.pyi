from runnel.app import App
from runnel.compressors import LZ4, Compressor, Gzip
from runnel.dead_letter import DeadLetter
from runnel.errors import RunnelError
from runnel.events import Event, Events
from runnel.middleware import DeadLetterMiddleware, Middleware
from runnel.processor import ExceptionPolicy
from runnel.producer import Stream
from runnel.record import Record
from runnel.serializers import JSONSerializer, MsgpackSerializer, Serializer
from runnel.stream import Sent

__all__ = [
    "LZ4",
    "App",
    "Compressor",
    "DeadLetter",
    "DeadLetterMiddleware",
    "Event",
    "Events",
    "ExceptionPolicy",
    "Gzip",
    "JSONSerializer",
    "Middleware",
    "MsgpackSerializer",
    "Record",
    "RunnelError",
    "Sent",
    "Serializer",
    "Stream",
]
