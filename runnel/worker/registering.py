"""Registers a processor on every partition of its stream, before its member joins the group."""

from __future__ import annotations

from runnel import protocol
from runnel.log import logger_of
from runnel.operations.partition_ranges import those
from runnel.processor import Processor, refused
from runnel.worker.backend import Backend

logger = logger_of("runnel.worker")


async def register(processor: Processor, backend: Backend) -> None:
    """Register the processor on each partition. Raises Mismatch if the stream was declared
    otherwise.

    The stream is declared on partition 0 first. A client with too large a partition count would
    otherwise make partitions that do not exist; partition 0 always does.
    """
    stream = processor.stream
    await backend.call(protocol.declare(stream.prefix(0), stream.contract))
    calls = [
        protocol.register(processor.keys(p), stream.contract, processor.start)
        for p in range(stream.partition_count)
    ]
    restored = []
    for partition, reply in enumerate(await backend.call_all(calls)):
        if isinstance(reply, Exception):
            raise refused(processor, reply)
        if protocol.read_register(reply) == "mended":
            restored.append(partition)
    if restored:
        logger.error(
            "processor %s, %s: keys were lost and were restored. If a log was among them, its "
            "events are gone, and it is unknown how many",
            processor.name,
            those(restored),
            extra={"processor": processor.name, "partitions": restored},
        )
