"""How `runnel dead` shows an event that was set aside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runnel import App, Record
from runnel.cli.dead_lines import as_dict, detail, line
from runnel.operations.dead import Item
from runnel.processor import Processor

#: 2026-11-24 12:00:00 UTC, in ms.
AT = 1795521600000
ITEM = Item("parked", 3, f"{AT}-0", "7-0", b"ann", 2, "ValueError", "no", [b"json", b'{"id": 1}'])


class Order(Record):
    id: int


@pytest.fixture
def bill() -> Processor:
    app = App("shop")

    @app.on(app.stream("orders", record=Order, partition_by="id"))
    async def bill(order: Order) -> None: ...

    return app.processors["bill"]


@pytest.mark.parametrize(
    ("item", "ends"),
    [
        (ITEM, ", 2 attempts: ValueError: no"),
        (replace(ITEM, attempts=0), ": behind another event of its key"),
        (
            replace(ITEM, replays=1, replayed_ms=AT + 3000),
            ", 2 attempts, replayed and failed again at 2026-11-24T12:00:03+00:00: ValueError: no",
        ),
        (replace(ITEM, replays=1), ", 2 attempts, replayed and failed again: ValueError: no"),
        (
            replace(ITEM, replays=3, replayed_ms=AT + 3000),
            ", 2 attempts, replayed 3 times and failed again, the last time at "
            "2026-11-24T12:00:03+00:00: ValueError: no",
        ),
        (
            replace(ITEM, replays=3),
            ", 2 attempts, replayed 3 times and failed again: ValueError: no",
        ),
    ],
)
def test_a_line_says_whether_a_replay_has_failed(item: Item, ends: str) -> None:
    head = "2026-11-24T12:00:00+00:00  parked  partition 3, event 7-0, key ann"
    assert line(item) == f"{head}{ends}"


def test_the_traceback_is_printed_line_by_line_without_control_characters(bill: Processor) -> None:
    item = replace(ITEM, traceback='  File "shop.py", line 3\nValueError: \x1b[31m\n')
    assert list(detail(as_dict(bill, item))) == [
        '  record: {"id": 1}',
        "  traceback:",
        '      File "shop.py", line 3',
        "    ValueError: \\x1b[31m",
    ]
    older = list(detail(as_dict(bill, replace(item, replays=1))))
    assert older[1] == "  traceback of the failure before its replay:"
    letter = list(detail(as_dict(bill, replace(item, replays=1, kind="dead letter"))))
    assert letter[1] == "  traceback:", "a letter is made anew"
    assert not [each for each in detail(as_dict(bill, ITEM)) if "traceback" in each]
