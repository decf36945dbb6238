"""Partitions are named as `inspect` writes them, and one that does not exist is refused."""

from __future__ import annotations

import pytest

from runnel.cli.partition_option import chosen_partitions
from tests.cli import shop
from tests.cli.commands import ORDERS, one_sentence
from tests.cli.conftest import Run


def test_partitions_are_chosen_once_and_in_order() -> None:
    assert chosen_partitions(shop.orders.spec, []) is None
    assert chosen_partitions(shop.orders.spec, [[3], [0, 1], [1]]) == [0, 1, 3]


@pytest.mark.parametrize(
    ("text", "says"), [("4", "--partition must be 0 to 3, not 4"), ("x", "'x'"), ("2-1", "2-1")]
)
def test_a_partition_that_does_not_exist_is_refused(run: Run, text: str, says: str) -> None:
    done = run("tail", ORDERS, "--partition", text)
    assert (done.code, done.stdout) == (2, "")
    assert says in done.stderr


def test_the_refusal_is_one_sentence(run: Run) -> None:
    one_sentence(run("tail", ORDERS, "--partition", "0-9").stderr)
