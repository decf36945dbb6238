"""What the kit sends."""

from __future__ import annotations

from random import Random

import pytest

from runnel.conformance.contract import PARTITIONS
from runnel.conformance.sender import FORMS, KEYS, Records, entry, partition_of
from runnel.conformance.watch import READER


def test_the_keys_reach_every_partition() -> None:
    assert {partition_of(each) for each in KEYS} == set(range(PARTITIONS))


def test_numbers_of_a_key_rise_by_one() -> None:
    records = Records(Random(1), work=3)
    found = [records.next() for _ in range(100)]
    for key in KEYS:
        numbers = [each["number"] for each in found if each["key"] == key]
        assert numbers == list(range(1, len(numbers) + 1))
    assert {each["work"] for each in found} == set(range(7))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_reads_back(form: str) -> None:
    record = Records(Random(1), work=3).next()
    fields = entry(record, form)
    assert fields[0].decode() == form
    assert READER.plain(fields) == record
