"""Replays a history and reports violations. Each check names the promise that it checks.

A processor that an operator has reset may see events again under an old token, so the checks of
tokens and repeats apply to `strict` processors only. Those of order leave out events that may have
failed and come later. A failover may lose events that were not
acknowledged, so with `lossy` the checks of order apply to acknowledged events only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from tests.soak.history import Effect, History, Id, Look, Sent
from tests.soak.later import check_later
from tests.soak.totals import check_totals

#: An event of the one stream: its partition and id.
Event = tuple[int, Id]


@dataclass
class Verdict:
    """What the checks found."""

    violations: list[str] = field(default_factory=list)
    #: Acknowledged events that some processor has not seen, or that are missing from the log.
    lost: set[Event] = field(default_factory=set)
    #: Effects beyond the first of an event, in strict processors.
    duplicates: int = 0
    #: The most events that one tenure repeated.
    most_repeated: int = 0
    #: Tenures beyond the first of a partition.
    takeovers: int = 0


def check(history: History, *, strict: Iterable[str], budget: int, lossy: bool = False) -> Verdict:
    """Run all checks. `budget` is how many events a new tenure may repeat."""
    verdict = Verdict()
    say = verdict.violations.append
    strict = set(strict)
    acknowledged = {(each.partition, each.id): each for each in history.sent}
    _sends(history.sent, say)
    _log_is_complete(history, verdict)
    verdict.violations += check_totals(history, lossy)
    verdict.violations += check_later(history, lossy)
    for processor in history.processors:
        others = (*history.second, history.reminder)
        sent = {} if processor in others else acknowledged
        effects = [each for each in history.effects if each.processor == processor]
        processed_by_event: dict[Event, list[Effect]] = defaultdict(list)
        for each in effects:
            processed_by_event[each.partition, each.id].append(each)
        _all_processed(processor, sent, processed_by_event, verdict)
        _sent_once(processor, sent, processed_by_event, say, lossy)
        counted = [event for event in processed_by_event if event in sent or not lossy]
        if processor in history.together:
            for of_key in _by_key(counted, processed_by_event):
                _order(processor, of_key, processed_by_event, say)
        else:
            in_turn = [e for e in counted if not history.steps_aside(processed_by_event[e][0])]
            _order(processor, in_turn, processed_by_event, say)
        if processor in strict:
            effects = [each for each in effects if not history.steps_aside(each)]
            together = history.together.get(processor, 1)
            _tenures(processor, effects, budget, verdict, lossy, together)
            if not lossy:
                _progress_is_monotonic(processor, history.looks, say)
    final = {(each.processor, each.partition): each for each in history.looks}
    for observation in final.values():
        _final_state(observation, observation.processor in strict, lossy, say)
    return verdict


def _sends(sent: list[Sent], say: Callable[[str], None]) -> None:
    """S3: the events of a key that were acknowledged one after the other have rising ids."""
    ordered = sorted(sent, key=lambda each: (each.key, each.number))
    for before, after in pairwise(ordered):
        if before.key == after.key and not before.id < after.id:
            say(f"S3: event {after.number} of key {after.key} is before event {before.number}")


def _log_is_complete(history: History, verdict: Verdict) -> None:
    """S4: an acknowledged event is in the log, unless it is older than the oldest entry there and
    so was trimmed."""
    for partition, ids in history.logs.items():
        present = set(ids)
        for sent in history.sent:
            if sent.partition == partition and ids and sent.id >= ids[0] and sent.id not in present:
                verdict.lost.add((partition, sent.id))
                verdict.violations.append(f"S4: {sent} was acknowledged and is not in the log")


def _all_processed(
    processor: str,
    acknowledged: dict[Event, Sent],
    processed_by_event: dict[Event, list[Effect]],
    verdict: Verdict,
) -> None:
    """S4: every acknowledged event is processed."""
    for event, sent in acknowledged.items():
        if event not in processed_by_event:
            verdict.lost.add(event)
            verdict.violations.append(f"S4: {processor} never processed {sent}")


def _sent_once(
    processor: str,
    acknowledged: dict[Event, Sent],
    processed_by_event: dict[Event, list[Effect]],
    say: Callable[[str], None],
    lossy: bool,
) -> None:
    """S6: an event is sent once, and the processed record is the one that was sent."""
    first_seen: dict[tuple[str, int], Event] = {}
    for event, effects in processed_by_event.items():
        for effect in effects:
            sent = acknowledged.get(event)
            if sent and (sent.key, sent.number) != (effect.key, effect.number):
                say(f"S6: {processor} saw {effect} in place of {sent}")
            other = first_seen.setdefault((effect.key, effect.number), event)
            if other != event and not lossy:
                say(f"S6: event {effect.number} of {effect.key} was sent twice: {other}, {event}")


def _by_key(
    events: list[Event], processed_by_event: dict[Event, list[Effect]]
) -> Iterable[list[Event]]:
    """The events of each key."""
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        found[processed_by_event[event][0].key].append(event)
    return found.values()


def _order(
    processor: str,
    events: list[Event],
    processed_by_event: dict[Event, list[Effect]],
    say: Callable[[str], None],
) -> None:
    """S3: an event starts only after every earlier one of its partition has finished once."""
    for partition, group in groupby(sorted(events), key=lambda event: event[0]):
        finished_at, by = 0.0, (0, 0)
        for event in group:
            started = min(effect.start for effect in processed_by_event[event])
            if started < finished_at:
                say(
                    f"S3: {processor} started {event[1]} of partition {partition} "
                    f"{finished_at - started:.6f} s before {by} had finished"
                )
            first_end = min(effect.end for effect in processed_by_event[event])
            if first_end > finished_at:
                finished_at, by = first_end, event[1]


def _tenures(
    processor: str,
    effects: list[Effect],
    budget: int,
    verdict: Verdict,
    lossy: bool,
    together: int,
) -> None:
    """S2, S3, L4: a tenure handles each event once and in order, and repeats a bounded number;
    once a newer token was used, an older tenure only finishes the event that it had started. It may
    have so many `together`, each of another key."""
    say = verdict.violations.append
    for partition, group in _grouped(effects, lambda each: each.partition):
        tenures = [list(each) for _, each in _grouped(group, lambda each: each.epoch)]
        verdict.takeovers += len(tenures) - 1
        seen: set[Id] = set()
        for tenure, newer in zip(tenures, _next_starts(tenures), strict=True):
            where = f"{processor}, partition {partition}, epoch {tenure[0].epoch}"
            tenure.sort(key=lambda each: each.start)
            if len({each.worker for each in tenure}) > 1:
                say(f"S2: two workers had {where}")
            for before, after in _pairs(tenure, by_key=together > 1):
                if not before.id < after.id or before.end > after.start:
                    say(f"S3: {where}: {after} follows {before}")
            repeated = [each for each in tenure if each.id in seen]
            verdict.duplicates += len(repeated)
            verdict.most_repeated = max(verdict.most_repeated, len(repeated))
            if len(repeated) > budget:
                say(f"S9: {where} repeated {len(repeated)} events, {budget} are allowed")
            seen.update(each.id for each in tenure)
            ended_later = [each for each in tenure if each.end > newer]
            if len(ended_later) > together and not lossy:
                count = len(ended_later)
                say(
                    f"L4: {where}: {count} events ended after a newer token was used: {ended_later}"
                )


def _pairs(tenure: list[Effect], by_key: bool) -> Iterator[tuple[Effect, Effect]]:
    """Each two that follow each other, in all, or of one key."""
    if not by_key:
        yield from pairwise(tenure)
        return
    of_keys: dict[str, list[Effect]] = defaultdict(list)
    for each in tenure:
        of_keys[each.key].append(each)
    for of_key in of_keys.values():
        yield from pairwise(of_key)


def _next_starts(tenures: list[list[Effect]]) -> list[float]:
    """For each tenure, when the first event of any later one started."""
    starts, first = [], float("inf")
    for tenure in reversed(tenures):
        starts.append(first)
        first = min(first, min(each.start for each in tenure))
    return starts[::-1]


def _grouped(
    effects: Iterable[Effect], key: Callable[[Effect], int]
) -> Iterator[tuple[int, Iterator[Effect]]]:
    return groupby(sorted(effects, key=key), key=key)


def _progress_is_monotonic(processor: str, looks: list[Look], say: Callable[[str], None]) -> None:
    """S1, S4: between two observations the epoch never falls, and the checkpoint moves forward
    exactly when the count of processed events rises."""
    latest: dict[int, Look] = {}
    for observation in looks:
        if observation.processor != processor:
            continue
        before = latest.get(observation.partition, observation)
        latest[observation.partition] = observation
        moved = observation.checkpoint > before.checkpoint
        counted = observation.processed > before.processed
        if (
            observation.epoch < before.epoch
            or observation.checkpoint < before.checkpoint
            or moved != counted
        ):
            say(f"S4: {before} was followed by {observation}")


def _final_state(observation: Look, strict: bool, lossy: bool, say: Callable[[str], None]) -> None:
    """L1, S4, S7: every event is committed and counted once, and the consumer group has no lag."""
    where = f"{observation.processor}, partition {observation.partition}"
    if observation.lost:
        say(f"S7: {where} has lost {observation.lost} events")
    if observation.lag != 0:
        say(f"L1: {where} has a lag of {observation.lag} at the end")
    # Events that were processed and then lost by a failover are counted too.
    if strict and (
        observation.processed < observation.added
        or (observation.processed > observation.added and not lossy)
    ):
        say(f"S4: {where} committed {observation.processed} events, {observation.added} were added")
