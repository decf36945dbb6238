"""A handler process is the handler of an ordinary worker: order, failures, tables, emits."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from runnel import App, Record, keys
from runnel.errors import BurstBlocked, ConfigError, LifespanFailed
from runnel.operations.inspection import inspect
from runnel.operations.stream_admin import create
from runnel.preflight.server import ServerInfo
from runnel.protocol.scripts import Scripts
from runnel.sidecar import handler_slot
from runnel.sidecar.sidecar_app import Sidecar, SidecarApp, streams_of
from runnel.worker.worker import Worker
from tests.sidecars import OK, shell

SERVER = ServerInfo("redis", None, "standalone")


class Order(Record):
    customer: str
    number: int
    photo: bytes = b"\xff"


class Alert(Record):
    customer: str
    text: str


class Here:
    """An app with the streams `orders` and `alerts`, and its workers in shell."""

    def __init__(self, redis: Redis, url: str, name: str, folder: Path) -> None:
        self.redis, self.url, self.folder = redis, url, folder
        settings: dict[str, Any] = {"rebalance_delay": 0.0, "backoff": 0.001}
        self.app = App(name, redis_url=url, **settings)
        count: dict[str, Any] = {"partition_by": "customer", "partition_count": 2}
        self.orders = self.app.stream("orders", record=Order, **count)
        self.alerts = self.app.stream("alerts", record=Alert, **count)
        self.log = folder / "log"

    async def declare(self) -> None:
        """Let Redis know both streams, as `runnel stream create` does."""
        for stream in (self.orders, self.alerts):
            await create(Scripts(self.redis), stream.spec)

    async def send(self, *customers: str) -> None:
        orders = [Order(customer=each, number=n) for n, each in enumerate(customers)]
        await self.orders.send(*orders)

    async def work(self, body: str | Sequence[str], **options: Any) -> None:
        """Run a burst of a worker whose handler runs `body` for each request, or is a command."""
        command = shell(f"echo $line >> {self.log}; {body}") if isinstance(body, str) else body
        sidecar = Sidecar(command, self.app.name, "orders", "p", **{"retries": 1, **options})
        specs = await streams_of(Scripts(self.redis), sidecar)
        made = SidecarApp(sidecar, specs, self.url)
        made.app.configure(rebalance_delay=0.0, backoff=0.001)
        await Worker(made.app).run(burst=True)

    @property
    def requests(self) -> list[dict[str, Any]]:
        """What the handlers have read."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    async def seen(self) -> dict[str, Any]:
        return await inspect(self.redis, SERVER, self.app.name)

    async def error(self) -> str:
        """The error of the only partition that has one."""
        (processor,) = (await self.seen())["processors"]
        (error,) = (row["error"] for row in processor["partitions"] if row["error"])
        return f"{error['type']}: {error['message']}"

    async def table(self, name: str) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for partition in range(2):
            prefix = keys.partition(self.app.name, "orders", partition, "orders")
            values: Any = await self.redis.hgetall(keys.table(prefix, name))
            found |= values
        return found

    async def entries(self, stream: str) -> list[dict[bytes, bytes]]:
        """The entries of a stream."""
        source = "orders" if stream.endswith(".dead") else stream
        logs = [keys.log(keys.partition(self.app.name, source, p, stream)) for p in range(2)]
        return [entry for log in logs for entry in await log_of(self.redis, log)]


async def log_of(redis: Redis, log: str) -> list[dict[bytes, bytes]]:
    """The entries of one partition."""
    found: Any = await redis.xrange(log)
    return [fields for _, fields in found]


