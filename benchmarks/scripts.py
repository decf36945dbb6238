"""A process that calls each Lua script at the largest input that its header allows, and tells how
long the server took. The calls are made by the protocol's own functions, without a worker."""

from __future__ import annotations

import secrets
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice, pairwise
from typing import Any

from redis import Redis

from benchmarks.gate import say
from benchmarks.job import job
from runnel import protocol
from runnel.core.membership import Membership
from runnel.protocol import CheckpointMove, PartitionKeys, StreamContract, Token
from runnel.protocol.scripts import Call, sources

AGREEMENT = StreamContract(16, "xxh64")
ENTRY = [b"msgpack", b"\x83\xa8order_id\xcd\x30\x39\xaacreated_at\xb42026-01-01T00:00:00Z"]
#: Microseconds from which a call's CPU time is told exactly enough.
_LONG = 500
#: A session that no measure outlasts, in ms.
SESSION = 600_000


class Timer:
    """Calls scripts and takes the server's own word for how long each took, in microseconds.

    That is time on the clock. Of calls long enough for the server's CPU time to be told exactly,
    the time for which the machine did something else meanwhile does not count.
    """

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.redis.set_response_callback("INFO", lambda reply, **_: reply)
        for source in sources().values():
            redis.script_load(source.decode())
        looks = [self._look("evalsha")[1] for _ in range(20)]
        #: CPU that one look takes itself.
        self._looking = statistics.median(b - a for a, b in pairwise(looks))

    def call(self, call: Call) -> Any:
        """One call, untimed."""
        return self.redis.execute_command(*call.command())

    def timed(self, call: Call) -> tuple[Any, float]:
        """One call, and its server time."""
        spent, cpu = self._look("evalsha")
        reply = self.call(call)
        spent_then, cpu_then = self._look("evalsha")
        took = spent_then - spent
        return reply, took if took < _LONG else min(took, cpu_then - cpu - self._looking)

    def xadd(self, count: int) -> float:
        """Server time of one bare XADD, from so many of them in pipelines."""
        before = self._look("xadd")[0]
        for _ in range(count // 1000):
            pipeline = self.redis.pipeline(transaction=False)
            for _ in range(1000):
                pipeline.execute_command("XADD", "bare", "*", *ENTRY)
            pipeline.execute()
        self.redis.delete("bare")
        return (self._look("xadd")[0] - before) / count

    def _look(self, command: str) -> tuple[float, float]:
        """Microseconds that the command has taken so far, and the server's CPU."""
        told = dict(
            line.split(":", 1)
            for line in self.redis.info("commandstats", "cpu").decode().splitlines()
            if ":" in line
        )
        fields = dict(
            pair.split("=") for pair in told.get(f"cmdstat_{command}", "usec=0").split(",")
        )
        cpu = float(told["used_cpu_user_main_thread"]) + float(told["used_cpu_sys_main_thread"])
        return float(fields["usec"]), cpu * 1e6


class Partition:
    """A partition with a hundred processors, which is the most there may be, and a claimed one."""

    def __init__(self, timer: Timer, name: str, entries: int = 0, size: int = 100_000) -> None:
        self.timer = timer
        self.prefix = f"runnel:{{bench:{name}:0}}:{name}"
        self.size = size
        self.place = PartitionKeys(self.prefix, "p0")
        self.sequence = 0
        for number in range(100):
            place = PartitionKeys(self.prefix, f"p{number}")
            timer.call(protocol.register(place, AGREEMENT, "0"))
        self.add(entries)
        self.nonce = secrets.token_hex(16)
        self.grant = 1
        claimed = protocol.read_claim(timer.call(self.claim()))
        self.token = Token(claimed.epoch, self.nonce)

    def claim(self) -> Call:
        """The next claim."""
        self.grant += 1
        self.nonce = secrets.token_hex(16)
        return protocol.claim(self.place, AGREEMENT, "m", self.grant, self.nonce)

    def append(self, count: int, producer: str = "x") -> Call:
        """The next append of this producer, or a new one's first."""
        sequence = 1
        if producer == "x":
            self.sequence += 1
            sequence = self.sequence
        entries = [ENTRY] * count
        return protocol.append(
            self.prefix, AGREEMENT, self.size, "refuse", producer, sequence, entries
        )

    def add(self, count: int) -> None:
        """Put so many entries in."""
        for first in range(0, count, 500):
            self.timer.call(self.append(min(500, count - first)))

    def ids(self) -> list[str]:
        """The ids of all entries."""
        return [entry[0].decode() for entry in self.timer.redis.xrange(f"{self.prefix}:log")]

    def pass_all(self) -> None:
        """Every processor has finished everything, so that retention may remove it."""
        last = self.ids()[-1]
        for number in range(100):
            self.timer.redis.hset(f"{self.prefix}:meta", f"checkpoint:p{number}", last)


def xadd(timer: Timer, repeats: int) -> list[float]:
    return [timer.xadd(20_000) for _ in range(repeats)]


def append(timer: Timer, repeats: int) -> list[float]:
    """1,000 entries into a full partition: 1,000 go. A new producer each time, of 1,100."""
    partition = Partition(timer, "append", 3000, 3000)
    for number in range(1100):
        timer.redis.hset(f"{partition.prefix}:producers", f"other{number}", f"1 {number + 1}-0 1")
    spent = []
    for number in range(repeats):
        partition.pass_all()
        spent.append(timer.timed(partition.append(1000, f"new{number}"))[1])
        for more in range(100):  # Those that were forgotten.
            timer.redis.hset(
                f"{partition.prefix}:producers", f"more{number}.{more}", f"1 {more + 1}-0 1"
            )
    return spent


def append_one(timer: Timer, repeats: int) -> list[float]:
    """The common case: one entry, there is room."""
    partition = Partition(timer, "append-one", 1000)
    return [timer.timed(partition.append(1))[1] for _ in range(repeats)]


def commit(timer: Timer, repeats: int) -> list[float]:
    partition = Partition(timer, "commit", repeats)
    ids = ["0-0", *partition.ids()]
    return [
        timer.timed(protocol.commit(partition.place, partition.token, CheckpointMove(*pair, 1)))[1]
        for pair in pairwise(ids)
    ]


def emit(timer: Timer, repeats: int) -> list[float]:
    """200 dead letters into a full stream: 200 go."""
    partition = Partition(timer, "emit", repeats)
    sink = Partition(timer, "emit-sink", 1000, 1000)
    ids, spent = ["0-0", *partition.ids()], []
    for pair in islice(pairwise(ids), repeats):
        sink.pass_all()
        call = protocol.emit(
            partition.place,
            partition.token,
            CheckpointMove(*pair, 1),
            sink.prefix,
            1000,
            "refuse",
            [ENTRY] * 200,
        )
        spent.append(timer.timed(call)[1])
    return spent


def claim(timer: Timer, repeats: int) -> list[float]:
    partition = Partition(timer, "claim", 1000)
    return [timer.timed(partition.claim())[1] for _ in range(repeats)]


def register(timer: Timer, repeats: int) -> list[float]:
    """The hundredth processor."""
    partition, spent = Partition(timer, "register", 1000), []
    place = PartitionKeys(partition.prefix, "p99")
    for _ in range(repeats):
        timer.call(protocol.remove(place))
        spent.append(timer.timed(protocol.register(place, AGREEMENT, "$"))[1])
    return spent


def attempt(timer: Timer, repeats: int) -> list[float]:
    partition = Partition(timer, "attempt", 1)
    event, error = partition.ids()[0], ("Error" * 20, "x" * 1000)
    return [
        timer.timed(
            protocol.attempt(partition.place, partition.token, "quarantine", event, number, error)
        )[1]
        for number in range(repeats)
    ]


def declare(timer: Timer, repeats: int) -> list[float]:
    return [
        timer.timed(protocol.declare(f"runnel:{{bench:agree{number}:0}}:agree", AGREEMENT))[1]
        for number in range(repeats)
    ]


def describe(timer: Timer, repeats: int) -> list[float]:
    partition = Partition(timer, "describe", 1000)
    return [timer.timed(protocol.describe(partition.place))[1] for _ in range(repeats)]


def pause(timer: Timer, repeats: int) -> list[float]:
    partition = Partition(timer, "pause", 1)
    return [timer.timed(protocol.pause(partition.place))[1] for _ in range(repeats)]


def resume(timer: Timer, repeats: int) -> list[float]:
    partition, spent = Partition(timer, "resume", 1), []
    for _ in range(repeats):
        timer.call(protocol.pause(partition.place))
        spent.append(timer.timed(protocol.resume(partition.place))[1])
    return spent


def remove(timer: Timer, repeats: int) -> list[float]:
    partition = Partition(timer, "remove", 1000)
    return [
        timer.timed(protocol.remove(PartitionKeys(partition.prefix, f"p{number}")))[1]
        for number in range(repeats)
    ]


def delete(timer: Timer, repeats: int) -> list[float]:
    found = []
    for number in range(max(2, repeats // 4)):
        partition = Partition(timer, f"delete{number}", 1000)
        found.append(timer.timed(protocol.delete(partition.prefix))[1])
    return found


def seek(timer: Timer, repeats: int) -> list[float]:
    """The middle of 2,000 entries: as many as are looked at."""
    partition = Partition(timer, "seek", 2000)
    middle = partition.ids()[1000]
    return [
        timer.timed(protocol.seek(partition.place, middle, None, secrets.token_hex(16)))[1]
        for _ in range(repeats)
    ]


def elect(timer: Timer, repeats: int) -> list[float]:
    return [timer.timed(protocol.elect("bench", "m", "n", 1000))[1] for _ in range(repeats)]


def tick(timer: Timer, repeats: int) -> list[float]:
    """Of a thousand tasks."""
    for number in range(999):
        timer.call(protocol.tick("bench", f"task{number}", 1, "n", "* * * * *"))
    return [
        timer.timed(protocol.tick("bench", "task", number + 1, "n", "* * * * *"))[1]
        for number in range(repeats)
    ]


def check_acl(timer: Timer, repeats: int) -> list[float]:
    """A thousand commands."""
    words = tuple(word for _ in range(1000) for word in (4, "HSET", "runnel:key", "field", "value"))
    return [timer.timed(Call("check_acl", (), words))[1] for _ in range(max(2, repeats // 4))]


class Group:
    """Members in conversation with `sync`."""

    def __init__(self, timer: Timer, name: str, partitions: int) -> None:
        self.timer = timer
        self.name = f"runnel:{{bench:{name}@p}}"
        self.partitions = partitions
        self.members: list[Membership] = []
        self.generation = 1
        #: Server time of each call that changed who holds or should hold what.
        self.changes: list[float] = []

    def join(self) -> float:
        """One more member. It waits for nobody: 0 ms to collect. Server time of its call."""
        self.members.append(self._member(f"m{len(self.members):03}"))
        return self.sync(self.members[-1])

    def leave(self) -> float:
        """The last one goes. Server time of its call."""
        return self.sync(self.members.pop(), leave=True)

    def sync(self, member: Membership, leave: bool = False) -> float:
        """One call of `sync`; what it asks for is done at once. Returns its server time."""
        reported = member.reported()
        number, call = member.next_call("leave" if leave else "stay")
        reply, spent = self.timer.timed(call)
        synced = protocol.read_sync(reply)
        orders = member.replied(number, reported, synced)
        for grant in orders.claim:
            member.claimed(grant.partition, grant.number)
        for partition in orders.drain:
            member.let_go(partition, member.held[partition])
        if synced.generation != self.generation:
            self.generation = synced.generation
            self.changes.append(spent)
        return spent

    def settle(self) -> None:
        """Until nobody has anything to give back or to get."""
        while True:
            generation = self.generation
            for each in self.members:
                self.sync(each)
            if generation == self.generation and not any(m.must_report for m in self.members):
                return

    def _member(self, name: str) -> Membership:
        return Membership(
            self.name,
            self.partitions,
            (SESSION, SESSION, 0),
            (name, secrets.token_hex(8), "host 1 python 1.0"),
        )

    def assemble(self, members: int) -> None:
        """So many members that share the partitions, as if they had joined.

        One joins; the others and their shares are written as copies of what the script has stored
        for it. Joining one by one would take a rebalance for each.
        """
        redis = self.timer.redis
        plan, known, sessions = (f"{self.name}:{key}" for key in ("plan", "members", "sessions"))
        self.join()
        self.settle()
        first, incarnation, _ = self.members[0].member
        grants = self.members[0].held
        record, ends = redis.hget(known, first).decode(), redis.zscore(sessions, first)
        stored = {key.decode(): text.decode() for key, text in redis.hgetall(plan).items()}
        self.members = [self._member(f"m{number:03}") for number in range(members)]
        for number, member in enumerate(self.members):
            name, own, _ = member.member
            redis.hset(known, name, record.replace(incarnation, own))
            redis.zadd(sessions, {name: ends})
            share = range(number, self.partitions, members)
            fields = {f"p:{p}": stored[f"p:{p}"].replace(first, name) for p in share}
            fields[f"grants:{name}"] = " ".join(f"{p} {grants[p]} 1" for p in share)
            redis.hset(plan, mapping=fields)
            for partition in share:
                member.claimed(partition, grants[partition])
            for _ in range(10):  # More calls than the first has made.
                member.next_call()


def sync_steady(members: int, partitions: int, timer: Timer, repeats: int) -> list[float]:
    """A heartbeat of each of so many members that share the partitions, a hundred at the least."""
    group = Group(timer, "steady", partitions)
    group.assemble(members)
    return [group.sync(each) for _ in range(max(1, 100 // members)) for each in group.members]


def sync_rebalance(members: int, timer: Timer, repeats: int) -> list[float]:
    """Such a group with 1,000 partitions: each call that changes something when a member joins, and
    when one goes."""
    group = Group(timer, "rebalance", 1000)
    group.assemble(members)
    for _ in range(repeats // 10):
        group.join()
        group.settle()
        group.leave()
        group.settle()
    return group.changes


def sync_alone(timer: Timer, repeats: int) -> list[float]:
    """A heartbeat of one member that holds 10,000 partitions."""
    group = Group(timer, "alone", 10_000)
    group.assemble(1)
    return [group.sync(group.members[0]) for _ in range(max(2, repeats // 10))]


def sync_largest(timer: Timer, repeats: int) -> list[float]:
    """A member leaves a group of 1,000 that share 10,000 partitions, and another joins."""
    group = Group(timer, "largest", 10_000)
    group.assemble(1000)
    spent = []
    for _ in range(max(2, repeats // 10)):
        spent += [group.leave(), group.join()]
    return spent


def describe_group(timer: Timer, repeats: int) -> list[float]:
    """Of a group of 1,000 members and 10,000 partitions."""
    group = Group(timer, "describe_group", 10_000)
    group.assemble(1000)
    return [
        timer.timed(protocol.describe_group(group.name))[1] for _ in range(max(2, repeats // 10))
    ]


def revoke(timer: Timer, repeats: int) -> list[float]:
    """A thousand partitions."""
    group, spent = Group(timer, "revoke", 1000), []
    group.join()
    for _ in range(max(2, repeats // 10)):
        spent.append(timer.timed(protocol.revoke(group.name, range(1000)))[1])
        group.settle()
    return spent


#: What is measured, in the order of the table.
CASES: dict[str, Callable[[Timer, int], list[float]]] = {
    "xadd": xadd,
    "append-one": append_one,
    "append": append,
    "commit": commit,
    "emit": emit,
    "claim": claim,
    "register": register,
    "attempt": attempt,
    "declare": declare,
    "describe": describe,
    "pause": pause,
    "resume": resume,
    "remove": remove,
    "delete": delete,
    "seek": seek,
    "elect": elect,
    "tick": tick,
    "check_acl": check_acl,
    "revoke": revoke,
    "describe_group": describe_group,
    "sync-steady-1": partial(sync_steady, 1, 1000),
    "sync-steady-10": partial(sync_steady, 10, 1000),
    "sync-steady": partial(sync_steady, 100, 1000),
    "sync-steady-1000": partial(sync_steady, 1000, 10_000),
    "sync-rebalance-10": partial(sync_rebalance, 10),
    "sync-rebalance": partial(sync_rebalance, 100),
    "sync-alone": sync_alone,
    "sync-largest": sync_largest,
}


def main(names: Sequence[str], repeats: int) -> None:
    """Measure these and say so, each on an empty server."""
    redis = Redis.from_url(job().url, protocol=2)
    timer = Timer(redis)
    for name in names:
        redis.flushall()
        say(spent=CASES[name](timer, repeats if name != "xadd" else 5))


if __name__ == "__main__":
    main(sys.argv[2:], int(sys.argv[1]))
