"""Every field of a report of `inspect`, and when it is null."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import keys, protocol
from runnel.errors import Mismatch
from runnel.operations.inspection import Declared, inspect
from runnel.preflight.server import ServerInfo
from runnel.protocol import CheckpointMove, PartitionKeys, StreamContract, Token
from runnel.protocol.scripts import Scripts
from tests.primaries import every_key

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
        return await inspect(self.redis, SERVER, self.app, **options)

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


@pytest.fixture
async def shop(redis: Redis, app_name: str) -> Shop:
    return Shop(redis, app_name)


async def test_a_working_processor_shows_every_field(shop: Shop) -> None:
    await shop.open()
    ids = await shop.send(1, 3)
    await shop.work()
    move = CheckpointMove("0-0", ids[0], 1)
    await shop.scripts.call(protocol.commit(shop.keys(1), shop.tokens[1], move))
    seen = await shop.seen()
    assert seen["schema"] == "runnel.inspect/1"
    assert abs(seen["at_ms"] - await shop.now()) < 5000
    assert seen["server"] == {"kind": "valkey", "version": "9.1.2", "mode": "standalone"}
    (processor,) = seen["processors"]
    rows = processor.pop("partitions")
    behind = processor.pop("lag_ms")
    assert processor == {
        "app": shop.app,
        "name": "printer",
        "stream": "orders",
        "state": "ok",
        "lag_events": 2,
        "dead_letters": None,
    }
    assert seen["totals"] == {
        "lag_events": 2,
        "lag_ms": behind,
        "unassigned": 0,
        "quarantined": 0,
        "failing": 0,
        "dead_letters": 0,
        "members": 1,
    }
    row = rows[1]
    assert 0 < row.pop("session_left_ms") <= 10_000
    assert 0 <= row.pop("lag_ms") == behind
    assert 0 <= row.pop("current_event_ms") <= behind
    assert row == {
        "id": 1,
        "state": "owned",
        "owner": "w1",
        "epoch": shop.tokens[1].epoch,
        "checkpoint": ids[0],
        "last": ids[2],
        "lag_events": 2,
        "processed": 1,
        "lost": 0,
        "attempts": 0,
        "tenures": 0,
        "failing": False,
        "error": None,
    }
    assert (rows[0]["checkpoint"], rows[0]["last"]) == ("0-0", "0-0")
    assert (rows[0]["lag_events"], rows[0]["lag_ms"], rows[0]["current_event_ms"]) == (0, 0, 0)
    (member,) = seen["members"]
    assert 0 <= member.pop("last_heartbeat_ms") < 10_000
    assert member == {
        "id": "w1",
        "app": shop.app,
        "processor": "printer",
        "host": "host",
        "pid": 7,
        "lang": "python",
        "version": "1.0",
        "partitions": [0, 1, 2, 3],
    }
    (stream,) = seen["streams"]
    partitions = stream.pop("partitions")
    assert stream == {"app": shop.app, "name": "orders", "partition_count": 4, "length": 3}
    assert partitions[1] == {"id": 1, "length": 3, "first": ids[0], "last": ids[2]}
    assert partitions[0] == {"id": 0, "length": 0, "first": None, "last": "0-0"}


async def test_without_members_it_is_down_and_partitions_are_unassigned(shop: Shop) -> None:
    await shop.open()
    await shop.send(0, 2)
    seen = await shop.seen()
    (processor,) = seen["processors"]
    assert (processor["state"], processor["lag_events"]) == ("down", 2)
    assert {row["state"] for row in processor["partitions"]} == {"unassigned"}
    assert (seen["totals"]["unassigned"], seen["totals"]["members"], seen["members"]) == (4, 0, [])
    row = processor["partitions"][0]
    assert row["lag_ms"] >= 0
    for name in ("owner", "session_left_ms", "current_event_ms", "epoch"):
        assert row[name] is None


async def test_what_is_unknown_is_null_and_makes_its_total_null(shop: Shop) -> None:
    await shop.open()
    await shop.send(0, 2)
    await shop.redis.xgroup_destroy(shop.keys(0).log, "printer")
    seen = await shop.seen()
    (processor,) = seen["processors"]
    rows = processor["partitions"]
    assert [row["lag_events"] for row in rows] == [None, 0, 0, 0]
    assert rows[0]["lag_ms"] is not None
    assert (processor["lag_events"], seen["totals"]["lag_events"]) == (None, None)
    await shop.redis.delete(shop.keys(0).state)
    seen = await shop.seen()
    row = seen["processors"][0]["partitions"][0]
    assert (row["checkpoint"], row["lag_ms"], seen["totals"]["lag_ms"]) == (None, None, None)


async def test_the_lag_is_0_if_the_newest_entry_was_deleted_and_all_others_were_read(
    shop: Shop,
) -> None:
    first, *deleted = await shop.send(0, 3)
    await shop.redis.xdel(shop.keys(0).log, *deleted)
    await shop.open()
    await shop.work()
    move = CheckpointMove("0-0", first, 1)
    await shop.scripts.call(protocol.commit(shop.keys(0), shop.tokens[0], move))
    assert (await shop.row(0))["lag_events"] == 0


async def test_a_deleted_entry_that_is_still_to_be_counted_leaves_the_lag_unknown(
    shop: Shop,
) -> None:
    await shop.open()
    await shop.work()
    first, newest = await shop.send(0, 2)
    await shop.redis.xdel(shop.keys(0).log, newest)
    move = CheckpointMove("0-0", first, 1)
    await shop.scripts.call(protocol.commit(shop.keys(0), shop.tokens[0], move))
    assert (await shop.row(0))["lag_events"] is None


async def test_the_lag_is_unknown_if_all_entries_were_deleted(
    shop: Shop,
) -> None:
    await shop.open()
    await shop.work()
    sent = await shop.send(0, 3)
    await shop.redis.xdel(shop.keys(0).log, *sent)
    row = await shop.row(0)
    assert (row["lag_events"], row["lag_ms"]) == (None, 0)


async def test_a_quarantined_and_a_paused_partition_degrade(shop: Shop) -> None:
    await shop.open()
    (event,) = await shop.send(2)
    await shop.work()
    error = ("ValueError", "2 is not wanted")
    attempt = protocol.attempt(shop.keys(2), shop.tokens[2], "quarantine", event, 3, error)
    await shop.scripts.call(attempt)
    (processor,) = (await shop.seen())["processors"]
    row = processor["partitions"][2]
    assert processor["state"] == "degraded"
    assert (row["state"], row["attempts"], row["current_event_ms"]) == ("quarantined", 3, None)
    assert 0 <= await shop.now() - row["error"].pop("at_ms") < 5000
    assert row["error"] == {"type": error[0], "message": error[1], "event": event}
    assert (await shop.seen())["totals"]["quarantined"] == 1
    await shop.scripts.call(protocol.resume(shop.keys(2)))
    (processor,) = (await shop.seen())["processors"]
    assert (processor["state"], processor["partitions"][2]["error"]) == ("ok", None)
    await shop.scripts.call(protocol.pause(shop.keys(3)))
    (processor,) = (await shop.seen())["processors"]
    assert (processor["state"], processor["partitions"][3]["state"]) == ("degraded", "paused")


async def fail(shop: Shop, partition: int, event: str, attempts: int = 1) -> None:
    error = ("ValueError", "not wanted")
    token = shop.tokens[partition]
    call = protocol.attempt(shop.keys(partition), token, "failure", event, attempts, error)
    await shop.scripts.call(call)


async def test_a_processor_that_keeps_failing_is_not_ok(shop: Shop) -> None:
    await shop.open()
    first, _ = await shop.send(2, 2)
    await shop.work()
    await fail(shop, 2, first)
    seen = await shop.seen()
    row = seen["processors"][0]["partitions"][2]
    assert (row["state"], row["failing"], row["attempts"]) == ("owned", True, 1)
    assert (seen["processors"][0]["state"], seen["totals"]["failing"]) == ("degraded", 1)
    # Long ago, and still there: it is as bad.
    await shop.set(2, error_at=await shop.now() - 3_600_000)
    assert (await shop.row(2))["failing"]
    move = CheckpointMove("0-0", first, 1)
    await shop.scripts.call(protocol.commit(shop.keys(2), shop.tokens[2], move))
    (processor,) = (await shop.seen())["processors"]
    assert (processor["state"], processor["partitions"][2]["failing"]) == ("ok", False)
    # A handler that fails before its first event: as long as it does, or anything waits for it.
    await fail(shop, 1, "0-0", 0)
    assert (await shop.seen())["processors"][0]["state"] == "degraded"
    await shop.set(1, error_at=await shop.now() - 3_600_000)
    assert (await shop.seen())["processors"][0]["state"] == "ok"
    await shop.send(1)
    assert (await shop.seen())["processors"][0]["state"] == "degraded"


async def test_workers_that_die_one_after_the_other_degrade(shop: Shop) -> None:
    await shop.open()
    await shop.work()
    await shop.set(3, tenures=5)
    assert (await shop.seen())["processors"][0]["state"] == "ok"
    await shop.send(3)
    await shop.set(3, tenures=1)
    assert (await shop.seen())["processors"][0]["state"] == "ok"
    await shop.set(3, tenures=2)
    assert (await shop.seen())["processors"][0]["state"] == "degraded"


async def test_an_id_ahead_of_the_clock_hides_no_stall_and_gives_no_age(shop: Shop) -> None:
    await shop.open()
    ahead = await shop.now() + 3_600_000
    log = shop.keys(2).log
    await shop.redis.xadd(log, {"json": "{}"}, id=f"{ahead}-0")
    await shop.send(2, 2)
    await shop.work()
    await shop.set(2, moved_at=await shop.now() - 90_000)
    row = await shop.row(2)
    assert (row["lag_events"], row["lag_ms"]) == (3, None)
    assert 90_000 <= row["current_event_ms"] < 120_000
    seen = await shop.seen()
    assert (seen["processors"][0]["state"], seen["totals"]["lag_ms"]) == ("stalled", None)
    # A little ahead is the clock's own unrest.
    near = await shop.now() + 400
    await shop.redis.xadd(shop.keys(1).log, {"json": "{}"}, id=f"{near}-0")
    assert (await shop.row(1))["lag_ms"] == 0


@pytest.mark.parametrize("deleted", [0, 2])
async def test_what_was_dropped_leaves_the_lag_at_once(shop: Shop, deleted: int) -> None:
    await shop.open()
    await shop.send(1, 9)
    await shop.work()
    prefix, log = shop.keys(1).prefix, shop.keys(1).log
    entries = [[b"json", b"{}"]] * 7
    call = protocol.append(prefix, CONTRACT, 10, "drop_oldest", "p", 1, entries)
    await shop.scripts.call(call)
    left: Any = await shop.redis.xrange(log)
    if deleted:
        await shop.redis.xdel(log, *(id_ for id_, _ in left[1 : 1 + deleted]))
    row = await shop.row(1)
    assert row["lag_events"] == await shop.redis.xlen(log) == len(left) - deleted


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
    entry = [[b"json", b"{}"]]
    place = shop.keys(partition)
    await shop.scripts.call(protocol.emit(place, token, move, sink, 100, "refuse", entry))


async def test_dead_letters_are_shown_until_a_processor_has_read_them(shop: Shop) -> None:
    await shop.open()
    await dead(shop)
    ids = await shop.send(1, 3)
    await shop.work()

    async def dead_letters() -> tuple[str, Any, int]:
        seen = await shop.seen()
        row = next(each for each in seen["processors"] if each["name"] == "printer")
        return row["state"], row["dead_letters"], seen["totals"]["dead_letters"]

    sink = "orders.printer.dead"
    assert await dead_letters() == ("ok", {"stream": sink, "waiting": 0, "readers": []}, 0)
    await skip(shop, 1, "0-0", ids[0])
    await skip(shop, 1, ids[0], ids[1])
    assert await dead_letters() == ("degraded", {"stream": sink, "waiting": 2, "readers": []}, 2)
    await dead(shop, "fast", "slow")
    assert (await dead_letters())[1:] == (
        {"stream": sink, "waiting": 2, "readers": ["fast", "slow"]},
        2,
    )
    prefix = keys.partition(shop.app, "orders", 1, sink)
    log: Any = await shop.redis.xrange(keys.log(prefix))
    for reader, count in (("fast", 2), ("slow", 1)):
        place, last = PartitionKeys(prefix, reader), log[count - 1][0].decode()
        claim = protocol.claim(place, CONTRACT, "w1", 1, NONCE)
        token = Token(protocol.read_claim(await shop.scripts.call(claim)).epoch, NONCE)
        await shop.scripts.call(protocol.commit(place, token, CheckpointMove("0-0", last, count)))
    assert (await dead_letters())[2] == 1
    place = PartitionKeys(prefix, "slow")
    await shop.scripts.call(
        protocol.commit(place, token, CheckpointMove(last, log[1][0].decode(), 1))
    )
    assert await dead_letters() == (
        "ok",
        {"stream": sink, "waiting": 0, "readers": ["fast", "slow"]},
        0,
    )


def described(value: Any, path: str = "") -> dict[str, set[str]]:
    """The path of each value in a JSON document, with the JSON types found there."""
    names = {dict: "object", list: "array", str: "string", int: "integer", bool: "boolean"}
    found = {path: {names.get(type(value), "null")}}
    inside: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        inside = [(f"{path}.{name}".lstrip("."), each) for name, each in value.items()]
    elif isinstance(value, list):
        inside = [(f"{path}[]", each) for each in value]
    for name, each in inside:
        for below, types in described(each, name).items():
            found.setdefault(below, set()).update(types)
    return found


async def test_the_documentation_lists_every_key_of_the_report(shop: Shop) -> None:
    await shop.open()
    await dead(shop, "reader")
    ids = await shop.send(1, 2)
    await shop.work()
    await skip(shop, 1, "0-0", ids[0])
    error = ("ValueError", "no price")
    attempt = protocol.attempt(shop.keys(1), shop.tokens[1], "quarantine", ids[0], 3, error)
    await shop.scripts.call(attempt)
    page = (Path(__file__).parent.parent.parent / "docs/operations.md").read_text()
    rows = re.findall(r"^\| `([a-z_.[\]]+)` \| ([a-z ]+) \|", page, re.M)
    listed = {key: set(types.split(" or ")) for key, types in rows}
    found = described(json.loads(json.dumps(await shop.seen())))
    plain = {
        "",
        *(key for key, types in found.items() if key.endswith("[]") and types == {"object"}),
    }
    found = {key: types for key, types in found.items() if key not in plain}
    assert len(rows) == len(listed)
    assert sorted(listed) == sorted(found)
    assert {key: types for key, types in found.items() if not types <= listed[key]} == {}


async def test_a_sink_with_another_name_is_found_through_the_code_that_declares_it(
    shop: Shop,
) -> None:
    await shop.open()
    ids = await shop.send(1, 1)
    await shop.work()
    sink = keys.partition(shop.app, "orders", 1, "lost")
    move, place = CheckpointMove("0-0", ids[0], 1), shop.keys(1)
    await shop.scripts.call(
        protocol.emit(place, shop.tokens[1], move, sink, 100, "refuse", [[b"json", b"{}"]])
    )
    pair = ("orders", "printer")
    streams = {"orders": (COUNT, "orders"), "lost": (COUNT, "orders")}
    declared = Declared(streams, [pair], {pair: "lost"})
    (processor,) = (await shop.seen(declared=declared))["processors"]
    assert processor["dead_letters"] == {"stream": "lost", "waiting": 1, "readers": []}


async def test_a_partition_that_its_owner_must_release_is_moving(shop: Shop) -> None:
    await shop.open()
    grants = await shop.work()
    await shop.join("w2")
    await shop.join("w1", 2, grants)
    (processor,) = (await shop.seen())["processors"]
    states = [row["state"] for row in processor["partitions"]]
    assert sorted(states) == ["moving", "moving", "owned", "owned"]
    assert {row["owner"] for row in processor["partitions"]} == {"w1"}
    assert processor["state"] == "ok"
    assert (await shop.seen())["totals"]["members"] == 2


async def test_lost_events_are_shown(shop: Shop) -> None:
    await shop.open()
    await shop.set(0, lost=7)
    assert (await shop.row(0))["lost"] == 7


async def test_a_partition_stalls_if_its_current_event_takes_long(shop: Shop) -> None:
    await shop.open()
    await shop.send(1)
    await shop.work()
    await shop.set(1, moved_at=await shop.now() - 90_000)
    # The event came after the checkpoint had moved for the last time: it counts from then.
    assert (await shop.row(1))["current_event_ms"] < 30_000
    old = await shop.now() - 300_000
    log = shop.keys(2).log
    await shop.redis.xadd(log, {"json": "{}"}, id=f"{old}-0")
    await shop.set(2, moved_at=await shop.now() - 90_000)
    row = await shop.row(2)
    assert 90_000 <= row["current_event_ms"] < 120_000
    assert (await shop.seen())["processors"][0]["state"] == "stalled"
    (patient,) = (await shop.seen(stalled_after_ms=200_000))["processors"]
    assert patient["state"] == "ok"


@pytest.mark.parametrize("by", ["drop_oldest", "others"])
async def test_a_partition_stalls_though_its_current_event_was_dropped(shop: Shop, by: str) -> None:
    await shop.open()
    await shop.send(1, 9)
    await shop.work()
    await shop.set(1, moved_at=await shop.now() - 90_000)
    assert (await shop.row(1))["current_event_ms"] < 30_000
    prefix, policy = shop.keys(1).prefix, "drop_oldest"
    call = protocol.append(prefix, CONTRACT, 10, policy, "p", 1, [[b"json", b"{}"]] * 7)
    if by == "others":
        await shop.redis.xtrim(keys.log(prefix), 3, approximate=False)
    else:
        await shop.scripts.call(call)
    assert 90_000 <= (await shop.row(1))["current_event_ms"] < 120_000
    assert (await shop.seen())["processors"][0]["state"] == "stalled"


async def test_without_a_known_move_nothing_stalls(shop: Shop) -> None:
    await shop.open()
    old = await shop.now() - 300_000
    await shop.redis.xadd(shop.keys(2).log, {"json": "{}"}, id=f"{old}-0")
    await shop.work()
    await shop.redis.hdel(shop.keys(2).state, "moved_at")
    assert (await shop.row(2))["current_event_ms"] is None
    assert (await shop.seen())["processors"][0]["state"] == "ok"


async def test_what_the_code_declares_is_shown_before_a_worker_has_started(shop: Shop) -> None:
    declared = Declared({"orders": (2, "orders")}, [("orders", "printer")])
    seen = await shop.seen(declared=declared)
    (processor,) = seen["processors"]
    assert (processor["state"], processor["lag_events"]) == ("down", None)
    assert [row["checkpoint"] for row in processor["partitions"]] == [None, None]
    assert seen["streams"][0]["partition_count"] == 2
    assert await every_key(shop.redis) == []


async def test_another_programs_key_hides_one_partition_only(shop: Shop) -> None:
    await shop.open()
    state = shop.keys(1).state
    await shop.redis.delete(state)
    await shop.redis.set(state, "not ours")
    (processor,) = (await shop.seen())["processors"]
    row = processor["partitions"][1]
    assert (row["checkpoint"], row["lag_events"]) == (None, None)
    assert row["error"]["type"] == "WRONGTYPE"
    assert processor["partitions"][0]["lag_events"] == 0


@pytest.mark.fault(50)
async def test_keys_of_a_newer_protocol_are_not_read(shop: Shop) -> None:
    await shop.open()
    await shop.redis.hset(keys.meta(shop.keys(3).prefix), "protocol", "2")
    with pytest.raises(Mismatch) as caught:
        await shop.seen()
    assert caught.value.details == {"field": "protocol", "stored": "2", "given": "1"}


async def test_several_apps_are_distinguished(redis: Redis) -> None:
    one, two = Shop(redis, "one"), Shop(redis, "two")
    await one.open()
    await two.open()
    await two.send(0)
    await one.work("w1")
    await two.work("w1")
    seen = await inspect(redis, SERVER)
    assert [each["app"] for each in seen["processors"]] == ["one", "two"]
    assert (seen["totals"]["members"], seen["totals"]["lag_events"]) == (2, 1)
    assert [each["app"] for each in (await one.seen())["streams"]] == ["one"]
