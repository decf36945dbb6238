"""A table is declared once, and is used like a dict while a handler runs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from runnel import App, Record
from runnel.core.table_state import Field, TableState
from runnel.current_event import CURRENT_EVENT, CurrentEvent
from runnel.errors import ConfigError, DecodeError, EncodeError, NotInHandler, NotLoaded
from runnel.table import MOST_TABLES, Table
from runnel.worker.worker import Worker


class Payment(Record):
    account: str
    amount: int


app = App("bank")
payments = app.stream("payments", record=Payment, partition_by="account")
balances = app.table("balances", payments, value=int, default=0)
notes = app.table("notes", payments, value=str)
logs = app.table("logs", payments, value=list[int], default=[])


class Handler:
    """Stands for the running handler, which has an event."""

    def __init__(self) -> None:
        self.tables = TableState("p", ["balances", "notes", "logs"])
        self.has_event = True
        self.loaded: list[list[Field]] = []
        for table in self.tables.tables:
            for key in (b"alice", b"bob"):
                self.tables.learn((table, key), None)

    def stored(self, table: Table[Any], value: bytes) -> None:
        """Redis has this value for alice."""
        self.tables.put((table.name, b"alice"), value)
        self.finish()

    def finish(self) -> None:
        self.tables.write_back()
        self.tables.finished(b"1-0")

    def get(self, table: Table[Any], key: bytes = b"alice") -> bytes | None:
        """What its commit writes."""
        return self.tables.get((table.name, key))

    async def load(self, fields: list[Field]) -> None:
        self.loaded.append(fields)
        for field in fields:
            self.tables.learn(field, None)

    def current(self) -> CurrentEvent:
        return CurrentEvent(
            "log", "book", lambda _: False, lambda: self.has_event, self.tables, self.load
        )


@pytest.fixture
def handler() -> Iterator[Handler]:
    made = Handler()
    token = CURRENT_EVENT.set(made.current())
    yield made
    CURRENT_EVENT.reset(token)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("a:b", {"value": int}, "table"),
        ("balances", {"value": int}, "two tables named 'balances'"),
        ("more", {"value": object()}, "table more: value=.* cannot be stored"),
        *(
            ("more", {"value": int, "expire": each}, "table more: expire must be a whole number")
            for each in (0, -1, 1.5, "60", True, 10**10)
        ),
    ],
)
def test_a_wrong_declaration_is_refused(name: str, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        app.table(name, payments, **options)
    assert "more" not in app.tables


@pytest.mark.parametrize("default", ["x", 1.5, None, []])
def test_a_default_of_another_type_is_refused(default: Any) -> None:
    with pytest.raises(ConfigError, match=r"^table wrong: .* cannot be stored: .*default="):
        app.table("wrong", payments, value=int, default=default)
    assert "wrong" not in app.tables


def test_a_table_belongs_to_a_stream_of_its_app() -> None:
    with pytest.raises(ConfigError, match=r"table t: the second argument is the stream .* not 'p'"):
        app.table("t", "p", value=int)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the stream payments belongs to another app"):
        App("other").table("t", payments, value=int)


def test_a_stream_has_no_more_tables_than_one_commit_writes() -> None:
    other = App("many")
    stream = other.stream("payments", record=Payment, partition_by="account")
    second = other.stream("refunds", record=Payment, partition_by="account")
    for number in range(MOST_TABLES):
        other.table(f"t{number}", stream, value=int)
    with pytest.raises(ConfigError, match=f"payments has {MOST_TABLES} tables already"):
        other.table("last", stream, value=int)
    other.table("last", second, value=int)


def test_a_processor_has_the_tables_of_its_stream_that_it_may_write() -> None:
    other = App("some")
    stream = other.stream("payments", record=Payment, partition_by="account")
    second = other.stream("refunds", record=Payment, partition_by="account")
    other.table("anyone", stream, value=int)
    other.table("mine", stream, value=int, processor="book")
    other.table("foreign", stream, value=int, processor="audit")
    other.table("refunded", second, value=int)

    @other.processor(stream)
    async def book(events: Any) -> None:
        async for _ in events:
            pass

    @other.processor(stream)
    async def audit(events: Any) -> None:
        async for _ in events:
            pass

    assert [each.tables for each in other.choose(["book"])] == [("anyone", "mine")]


def test_a_table_whose_processor_reads_another_stream_is_refused_when_a_worker_is_made() -> None:
    other = App("some")
    stream = other.stream("payments", record=Payment, partition_by="account")
    refunds = other.stream("refunds", record=Payment, partition_by="account")
    other.table("sums", stream, value=int, processor="back")
    other.on(stream, name="book")(print)
    other.on(refunds, name="back")(print)
    reason = (
        "^table sums belongs to the stream payments, but processor='back' reads refunds; the "
        "processors of payments are book$"
    )
    for chosen in ((), ["book"], ["back"]):
        with pytest.raises(ConfigError, match=reason):
            Worker(other, chosen)


def test_it_is_used_like_a_dict(handler: Handler) -> None:
    with pytest.raises(KeyError, match="alice"):
        notes["alice"]
    assert "alice" not in notes
    assert notes.get("alice") is None
    assert notes.get("alice", "none") == "none"
    notes["alice"] = "hello"
    assert "alice" in notes
    assert notes["alice"] == notes.get("alice") == "hello"
    assert handler.get(notes) == b'"hello"'
    assert notes.setdefault("alice", "other") == "hello"
    assert notes.setdefault("bob", "new") == notes["bob"] == "new"
    assert notes.pop("bob") == "new"
    assert "bob" not in notes
    assert notes.pop("bob", "gone") == "gone"
    with pytest.raises(KeyError, match="bob"):
        notes.pop("bob")
    del notes["alice"]
    with pytest.raises(KeyError, match="alice"):
        del notes["alice"]
    assert handler.get(notes) is None


def test_a_default_is_the_value_of_a_key_that_has_none_and_is_not_stored(handler: Handler) -> None:
    assert balances["alice"] == 0
    assert "alice" not in balances
    assert balances.get("alice") is None
    balances["alice"] += 5
    assert balances["alice"] == 5
    assert balances["bob"] == 0
    with pytest.raises(KeyError):
        del balances["bob"]


def test_a_default_that_is_a_function_makes_one_for_each_key(handler: Handler) -> None:
    made: Table[list[int]] = Table(app, "logs", payments.spec, list[int], list)
    made["alice"].append(1)
    assert (made["alice"], made["bob"]) == ([1], [])


def test_a_default_that_can_be_changed_is_not_shared(handler: Handler) -> None:
    logs["alice"].append(1)
    assert logs["alice"] == [1], "it is the same list until the event is finished"
    assert logs["bob"] == []
    handler.finish()
    assert handler.get(logs) == b"[1]"
    assert handler.get(logs, b"bob") is None, "it was only read"
    handler.tables.learn(("logs", b"carol"), None)
    assert logs["carol"] == []


def test_what_is_changed_in_place_is_seen_and_written(handler: Handler) -> None:
    handler.stored(logs, b"[1]")
    logs["alice"].append(2)
    assert logs.get("alice") == [1, 2]
    assert logs.setdefault("alice", []) == [1, 2]
    handler.finish()
    assert handler.get(logs) == b"[1,2]"
    given = [5]
    logs["alice"] = given
    given.append(6)
    assert logs["alice"] == [5, 6]
    handler.finish()
    given.append(7)
    handler.finish()
    assert handler.get(logs) == b"[5,6]", "a value belongs to the event for which it was written"
    logs["alice"].append(8)
    handler.tables.undo()
    assert logs["alice"] == [5, 6]
    logs["alice"].append(9)
    assert logs.pop("alice") == [5, 6, 9]
    handler.finish()
    assert handler.get(logs) is None


def test_a_key_with_a_changed_default_is_there(handler: Handler) -> None:
    assert "alice" not in logs
    logs["alice"].append(1)
    assert "alice" in logs
    assert logs.get("alice") == [1]
    del logs["alice"]
    assert logs["alice"] == []


def test_a_value_of_another_type_changes_nothing(handler: Handler) -> None:
    balances["alice"] = 3
    with pytest.raises(EncodeError, match="table balances: 'x' cannot be stored"):
        balances["alice"] = "x"  # type: ignore[assignment]
    assert balances["alice"] == 3


def test_a_stored_value_of_another_type_is_named(handler: Handler) -> None:
    handler.stored(balances, b'"x"')
    with pytest.raises(DecodeError, match="table balances: a stored value cannot be read"):
        balances["alice"]


def test_keys_are_those_that_a_partition_key_may_be(handler: Handler) -> None:
    some = UUID(int=5)
    for key, data in ((7, b"7"), (some, str(some).encode()), (b"\xff", b"\xff")):
        handler.tables.learn(("balances", data), None)
        balances[key] = 1
        assert handler.get(balances, data) == b"1"
    with pytest.raises(Exception, match="cannot be a partition key"):
        balances[1.5]


def test_a_key_that_was_not_read_is_named_with_what_to_do(handler: Handler) -> None:
    expected = re.escape(
        "call `await balances.load('carol')` first. Each partition has its own part"
    )
    with pytest.raises(NotLoaded, match=f"'carol' is not the key of the current event.*{expected}"):
        balances["carol"]
    with pytest.raises(NotLoaded, match=expected):
        balances["carol"] = 1
    with pytest.raises(NotLoaded, match=expected):
        assert "carol" in balances
    for use in (balances.get, balances.pop):
        with pytest.raises(NotLoaded, match=expected):
            use("carol")
    with pytest.raises(NotLoaded, match=expected):
        balances.setdefault("carol", 1)
    with pytest.raises(NotLoaded, match=expected):
        del balances["carol"]


def test_a_key_can_be_loaded(handler: Handler) -> None:
    async def load() -> None:
        await balances.load("carol")
        await balances.load_many(["dan", "erin", "dan"])

    asyncio.run(load())
    assert [sorted(each) for each in handler.loaded] == [
        [("balances", b"carol")],
        [("balances", b"dan"), ("balances", b"erin")],
    ]
    assert balances["carol"] + balances["dan"] + balances["erin"] == 0


def test_it_is_no_list(handler: Handler) -> None:
    with pytest.raises(TypeError, match="not iterable"):
        list(balances)  # type: ignore[call-overload]


def refuses_all(match: str) -> None:
    """Nothing can be done with the table."""
    with pytest.raises(NotInHandler, match=match):
        balances["alice"]
    with pytest.raises(NotInHandler, match=match):
        balances["alice"] = 1
    with pytest.raises(NotInHandler, match=match):
        balances.get("alice")
    with pytest.raises(NotInHandler, match=match):
        asyncio.run(balances.load("alice"))


def test_outside_a_handler_it_says_where_it_can_be_used() -> None:
    refuses_all("belongs to the stream payments: it can be used while a worker runs a handler")
    refuses_all(r"`await balances.read\(key\)`, or in a test with `balances.at\(key\)`$")


def test_in_a_handler_of_another_stream_or_processor_it_is_refused(handler: Handler) -> None:
    reason = (
        r"^table balances: the processor book does not write it: it can only read what was last "
        r"committed, with `await balances.read\(key\)`$"
    )
    CURRENT_EVENT.set(handler.current()._replace(tables=TableState("p", ["notes"])))
    refuses_all(reason)
    CURRENT_EVENT.set(handler.current()._replace(tables=None))
    refuses_all(reason)
    with pytest.raises(NotInHandler, match=r"book does not write it, but audit does: .*audited"):
        Table(app, "audited", payments.spec, int, processor="audit")["alice"]


def test_what_a_handler_left_running_uses_no_table(handler: Handler) -> None:
    handler.tables.run += 1
    refuses_all("this handler was given up, or has ended")


def test_nothing_is_written_while_there_is_no_event(handler: Handler) -> None:
    handler.stored(balances, b"3")
    handler.stored(logs, b"[1]")
    handler.has_event = False
    assert balances["alice"] == 3
    with pytest.raises(NotInHandler, match="no event here"):
        balances["alice"] += 1
    with pytest.raises(NotInHandler, match="no event here"):
        balances.setdefault("bob", 1)
    with pytest.raises(NotInHandler, match="no event here"):
        balances.pop("alice")
    with pytest.raises(NotInHandler, match="no event here"):
        del balances["alice"]
    logs["alice"].append(2)
    handler.finish()
    assert (handler.get(balances), handler.get(logs)) == (b"3", b"[1]")
