"""A stream whose partitions the tests bring into every state that `inspect` shows."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.operations.inspection import inspect
from runnel.preflight.server import ServerInfo
from runnel.protocol import CheckpointMove, PartitionKeys, StreamContract, Token
from runnel.protocol.scripts import Scripts
from tests.inspect_schema import validated

COUNT = 4
CONTRACT = StreamContract(COUNT, "xxh64")
SERVER = ServerInfo("valkey", "9.1.2", "standalone")
NONCE = "n" * 32


class Shop:
    """A stream `orders` with a processor `printer`, whose scripts the tests call themselves."""

    def __init__(self, redis: Redis, app: str) -> None:
        self.redis = redis
        self.app = app
        self.scripts = Scripts(redis)
        self.group = keys.group(app, "orders", "printer")
        self.tokens: dict[int, Token] = {}
        self.sequence = 0

    def keys(self, partition: int) -> PartitionKeys:
        return PartitionKeys(keys.partition(self.app, "orders", partition, "orders"), "printer")

    async def open(self) -> None:
        """Register it, and add it to the registry, as a worker does."""
        await self.redis.sadd(keys.apps(), self.app)
        await self.redis.hset(keys.streams(self.app), "orders", f"{COUNT} orders")
        await self.redis.hset(keys.processors(self.app), "orders@printer", str(COUNT))
        for p in range(COUNT):
            await self.scripts.call(protocol.register(self.keys(p), CONTRACT, "0"))

    async def send(self, partition: int, number: int = 1) -> list[str]:
        """Send events. Returns their ids."""
        self.sequence += 1
        prefix = self.keys(partition).prefix
        entries = [[b"json", b"{}"]] * number
        producer = f"p{self.sequence}"
        call = protocol.append(prefix, CONTRACT, 1000, "refuse", producer, 1, entries)
        return protocol.read_append(await self.scripts.call(call)).ids

    async def join(self, member: str, call: int = 1, holding: dict[int, int] | None = None) -> Any:
        """Send a heartbeat of a member. Returns the reply."""
        held = list((holding or {}).items())
        call_ = protocol.sync(
            self.group, COUNT, (10_000, 30_000, 0), (member, f"{member}1", "host 7 python 1.0"),
            call, "stay", held, (),
        )  # fmt: skip
        return protocol.read_sync(await self.scripts.call(call_))

    async def claim(self, partition: int, member: str, grant: int) -> None:
        """Claim the lease for the member."""
        call = protocol.claim(self.keys(partition), CONTRACT, member, grant, NONCE)
        claimed = protocol.read_claim(await self.scripts.call(call))
        self.tokens[partition] = Token(claimed.epoch, NONCE)

    async def work(self, member: str = "w1") -> dict[int, int]:
        """Join, and claim all that is granted."""
        grants = {each.partition: each.number for each in (await self.join(member)).grants}
        for partition, grant in grants.items():
            await self.claim(partition, member, grant)
        return grants

    async def seen(self, **options: Any) -> dict[str, Any]:
        """The report."""
        return validated(await inspect(self.redis, SERVER, self.app, **options))

    async def row(self, partition: int, **options: Any) -> dict[str, Any]:
        """The row of one partition."""
        (processor,) = (await self.seen(**options))["processors"]
        found: dict[str, Any] = processor["partitions"][partition]
        return found

    async def set(self, partition: int, **fields: object) -> None:
        """Set fields of the partition's state."""
        for name, value in fields.items():
            await self.redis.hset(self.keys(partition).state, name, str(value))

    async def now(self) -> int:
        """The server's time in ms."""
        seconds, micros = await self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000


async def dead(shop: Shop, *readers: str) -> None:
    """A stream of dead letters, and the processors that read it."""
    name = "orders.printer.dead"
    await shop.redis.hset(keys.streams(shop.app), name, f"{COUNT} orders")
    for reader in readers:
        await shop.redis.hset(keys.processors(shop.app), f"{name}@{reader}", str(COUNT))
        for p in range(COUNT):
            place = PartitionKeys(keys.partition(shop.app, "orders", p, name), reader)
            await shop.scripts.call(protocol.register(place, CONTRACT, "0"))


async def skip(shop: Shop, partition: int, prev: str, event: str) -> None:
    sink = keys.partition(shop.app, "orders", partition, "orders.printer.dead")
    move, token = CheckpointMove(prev, event, 1), shop.tokens[partition]
    dead = protocol.Sink(sink, CONTRACT, 100, derived=True)
    letters = protocol.Entries(dead, [[b"json", b"{}"]])
    place = shop.keys(partition)
    await shop.scripts.call(protocol.transact(place, token, move, [letters]))
