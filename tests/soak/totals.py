"""Checks that tables and emitted events count each event exactly once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from tests.soak.app import BUCKETS
from tests.soak.history import Effect, History, Id

#: An event by its content.
Content = tuple[str, int]


def check_totals(history: History, lossy: bool) -> list[str]:
    """What is wrong with the tables and with what was emitted.

    The truth is each event that `book` has processed, counted once. With `lossy`, a failover may
    have lost some that were not acknowledged, but no others.
    """
    processed: defaultdict[str, list[Effect]] = defaultdict(list)
    for each in history.effects:
        processed[each.processor].append(each)
    most = {(each.key, each.number) for each in processed["book"]}
    least = {(each.key, each.number) for each in history.sent} if lossy else most
    found = [
        *_between("sums", history.tables.get("sums", {}), _sums(least), _sums(most)),
        *_counted_by_key(history, "asked", "consult", lossy),
        *_counted_by_key(history, "charged", "charge", lossy),
        *_between("counts", history.tables.get("counts", {}), _counts(least), _counts(most)),
    ]
    for processor in history.second:
        settled = {(each.key, each.number) for each in processed[processor]}
        found += [f"S4: {processor} never got what was emitted for {e}" for e in least - settled]
        found += [f"S5: {processor} got an event that nobody emitted: {e}" for e in settled - most]
        if not lossy:
            found += _order(processor, processed[processor])
    return found


def _sums(events: Iterable[Content]) -> Counter[str]:
    found = Counter[str]()
    for key, number in events:
        found[key] += number
    return found


def _counted_by_key(history: History, table: str, processor: str, lossy: bool) -> Iterable[str]:
    """The table has how many events of each key the processor has finished."""
    most = {(e.key, e.number) for e in history.effects if e.processor == processor}
    least = {(e.key, e.number) for e in history.sent} if lossy and most else most
    stored = history.tables.get(table, {})
    return _between(table, stored, *(Counter(key for key, _ in each) for each in (least, most)))


def _counts(events: Iterable[Content]) -> Counter[str]:
    return Counter(str(number % BUCKETS) for _, number in events)


def _between(
    table: str, stored: dict[str, int], least: Counter[str], most: Counter[str]
) -> Iterable[str]:
    for key in sorted(most.keys() | stored.keys()):
        if not least[key] <= stored.get(key, 0) <= most[key]:
            right = f"{most[key]}" if least == most else f"{least[key]} to {most[key]}"
            yield f"S5: table {table} has {stored.get(key, 0)} for {key}, right is {right}"


def _order(processor: str, effects: list[Effect]) -> Iterable[str]:
    """S3: what one partition emits for one key arrives in order."""
    arrived: defaultdict[tuple[int, str], dict[Id, int]] = defaultdict(dict)
    for each in effects:
        arrived[each.partition, each.key][each.id] = each.number
    for (partition, key), numbers in arrived.items():
        in_log = [numbers[id_] for id_ in sorted(numbers)]
        if in_log != sorted(in_log):
            yield f"S3: {processor}, partition {partition}: {key} arrived as {in_log}"
