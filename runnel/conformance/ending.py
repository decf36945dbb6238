"""Checks of how commands ended, and of what they left behind."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from runnel.conformance.actors import Actor
from runnel.conformance.case import Case, Findings
from runnel.protocol import PartitionDescription


def check_ending(
    case: Case, states: Sequence[PartitionDescription], members: set[str], found: Findings
) -> None:
    """Every check of this module. `states` and `members` are those after the last process ended."""
    for actor in case.actors:
        if not actor.producer:
            _worker(case, actor, found)
            continue
        for text, which in actor.surplus:
            found.add("contract", text, f"{actor.name}: {which}")
        if actor.told is None and actor.unsaid and not actor.waits_in_vain:
            text = f"{actor.name}: {actor.unsaid} of {actor.given}"
            found.add("contract", "records were neither acknowledged nor given up", text)
    for actor in case.actors:
        # One whose call with `leave` did not arrive is a member until its session ends.
        if _left(actor) and actor.member in members:
            text = f"{actor.name}: after SIGTERM, sync was called with {_last_syncs(case, actor)}"
            found.add("W26", "a worker that ended after SIGTERM is still a member", text)
    for number, state in enumerate(states):
        owner = state.lease_owner
        if owner and owner in {each.member for each in case.actors if _left(each)}:
            text = f"partition {number}: the lease of {owner} has not ended"
            found.add("W26", "a worker that ended after SIGTERM has not released", text)


def _left(actor: Actor) -> bool:
    told = actor.told
    return not actor.producer and told is not None and told[0] == signal.SIGTERM


def _worker(case: Case, actor: Actor, found: Findings) -> None:
    end = f"{actor.name} ended with exit code {actor.exit_code}: see {actor.log}"
    if actor.to_be_replaced:
        if actor.told is None and actor.exit_code in (None, 0):
            text = "a worker that must end by itself, with an error, did not end with one"
            found.add(actor.ends_by, text, end)
    elif _left(actor) and actor.exit_code not in (0, None):
        text = "a worker did not end with exit code 0 after SIGTERM"
        # One that has called nothing may not have come to wait for signals yet.
        started = any(each.actor == actor.name for each in case.history.calls)
        found.add("W26", text, end, timed=not started)


def _last_syncs(case: Case, actor: Actor) -> str:
    told = actor.told[1] if actor.told is not None else 0
    syncs = [each for each in case.history.of("sync") if each.actor == actor.name]
    return ", ".join(each.arg(8) for each in syncs if each.place > told) or "nothing"
