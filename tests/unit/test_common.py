"""Arguments that several calls share, in the order in which scripts take them."""

from __future__ import annotations

import pytest

from runnel.protocol import PartitionKeys, StreamContract, Token, text
from runnel.protocol.scripts import PROTOCOL


def test_a_contract_is_protocol_partition_count_and_hash() -> None:
    assert StreamContract(partitions=4, hash="xxh64").args() == (PROTOCOL, 4, "xxh64")


def test_a_script_gets_log_meta_and_state_of_one_slot() -> None:
    found = PartitionKeys("runnel:{shop:orders:3}:orders", "printer").of_script()
    assert found == (
        "runnel:{shop:orders:3}:orders:log",
        "runnel:{shop:orders:3}:orders:meta",
        "runnel:{shop:orders:3}:orders:processor:printer",
    )


def test_a_token_is_another_one_if_either_part_differs() -> None:
    assert Token(1, "a") == Token(1, "a")
    assert Token(1, "a") not in (Token(2, "a"), Token(1, "b"))


@pytest.mark.parametrize("value", [b"7", "7", 7])
def test_a_value_of_a_reply_is_text_in_every_form(value: object) -> None:
    assert text(value) == "7"
