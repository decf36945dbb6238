"""Makes every partition of a stream ready for one processor, before its member joins the group."""

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
    repaired = []
    for partition, reply in enumerate(await backend.call_all(calls)):
        if isinstance(reply, Exception):
            raise refused(processor, reply)
        if protocol.read_register(reply) == "mended":
            repaired.append(partition)
    if repaired:
        logger.error(
            "processor %s, %s: keys were lost and are made anew. Where a log was among them, "
            "its events are gone: how many, nothing tells",
            processor.name,
            those(repaired),
            extra={"partitions": repaired},
        )
