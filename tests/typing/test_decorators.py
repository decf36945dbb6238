"""Type checkers accept right programs and flag wrong ones, where the mistake is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.typing.checkers import Complaints, mypy, pyright

#: A checker takes seconds, and minutes on a machine that does much else.
pytestmark = pytest.mark.timeout(300)

SHOP = Path(__file__).parent / "shop.py"
CHECKERS = {"mypy": mypy, "pyright": pyright}

#: A wrong line -> words of what mypy says about it, and of what pyright says.
WRONG = {
    # Records
    'Order(id=UUID(int=1), customer="ann")': ('"str"; expected "int"', "customer"),
    "Order(id=UUID(int=1))": ('Missing named argument "customer"', 'missing for parameter "custom'),
    "Order(id=UUID(int=1), customer=1, totl=5)": ('keyword argument "totl"', 'named "totl"'),
    "print(ORDER.totl)": ('"Order" has no attribute "totl"', 'attribute "totl"'),
    # Sending
    "orders.send(Alert(1, 'text'))": ('matches argument type "Alert"', '"Alert" is not assignable'),
    "accounts.send(ORDER)": ('matches argument type "Order"', '"Order" is not assignable'),
    "orders.send(ORDER, wait='yes')": ('matches argument types "Order", "str"', "wait"),
    "orders.send(ORDER, headers={'trace': 5})": ('"int"; expected "str"', "headers"),
    "orders.send(ORDER, key=5)": ('keyword argument "key"', 'No overloads for "send"'),
    "history.emit(Alert(1, 'text'))": ('"Alert"; expected "Order"', '"Alert" is not assignable'),
    "app.producer(id='a').send(orders, ORDER)": ('argument "number"', '"number"'),
    "orders.send(ORDER, delay='soon')": ('types "Order", "str"', "delay"),
    # Tables
    "totals[1] = 'ten'": ('"str", target has type "Decimal"', 'to parameter "value"'),
    "counts.get(1) + 1": ('"None"', '"None"'),
    "counts[1] += 0.5": ("float", "float"),
    "seen[1] = [5]": ('"int"; expected "str"', '"int"'),
    "counts[1].append('a')": ('"int" has no attribute "append"', 'attribute "append"'),
    # pyright takes it for a table of `int | str`, and flags its use.
    "app.table('t', orders, value=int, default='none')[1] + 1": ('Argument "default"', '"str"'),
    # Sending without an event loop, and tests
    "orders.send_sync(Alert(1, 'text'))": ('argument type "Alert"', '"Alert" is not assign'),
    "app.sync().send(orders, Alert(1, 'a'))": (
        'parameter "R" of "send"',
        '"Alert" is not assign',
    ),
    "Event.of(orders, Alert(1, 'text'))": ('parameter "R" of "of"', '"Alert" is not assign'),
    "app.test().sent(alerts)[0].id": ('"Alert" has no attribute "id"', 'attribute "id"'),
    # Declarations
    "app.stream('s', record=Order)": ('argument "partition_by"', '"partition_by"'),
    "app.stream('s', record=Order, partition_by=lambda x: x.cust)": ('attribute "cust"', "cust"),
    "App('a', session_timeot=5)": ('argument "session_timeot"', '"session_timeot"'),
    "App('a', session_timeout='long')": ("session_timeout", "session_timeout"),
    "app.on(orders, retry=5)": ('keyword argument "retry"', 'named "retry"'),
    "app.on(orders, commit='never')": ("Literal['auto', 'each']", "commit"),
    "app.processor(orders, retry=5)": ('keyword argument "retry"', 'named "retry"'),
    "app.on(orders)(of_alert)": ("Callable[[Order", 'type "Order" is incompatible'),
    "app.on(accounts)(of_opened)": ("Callable[[Opened | Paid", '"Opened | Paid" is incompatible'),
    "app.on(orders)(of_alert_event)": (
        'expected "Callable[[Order]',
        '"Event[Order]" is not assignable',
    ),
    "app.on(orders)(of_three)": ('expected "Callable[[Order]', 'parameter "more"'),
    "app.on(orders)(of_events)": ("Callable[[Order", 'type "Order" is incompatible'),
    "app.on(orders)(ORDER)": ("Callable[[Order", '"Order" is not assignable'),
    "app.processor(orders)(of_alerts)": ("Callable[[Events[Order]]", '"Events[Order]"'),
    "app.processor(orders)(of_order)": ("Callable[[Events[Order]]", '"Events[Order]"'),
    "app.processor(orders)(plainly)": ('cannot be "None"', "Awaitable"),
    "app.timer()": ('argument "interval"', '"interval"'),
    # What a handler gets
    "app.on(orders)(mail)(ORDER, greeting=5)": ('"int"; expected "str"', "greeting"),
    "mail(Alert(1, 'text'))": ('"Alert"; expected "Order"', '"Alert" is not assignable'),
    "bill(ORDER)": ('"Order"; expected "Events[Order]"', '"Order" is not assignable'),
    "LETTER.erorr": ('attribute "erorr"', 'attribute "erorr"'),
    "EVENT.record.totl": ('"Order" has no attribute "totl"', 'attribute "totl"'),
    "Full('full').reson": ('attribute "reson"', 'attribute "reson"'),
}

HEAD = """
from __future__ import annotations

from uuid import UUID

from runnel import App, DeadLetter, Event, Events, Full
from shop import *

async def of_order(order: Order) -> None: ...
async def of_alert(alert: Alert) -> None: ...
async def of_opened(opened: Opened) -> None: ...
async def of_alert_event(order: Order, event: Event[Alert]) -> None: ...
async def of_three(order: Order, event: Event[Order], more: int) -> None: ...
async def of_events(events: Events[Order]) -> None: ...
async def of_alerts(events: Events[Alert]) -> None: ...
def plainly(events: Events[Order]) -> None: ...

async def wrong(ORDER: Order, EVENT: Event[Order], LETTER: DeadLetter) -> None:
"""


@pytest.fixture(scope="module", params=CHECKERS)
def complaints(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Complaints]:
    """What a checker says about the right program, and one with all wrong lines."""
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copy(SHOP, folder)
    (folder / "wrong.py").write_text(HEAD + "".join(f"    {line}\n" for line in WRONG))
    return request.param, CHECKERS[request.param](folder)


def test_a_right_program_is_accepted(complaints: tuple[str, Complaints]) -> None:
    _, found = complaints
    assert not {line: said for (file, line), said in found.items() if file == "shop.py"}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_line_is_flagged(line: str, complaints: tuple[str, Complaints]) -> None:
    checker, found = complaints
    number = HEAD.count("\n") + list(WRONG).index(line) + 1
    words = WRONG[line][list(CHECKERS).index(checker)]
    assert words in "\n".join(found["wrong.py", number])
