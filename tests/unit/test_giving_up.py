"""What follows a failure: another try, its events one by one, or none."""

from __future__ import annotations

import pytest

from runnel.worker.giving_up import Decision, decide


@pytest.mark.parametrize(
    ("no_retry", "whole", "attempts", "decision"),
    [
        (False, True, 1, Decision.RETRY),
        (False, True, 3, Decision.RETRY),
        (False, True, 4, Decision.GIVE_UP),
        (False, False, 3, Decision.RETRY),
        (False, False, 4, Decision.ISOLATE),
        (True, True, 1, Decision.GIVE_UP),
        (True, False, 1, Decision.ISOLATE),
    ],
)
def test_retries_come_first_then_a_batch_is_isolated_and_an_event_given_up(
    no_retry: bool, whole: bool, attempts: int, decision: Decision
) -> None:
    assert decide(no_retry, whole, attempts, retries=3) is decision


@pytest.mark.parametrize(("whole", "decision"), [(True, "GIVE_UP"), (False, "ISOLATE")])
def test_without_retries_the_first_failure_decides(whole: bool, decision: str) -> None:
    assert decide(False, whole, 1, retries=0) is Decision[decision]
