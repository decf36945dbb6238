"""A worker reads compressed entries without configuration."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from runnel import (
    LZ4,
    App,
    JSONSerializer,
    Record,
)
from runnel.worker.worker import Worker


async def test_a_compressed_json_stream_is_read_without_configuration(
    redis: Redis, redis_url: str
) -> None:
    class Page(Record):
        number: int
        text: str

    writer = App("pages", redis_url=redis_url)
    sent = writer.stream(
        "pages",
        record=Page,
        partition_by="number",
        partition_count=1,
        serializer=JSONSerializer(),
        compressor=LZ4(),
    )
    reader = App("pages", redis_url=redis_url, session_timeout=1.0)
    pages = reader.stream("pages", record=Page, partition_by="number", partition_count=1)
    seen: list[Page] = []

    @reader.on(pages)
    async def note(page: Page) -> None:
        seen.append(page)

    records = [Page(number=1, text="short"), Page(number=2, text="long " * 1000)]
    await sent.send(*records)
    await writer.close()
    entries: Any = await redis.xrange(f"{sent.spec.prefix(0)}:log")
    assert [list(fields) for _, fields in entries] == [[b"json"], [b"json+lz4"]]
    worker = Worker(reader)
    await worker.run(burst=True)
    assert seen == records