@pytest.fixture
async def here(
    redis: Redis, redis_url: str, app_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    monkeypatch.setattr(handler_slot, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(handler_slot, "SETTLE", 0.05)
    made = Here(redis, redis_url, app_name, tmp_path)
    await made.declare()
    yield made
    await made.app.close()


def result(**fields: Any) -> str:
    """The body of a handler that always answers so."""
    text = json.dumps(fields).replace("'", "")
    return f"printf '{{\"id\":%s,%s\\n' $id '{text[1:]}'"


async def test_events_arrive_in_the_order_of_their_partition_and_are_committed(here: Here) -> None:
    await here.send(*("ab" * 50))
    await here.work(OK, key="customer")
    found = here.requests
    assert len(found) == 100
    for customer in "ab":
        numbers = [each["record"]["number"] for each in found if each["key"] == customer]
        assert numbers == sorted(numbers)
    first = found[0]
    assert list(first) == ["id", "partition", "event", "key", "record", "headers"]
    assert first["record"]["photo"] == {"$bytes": "/w=="}
    assert (await here.seen())["totals"]["lag_events"] == 0
    await here.work(OK)
    assert len(here.requests) == 100


async def test_headers_and_a_record_without_a_known_key_arrive(here: Here) -> None:
    await here.orders.send(Order(customer="a", number=1), headers={"trace": "t1"})
    await here.work(OK)
    (found,) = here.requests
    assert found["headers"] == {"trace": "t1"}
    assert "key" not in found


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (result(result="retry", reason="the bank is closed"), "HandlerError: the bank is closed"),
        (result(result="retry"), "HandlerError: the handler gave no reason"),
        (result(result="maybe"), 'HandlerError: the result must be "ok", "retry" or "dead"'),
        (result(result="ok", extra=1), "HandlerError: the result has the unknown field 'extra'"),
        ("echo hello", "HandlerDied: the handler process wrote to its stdout what is no result"),
        ("exit 7", "HandlerDied: the handler process ended with exit code 7"),
        (
            result(result="ok", write=[{"table": "t", "value": 1}]),
            "HandlerError: there is no table 't'; --table names none",
        ),
        (
            result(result="ok", emit=[{"stream": "nowhere", "key": "k", "record": {}}]),
            "HandlerError: there was no stream 'nowhere' in app",
        ),
        (
            result(result="ok", emit=[{"stream": "alerts", "record": {}}]),
            "HandlerError: what is emitted to alerts needs a key, for its partition",
        ),
    ],
)
async def test_what_the_handler_does_wrong_is_a_failure_of_its_event(
    here: Here, body: str, says: str
) -> None:
    await here.send("a")
    with pytest.raises(BurstBlocked):
        await here.work(body)
    assert says in await here.error()
    assert len(here.requests) == 2  # One retry.
    assert (await here.seen())["totals"]["quarantined"] == 1


async def test_a_silent_handler_is_a_failure_that_names_the_likely_cause(here: Here) -> None:
    await here.send("a")
    with pytest.raises(BurstBlocked):
        await here.work("sleep 60", timeout=0.2, retries=0)
    assert "wrote no result for 0.2 s: it waits for something, or does not flush" in (
        await here.error()
    )


async def test_a_poisoned_event_stops_its_own_partition_only(here: Here) -> None:
    await here.send(*("ab" * 20))
    poison = here.orders.spec.partition(Order(customer="a", number=0))
    kills = f'case $line in *\\"number\\":20,*) exit 9;; esac; {OK}'
    with pytest.raises(BurstBlocked):
        await here.work(kills)
    (processor,) = (await here.seen())["processors"]
    states = [row["state"] == "quarantined" for row in processor["partitions"]]
    assert [number for number, each in enumerate(states) if each] == [poison]
    other = processor["partitions"][1 - poison]
    assert (other["lag_events"], other["attempts"]) == (0, 0)


