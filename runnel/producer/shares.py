"""The options of a send, and its records: encoded, and divided among the partitions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from typing import Any

from runnel.codec.partitioning import key_bytes
from runnel.errors import ConfigError, PartitionKeyError, RecordTooLarge
from runnel.producer.partition_producer import Once
from runnel.stream import StreamSpec

#: Entries in one append: enough for a cheap call, few enough to block the server only briefly.
BATCH = 500
#: Bytes in one append, for the same reason.
BATCH_BYTES = 1_000_000
#: Bytes of a key of `send(dedupe=…)`: it is part of the name of a key in Redis.
MAX_KEY = 500


def wait_until(wait: bool | float) -> float:
    """Until when to wait for room, by the loop's clock."""
    if wait is True or wait is False:
        return inf if wait else 0.0
    if not isinstance(wait, (int, float)) or not wait >= 0:
        raise ConfigError(f"send(wait=…) takes True, False or a number of seconds, not {wait!r}")
    return asyncio.get_running_loop().time() + wait


def when_full(stream: StreamSpec[Any], drop_oldest: object) -> str:
    """The policy of the script: that of the stream, or to drop the oldest events. Only True and
    False are allowed: "no" must not drop events."""
    if drop_oldest is False:
        return stream.retention.when_full
    if drop_oldest is not True:
        raise ConfigError(f"send(drop_oldest=…) takes True or False, not {drop_oldest!r}")
    return "drop_oldest"


def once_of(dedupe: object, records: int, window: float) -> Once:
    """The key of a send with `dedupe`, remembered for so many seconds. Raises ConfigError."""
    if records != 1:
        raise ConfigError(
            f"send(dedupe=…) takes one record, not {records}: the key says whether that record was "
            "sent. Send each record under a key of its own"
        )
    try:
        key = key_bytes(dedupe).decode()
    except (PartitionKeyError, UnicodeDecodeError):
        raise ConfigError(
            "send(dedupe=…) takes text, an integer, a UUID, or bytes that are UTF-8, not "
            f"{dedupe!r}"
        ) from None
    if not 1 <= len(key.encode()) <= MAX_KEY:
        raise ConfigError(
            f"send(dedupe=…) takes a key of 1 to {MAX_KEY} bytes, not of {len(key.encode())}"
        )
    return Once(key, int(window * 1000))


def too_large(stream: StreamSpec[Any], position: int, size: int, most: int) -> RecordTooLarge:
    return RecordTooLarge(
        f"stream {stream.name}: record {position} takes {size} bytes, the setting "
        f"max_record_bytes allows {most}"
    )


def shares_of(
    stream: StreamSpec[Any],
    records: Sequence[Any],
    headers: dict[str, str] | None,
    max_bytes: int,
) -> list[Share]:
    """The records of each partition."""
    most = max(1, min(BATCH, stream.partition_size // 2))
    shares: dict[int, Share] = {}
    for position, record in enumerate(records):
        entry = stream.codec.encode(record, headers)
        if (size := sum(map(len, entry))) > max_bytes:
            raise too_large(stream, position, size, max_bytes)
        partition = stream.partition(record)
        if partition in shares:
            shares[partition].add(position, entry, size, most)
        else:
            shares[partition] = Share(partition, position, entry, size)
    return list(shares.values())


class Share:
    """The records of one send that go to one partition.

    `positions` are theirs among all records, `batches` their entries, in batches that are not too
    large for the server or for the partition, `ids` the ids of those that were sent. A share begins
    with one record; `size` is the size of its entry in bytes.
    """

    __slots__ = ("_bytes", "batches", "ids", "partition", "positions")

    def __init__(self, partition: int, position: int, entry: list[bytes], size: int) -> None:
        self.partition = partition
        self.positions = [position]
        self.batches = [[entry]]
        self.ids: list[str] = []
        self._bytes = size

    def add(self, position: int, entry: list[bytes], size: int, most: int) -> None:
        """Add a record. A batch has at most `most` records."""
        batch = self.batches[-1]
        if len(batch) >= most or self._bytes + size > BATCH_BYTES:
            self.batches.append(batch := [])
            self._bytes = 0
        batch.append(entry)
        self.positions.append(position)
        self._bytes += size
