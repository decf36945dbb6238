"""Direct calls of the scripts, on one server and on a cluster of one node."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel.connection.connect import connect
from tests.primaries import every_key

FOLDER = Path(__file__).parent.parent.parent / "lua"
TAG = "{shop:orders:3}:orders"
GROUP = "runnel:{shop:orders@printer}"
LOG, META, STATE, PRODUCERS, NUMBERS, OUTBOX = (
    f"runnel:{TAG}:{name}"
    for name in ("log", "meta", "processor:printer", "producers", "numbers", "outbox:printer")
)
DELAYED = f"runnel:{TAG}:delayed"
#: The keys of `delete`, if the partition has no tables.
DELETED = [LOG, META, PRODUCERS, NUMBERS, DELAYED]
PARKED = [f"runnel:{TAG}:{name}:printer" for name in ("parked", "parked_keys", "replay")]
POSTPONED = f"runnel:{TAG}:postponed:printer"
#: All keys of what is set aside.
ASIDE = [*PARKED, POSTPONED]
PLAN, MEMBERS, SESSIONS, WAKE = (
    f"{GROUP}:{name}" for name in ("plan", "members", "sessions", "wake")
)
NONCE, OTHER = "0" * 32, "1" * 32


class Raw:
    """Calls scripts with EVALSHA, without Runnel's own client."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    async def call(self, script: str, keys: list[str], *args: str | int) -> Any:
        """One call; replies are decoded."""
        source = (FOLDER / f"{script}.lua").read_bytes()
        await self.redis.script_load(source.decode())
        digest = hashlib.sha1(source, usedforsecurity=False).hexdigest()
        reply = await self.redis.execute_command("EVALSHA", digest, len(keys), *keys, *args)  # type: ignore[no-untyped-call]
        return _decoded(reply)

    async def dump(self) -> dict[bytes, object]:
        """Every key with its contents, to compare before and after.

        Hashes and sorted sets are read and not dumped: in Valkey reading a large one can change the
        order of its fields, and so the bytes of DUMP.
        """
        found: dict[bytes, object] = {}
        for key in await every_key(self.redis):
            kind: Any = await self.redis.type(key)
            if kind == b"hash":
                found[key] = await self.redis.hgetall(key)
            elif kind == b"zset":
                scores: Any = await self.redis.zrange(key, 0, -1, withscores=True)
                found[key] = dict(scores)
            else:
                found[key] = await self.redis.dump(key)
        return found

    async def register(self, start: str = "0", count: int = 8) -> Any:
        return await self.call("register", [LOG, META, STATE], 1, count, "xxh64", "printer", start)

    async def append(
        self, sequence: int, number: int = 1, producer: str = "p", size: int = 1000, **kw: str
    ) -> Any:
        entries: list[str | int] = []
        for i in range(number):
            entries += [2, "msgpack", f"{sequence}.{i}"]
        when_full = kw.get("when_full", "refuse")
        return await self.call(
            "append",
            [LOG, META, PRODUCERS],
            1, 8, "xxh64", size, when_full, producer, sequence, *entries,
        )  # fmt: skip

    async def append_numbered(
        self, numbers: Sequence[int | str], sender: str = "producer:p", size: int = 1000, **kw: str
    ) -> Any:
        """One event for each number; n stands for 0-n. The event carries its number."""
        texts = [str(each) if "-" in str(each) else f"0-{each}" for each in numbers]
        entries = [value for each in texts for value in (each, 2, "msgpack", each)]
        when_full = kw.get("when_full", "refuse")
        return await self.call(
            "append_numbered",
            [LOG, META, NUMBERS],
            1, 8, "xxh64", size, when_full, sender, *entries,
        )  # fmt: skip

    async def append_once(
        self, key: str, body: str = "x", size: int = 1000, window: int = 60_000, **kw: str
    ) -> Any:
        """One event, once under this key."""
        names = [LOG, META, f"runnel:{TAG}:dedupe:{key}"]
        when_full = kw.get("when_full", "refuse")
        args = (1, 8, "xxh64", size, when_full, window, 2, "msgpack", body)
        return await self.call("append_once", names, *args)

    async def append_later(
        self, key: str, *bodies: str, ms: int = 0, size: int = 1000, kind: str = "delay"
    ) -> Any:
        """An event for each body, due after so many ms."""
        names = [META, DELAYED, f"{DELAYED}:{key}"]
        entries = [value for body in bodies or ("x",) for value in (2, "msgpack", body)]
        return await self.call(
            "append_later", names, 1, 8, "xxh64", size, kind, ms, 60_000, *entries
        )

    async def promote(self, size: int = 1000, when_full: str = "refuse") -> Any:
        return await self.call("promote", [LOG, META, DELAYED], 1, 8, "xxh64", size, when_full)

    async def cancel(self, due: int, order: int) -> Any:
        return await self.call("cancel", [META, DELAYED], due, order)

    async def claim(self, grant: int, nonce: str = NONCE, accept: str = "") -> dict[str, Any]:
        reply = await self.call(
            "claim", [LOG, META, STATE], 1, 8, "xxh64", "printer", "me", grant, nonce, accept
        )
        names = (
            "epoch checkpoint processed attempts event unclean_tenures paused quarantined lost "
            "exact checkpoint_exists next_id deaths previous_owner outbox parked replay"
        )
        return dict(zip(names.split(), reply, strict=True))

    async def commit(
        self,
        epoch: int,
        prev: str,
        next_id: str,
        count: int,
        release: int = 0,
        nonce: str = NONCE,
    ) -> Any:
        return await self.call(
            "commit", [LOG, META, STATE], "printer", epoch, nonce, prev, next_id, count, release
        )

    async def ids(self) -> list[str]:
        entries: Any = await self.redis.xrange(LOG)
        return [each[0].decode() for each in entries]

    async def lag(self) -> int | None:
        (group,) = await self.redis.xinfo_groups(LOG)
        lag: int | None = group["lag"]
        return lag

    async def sync(
        self,
        member: str,
        call: int,
        incarnation: str = "",
        held: list[tuple[int, int]] | None = None,
        released: list[tuple[int, int, int]] | None = None,
        **options: Any,
    ) -> tuple[list[int], dict[int, tuple[int, int]]]:
        """The first four integers of the reply; partition -> grant, and 1 to hold, 0 to release."""
        pairs = [each for pair in held or [] for each in pair]
        rest = [each for triple in released or [] for each in triple]
        reply = await self.call(
            "sync",
            [PLAN, MEMBERS, SESSIONS],
            options.get("partitions", 8),
            options.get("session_timeout", 10_000),
            options.get("rebalance_timeout", 5_000),
            options.get("rebalance_delay", 0),
            member,
            incarnation or f"{member}1",
            call,
            options.get("action", "stay"),
            "host 1 test 1",
            len(pairs) // 2,
            *pairs,
            *rest,
        )
        grants = {reply[i]: (reply[i + 1], reply[i + 2]) for i in range(4, len(reply), 3)}
        return reply[:4], grants


def _decoded(reply: Any) -> Any:
    if isinstance(reply, list):
        return [_decoded(each) for each in reply]
    return reply.decode() if isinstance(reply, bytes) else reply


@pytest.fixture(params=["plain", pytest.param("cluster", marks=pytest.mark.cluster)])
async def raw(request: pytest.FixtureRequest) -> AsyncIterator[Raw]:
    """A server that is empty at the start of the test."""
    url = request.getfixturevalue("redis_url" if request.param == "plain" else "cluster_url")
    async with connect(url) as client:
        await client.flushall()
        yield Raw(client)
