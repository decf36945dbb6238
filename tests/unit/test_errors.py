"""Errors say in words what the details hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import runnel
from runnel import Full, RunnelError, errors

GUIDE = Path(__file__).parent.parent.parent / "docs" / "guide.md"


@pytest.mark.parametrize(
    ("details", "says"),
    [
        ({"processor": ""}, "no processor is registered that could pass its oldest events"),
        ({}, "no processor is registered that could pass its oldest events"),
        (
            {"processor": "billing", "checkpoint": "1-0"},
            "the registered processor billing has not passed its oldest events",
        ),
        (
            {"processor": "billing", "group": "missing"},
            "the consumer group of the registered processor billing is missing",
        ),
    ],
)
def test_a_full_partition_says_who_holds_it_back(details: dict[str, str], says: str) -> None:
    full = Full("FULL", details)
    assert full.reason == says
    assert full.sink is None


def test_a_full_sink_is_called_by_its_name() -> None:
    log = "runnel:{shop:orders:3}:orders.billing.dead:log"
    assert Full("FULL", {"sink": log}).sink == "orders.billing.dead"


def test_errors_for_users_are_names_of_the_package_and_told_in_the_guide() -> None:
    _, _, text = GUIDE.read_text().partition("## Errors\n")
    table, _, _ = text.partition("\n## ")
    told = set(re.findall(r"^\| `(\w+)`", table, re.M)) | {"RunnelError"}
    public = {
        name
        for name in runnel.__all__
        if isinstance(found := getattr(runnel, name), type) and issubclass(found, RunnelError)
    }
    assert public == told
    for name in public:
        assert getattr(runnel, name) is getattr(errors, name)