async def test_totals_in_a_table_are_right(here: Here) -> None:
    await here.send(*("aab" * 20))
    adds = (
        'total=${line##*\\"sum\\":}; total=${total%%\\}*}; [ "$total" = null ] && total=0; '
        'echo "{\\"id\\":$id,\\"result\\":\\"ok\\",\\"write\\":'
        '[{\\"table\\":\\"sum\\",\\"value\\":$((total + 1))}]}"'
    )
    await here.work(adds, key="customer", tables=["sum"])
    assert await here.table("sum") == {b"a": b"40", b"b": b"20"}
    await here.send("a")
    await here.work(adds, key="customer", tables=["sum"], concurrency=5)
    assert await here.table("sum") == {b"a": b"41", b"b": b"20"}
    await here.send("a")
    other = [{"table": "sum", "key": "of a", "value": {"n": [1]}}, {"table": "sum", "value": None}]
    await here.work(result(result="ok", write=other), key="customer", tables=["sum"])
    assert await here.table("sum") == {b"of a": b'{"n":[1]}', b"b": b"20"}


async def test_an_emit_enters_the_partition_of_its_key_with_the_commit(here: Here) -> None:
    await here.send("a", "b")
    record = {"customer": "c", "text": "late"}
    emits = [{"stream": "alerts", "key": "c", "record": record, "headers": {"h": "v"}}]
    await here.alerts.send(Alert(customer="c", text="first"))
    await here.work(result(result="ok", emit=emits))
    log = keys.log(here.alerts.spec.prefix(here.alerts.spec.partition(Alert(**record))))
    first, *found = await log_of(here.redis, log)
    assert len(found) == 2
    for fields in found:
        flat = [part for pair in fields.items() for part in pair]
        assert here.alerts.spec.codec.decode(flat) == Alert(**record)
        assert fields[b"@h"] == b"v"
    assert b"@h" not in first


async def test_nothing_of_a_failed_result_is_stored(here: Here) -> None:
    await here.send("a")
    both = [{"stream": "alerts", "key": "c", "record": {}}, {"stream": "no", "key": 1, "record": 1}]
    writes = [{"table": "sum", "value": 1}]
    body = result(result="ok", write=writes, emit=both)
    with pytest.raises(BurstBlocked):
        await here.work(body, key="customer", tables=["sum"])
    assert await here.entries("alerts") == []
    assert await here.table("sum") == {}


async def test_dead_sets_the_event_aside_and_goes_on(here: Here) -> None:
    await here.send("a", "a")
    await here.work(result(result="dead", reason="no such customer"), retries=5)
    assert len(here.requests) == 2
    assert len(await here.entries("orders.p.dead")) == 2
    seen = await here.seen()
    assert (seen["totals"]["lag_events"], seen["totals"]["dead_letters"]) == (0, 2)
    stream = here.orders.dead_letters("p")
    entry = (await here.entries("orders.p.dead"))[0]
    letter = stream.spec.codec.decode([part for pair in entry.items() for part in pair])
    assert (letter.error_type, letter.error_message) == ("Dead", "no such customer")
    assert here.orders.original(letter).customer == "a"


async def test_dead_takes_a_reason_that_is_no_whole_text(here: Here) -> None:
    await here.send("a")
    await here.work(result(result="dead", reason="\ud800 bad"))
    stream = here.orders.dead_letters("p")
    (entry,) = await here.entries("orders.p.dead")
    letter = stream.spec.codec.decode([part for pair in entry.items() for part in pair])
    assert letter.error_message == "? bad"


async def test_the_policy_ignore_keeps_dead_letters(here: Here) -> None:
    await here.send("a", "b")
    await here.work(result(result="retry", reason="no"), policy="ignore", retries=0)
    assert len(await here.entries("orders.p.dead")) == 2


async def test_a_key_steps_aside_under_the_policy_park(here: Here) -> None:
    await here.send("a", "b", "a")
    no_a = f'case $line in *\\"key\\":\\"a\\"*) {result(result="retry")};; *) {OK};; esac'
    await here.work(no_a, policy="park", key="customer", retries=0)
    assert (await here.seen())["totals"]["parked"] == 2


