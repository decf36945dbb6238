"""When worker processes start again."""

from __future__ import annotations

from runnel.cli.fleet import FIRST_DELAY, HEALTHY, LONGEST_DELAY, Fleet


def started(count: int = 2, *, ready: bool = True, restart: bool = True) -> Fleet:
    """A fleet whose processes run."""
    fleet = Fleet(count, restart)
    assert fleet.due(0.0) == list(range(1, count + 1))
    for number in fleet.due(0.0):
        fleet.started(number)
        if ready:
            fleet.ready(number, 0.0)
    assert fleet.next_start() is None
    return fleet


def test_the_delay_grows_to_a_bound_and_begins_anew_after_health() -> None:
    fleet, now, delays = started(), 1.0, []
    for _ in range(2000):
        fleet.ended(1, 1, now)
        start = fleet.next_start()
        assert start is not None
        delays.append(start - now)
        assert fleet.due(start - 0.001) == []
        assert fleet.due(start) == [1]
        now = start
        fleet.started(1)
        fleet.ready(1, now)
    assert delays[:4] == [FIRST_DELAY, 1.0, 2.0, 4.0]
    assert delays[-1] == max(delays) == LONGEST_DELAY
    now += HEALTHY
    fleet.ended(1, 1, now)
    assert fleet.next_start() == now + FIRST_DELAY


def test_one_that_cannot_start_waits_for_another_that_works() -> None:
    fleet = started(ready=False)
    fleet.ended(1, 2, 1.0)
    assert fleet.start_of(1) is None
    assert not fleet.over
    fleet.ready(2, 2.0)
    assert fleet.start_of(1) == 1.0 + FIRST_DELAY
    assert fleet.due(2.0) == [1]


def test_all_end_if_none_can_start() -> None:
    fleet = started(ready=False)
    fleet.ended(1, 2, 1.0)
    fleet.ended(2, 5, 1.0)
    assert fleet.hopeless
    assert fleet.over
    assert fleet.worst() == 5


def test_they_do_not_end_while_one_that_has_worked_waits_for_its_start() -> None:
    fleet = started(ready=False)
    fleet.ready(2, 1.0)
    fleet.ended(1, 2, 1.0)
    fleet.ended(2, 1, 1.0)
    assert fleet.all_ended
    assert not fleet.over
    assert fleet.due(10.0) == [2]
    fleet.started(2)
    fleet.ended(2, 1, 11.0)
    assert fleet.over


def test_without_restart_they_end_one_by_one() -> None:
    fleet = started(restart=False)
    fleet.ended(1, 0, 1.0)
    assert not fleet.over
    fleet.ended(2, 3, 1.0)
    assert fleet.next_start() is None
    assert fleet.over
    assert (fleet.hopeless, fleet.worst()) == (False, 3)


def test_all_start_again_whatever_was_before() -> None:
    fleet = started(ready=False, restart=False)
    for number in (1, 2):
        fleet.ended(number, 2, 1.0)
    fleet.start_again(5.0)
    assert fleet.due(5.0) == [1, 2]


def test_one_that_could_not_handle_its_signal_has_ended_well_if_it_was_asked_to() -> None:
    fleet = started(ready=False)
    fleet.ended(1, 143, 1.0)
    fleet.ended(2, 0, 1.0)
    assert fleet.worst() == 143
    assert fleet.worst(asked=True) == 0
    fleet.ended(2, 137, 1.0)
    assert fleet.worst(asked=True) == 137
