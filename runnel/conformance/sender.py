"""The kit's own producer, which speaks the protocol directly: its events are beyond doubt."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Sequence
from random import Random

from redis.exceptions import RedisError

from runnel import protocol
from runnel.codec.compressors import LZ4, Compressor, Gzip
from runnel.codec.partitioning import XXH64, key_bytes
from runnel.codec.serializers import JSONSerializer, MsgpackSerializer, Serializer
from runnel.conformance.contract import CONTRACT, PARTITIONS, PARTS, SIZE, Record
from runnel.errors import Full, Overdue
from runnel.protocol.scripts import Call, Scripts

KEYS = ("a", "k-1", "k-2", "k-3", "k-4", "42", "zażółć", "customer-12345678", "k-8", "☃")
_TEXT = "zażółć gęślą jaźń ☃ "
_SERIALIZERS: dict[str, Serializer] = {"json": JSONSerializer(), "msgpack": MsgpackSerializer()}
_COMPRESSORS: dict[str, Compressor] = {"gzip": Gzip(), "lz4": LZ4()}
#: Every form in which a payload may be written.
FORMS = ("json", "msgpack", "json+gzip", "json+lz4", "msgpack+gzip", "msgpack+lz4")


def partition_of(key: str) -> int:
    """The partition of a key."""
    return XXH64()(key_bytes(key)) % PARTITIONS


class Records:
    """Makes the records of a trial. The numbers of each key rise by one."""

    def __init__(self, rng: Random, work: int) -> None:
        self._rng = rng
        self._work = work
        self._numbers: Counter[str] = Counter()

    def next(self, key: str | None = None) -> Record:
        """The next one, of this key or any. Its work is a random number of milliseconds."""
        key = key or self._rng.choice(KEYS)
        self._numbers[key] += 1
        text = _TEXT * self._rng.choice((0, 1, 1, 30))
        work = self._rng.randint(0, 2 * self._work)
        return {"key": key, "number": self._numbers[key], "work": work, "text": text}


def entry(record: Record, form: str) -> list[bytes]:
    """The fields and values of a record in a form such as ``json+lz4``."""
    serializer, _, compressor = form.partition("+")
    payload = _SERIALIZERS[serializer].dumps(record)
    if compressor:
        payload = _COMPRESSORS[compressor].compress(payload)
    return [form.encode(), payload]


class Sender:
    """One producer of the protocol."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._ids = [""] * PARTITIONS
        self._sequences = [0] * PARTITIONS
        for partition in range(PARTITIONS):
            self._begin_anew(partition)
        self._locks = [asyncio.Lock() for _ in range(PARTITIONS)]

    def _begin_anew(self, partition: int) -> None:
        self._ids[partition], self._sequences[partition] = secrets.token_hex(16), 0

    def append(self, partition: int, records: Sequence[Record], form: str) -> Call:
        """The next call that appends these to one partition."""
        self._sequences[partition] += 1
        prefix, entries = PARTS[partition].prefix, [entry(each, form) for each in records]
        sequence = self._sequences[partition]
        return protocol.append(
            prefix, CONTRACT, SIZE, "refuse", self._ids[partition], sequence, entries
        )

    async def send(self, records: Sequence[Record], form: str = "msgpack") -> list[str]:
        """Send records, and wait as long as the server refuses them. Returns for each partition
        what it got, for people."""
        said: list[str] = []
        by_partition: dict[int, list[Record]] = {}
        for each in records:
            by_partition.setdefault(partition_of(each["key"]), []).append(each)
        for partition, several in by_partition.items():
            async with self._locks[partition]:
                try:
                    ids = await self._send(self.append(partition, several, form))
                except BaseException:  # Its number would be missing.
                    self._begin_anew(partition)
                    raise
            names = [f"number {each['number']} of {each['key']!r}" for each in several]
            which = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
            said.append(f"{which} as {form}, {' to '.join(ids)} of partition {partition}")
        return said

    async def _send(self, call: Call) -> list[str]:
        """Returns the first and the last id, which may be the same."""
        while True:
            try:
                ids = protocol.read_append(await self._scripts.call(call)).ids
                return list(dict.fromkeys((ids[0], ids[-1])))
            except Overdue:
                prefix = call.keys[0].removesuffix(":log")
                await self._scripts.call(protocol.promote(prefix, CONTRACT, SIZE))
            except (Full, RedisError, OSError):
                await asyncio.sleep(0.05)