async def test_several_events_of_different_keys_are_in_hand(here: Here) -> None:
    """The handler answers only when it has three."""
    await here.send("a", "b", "c", "a", "b", "c")
    waits = (
        'ids="$ids $id"; n=$((n + 1)); [ $n = 3 ] && { for id in $ids; do '
        f"{OK}; done; n=0; ids=; }}"
    )
    await here.work(waits, key="customer", concurrency=10, timeout=20.0)
    found = here.requests
    assert len(found) == 6
    numbers = [each["record"]["number"] for each in found if each["key"] == "a"]
    assert numbers == [0, 3]


async def test_a_batch_has_one_line_and_one_result(here: Here) -> None:
    await here.send(*("a" * 25))
    await here.work(OK, batch=10)
    batches = [len(each["events"]) for each in here.requests]
    assert sum(batches) == 25
    assert max(batches) == 10
    assert {"partition", "event", "record", "headers"} == set(here.requests[0]["events"][0])


async def test_the_event_that_fails_in_a_batch_is_found(here: Here) -> None:
    await here.send(*("a" * 10))
    fails = f'case $line in *\\"number\\":4,*) {result(result="retry")};; *) {OK};; esac'
    await here.work(fails, batch=10, policy="ignore", retries=1)
    assert len(await here.entries("orders.p.dead")) == 1
    assert (await here.seen())["totals"]["lag_events"] == 0


async def test_a_wrong_key_field_is_told(here: Here) -> None:
    await here.send(*"abcdefgh")
    with pytest.raises(BurstBlocked):
        await here.work(OK, key="number")
    (processor,) = (await here.seen())["processors"]
    errors = [row["error"]["message"] for row in processor["partitions"] if row["error"]]
    assert errors
    assert all("--key number is not the partition key of stream orders" in e for e in errors)
    assert not here.log.exists() or len(here.requests) < 8


async def test_a_missing_key_field_is_told(here: Here) -> None:
    await here.send("a")
    with pytest.raises(BurstBlocked):
        await here.work(OK, key="nothing")
    assert "the record has no field 'nothing', which --key names" in await here.error()


async def test_an_entry_that_is_no_record_is_a_failure_and_not_given_out(here: Here) -> None:
    await here.send("a")
    log = keys.log(here.orders.spec.prefix(0))
    await here.redis.xadd(log, {"json": "{"})
    with pytest.raises(BurstBlocked):
        await here.work(OK)
    assert "the payload is not valid json" in await here.error()


async def test_a_handler_that_cannot_work_ends_the_worker_before_it_claims(
    here: Here, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handler_slot, "SETTLE", 20.0)
    await here.send("a")
    with caplog.at_level(logging.INFO), pytest.raises(LifespanFailed) as caught:
        await here.work(["sh", "-c", "echo syntax error >&2; exit 2"])
    assert "the log: the handler process ended with exit code 2" in str(caught.value.__cause__)
    assert "handler 0: syntax error" in caplog.text
    (processor,) = (await here.seen())["processors"]
    assert {row["epoch"] for row in processor["partitions"]} == {None}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"concurrency": 2}, "--concurrency needs --key FIELD"),
        ({"policy": "park"}, "--policy park needs --key FIELD"),
        ({"tables": ["t"]}, "--table needs --key FIELD"),
        ({"batch": 2, "concurrency": 2, "key": "k"}, "--batch and --concurrency exclude"),
        ({"batch": 2, "tables": ["t"], "key": "k"}, "--batch and --table exclude"),
    ],
)
def test_options_that_cannot_work_together_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Sidecar(("sh",), "a", "s", "p", **options).check()


async def test_a_stream_that_nobody_knows_is_named_with_those_that_there_are(here: Here) -> None:
    await here.send("a")
    with pytest.raises(ConfigError, match="has no stream 'order'; its streams are "):
        await streams_of(Scripts(here.redis), Sidecar(("sh",), here.app.name, "order", "p"))
