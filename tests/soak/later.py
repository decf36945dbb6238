"""Checks that what is sent for later arrives once, never early, and in the order it is due."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from tests.soak.history import Effect, History, Id


def check_later(history: History, lossy: bool) -> list[str]:
    """What is wrong with the events that were sent for later. With `lossy`, a failover may have
    changed the clock and the order."""
    effects = [each for each in history.effects if each.processor == history.reminder]
    ids = {(each.key, each.number): (each.partition, each.id) for each in effects}
    found, dues = list[str](), defaultdict[int, dict[Id, int]](dict)
    for each in history.later:
        if (at := ids.get((each.key, each.number))) is None:
            found.append(f"S4: {history.reminder} never processed {each}")
        else:
            dues[at[0]][at[1]] = each.due
    if lossy:
        return found
    for partition, by_id in dues.items():
        early = [f"{id_} was due at {due}" for id_, due in by_id.items() if id_[0] < due]
        found += [f"an event entered partition {partition} early: {each}" for each in early]
        in_log = [by_id[id_] for id_ in sorted(by_id)]
        if in_log != sorted(in_log):
            found.append(f"S3: partition {partition} has events due at {in_log}")
    return [*found, *_counted(history, effects)]


def _counted(history: History, effects: list[Effect]) -> Iterable[str]:
    """S5: the table counts each event once."""
    right = Counter(key for key, _ in {(each.key, each.number) for each in effects})
    stored = history.tables.get("reminded", {})
    for key in sorted(right.keys() | stored.keys()):
        if stored.get(key, 0) != right[key]:
            yield f"S5: table reminded has {stored.get(key, 0)} for {key}, right is {right[key]}"
