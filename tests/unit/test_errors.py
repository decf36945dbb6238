"""Every exception class is in one module, and those for users are public and documented."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import runnel
from runnel import Full, RunnelError, errors

ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT / "docs" / "guide.md"


@pytest.mark.parametrize(
    ("details", "says"),
    [
        ({"processor": ""}, "no processor is registered that could commit its oldest events"),
        ({}, "no processor is registered that could commit its oldest events"),
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
