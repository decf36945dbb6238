"""Times the scripts of partitions and of an app, each at the largest input that its header allows.

Their calls are made by the protocol's own functions, without a worker.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from itertools import islice, pairwise

from benchmarks.script_timer import ENTRY, Timer, case
from runnel import protocol
from runnel.protocol import CheckpointMove, PartitionKeys, StreamContract, Token
from runnel.protocol.scripts import Call

CONTRACT = StreamContract(16, "xxh64")
#: The most processors that a partition may have.
PROCESSORS = 100


class Partition:
    """A partition with a hundred processors. The first of them has claimed it."""

    def __init__(self, timer: Timer, name: str, entries: int = 0, size: int = 100_000) -> None:
        self.timer = timer
        self.prefix = f"runnel:{{bench:{name}:0}}:{name}"
        self.size = size
        self.keys = self.keys_of(0)
        self.sequence = 0
        for number in range(PROCESSORS):
            timer.call(protocol.register(self.keys_of(number), CONTRACT, "0"))
        for first in range(0, entries, 500):
            timer.call(self.append(min(500, entries - first)))
        self.nonce = ""
        self.grant = 1
        claimed = protocol.read_claim(timer.call(self.claim()))
        self.token = Token(claimed.epoch, self.nonce)

    def keys_of(self, processor: int) -> PartitionKeys:
        """The keys of a processor."""
        return PartitionKeys(self.prefix, f"p{processor}")

    def claim(self) -> Call:
        """The next claim."""
        self.grant += 1
        self.nonce = secrets.token_hex(16)
        return protocol.claim(self.keys, CONTRACT, "m", self.grant, self.nonce)

    def append(self, count: int, producer: str = "x") -> Call:
        """The next append of this producer, or the first of a new one."""
        sequence = 1
        if producer == "x":
            self.sequence += 1
            sequence = self.sequence
        entries = [ENTRY] * count
        return protocol.append(
            self.prefix, CONTRACT, self.size, "refuse", producer, sequence, entries
        )

    def append_numbered(self, first: int, count: int, sender: str = "producer:x") -> Call:
        """An append of so many entries with the numbers from `first` on."""
        entries = [(f"0-{first + number}", ENTRY) for number in range(count)]
        return protocol.append_numbered(self.prefix, CONTRACT, self.size, "refuse", sender, entries)

    def append_later(self, key: str, count: int, delay: int) -> Call:
        """A request to add so many entries after so many ms."""
        due, entries = ("delay", delay), [ENTRY] * count
        return protocol.append_later(self.prefix, CONTRACT, self.size, due, key, 60_000, entries)

    def ids(self) -> list[str]:
        """The ids of all entries."""
        return [entry[0].decode() for entry in self.timer.redis.xrange(f"{self.prefix}:log")]

    def moves(self) -> Iterator[CheckpointMove]:
        """A commit of each event."""
        return (CheckpointMove(*pair, 1) for pair in pairwise(["0-0", *self.ids()]))

    def commit_all(self) -> None:
        """Have all processors commit everything, so that retention may remove it."""
        last = self.ids()[-1]
        for number in range(PROCESSORS):
            self.timer.redis.hset(f"{self.prefix}:meta", f"checkpoint:p{number}", last)


def repeated(
    name: str, title: str, budget: float, entries: int, call: Callable[[Partition], Call]
) -> None:
    """A case that repeats one call on a partition with so many entries."""

    @case(name, title, budget)
    def times(timer: Timer, repeats: int) -> Iterator[float]:
        partition = Partition(timer, name, entries)
        for _ in range(repeats):
            yield timer.timed(call(partition))


# The common case: one entry, and there is room.
repeated("append-one", "append, one entry", 120, 1000, lambda each: each.append(1))


@case("append", "append, 1,000 entries into a full partition", 20_000)
def append(timer: Timer, repeats: int) -> Iterator[float]:
    """It removes 1,000 entries. Each time a new producer sends, and 100 of 1,100 are forgotten."""
    partition = Partition(timer, "append", 3000, 3000)
    producers = f"{partition.prefix}:producers"
    for number in range(1100):
        timer.redis.hset(producers, f"other{number}", f"1 {number + 1}-0 1")
    for number in range(repeats):
        partition.commit_all()
        yield timer.timed(partition.append(1000, f"new{number}"))
        for more in range(100):  # In place of those that were forgotten.
            timer.redis.hset(producers, f"more{number}.{more}", f"1 {more + 1}-0 1")


@case("append_numbered-one", "append_numbered, one entry", 120)
def append_numbered_one(timer: Timer, repeats: int) -> Iterator[float]:
    partition = Partition(timer, "numbered-one", 1000)
    for number in range(repeats):
        yield timer.timed(partition.append_numbered(number, 1))


@case("append_numbered", "append_numbered, 1,000 entries into a full partition", 25_000)
def append_numbered(timer: Timer, repeats: int) -> Iterator[float]:
    """Like append. Beside the 1,100 producers there are 1,000 outboxes."""
    partition = Partition(timer, "numbered", 3000, 3000)
    numbers = f"{partition.prefix}:numbers"
    for number in range(1100):
        timer.redis.hset(numbers, f"producer:other{number}", f"0-1 {number + 1}-0 1 0-1")
    for number in range(1000):
        timer.redis.hset(numbers, f"outbox:{number}", f"0-1 {number + 1}-0 1 0-1")
    for number in range(repeats):
        partition.commit_all()
        yield timer.timed(partition.append_numbered(0, 1000, f"producer:new{number}"))
        for more in range(100):  # In place of those that were forgotten.
            known = f"0-1 {more + 1}-0 1 0-1"
            timer.redis.hset(numbers, f"producer:more{number}.{more}", known)


@case("append_numbered: repeat", "append_numbered, 1,000 entries that are there", 6_000)
def append_numbered_repeat(timer: Timer, repeats: int) -> Iterator[float]:
    partition = Partition(timer, "numbered-repeat", 1000)
    timer.call(partition.append_numbered(0, 1000))
    for _ in range(repeats):
        yield timer.timed(partition.append_numbered(0, 1000))


@case("append_once", "append_once", 180)
def append_once(timer: Timer, repeats: int) -> Iterator[float]:
    partition = Partition(timer, "once", 1000)
    for number in range(repeats):
        yield timer.timed(
            protocol.append_once(
                *(partition.prefix, CONTRACT, partition.size, "refuse"),
                *(f"order-{number}", 60_000, ENTRY),
            )
        )


@case("append_later", "append_later", 180)
def append_later(timer: Timer, repeats: int) -> Iterator[float]:
    partition = Partition(timer, "later", 1000)
    for number in range(repeats):
        yield timer.timed(partition.append_later(f"k{number}", 1, 60_000 - number))


@case("promote", "promote, 200 events", 2_500)
def promote(timer: Timer, repeats: int) -> Iterator[float]:
    partition = Partition(timer, "promote", 1000)
    for number in range(repeats):
        timer.call(partition.append_later(f"k{number}", 200, 0))
        yield timer.timed(protocol.promote(partition.prefix, CONTRACT, partition.size))


@case("promote: idle", "promote, nothing waits", 80)
def promote_idle(timer: Timer, repeats: int) -> Iterator[float]:
    partition = Partition(timer, "promote-idle", 1000)
    for _ in range(repeats):
        yield timer.timed(protocol.promote(partition.prefix, CONTRACT, partition.size))


@case("cancel", "cancel, one of 1,000 that are due together", 150)
def cancel(timer: Timer, repeats: int) -> Iterator[float]:
    partition = Partition(timer, "cancel", 1000)
    reply = protocol.read_append_later(timer.call(partition.append_later("k", 1000, 60_000)))
    for order in reply.orders[:repeats]:
        yield timer.timed(protocol.cancel(partition.prefix, reply.due, order))


@case("commit", "commit", 150)
def commit(timer: Timer, repeats: int) -> Iterator[float]:
    partition = Partition(timer, "commit", repeats)
    for move in partition.moves():
        yield timer.timed(protocol.commit(partition.keys, partition.token, move))


@case("transact", "transact, 200 entries into a full stream", 4_000)
def transact(timer: Timer, repeats: int) -> Iterator[float]:
    """200 dead letters, which remove 200 entries."""
    partition = Partition(timer, "transact", repeats)
    sink = Partition(timer, "transact-sink", 1000, 1000)
    dead = protocol.Sink(sink.prefix, CONTRACT, 1000, derived=True)
    letters = protocol.Entries(dead, [ENTRY] * 200)
    for move in islice(partition.moves(), repeats):
        sink.commit_all()
        yield timer.timed(protocol.transact(partition.keys, partition.token, move, [letters]))


@case("transact: table", "transact, 1,000 keys of a table", 4_000)
def transact_table(timer: Timer, repeats: int) -> Iterator[float]:
    partition = Partition(timer, "transact-table", repeats)
    writes = protocol.TableWrites(
        partition.prefix, "table", [(b"key%d" % number, b"1") for number in range(1000)]
    )
    for move in islice(partition.moves(), repeats):
        yield timer.timed(protocol.transact(partition.keys, partition.token, move, [writes]))


@case("clear_table", "clear_table, 1,000 keys", 200)
def clear_table(timer: Timer, repeats: int) -> Iterator[float]:
    partition = Partition(timer, "clear", 1)
    for _ in range(repeats):
        fields = {f"key{number}": "1" for number in range(1000)}
        timer.redis.hset(f"{partition.prefix}:table:table", mapping=fields)
        timer.redis.hset(f"{partition.prefix}:meta", "table:table", partition.keys.processor)
        nonce = secrets.token_hex(16)
        yield timer.timed(protocol.clear_table(partition.keys, "table", nonce))


repeated("claim", "claim, 100 processors", 600, 1000, Partition.claim)


@case("register", "register, 100 processors", 500)
def register(timer: Timer, repeats: int) -> Iterator[float]:
    """The hundredth processor."""
    keys = Partition(timer, "register", 1000).keys_of(PROCESSORS - 1)
    for _ in range(repeats):
        timer.call(protocol.remove(keys))
        yield timer.timed(protocol.register(keys, CONTRACT, "$"))


@case("attempt", "attempt", 80)
def attempt(timer: Timer, repeats: int) -> Iterator[float]:
    partition = Partition(timer, "attempt", 1)
    event, error = partition.ids()[0], ("Error" * 20, "x" * 1000)
    what = (partition.keys, partition.token, "quarantine", event)
    for number in range(repeats):
        yield timer.timed(protocol.attempt(*what, number, error))


@case("declare", "declare", 60)
def declare(timer: Timer, repeats: int) -> Iterator[float]:
    for number in range(repeats):
        prefix = f"runnel:{{bench:declare{number}:0}}:declare"
        yield timer.timed(protocol.declare(prefix, CONTRACT))


repeated(
    "describe",
    "describe, 100 processors",
    900,
    1000,
    lambda each: protocol.describe(each.keys),
)
repeated("pause", "pause", 60, 1, lambda each: protocol.pause(each.keys))


repeated("acknowledge", "acknowledge", 40, 1, lambda each: protocol.acknowledge(each.keys, 1))


@case("resume", "resume", 80)
def resume(timer: Timer, repeats: int) -> Iterator[float]:
    partition = Partition(timer, "resume", 1)
    for _ in range(repeats):
        timer.call(protocol.pause(partition.keys))
        yield timer.timed(protocol.resume(partition.keys))


@case("remove", "remove, 100 processors", 300)
def remove(timer: Timer, repeats: int) -> Iterator[float]:
    partition = Partition(timer, "remove", 1000)
    for number in range(repeats):
        yield timer.timed(protocol.remove(partition.keys_of(number)))


@case("delete", "delete, 100 processors, 1,000 entries", 1_000, one_in=4)
def delete(timer: Timer, repeats: int) -> Iterator[float]:
    for number in range(repeats):
        partition = Partition(timer, f"delete{number}", 1000)
        yield timer.timed(protocol.delete(partition.prefix))


@case("seek", "seek, 1,000 entries on each side", 5_000)
def seek(timer: Timer, repeats: int) -> Iterator[float]:
    """To the middle of 2,000 entries: the script counts no more than 1,000."""
    partition = Partition(timer, "seek", 2000)
    middle = partition.ids()[1000]
    for _ in range(repeats):
        yield timer.timed(protocol.seek(partition.keys, middle, None, secrets.token_hex(16)))


@case("elect", "elect", 80)
def elect(timer: Timer, repeats: int) -> Iterator[float]:
    for _ in range(repeats):
        yield timer.timed(protocol.elect("bench", "m", "n", 1000))


@case("tick", "tick, 1,000 tasks", 60)
def tick(timer: Timer, repeats: int) -> Iterator[float]:
    for number in range(999):
        timer.call(protocol.tick("bench", f"task{number}", 1, "n", "* * * * *"))
    for number in range(repeats):
        yield timer.timed(protocol.tick("bench", "task", number + 1, "n", "* * * * *"))


@case("check_acl", "check_acl, 1,000 commands", 5_000, one_in=4)
def check_acl(timer: Timer, repeats: int) -> Iterator[float]:
    words = tuple(word for _ in range(1000) for word in (4, "HSET", "runnel:key", "field", "value"))
    for _ in range(repeats):
        yield timer.timed(Call("check_acl", (), words))


@case("trim", "trim, 1,000 old entries", 1_800)
def trim(timer: Timer, repeats: int) -> Iterator[float]:
    """Nobody has committed behind them, and all of 100 processors before."""
    partition = Partition(timer, "trim")
    log = f"{partition.prefix}:log"
    for _ in range(repeats):
        timer.redis.delete(log)
        pipeline = timer.redis.pipeline(transaction=False)
        for number in range(1_001):
            pipeline.xadd(log, {"msgpack": ENTRY[1]}, id=f"1000-{number + 1}")
        pipeline.execute()
        for number in range(PROCESSORS):
            timer.redis.xgroup_create(log, f"p{number}", "$")
        partition.commit_all()
        yield timer.timed(protocol.trim(partition.prefix, 0, 60_000, "refuse"))
