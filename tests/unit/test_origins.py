"""A cell that runs again, and a module that is loaded again, replace what they have declared."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runnel import App
from runnel.errors import ConfigError, EncodeError

Cell = Callable[[str], dict[str, Any]]

START = """
from runnel import App, Event, Events, Record
app = App("shop")
"""
ORDERS = """
class Order(Record):
    id: int
    more: int = 0
orders = app.stream("orders", record=Order, partition_by="id", partition_count=4)
"""
BILL = """
@app.on(orders)
async def bill(order: Order) -> None:
    seen.append(order)
"""
TABLE = "totals = app.table('totals', orders, value=int, default=0)"
TASK = """
@app.timer(interval=5)
async def refresh():
    pass
"""


STARTUP = """
@app.on_startup
async def load():
    seen.append(1)
"""
SHUTDOWN = STARTUP.replace("startup", "shutdown")
LIFESPAN = """
@app.lifespan
async def around():
    yield
"""


@pytest.fixture
def script() -> Cell:
    """Runs code in a `__main__` of its own, as `python script.py` does."""
    names: dict[str, Any] = {"__name__": "__main__", "seen": []}

    def run(source: str) -> dict[str, Any]:
        exec(compile(source, "<cell>", "exec"), names)
        return names

    return run


@pytest.fixture
def cell(script: Cell, monkeypatch: pytest.MonkeyPatch) -> Cell:
    """Runs cells, as a notebook does."""
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    return script


@pytest.mark.parametrize("source", [BILL, TABLE, TASK])
def test_a_cell_that_runs_again_replaces_what_it_declared(
    cell: Cell, source: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = cell(START + ORDERS)["app"]
    for _ in range(3):
        cell(source)
        declared = {**app.processors, **app.tables, **app.tasks}
        assert len(declared) == 1
        (made,) = declared.values()
        if source == BILL:
            assert made.function is cell("")["bill"]
        if source == TABLE:
            assert made is cell("")["totals"]
    (note,) = caplog.messages
    assert "was declared again, and replaces the former; a worker that runs already" in note


def test_functions_for_the_start_and_the_end_are_replaced_where_they_were(
    cell: Cell, caplog: pytest.LogCaptureFixture
) -> None:
    app: App = cell(START)["app"]
    cell(STARTUP + SHUTDOWN + LIFESPAN + STARTUP.replace("load", "then"))
    for source in (STARTUP, SHUTDOWN, LIFESPAN):
        cell(source)
    names = cell("")
    assert [each.__name__ for each in app.hooks.startup] == ["load", "then"]
    assert app.hooks.shutdown == [names["load"]]
    assert app.hooks.around is not None
    assert getattr(app.hooks.around, "__wrapped__") is names["around"]  # noqa: B009
    assert len(caplog.messages) == 3
    with pytest.raises(ConfigError, match="has two lifespans, and another is the second"):
        cell(LIFESPAN.replace("around", "another"))


@pytest.mark.parametrize("source", [ORDERS, BILL, TABLE, TASK, STARTUP, SHUTDOWN, LIFESPAN])
def test_in_a_script_a_name_is_declared_once(script: Cell, source: str) -> None:
    script(START + ORDERS + (source if source != ORDERS else ""))
    with pytest.raises(ConfigError, match="has two"):
        script(source)


@pytest.mark.parametrize(
    "source",
    [
        "for _ in range(2):" + BILL.replace("\n", "\n    "),
        BILL + BILL,
        "def make():" + BILL.replace("\n", "\n    ") + "\nmake()\nmake()",
        "for _ in range(2): app.table('t', orders, value=int)",
    ],
)
def test_what_one_run_declares_twice_is_a_mistake_in_a_cell_too(cell: Cell, source: str) -> None:
    cell(START + ORDERS)
    with pytest.raises(ConfigError, match="has two"):
        cell(source)


def test_another_function_does_not_take_the_name_of_a_processor(cell: Cell) -> None:
    cell(START + ORDERS)
    cell("@app.on(orders, name='mail')\nasync def one(order): pass")
    with pytest.raises(ConfigError, match="two processors named 'mail'"):
        cell("@app.on(orders, name='mail')\nasync def other(order): pass")
    cell("@app.on(orders, name='mail')\nasync def one(order): pass")


def test_a_cell_does_not_replace_what_a_module_declared(cell: Cell, tmp_path: Path) -> None:
    app = cell(START + ORDERS)["app"]

    async def bill(order: Any) -> None:
        pass

    app.on(cell("")["orders"])(bill)
    with pytest.raises(ConfigError, match="two processors named 'bill'"):
        cell(BILL)


def test_a_function_that_declares_may_be_called_by_each_run_of_a_cell(cell: Cell) -> None:
    names = cell(START + ORDERS + "def make():" + BILL.replace("\n", "\n    "))
    cell("make()")
    first = names["app"].processors["bill"]
    cell("make()")
    assert names["app"].processors["bill"] is not first


def test_a_thread_declares_nothing_again(cell: Cell) -> None:
    cell(START + ORDERS)
    refused: list[Exception] = []

    def declare() -> None:
        try:
            cell("")["make"]()
        except ConfigError as error:
            refused.append(error)

    cell("def make():" + BILL.replace("\n", "\n    ") + "\nmake()")
    thread = threading.Thread(target=declare)
    thread.start()
    thread.join()
    assert len(refused) == 1


def test_what_belongs_to_a_former_stream_must_be_declared_again_before_a_worker_starts(
    cell: Cell,
) -> None:
    app: App = cell(START + ORDERS)["app"]
    cell("letters = orders.dead_letters('bill')\n" + TABLE + BILL)
    cell(ORDERS.replace("partition_count=4", "partition_count=8"))
    assert set(app.streams) == {"orders"}
    with pytest.raises(ConfigError, match=r"processor bill belongs to the stream orders as it was"):
        app.choose([])
    cell(BILL)
    with pytest.raises(ConfigError, match=r"table totals belongs to the stream orders as it was.*"):
        app.choose([])
    cell(TABLE)
    (chosen,) = app.choose([])
    assert (chosen.stream.partition_count, chosen.tables) == (8, ("totals",))
    assert cell("letters = orders.dead_letters('bill')")["letters"].spec.partition_count == 8


def test_other_processors_may_be_chosen_while_one_is_of_a_former_stream(cell: Cell) -> None:
    app: App = cell(START + ORDERS + BILL)["app"]
    cell("others = app.stream('others', record=Order, partition_by='id')")
    cell("@app.on(others)\nasync def ship(order: Order): pass")
    cell(ORDERS)
    assert [each.name for each in app.choose(["ship"])] == ["ship"]


def test_a_record_class_that_is_made_again_needs_its_stream(cell: Cell) -> None:
    cell(START + ORDERS)
    cell("class Order(Record):\n    id: int\n    note: str = ''")
    with pytest.raises(EncodeError, match="declare the stream again, too; in a notebook, run its"):
        cell("orders.spec.encode(Order(id=1))")


def test_an_app_that_is_made_again_has_nothing_of_the_former(cell: Cell) -> None:
    cell(START + ORDERS)
    cell(START)
    with pytest.raises(ConfigError, match="belongs to another app object of this name: declare it"):
        cell(BILL)
    cell(ORDERS + BILL)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "shop_app.py").write_text(START)
    path = tmp_path / "shop_handlers.py"
    path.write_text("from shop_app import *\nseen = []\n" + ORDERS + BILL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield path
    for name in ("shop_app", "shop_handlers"):
        sys.modules.pop(name, None)


def test_a_module_that_is_loaded_again_replaces_what_it_declared(module: Path) -> None:
    handlers = importlib.import_module("shop_handlers")
    app: App = handlers.app
    module.write_text("\n\n" + module.read_text().replace("more: int", "other: int"))
    importlib.reload(handlers)
    assert app.processors["bill"].function is handlers.bill
    assert app.streams["orders"] is handlers.orders
    assert [each.stream for each in app.choose([])] == [handlers.orders.spec]
    module.write_text(module.read_text() + BILL)
    with pytest.raises(ConfigError, match="two processors named 'bill'"):
        importlib.reload(handlers)


def test_a_module_that_is_imported_under_two_names_is_refused(module: Path) -> None:
    importlib.import_module("shop_handlers")
    del sys.modules["shop_handlers"]
    with pytest.raises(ConfigError, match="two streams named 'orders'"):
        importlib.import_module("shop_handlers")
