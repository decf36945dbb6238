"""A small client that speaks the protocol by itself, and in which faults can be planted.

``python -m tests.kit.client worker`` and ``… producer`` run it. The variable PLANT names faults of
`PLANTS`, separated by commas; without one the client is right. It shares no code with Runnel, and
does the least that the rules demand: one connection for calls, one for reads.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from functools import partial
from typing import Any

import xxhash

from tests.kit.link import (
    CONTRACT,
    GROUP_KEYS,
    LIMIT,
    LUA,
    MEMBER,
    PARTITIONS,
    PLANTED,
    SESSION,
    Link,
    Lost,
    Refused,
    keys,
    lost,
    prefix,
    promote,
)


class Lease:
    def __init__(self, partition: int, grant: int) -> None:
        self.partition, self.grant = partition, grant
        self.nonce = secrets.token_hex(16)
        self.queue: list[tuple[str, list[bytes]]] = []
        self.stop = self.suspect = self.stopped = self.open = False
        self.careful = False
        self.version = 0
        self.epoch = 0
        self.done = self.last = self.cursor = self.next_id = ""
        self.exists = True
        self.count = 0
        self.committing: asyncio.Task[None] | None = None
        self.suspected, self.failures, self.deaths, self.unclean = "", 0, 0, 0
        self.promote_at = self.resting_until = 0.0


class Worker:
    def __init__(self) -> None:
        self.calls, self.promotes, self.reads = Link(), Link(), Link(LIMIT + 0.2)
        self.incarnation = secrets.token_hex(12)
        self.leases: dict[int, Lease] = {}
        self.released: list[tuple[int, int, int]] = []
        self.number, self.deadline = 0, 0.0
        self.leaving, self.answered, self.sent = False, True, 0.0
        self.first: tuple[Any, ...] = ()
        self.reported: list[tuple[int, int, int]] = []
        self.wake = asyncio.Event()
        #: A partition has what this client does not know.
        self.refused = False

    async def run(self) -> None:
        if "no-check" not in PLANTED:
            await self.check()
        await self.calls.call("declare", (keys(0)[1],), *CONTRACT)
        for each in range(1 if "no-register" in PLANTED else 0, PARTITIONS):
            await self.register(each)
        reading = asyncio.create_task(self.read())
        await self.heartbeats()
        reading.cancel()

    async def check(self) -> None:
        manifest = json.loads((LUA / "manifest.json").read_text())
        commands = {each["name"]: each["commands"] for each in manifest["scripts"]}
        asked = [
            (*command.split(), *([] if command == "TIME" else [key]))
            for script in ("declare", "register", "claim", "commit", "attempt", "promote")
            for command in commands[script]
            for key in keys(0)
        ]
        words = [word for each in asked for word in (len(each), *each)]
        answers = await self.calls.call("check_acl", (), *words)
        if refused := {each for each, may in zip(asked, answers, strict=True) if may != 1}:
            sys.exit(f"these commands are not allowed: {sorted(refused)}")

    async def register(self, partition: int) -> None:
        await self.calls.call("register", keys(partition), *CONTRACT, "kit", "0")

    def sync(self, action: str) -> tuple[Any, ...]:
        if "same-sync" not in PLANTED or not self.number or action != "stay" or self.answered:
            self.number += 1
        if self.number > 1 or not self.sent:
            self.sent = time.monotonic()
        self.answered, self.reported = False, list(self.released)
        if "forgets" in PLANTED:
            self.released = []
        held = [value for each in self.leases.values() for value in (each.partition, each.grant)]
        gone = [] if "unreported" in PLANTED else [v for each in self.reported for v in each]
        times = (round(SESSION * 1000), 5000, 50)
        member = (MEMBER, self.incarnation, self.number, action, "host 1 test 0")
        return (PARTITIONS, *times, *member, len(held) // 2, *held, *gone)

    def again(self, action: str) -> tuple[Any, ...]:
        """Only the first one is repeated."""
        return self.first if self.number == 1 else self.sync(action)

    async def heartbeats(self) -> None:
        while True:
            action = "stay"
            if self.leaving:
                reported = "unreported" in PLANTED or not self.released
                action = "leave" if reported and not self.leases else "retire"
            self.first = self.sync(action)
            self.wake.clear()
            again = partial(self.again, action)
            reply = await self.calls.call("sync", GROUP_KEYS, *self.first, again=again)
            self.answered = True
            if action == "leave":
                return
            if reply[0] != self.number:
                self.number = max(reply[0], self.number)
                continue
            if "late-clock" in PLANTED:
                self.sent = time.monotonic()
            self.deadline = self.sent + reply[2] / 1000
            self.told(reply[4:], self.reported)
            soon = 0.05 if reply[3] < 0 and self.leaving else reply[3] / 1000
            pause = min(SESSION / 3, soon) if reply[3] >= 0 or self.leaving else SESSION / 3
            try:
                async with asyncio.timeout(pause):
                    await self.wake.wait()
            except TimeoutError:
                pass

    def told(self, grants: list[int], reported: list[tuple[int, int, int]]) -> None:
        told = {grants[i]: (grants[i + 1], grants[i + 2]) for i in range(0, len(grants), 3)}
        for lease in self.leases.values():
            if told.get(lease.partition) != (lease.grant, 1) and "zombie" not in PLANTED:
                lease.stop = True
        for partition, (grant, hold) in told.items():
            known = any(each[:2] == (partition, grant) for each in self.released)
            if partition in self.leases or known:
                continue
            if hold and not self.leaving:
                lease = self.leases[partition] = Lease(partition, grant)
                tasks.append(asyncio.create_task(self.own(lease)))
            elif not hold:
                self.released.append((partition, grant, 0))
        self.released = [each for each in self.released if each not in reported]

    async def own(self, lease: Lease) -> None:
        seen = 0
        try:
            await self.claim(lease)
            while not lease.stop:
                await self.step(lease)
            await self.commit(lease, 1)
        except Refused as error:
            if error.word == "REPLACED":
                raise
            stale = error.word == "STALE_GRANT" and "no-seen" not in PLANTED
            seen = int(error.details.get("seen", 0)) if stale else 0
        del self.leases[lease.partition]
        self.released.append((lease.partition, lease.grant, seen))
        self.wake.set()

    async def claim(self, lease: Lease) -> None:
        accept = ""

        def args() -> tuple[Any, ...]:
            return (*CONTRACT, "kit", MEMBER, lease.grant, lease.nonce, accept)

        def again() -> tuple[Any, ...]:
            if "new-nonce" in PLANTED:
                lease.nonce = secrets.token_hex(16)
            return args()

        while True:
            try:
                reply = await self.calls.call("claim", keys(lease.partition), *args(), again=again)
            except Refused as error:
                if error.word != "MISSING" and error.word != "UNREGISTERED":
                    raise
                await self.register(lease.partition)
                continue
            if reply[8] < 0:
                break
            print(f"partition {lease.partition}: LOST {reply[8]}", file=sys.stderr)
            accept = str(reply[8])
        lease.suspected, lease.failures, lease.deaths = reply[4].decode(), reply[3], reply[12]
        lease.unclean = reply[5]
        if "own-count" in PLANTED:
            lease.failures = 0
        unknown = reply[15] and not PLANTED & {"parked-ignored", "no-due"}
        unknown = unknown or (reply[14] and "outbox-ignored" not in PLANTED)
        lease.epoch, lease.exists, lease.next_id = reply[0], bool(reply[10]), reply[11].decode()
        lease.done = lease.last = lease.cursor = reply[1].decode()
        lease.count, lease.queue, lease.suspect = 0, [], False
        lease.careful |= reply[5] >= 1 and "careless" not in PLANTED
        lease.stopped = bool(reply[6] or reply[7]) and "pause-ignored" not in PLANTED
        lease.version += 1
        if unknown:
            self.refused, lease.stop = True, True
            os.kill(os.getpid(), signal.SIGTERM)
            return
        lease.open = True

    async def step(self, lease: Lease) -> None:
        if "no-promote" not in PLANTED and time.monotonic() >= lease.promote_at:
            lease.promote_at = time.monotonic() + 0.2
            with suppress(Refused):
                await promote(self.promotes, lease.partition)
        over = time.monotonic() >= self.deadline and "no-clock" not in PLANTED
        if lease.stopped or over or time.monotonic() < lease.resting_until:
            await asyncio.sleep(0.02)
        elif lease.queue:
            id_, fields = lease.queue[0]
            if id_ != lease.suspected:
                lease.suspected, lease.failures, lease.deaths = id_, 0, 0
            deadly = lease.deaths > 1 and lease.failures > 3 and "once-more" not in PLANTED
            if deadly:
                await self.attempt(lease, "quarantine")
                return
            if (lease.unclean >= 3 or lease.deaths) and "no-start" not in PLANTED:
                await self.attempt(lease, "start")
            if "early-commit" in PLANTED:
                lease.last, lease.count = id_, lease.count + 1
                await self.commit(lease, 0)
            try:
                await handle(lease.partition, id_, fields)
            except Exception:
                await self.failed(lease)
                return
            lease.queue.pop(0)
            lease.unclean = 0 if lease.deaths else lease.unclean
            if "early-commit" not in PLANTED:
                lease.last, lease.count = id_, lease.count + 1
            if lease.careful or lease.count >= 5 or not lease.queue:
                await self.commit(lease, 0)
        elif lease.suspect:
            await self.commit(lease, 0)
            await self.claim(lease)
        else:
            await asyncio.sleep(0.005)

    async def failed(self, lease: Lease) -> None:
        lease.failures, lease.deaths = lease.failures + 1, 0
        retries = 2 if "few-retries" in PLANTED else 3
        if lease.failures > retries and "endless" not in PLANTED:
            await self.commit(lease, 0)
            await self.attempt(lease, "quarantine")
            return
        if "no-report" not in PLANTED:
            await self.attempt(lease, "failure")
        until = time.monotonic() + 0.5 * 2 ** min(lease.failures - 1, 3)
        if "no-pause" not in PLANTED:
            lease.resting_until = until

    async def attempt(self, lease: Lease, kind: str) -> None:
        error = ("", "") if kind == "start" else ("Failure", "as the record says")
        what = (kind, lease.suspected, lease.failures, *error)
        names = keys(lease.partition)[2:]
        await self.calls.call("attempt", names, lease.epoch, lease.nonce, *what)
        lease.stopped |= kind == "quarantine"

    async def commit(self, lease: Lease, release: int) -> None:
        if not lease.count and not release:
            return
        count = 1 if "wrong-count" in PLANTED and lease.count else lease.count
        move = (lease.epoch, lease.nonce, lease.done, lease.last, count, release)
        lease.done, lease.count = lease.last, 0
        again = lost if "lost-commit" in PLANTED else None
        try:
            _, paused = await self.calls.call(
                "commit", keys(lease.partition), "kit", *move, again=again
            )
            lease.stopped |= bool(paused)
        except Lost:
            pass
        except Refused as error:
            ignored = error.word == "CONFLICT" and "conflict-ignored" in PLANTED
            if not ignored and "zombie" not in PLANTED:
                raise

    async def read(self) -> None:
        while True:
            leases = [
                each
                for each in self.leases.values()
                if each.open and not each.stopped and not each.suspect and len(each.queue) < 100
            ]
            if not leases:
                await asyncio.sleep(0.01)
                continue
            asked = [(each, each.version, each.cursor) for each in leases]
            logs = [keys(each.partition)[0] for each in leases]
            read = ("XREAD", "COUNT", 50, "BLOCK", 100, "STREAMS", *logs, *(c for *_, c in asked))
            looks = [
                ("XRANGE", log, cursor, cursor)
                for log, (*_, cursor) in zip(logs, asked, strict=True)
            ]
            first = "look-first" in PLANTED
            try:
                commands = [*looks, read] if first else [read, *looks]
                replies = await self.reads.once(*commands)
            except OSError:
                await asyncio.sleep(0.03)
                continue
            if any(isinstance(each, Exception) for each in replies):
                await asyncio.sleep(0.03)
                continue
            found = replies.pop(-1 if first else 0)
            entries = {name.decode(): several for name, several in _pairs(found)}
            for (lease, version, cursor), log, look in zip(asked, logs, replies, strict=True):
                if (lease.version, lease.cursor) == (version, cursor):
                    self.take(lease, entries.get(log, []), bool(look))

    def take(self, lease: Lease, entries: list[Any], there: bool) -> None:
        ids = [id_.decode() for id_, _ in entries]
        if not (there if lease.exists else not ids or ids[0] == lease.next_id):
            lease.suspect = True
        elif ids:
            lease.queue += [(id_.decode(), _flat(fields)) for id_, fields in entries]
            lease.cursor, lease.exists = ids[-1], True


def _pairs(found: Any) -> list[tuple[bytes, Any]]:
    if isinstance(found, dict):
        return [(name, lists[0]) for name, lists in found.items()]
    return found or []


def _flat(fields: Any) -> list[bytes]:
    return [x for pair in fields.items() for x in pair] if isinstance(fields, dict) else fields


tries: Counter[str] = Counter()


async def handle(partition: int, id_: str, fields: list[bytes]) -> None:
    codec = fields[0].decode()
    if codec == "msgpack" and "json-only" in PLANTED:
        raise ValueError("this is no JSON")
    if codec == "msgpack":
        import msgpack

        record = msgpack.unpackb(fields[1])
    else:
        record = json.loads(fields[1])
        record = json.loads(record) if isinstance(record, str) else record  # As it was sent.
    if "text-reply" in PLANTED:
        record["text"] = record["text"].encode().decode("latin-1")
    await asyncio.sleep(record["work"] / 1000)
    if "blocking" in PLANTED:
        time.sleep(record.get("block", 0) / 1000)  # noqa: ASYNC251 -- the fault
    elif "impatient" not in PLANTED:
        await asyncio.sleep(record.get("block", 0) / 1000)
    tries[id_] += 1
    if record.get("die") or tries[id_] <= record.get("fail", 0):
        print(json.dumps({"partition": partition, "id": id_, "failed": True}), flush=True)
        if record.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError("as the record says")
    print(json.dumps({"partition": partition, "id": id_, "record": record}), flush=True)


class Producer:
    def __init__(self) -> None:
        self.link = Link(0.5)
        self.locks = [asyncio.Lock() for _ in range(PARTITIONS)]
        self.ids = [secrets.token_hex(16) for _ in range(PARTITIONS)]
        self.sequences = [0] * PARTITIONS

    async def run(self) -> None:
        await self.link.call("declare", (keys(0)[1],), *CONTRACT)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1_000_000)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        async with asyncio.TaskGroup() as group:
            while line := await reader.readline():
                group.create_task(self.send(json.loads(line)))

    async def send(self, record: dict[str, Any]) -> None:
        hash_ = xxhash.xxh64_intdigest(record["key"].encode())
        partition = (
            int(float(hash_) % PARTITIONS) if "float-hash" in PLANTED else hash_ % PARTITIONS
        )
        log, meta, _ = keys(partition)
        payload = json.dumps(record, ensure_ascii=False)
        if "wrong-entry" in PLANTED:
            payload = json.dumps(payload)

        def args() -> tuple[Any, ...]:
            self.sequences[partition] += 1
            who = (self.ids[partition], self.sequences[partition])
            return (*CONTRACT, 300, "refuse", *who, 2, "json", payload)

        def anew() -> tuple[Any, ...]:
            self.ids[partition], self.sequences[partition] = secrets.token_hex(16), 0
            return args()

        async with self.locks[partition]:
            again = anew if "new-append" in PLANTED else None
            sent = args()
            while True:
                try:
                    names = (log, meta, f"{prefix(partition)}:producers")
                    reply = await self.link.call("append", names, *sent, again=again)
                    break
                except Refused as error:
                    if error.word == "OVERDUE" and "no-overdue" not in PLANTED:
                        await promote(self.link, partition)
                        continue
                    if error.word != "FULL" and error.word != "OVERDUE":
                        raise
                    await asyncio.sleep(0.05)
        said = {"key": record["key"], "number": record["number"], "id": reply[1].decode()}
        print(json.dumps(said), flush=True)


tasks: list[asyncio.Task[None]] = []


async def work() -> None:
    worker = Worker()

    def leave() -> None:
        worker.leaving = True
        for each in worker.leases.values():
            each.stop = True
        worker.wake.set()

    if "no-leave" not in PLANTED:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave)
    await worker.run()
    for each in tasks:
        await each
    if worker.refused:
        sys.exit("a partition has parked events or an outbox, which this client does not know")


if __name__ == "__main__":
    asyncio.run(Producer().run() if sys.argv[1:] == ["producer"] else work())
