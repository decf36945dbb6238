"""A program as users write it, with everything that they declare. No type checker may complain."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, ParamSpec, TypeVar
from uuid import UUID

from pydantic import Field

from runnel import (
    LZ4,
    App,
    ConfigError,
    DeadLetter,
    DeadLetterMiddleware,
    EncodeError,
    Event,
    Events,
    ExceptionPolicy,
    Full,
    JSONSerializer,
    Middleware,
    NumberedProducer,
    Record,
    RunnelError,
    Sent,
    Stream,
    Table,
    Worker,
)

P = ParamSpec("P")
T = TypeVar("T")

app = App("shop", redis_url="redis://127.0.0.1", session_timeout=5, retries=1)


class Line(Record):
    sku: str
    amount: int = 1


class Order(Record):
    id: UUID
    customer: int
    total: Decimal = Decimal(0)
    lines: list[Line] = []


class Opened(Record):
    kind: Literal["opened"] = "opened"
    account: int


class Paid(Record):
    kind: Literal["paid"] = "paid"
    account: int
    amount: Decimal


@dataclass
class Alert:
    customer: int
    text: str


class Tick(Record, primitive=True):
    sensor: str
    value: float


orders: Stream[Order] = app.stream("orders", record=Order, partition_by="customer")
alerts = app.stream(
    "alerts", record=Alert, partition_by=lambda alert: alert.customer, serializer=JSONSerializer()
)
accounts = app.stream(
    "accounts",
    record=Annotated[Opened | Paid, Field(discriminator="kind")],
    partition_by="account",
    compressor=LZ4(),
)
either = app.stream("either", record=Opened | Paid, partition_by="account")
ticks = app.stream("ticks", record=Tick, partition_by="sensor")
history: Stream[Order] = orders.derive("history", Order)

totals: Table[Decimal] = app.table("totals", orders, value=Decimal, default=Decimal(0))
counts = app.table("counts", orders, value=int, default=0, processor="count", expire=3600)
seen = app.table("seen", orders, value=list[str], default=list)
last = app.table("last", orders, value=Order)


def timed(function: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    return inner


@app.processor(orders)
async def bill(events: Events[Order]) -> None:
    async for order in events.records():
        totals[order.customer] += order.total
        seen[order.customer].append(order.lines[0].sku)
        spent: Decimal = totals[order.customer]
        if spent > 100 and order.customer in totals:
            events.emit(alerts, Alert(order.customer, "over the limit"), headers={"why": "limit"})
        last[order.customer] = order


@app.processor(orders, name="lists", commit="each", prefetch=10)
async def lists(events: Events[Order], size: int = 100) -> None:
    async for batch in events.take(size, within=1.0):
        first: Event[Order] = batch[0]
        print(first.id, first.partition, first.headers.get("trace"), first.record.lines)
        await events.commit()
    async for records in events.take(size).records():
        print(sum(order.total for order in records))


class Timing(Middleware):
    async def handler(self, parent: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for item in parent:
            yield item


@app.on(
    orders,
    name="count",
    exception_policy=ExceptionPolicy.IGNORE,
    retries=5,
    backoff=0.1,
    backoff_max=1,
    timeout=5.0,
    start="latest",
    middleware=[Timing(), DeadLetterMiddleware()],
)
@timed
async def count(order: Order, event: Event[Order]) -> None:
    counts[order.customer] = counts.get(order.customer, 0) + 1
    identity: str = f"{event.partition}-{event.id}"
    print(identity, event.record.customer)


@app.on(orders, exception_policy="park", park_limit=10)
def mail(order: Order, greeting: str = "Hello") -> int:
    print(greeting, order.customer)
    return order.customer


@app.on(accounts)
@app.on(either)
async def ledger(event: Opened | Paid) -> None:
    match event:
        case Opened(account=account):
            print(account)
        case Paid(amount=amount):
            print(amount + 1)


@app.on(ticks)
async def broad(record: Record) -> None:
    print(record.model_dump())


class Shipping:
    def __init__(self) -> None:
        self.sent = list[UUID]()

    async def ship(self, order: Order) -> None:
        self.sent.append(order.id)

    async def __call__(self, order: Order, event: Event[Order]) -> None:
        await self.ship(event.record)


shipping = Shipping()
app.on(orders, name="ship")(shipping.ship)
app.on(orders, name="call")(shipping)
app.on(orders, name="partial")(functools.partial(mail, greeting="Dear"))


def handler_of(prefix: str) -> Callable[[Order], Awaitable[None]]:
    async def handler(order: Order) -> None:
        print(prefix, order.id)

    return handler


def processor_of(prefix: str) -> Callable[[Events[Order]], Awaitable[None]]:
    async def handler(events: Events[Order]) -> None:
        async for order in events.records():
            print(prefix, order.id)

    return handler


app.on(orders, name="made")(handler_of("made"))
app.processor(orders, name="made_too")(processor_of("made"))


@app.processor(orders.dead_letters("count"))
async def complaints(events: Events[DeadLetter]) -> None:
    async for letter in events.records():
        lost: Order = orders.original(letter)
        print(letter.error_type, lost.customer)


@app.timer(interval=30)
async def refresh() -> None:
    print(await totals.read(1), await counts.read_many([1, 2]))


@app.crontab("30 2 * * *", timezone="Europe/Berlin", on_leader=True)
async def nightly() -> int:
    return 1


@app.task(on_leader=True)
async def once() -> None:
    await app.stopping.wait()


@app.lifespan
async def lifespan() -> AsyncIterator[dict[str, int]]:
    yield {"rate": 1}


@app.on_startup
async def load() -> None:
    app.state.rate = 1


@app.on(orders, concurrency=64, timeout=1)
async def waits(order: Order) -> None:
    totals[order.customer] += 1


async def test_count(order: Order) -> None:
    async with app.test(count) as t:
        await t.send(orders, order, headers={"trace": "1"})
        await t.drain()
        alerted: list[Alert] = t.sent(alerts)
        committed: int = counts.at(order.customer)
        letters: list[DeadLetter] = t.dead_letters(count)
        print(alerted, committed, letters, t.events(orders)[0].record.customer)
    event: Event[Order] = Event.of(orders, order)
    await count(order, event)


def send_plainly(order: Order) -> None:
    (sent,) = orders.send_sync(order, dedupe=order.id)
    with app.sync() as sync:
        sync.send(orders, order)
        spent: Decimal = sync.read(totals, order.customer)
        print(sent.id, spent)


async def run_beside() -> None:
    async with Worker(app, ["count"]):
        pass


async def send(order: Order) -> list[Sent]:
    try:
        (sent,) = await orders.send(order, headers={"trace": "1"}, dedupe=order.id, wait=5.0)
        print(sent.partition + 1, sent.id.upper())
        await accounts.send(Opened(account=1), Paid(account=1, amount=Decimal(5)))
        await alerts.send(Alert(1, "hello"), drop_oldest=True)
    except Full as error:
        print(error.reason, error.details["processor"], error.sink)
    except EncodeError as error:
        print(error)
    except (ConfigError, RunnelError) as error:
        print(error.sent)
    producer: NumberedProducer = app.producer(id="import")
    numbered = await producer.send(orders, order, number=1)
    print([each.id for each in numbered if each is not None], await producer.last(orders))
    return await app.producer().send(orders.spec, [order], max_bytes=1000)


async def keeps_its_type(order: Order, event: Event[Order], events: Events[Order]) -> None:
    """Functions are what they were: names, defaults and results."""
    await bill(events)
    await lists(events, size=5)
    await count(order=order, event=event)
    customer: int = mail(order, greeting="Dear")
    await ledger(event=Opened(account=customer))
    number: int = await nightly()
    print(number)
    async with app:
        await app.close()
