"""What may still happen to a partition that is held."""

from __future__ import annotations

from tests.unit.partition_states import state


def test_a_stopped_partition_is_held_until_it_is_drained() -> None:
    it = state(1)
    assert it.open
    assert not it.held_stopped
    it.stop(quarantined=True)
    assert (it.open, it.held_stopped, it.quarantined) == (False, True, True)
    it.drain()
    assert (it.held_stopped, it.draining, it.ended) == (False, True, False)
    it.end()
    assert it.ended


def test_a_pause_is_no_quarantine() -> None:
    it = state(1)
    it.stop()
    assert (it.held_stopped, it.quarantined) == (True, False)
