"""Times the scripts of outboxes, each at the largest input that the Python client gives them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from benchmarks.partition_scripts import CONTRACT, Partition
from benchmarks.script_timer import ENTRY, Timer, case
from runnel import protocol
from runnel.core.outbox import BATCH
from runnel.core.pending_effects import MOST_ENTRIES, OUTBOX_SIZE
from runnel.protocol import OutboxEntries, OutboxTrim

TO = [b"to", b"alerts 0 4 xxh64 50000"]


def filled(partition: Partition, entries: int) -> OutboxEntries:
    """So many entries for the outbox."""
    return OutboxEntries(partition.keys.outbox, OUTBOX_SIZE, [[*TO, *ENTRY]] * entries)


@case("transact: outbox", "transact, 200 entries into the outbox", 1_200)
def transact_outbox(timer: Timer, repeats: int) -> Iterator[float]:
    partition = Partition(timer, "transact-outbox", repeats)
    entries = filled(partition, MOST_ENTRIES)
    for move in islice(partition.moves(), repeats):
        timer.redis.xtrim(partition.keys.outbox, maxlen=0, approximate=False)
        yield timer.timed(protocol.transact(partition.keys, partition.token, move, [entries]))


@case("append_numbered", "append_numbered, 500 entries into a full partition", 5_200)
def append_numbered(timer: Timer, repeats: int) -> Iterator[float]:
    """It removes 500 entries. All of 100 processors have committed."""
    partition = Partition(timer, "append_numbered", 1000, 1000)
    for at in range(repeats):
        partition.commit_all()
        numbered = [(f"7-{at * BATCH + number}", ENTRY) for number in range(BATCH)]
        yield timer.timed(
            protocol.append_numbered(
                partition.prefix, CONTRACT, 1000, "refuse", "outbox:orders:0:printer", numbered
            )
        )


@case("trim_outbox", "trim_outbox, 200 entries", 70)
def trim_outbox(timer: Timer, repeats: int) -> Iterator[float]:
    partition = Partition(timer, "trim_outbox", repeats)
    epoch, entries = partition.token.epoch, filled(partition, MOST_ENTRIES)
    for at, move in enumerate(islice(partition.moves(), repeats), 1):
        timer.call(protocol.transact(partition.keys, partition.token, move, [entries]))
        done = at * MOST_ENTRIES
        trim = OutboxTrim(f"{epoch}-{done}", done, 0)
        yield timer.timed(protocol.trim_outbox(partition.keys, partition.token, trim))
