"""Times the scripts of tables whose keys expire, and of snapshots of tables, each at the largest
input that its header allows."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from itertools import islice

from benchmarks.partition_scripts import Partition
from benchmarks.script_timer import Timer, case
from runnel import keys, protocol
from runnel.protocol import SnapshotKeys

#: The most tables of a processor.
TABLES = [f"table{number}" for number in range(19)]


class Tables(Partition):
    """A partition with many tables, of which a snapshot can be taken."""

    def __init__(self, timer: Timer, name: str, fields: int) -> None:
        super().__init__(timer, name, 10)
        self.at = SnapshotKeys(self.keys, "monday")
        self.id = secrets.token_hex(16)
        for table in TABLES:
            timer.redis.hset(self.keys.meta, f"table:{table}", self.keys.processor)
            self.fill(table, fields)

    def fill(self, table: str, fields: int) -> None:
        """Fields that were written long ago."""
        values, expiry = keys.all_of_table(self.prefix, table)
        self.timer.redis.hset(values, mapping={f"key{n}": "1" for n in range(fields)})
        self.timer.redis.zadd(expiry, {f"key{n}": n + 1 for n in range(fields)})
        self.timer.redis.hset(self.keys.meta, f"expires:{table}", 60)

    def begin(self) -> None:
        """Begin another snapshot."""
        self.id = secrets.token_hex(16)
        self.timer.call(protocol.snapshot(self.at, TABLES, "begin", self.id))

    def copy(self, *, restoring: bool = False) -> None:
        """Copy all tables."""
        for table in TABLES:
            copied = self.at.restored(table) if restoring else self.at.taken(table)
            self.timer.call(protocol.copy_table(self.at, copied, self.id, "0", 1000))


@case("transact: expiring", "transact, 1,000 keys of a table, and 2,010 that expire", 9_000)
def transact_expiring(timer: Timer, repeats: int) -> Iterator[float]:
    partition = Partition(timer, "transact-expiring", repeats)
    sets = [(b"new%d" % number, b"1") for number in range(1000)]
    writes = protocol.TableWrites(partition.prefix, "table", sets, expire=60)
    values, expiry = keys.all_of_table(partition.prefix, "table")
    timer.redis.hset(partition.keys.meta, "expires:table", 60)
    for move in islice(partition.moves(), repeats):
        timer.redis.hset(values, mapping={f"old{n}": "1" for n in range(2010)})
        timer.redis.zadd(expiry, {f"old{n}": 1 for n in range(2010)})
        yield timer.timed(protocol.transact(partition.keys, partition.token, move, [writes]))


@case("snapshot", "snapshot, 19 tables", 1_300)
def snapshot(timer: Timer, repeats: int) -> Iterator[float]:
    """Its last step, which counts what was copied."""
    tables = Tables(timer, "snapshot", 10)
    for _ in range(repeats):
        tables.begin()
        tables.copy()
        yield timer.timed(protocol.snapshot(tables.at, TABLES, "finish", tables.id))


@case("copy_table", "copy_table, 1,000 keys that expire", 17_000)
def copy_table(timer: Timer, repeats: int) -> Iterator[float]:
    tables = Tables(timer, "copy_table", 5_000)
    tables.begin()
    copied = tables.at.taken(TABLES[0])
    for _ in range(repeats):
        yield timer.timed(protocol.copy_table(tables.at, copied, tables.id, "0", 1000))


@case("restore", "restore, 19 tables", 2_000)
def restore(timer: Timer, repeats: int) -> Iterator[float]:
    tables = Tables(timer, "restore", 10)
    tables.begin()
    tables.copy()
    timer.call(protocol.snapshot(tables.at, TABLES, "finish", tables.id))
    for _ in range(repeats):
        tables.copy(restoring=True)
        nonce = secrets.token_hex(16)
        yield timer.timed(protocol.restore(tables.at, TABLES, tables.id, 0, nonce))
