"""The table of faults in the docs says what the tests say."""

from __future__ import annotations

from tests.fault_table import FAULTS, PAGE, REMARKS, covering, table


def test_the_table_of_faults_is_what_the_tests_say() -> None:
    assert table() in PAGE.read_text(), "write it again: python -m tests.fault_table"


def test_every_fault_has_a_test_or_a_reason() -> None:
    tests = covering()
    assert set(tests) <= set(range(1, len(FAULTS) + 1)), "a mark names an unknown fault"
    assert not [n for n in range(1, len(FAULTS) + 1) if n not in tests and n not in REMARKS]
    assert [n for n in REMARKS if n not in tests] == [
        n for n, reason in REMARKS.items() if reason.startswith("Not injected")
    ]
