"""One trace leads from who sends to the last worker, on a real server."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from redis.asyncio import Redis

from runnel import ConfigError, DeadLetterMiddleware, Events, ExceptionPolicy, RecordTooLarge
from runnel.codec.entry import EntryCodec
from runnel.otel import conventions as names
from runnel.otel import instrument
from tests.worker.tracing import Order, Traced, id_of, linked, parent_of, trace_of
from tests.worker.workers import until

#: As a client in another language writes it.
FOREIGN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

Make = Callable[..., Traced]


@pytest.fixture
def make(redis: Redis, redis_url: str, app_name: str) -> Make:
    return lambda **options: Traced(app_name, redis_url, **options)


def by_events(traced: Traced, do: Callable[[Order], None], **options: Any) -> None:
    @traced.app.processor(traced.orders, name="work", **options)
    async def work(events: Events[Order]) -> None:
        async for event in events:
            do(event.record)


def by_lists(traced: Traced, do: Callable[[Order], None], **options: Any) -> None:
    @traced.app.processor(traced.orders, name="work", **options)
    async def work(events: Events[Order]) -> None:
        async for batch in events.take(100).records():
            for each in batch:
                do(each)


def beside(traced: Traced, do: Callable[[Order], None], **options: Any) -> None:
    @traced.app.on(traced.orders, name="work", concurrency=5, **options)
    async def work(order: Order) -> None:
        do(order)


def in_threads(traced: Traced, do: Callable[[Order], None], **options: Any) -> None:
    @traced.app.on(traced.orders, name="work", **options)
    def work(order: Order) -> None:
        do(order)


KINDS = pytest.mark.parametrize("declare", [by_events, by_lists, beside, in_threads])


async def test_from_the_sender_over_two_workers_it_is_one_trace(make: Make) -> None:
    traced = make()

    @traced.app.processor(traced.orders)
    async def first(events: Events[Order]) -> None:
        async for event in events:
            with traced.tracer.start_as_current_span("query"):
                events.emit(traced.alerts, event.record)

    @traced.app.on(traced.alerts)
    def second(alert: Order) -> None:
        trace.get_current_span().set_attribute("seen", alert.number)

    with traced.tracer.start_as_current_span("request"):
        await traced.send(7)
    one, two = traced.app.worker(["first"]), traced.app.worker(["second"])
    async with one, two:
        await until(lambda: traced.named("ack alerts"), "both have processed it")
    await traced.app.close()
    assert len({trace_of(each) for each in traced.spans}) == 1
    request, send, query = traced.one("request"), traced.one("send orders"), traced.one("query")
    process, ack = traced.one("process orders"), traced.one("ack orders")
    assert parent_of(request) is None
    assert parent_of(send) == id_of(request)
    assert parent_of(traced.one("receive orders")) == id_of(send)
    assert parent_of(process) == id_of(send)
    assert linked(process) == [id_of(send)]
    assert parent_of(query) == id_of(process)
    assert parent_of(ack) == id_of(process)
    alert = traced.one("process alerts")
    assert parent_of(alert) == id_of(query), "what is emitted hangs below the span that emits it"
    assert (alert.attributes or {})["seen"] == 7, "a thread has the context, too"
    assert traced.open == 0
    kinds = {each.name: each.kind for each in traced.spans}
    assert kinds["send orders"] is SpanKind.PRODUCER
    assert kinds["process orders"] is SpanKind.CONSUMER
    assert kinds["receive orders"] is kinds["ack orders"] is SpanKind.CLIENT
    found = dict(process.attributes or {})
    assert found == {
        names.SYSTEM: "runnel",
        names.APP: traced.app.name,
        names.DESTINATION: "orders",
        names.OPERATION_NAME: "process",
        names.OPERATION_TYPE: "process",
        names.PARTITION: "0",
        names.GROUP: "first",
        names.CLIENT: one.member,
        names.MESSAGE: (send.attributes or {})[names.MESSAGE],
        names.BODY_SIZE: found[names.BODY_SIZE],
        names.EPOCH: found[names.EPOCH],
        **({names.SERVER: found[names.SERVER]} if names.SERVER in found else {}),
    }


@KINDS
@pytest.mark.parametrize("each_event", [False, True])
async def test_spans_of_the_handler_hang_below_that_of_its_events(
    make: Make, declare: Callable[..., None], each_event: bool
) -> None:
    traced = make(each_event=each_event)

    def do(order: Order) -> None:
        with traced.tracer.start_as_current_span(f"own {order.number}"):
            pass

    declare(traced, do)
    for each in range(3):
        await traced.send(each)
    await traced.run()
    sends = [id_of(each) for each in traced.named("send orders")]
    processes = traced.named("process orders")
    assert sorted(each for span in processes for each in linked(span)) == sorted(sends)
    alone = declare is beside or (each_event and declare is not by_lists)
    together = next((each for each in processes if len(each.links) > 1), None)
    assert (together is None) is alone, "the first read of a partition brings one event"
    for number, send in enumerate(sends):
        (process,) = [each for each in processes if send in linked(each)]
        own = traced.one(f"own {number}")
        assert parent_of(own) == id_of(process)
        same = trace_of(own) == trace_of(traced.named("send orders")[number])
        assert same is (process is not together)
    if together is not None:
        assert (together.attributes or {})[names.BATCH_COUNT] == len(together.links)
        assert parent_of(together) in [id_of(each) for each in traced.named("receive orders")]
    settled = {parent_of(each) for each in traced.named("ack orders")} | {
        each for span in traced.named("ack orders") for each in linked(span)
    }
    assert settled == {id_of(each) for each in processes}
    assert traced.open == 0


@pytest.mark.parametrize("declare", [by_events, in_threads])
async def test_a_span_covers_a_bounded_number_of_events(
    make: Make, declare: Callable[..., None]
) -> None:
    """Also if a thread takes so long that further events are read meanwhile."""
    traced = make()
    declare(traced, lambda order: time.sleep(0.001 * (declare is in_threads)))
    await traced.send(*range(1500))
    await traced.run()
    counts = [
        int((each.attributes or {}).get(names.BATCH_COUNT, 1))  # type: ignore[arg-type]
        for each in traced.named("process orders")
    ]
    assert sum(counts) == 1500
    assert max(counts) <= (100 if declare is by_events else 700)
    assert all(len(each.links) <= 128 for each in traced.spans)


@pytest.mark.parametrize(
    ("options", "spans"),
    [
        ({"timeout": 60}, 3),
        ({"commit": "each"}, 100),
        ({"middleware": [DeadLetterMiddleware()]}, 3),
    ],
)
async def test_events_that_wait_together_have_one_span_also_where_each_is_asked_for(
    make: Make, options: dict[str, Any], spans: int
) -> None:
    traced = make()
    more = {"exception_policy": ExceptionPolicy.IGNORE} if "middleware" in options else {}
    by_events(traced, lambda order: None, **options, **more)
    await traced.send(*range(100))
    await traced.run()
    found = traced.named("process orders")
    assert len(found) == spans if spans == 100 else 1 <= len(found) <= spans
    assert sum(len(each.links) for each in found) == 100
    if spans == 100:  # Each is a trace of its own, with its commit.
        assert {parent_of(each) for each in found} == {id_of(traced.one("send orders"))}
    assert traced.open == 0


@pytest.mark.parametrize("declare", [by_events, beside, in_threads])
async def test_a_failure_is_told_by_its_span_and_the_retry_has_another(
    make: Make, declare: Callable[..., None]
) -> None:
    traced, left = make(), [1]

    def do(order: Order) -> None:
        if left[0]:
            left[0] -= 1
            raise ValueError("on purpose")

    declare(traced, do)
    await traced.send(1)
    await traced.run()
    failed, well = traced.named("process orders")
    assert failed.status.status_code is StatusCode.ERROR
    assert failed.status.description == "ValueError: on purpose"
    assert (failed.attributes or {})[names.ERROR_TYPE] == "ValueError"
    assert failed.events[0].name == "exception"
    assert well.status.status_code is StatusCode.UNSET
    assert parent_of(failed) == parent_of(well) == id_of(traced.one("send orders"))
    assert traced.open == 0


async def test_a_client_in_another_language_begins_the_trace(make: Make) -> None:
    traced = make()
    by_events(traced, lambda order: None)
    await traced.send(1, headers={"traceparent": FOREIGN, "tracestate": "vendor=1"})
    await traced.run()
    process = traced.one("process orders")
    assert f"{trace_of(process):032x}" == FOREIGN.split("-")[1]
    assert f"{parent_of(process):016x}" == FOREIGN.split("-")[2]


@pytest.mark.parametrize("headers", [{}, {"traceparent": "broken"}, {"traceparent": ""}])
async def test_an_event_without_a_context_begins_a_trace(
    make: Make, headers: dict[str, str]
) -> None:
    traced = make()
    by_events(traced, lambda order: None)
    await traced.send(1, headers={"traceparent": "broken", **headers})
    await traced.run()
    assert parent_of(traced.one("process orders")) is None
    assert linked(traced.one("process orders")) == []


async def test_the_context_is_two_fields_of_the_entry_that_others_may_ignore(
    make: Make, redis: Redis
) -> None:
    traced = make()
    await traced.send(1, headers={"own": "yes"})
    await traced.app.close()
    key = f"runnel:{{{traced.app.name}:orders:0}}:orders:log"
    entries: Any = await redis.xrange(key)
    ((_, fields),) = entries
    flat = [each for pair in fields.items() for each in pair]
    assert traced.orders.spec.codec.decode(flat) == Order(number=1)
    send = traced.one("send orders")
    headers = EntryCodec.headers(flat)
    assert headers.pop("own") == "yes"
    assert headers.pop("traceparent")[:-2] == f"00-{trace_of(send):032x}-{id_of(send):016x}-"
    assert headers == {}


async def test_a_test_without_a_server_has_the_same_trace(app_name: str) -> None:
    traced = Traced(app_name, "redis://nowhere.invalid")
    by_events(traced, lambda order: None)
    async with traced.app.test() as t:
        await t.send(traced.orders, Order(number=1))
        await t.drain()
    assert parent_of(traced.one("process orders")) == id_of(traced.one("send orders"))
    assert parent_of(traced.one("ack orders")) == id_of(traced.one("process orders"))
    assert traced.open == 0


async def test_a_send_that_fails_is_told_by_its_span(make: Make) -> None:
    traced = make()
    traced.app.configure(max_record_bytes=1)
    with pytest.raises(RecordTooLarge):
        await traced.send(1)
    send = traced.one("send orders")
    assert send.status.status_code is StatusCode.ERROR
    assert (send.attributes or {})[names.ERROR_TYPE] == "runnel.errors.RecordTooLarge"


async def test_sends_without_an_event_loop_hang_below_the_span_of_their_caller(make: Make) -> None:
    traced = make()

    def view() -> None:
        with traced.tracer.start_as_current_span("view"):
            traced.orders.send_sync(Order(number=1))

    await asyncio.to_thread(view)
    assert parent_of(traced.one("send orders")) == id_of(traced.one("view"))
    await traced.app.close()


async def test_between_events_no_span_is_current(make: Make) -> None:
    traced = make()
    seen: list[bool] = []

    @traced.app.processor(traced.orders)
    async def work(events: Events[Order]) -> None:
        async for batch in events.take(10, within=0.05, empty=True):
            current = trace.get_current_span().get_span_context()
            seen.append(current.is_valid is bool(batch))

    async with traced.app.worker():
        await traced.send(1)
        await until(lambda: len(seen) > 3, "lists came, and empty ones")
    await traced.app.close()
    assert all(seen)


async def test_a_lease_that_is_lost_ends_the_spans(make: Make, redis: Redis) -> None:
    traced = make()
    key = f"runnel:{{{traced.app.name}:orders:0}}:orders:processor:work"
    taken = False

    @traced.app.processor(traced.orders, name="work")
    async def work(events: Events[Order]) -> None:
        nonlocal taken
        async for _ in events:
            if not taken:
                taken = True
                await redis.hset(key, mapping={"nonce": "of another", "epoch": "99"})

    async with traced.app.worker():
        await traced.send(1)
        await until(lambda: len(traced.named("process orders")) == 2, "it is processed again")
    await traced.app.close()
    *refused, well = traced.named("ack orders")
    # A repeated claim may have been refused before the commit.
    assert [each.status.description for each in refused] in ([], ["the lease has ended"])
    assert well.status.status_code is StatusCode.UNSET
    assert traced.open == 0


async def test_an_event_that_is_given_up_says_so(make: Make) -> None:
    traced = make()

    def do(order: Order) -> None:
        raise ValueError("on purpose")

    by_events(traced, do, exception_policy=ExceptionPolicy.IGNORE, retries=0)
    await traced.send(1)
    await traced.run()
    assert (traced.one("process orders").attributes or {})[names.DECISION] == "give_up"


async def test_an_app_is_traced_once(make: Make) -> None:
    with pytest.raises(ConfigError, match="is traced already"):
        instrument(make().app)


def test_without_the_package_the_import_says_what_to_install() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None\nfrom runnel.otel import instrument"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == (
        "ImportError: traces need another package: pip install 'runnel[otel]'"
    )
