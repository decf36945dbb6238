"""Replays a history and says what did not hold. Each check names the promise it is about.

A processor that an operator has reset may see events again under an old token, so only `strict`
processors are held to what concerns tokens and repeats. A failover may take back what was not
acknowledged, so with `lossy` only acknowledged events are held to their order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from tests.soak.history import Effect, History, Id, Look, Sent

#: An event of the one stream: its partition and id.
Event = tuple[int, Id]


@dataclass
class Verdict:
    """What the checks found."""

    violations: list[str] = field(default_factory=list)
    #: Acknowledged events that some processor has not seen, or that are gone from the log.
    lost: set[Event] = field(default_factory=set)
    #: Effects beyond the first of an event, in strict processors.
    duplicates: int = 0
    #: The most events that one tenure repeated.
    most_repeated: int = 0
    #: Tenures beyond the first of a partition.
    takeovers: int = 0


def check(history: History, *, strict: Iterable[str], budget: int, lossy: bool = False) -> Verdict:
    """All checks. `budget` is how many events a new tenure may repeat."""
    verdict = Verdict()
    say = verdict.violations.append
    strict = set(strict)
    acknowledged = {(each.partition, each.id): each for each in history.sent}
    _sends(history.sent, say)
    _kept(history, verdict)
    for processor in history.processors:
        effects = [each for each in history.effects if each.processor == processor]
        done: dict[Event, list[Effect]] = defaultdict(list)
        for each in effects:
            done[each.partition, each.id].append(each)
        _nothing_missing(processor, acknowledged, done, verdict)
        _same_event(processor, acknowledged, done, say, lossy)
        counted = [event for event in done if event in acknowledged or not lossy]
        _order(processor, counted, done, say)
        if processor in strict:
            _tenures(processor, effects, budget, verdict, lossy)
            if not lossy:
                _one_chain(processor, history.looks, say)
    final = {(each.processor, each.partition): each for each in history.looks}
    for look in final.values():
        _at_the_end(look, look.processor in strict, lossy, say)
    return verdict


def _sends(sent: list[Sent], say: Callable[[str], None]) -> None:
    """S3: the events of a key that were acknowledged one after the other have rising ids."""
    ordered = sorted(sent, key=lambda each: (each.key, each.number))
    for before, after in pairwise(ordered):
        if before.key == after.key and not before.id < after.id:
            say(f"S3: event {after.number} of key {after.key} stands before event {before.number}")


def _kept(history: History, verdict: Verdict) -> None:
    """S4: what was acknowledged is in the log, unless it stood before the oldest event there and
    so was trimmed."""
    for partition, ids in history.logs.items():
        there = set(ids)
        for sent in history.sent:
            if sent.partition == partition and ids and sent.id >= ids[0] and sent.id not in there:
                verdict.lost.add((partition, sent.id))
                verdict.violations.append(f"S4: {sent} was acknowledged and is not in the log")


def _nothing_missing(
    processor: str,
    acknowledged: dict[Event, Sent],
    done: dict[Event, list[Effect]],
    verdict: Verdict,
) -> None:
    """S4: what was acknowledged is processed."""
    for event, sent in acknowledged.items():
        if event not in done:
            verdict.lost.add(event)
            verdict.violations.append(f"S4: {processor} never processed {sent}")


def _same_event(
    processor: str,
    acknowledged: dict[Event, Sent],
    done: dict[Event, list[Effect]],
    say: Callable[[str], None],
    lossy: bool,
) -> None:
    """S6: an event is sent once, and what is processed is what was sent."""
    places: dict[tuple[str, int], Event] = {}
    for event, effects in done.items():
        for effect in effects:
            sent = acknowledged.get(event)
            if sent and (sent.key, sent.number) != (effect.key, effect.number):
                say(f"S6: {processor} saw {effect} in place of {sent}")
            other = places.setdefault((effect.key, effect.number), event)
            if other != event and not lossy:
                say(f"S6: event {effect.number} of {effect.key} was sent twice: {other}, {event}")


def _order(
    processor: str,
    events: list[Event],
    done: dict[Event, list[Effect]],
    say: Callable[[str], None],
) -> None:
    """S3: an event is begun only after every earlier one of its partition was through once."""
    for partition, group in groupby(sorted(events), key=lambda event: event[0]):
        reached, by = 0.0, (0, 0)
        for event in group:
            begun = min(effect.start for effect in done[event])
            if begun < reached:
                say(
                    f"S3: {processor} began {event[1]} of partition {partition} "
                    f"{reached - begun:.6f} s before {by} was through"
                )
            first_end = min(effect.end for effect in done[event])
            if first_end > reached:
                reached, by = first_end, event[1]


def _tenures(
    processor: str, effects: list[Effect], budget: int, verdict: Verdict, lossy: bool
) -> None:
    """S2, S3, L4: within a tenure each event once and in order; what a tenure repeats is bounded;
    once a newer token has been used, only what was in hand under an older one is finished."""
    say = verdict.violations.append
    for partition, group in _by(effects, lambda each: each.partition):
        tenures = [list(each) for _, each in _by(group, lambda each: each.epoch)]
        verdict.takeovers += len(tenures) - 1
        seen: set[Id] = set()
        for tenure, newer in zip(tenures, _next_starts(tenures), strict=True):
            where = f"{processor}, partition {partition}, epoch {tenure[0].epoch}"
            tenure.sort(key=lambda each: each.start)
            if len({each.worker for each in tenure}) > 1:
                say(f"S2: two workers had {where}")
            for before, after in pairwise(tenure):
                if not before.id < after.id or before.end > after.start:
                    say(f"S3: {where}: {after} follows {before}")
            repeated = [each for each in tenure if each.id in seen]
            verdict.duplicates += len(repeated)
            verdict.most_repeated = max(verdict.most_repeated, len(repeated))
            if len(repeated) > budget:
                say(f"S9: {where} repeated {len(repeated)} events, {budget} are allowed")
            seen.update(each.id for each in tenure)
            late = [each for each in tenure if each.end > newer]
            if len(late) > 1 and not lossy:
                say(f"L4: {where}: {len(late)} events ended after a newer token was used: {late}")


def _next_starts(tenures: list[list[Effect]]) -> list[float]:
    """For each tenure, when the first event of any later one was begun."""
    starts, first = [], float("inf")
    for tenure in reversed(tenures):
        starts.append(first)
        first = min(first, min(each.start for each in tenure))
    return starts[::-1]


def _by(
    effects: Iterable[Effect], key: Callable[[Effect], int]
) -> Iterator[tuple[int, Iterator[Effect]]]:
    return groupby(sorted(effects, key=key), key=key)


def _one_chain(processor: str, looks: list[Look], say: Callable[[str], None]) -> None:
    """S1, S4: seen from outside, tokens rise, and a checkpoint moves forward together with the
    count of what it passed."""
    latest: dict[int, Look] = {}
    for look in looks:
        if look.processor != processor:
            continue
        before = latest.get(look.partition, look)
        latest[look.partition] = look
        moved = look.checkpoint > before.checkpoint
        counted = look.processed > before.processed
        if look.epoch < before.epoch or look.checkpoint < before.checkpoint or moved != counted:
            say(f"S4: {before} was followed by {look}")


def _at_the_end(look: Look, strict: bool, lossy: bool, say: Callable[[str], None]) -> None:
    """L1, S4, S7: everything is passed, counted once, and the consumer group shows it."""
    where = f"{look.processor}, partition {look.partition}"
    if look.lost:
        say(f"S7: {where} has lost {look.lost} events")
    if look.lag != 0:
        say(f"L1: {where} has a lag of {look.lag} at the end")
    # What was processed before a failover took it back is counted too.
    if strict and (look.processed < look.added or (look.processed > look.added and not lossy)):
        say(f"S4: {where} committed {look.processed} events, {look.added} were added")
