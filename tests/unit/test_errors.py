"""Every exception class is in one module, and those for users are public and documented."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runnel
from runnel import App, Full, Record, RunnelError, errors

ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT / "docs" / "guide.md"


@pytest.mark.parametrize(
    ("details", "says"),
    [
        ({"processor": ""}, "no processor is registered that could commit its oldest events"),
        ({}, "no processor is registered that could commit its oldest events"),
        (
            {"processor": "", "reader": "other"},
            "no processor is registered that could commit its oldest events: only another group "
            "reads it",
        ),
        (
            {"processor": "billing", "checkpoint": "1-0"},
            "the registered processor billing has not committed its oldest events",
        ),
        (
            {"processor": "billing", "group": "missing"},
            "the consumer group of the registered processor billing is missing",
        ),
    ],
)
def test_a_full_partition_names_the_slow_processor(details: dict[str, str], says: str) -> None:
    full = Full("FULL", details)
    assert full.reason == says
    assert full.sink is None


def test_a_full_sink_is_called_by_its_name() -> None:
    log = "runnel:{shop:orders:3}:orders.billing.dead:log"
    assert Full("FULL", {"sink": log}).sink == "orders.billing.dead"


def classes(path: Path) -> dict[str, set[str]]:
    """Name -> names of base classes."""
    return {
        node.name: {base.id for base in node.bases if isinstance(base, ast.Name)}
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    }


def test_every_exception_class_is_in_errors_and_in_its_tree() -> None:
    known = {
        name
        for name, found in vars(errors).items()
        if isinstance(found, type) and issubclass(found, BaseException)
    }
    known |= {"Exception", "BaseException", "RedisError", "ResponseError"}
    for path in (ROOT / "runnel").rglob("*.py"):
        if path.name != "errors.py":
            assert not [name for name, bases in classes(path).items() if bases & known], path
    tree = re.findall(r"(?:RunnelError|──) ?(\w*)", errors.__doc__ or "")
    assert set(tree) - {""} | {"RunnelError"} == set(classes(ROOT / "runnel/errors.py"))


def test_errors_for_users_are_public_and_in_the_guide() -> None:
    _, _, text = GUIDE.read_text().partition("## Errors\n")
    table, _, _ = text.partition("\n## ")
    listed = set(re.findall(r"^\| `(\w+)`", table, re.M)) | {"RunnelError"}
    public = {
        name
        for name in runnel.__all__
        if isinstance(found := getattr(runnel, name), type) and issubclass(found, RunnelError)
    }
    assert public == listed
    for name in public:
        assert getattr(runnel, name) is getattr(errors, name)


class Order(Record):
    id: int
    note: Any = None


app = App("shop")
orders = app.stream("orders", record=Order, partition_by="id", partition_count=2)
notes = app.stream("notes", record=Order, partition_by="note", partition_count=2)
totals = app.table("totals", orders, value=int, default=0)


async def bill(order: Order) -> None:
    """A handler."""


#: What a user does wrong, the error, what it names, and how it says to mend it.
MISTAKES: list[tuple[Callable[[], Any], str, str, str]] = [
    (lambda: App("my shop"), "ConfigError", "app name 'my shop'", "use letters, digits"),
    (lambda: App("shop", retries=-1), "ConfigError", "setting retries", "from 0 to"),
    (
        lambda: app.processor(orders)(bill),  # type: ignore[arg-type]
        "ConfigError",
        "function bill",
        "use @app.on",
    ),
    (
        lambda: app.stream("s", record=Order, partition_by="di"),
        "ConfigError",
        "partition_by names 'di'",
        "name a field",
    ),
    (lambda: notes.spec.partition(Order(id=1)), "PartitionKeyError", "stream notes", "None"),
    (
        lambda: orders.spec.encode(Order(id=1, note=(1, 2))),
        "EncodeError",
        "Order.note",
        "declare it as tuple",
    ),
    (lambda: orders.spec.encode(5), "EncodeError", "Order records", "not int"),  # type: ignore[arg-type]
    (
        lambda: orders.spec.codec.decode([b"json", b'{"id":"x"}']),
        "DecodeError",
        "Order.id",
        "integer",
    ),
    (lambda: orders.emit(Order(id=1)), "NotInHandler", "stream orders", "await orders.send"),
    (lambda: totals[1], "NotInHandler", "table totals", "while a worker runs a handler"),
]


@pytest.mark.parametrize(("call", "kind", "names", "fix"), MISTAKES)
def test_an_error_names_what_is_wrong_and_what_to_do(
    call: Callable[[], Any], kind: str, names: str, fix: str
) -> None:
    with pytest.raises(RunnelError) as caught:
        call()
    assert type(caught.value).__name__ == kind
    said = str(caught.value)
    assert names in said
    assert fix in said
    assert "\n" not in said
