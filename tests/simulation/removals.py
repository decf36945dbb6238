"""What an append removes, for room or because of its age, as the model of the simulator plans it.

A plan changes nothing: the call may still be refused, as a commit is that finds no room in another
of its targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.simulation.stored import Log, Partition, Refused, parts

#: The largest id: no entry holds anything back.
_END = f"{2**64 - 1}-{2**64 - 1}"


@dataclass
class Removal:
    """How many of the oldest entries leave, or below which id they do, and which fields of meta and
    which consumer groups change with that."""

    number: int = 0
    below: tuple[int, int] = (0, 0)
    meta: dict[str, str] = field(default_factory=dict)
    groups: dict[str, tuple[str, int]] = field(default_factory=dict)

    def apply(self, partition: Partition) -> None:
        """Remove them."""
        partition.meta.update(self.meta)
        if partition.log is not None:
            partition.log.groups.update(self.groups)
            entries = list(partition.log.entries)
            old = (each for each in entries[self.number :] if parts(each) < self.below)
            partition.remove_entries([*entries[: self.number], *old])


def plan_trim(
    partition: Partition,
    limits: str,
    more: int,
    policy: str,
    now: int,
    passed: Mapping[str, str] | None = None,
) -> Removal:
    """What is removed so that so many `more` entries fit, or, if there is room, because it is old.
    `limits` are the size and the age; `passed` has checkpoints that the call moves in its own log,
    where one entry more fits. Raises Refused if that is not allowed."""
    log = partition.log or Log()
    size, _, age = limits.partition(",")
    excess = min(len(log.entries) + more - int(size) - len(passed or {}), 1000)
    if excess <= 0:
        return _plan_age(partition, int(age), now, policy) if age else Removal()
    ids, plan = list(log.entries), Removal(excess)
    checkpoints = {n[11:]: at for n, at in partition.meta.items() if n.startswith("checkpoint:")}
    checkpoints.update({n: at for n, at in (passed or {}).items() if n in checkpoints})
    # While nobody reads a stream that is kept until it is full, its oldest entries make room.
    unread = policy == "drop_unread" and not checkpoints and not log.groups
    refuses = policy != "drop_oldest" and not unread
    if len(ids) <= excess or (refuses and not checkpoints):
        raise Refused("FULL")
    for processor, checkpoint in checkpoints.items():
        lost = sum(parts(id_) > parts(checkpoint) for id_ in ids[:excess])
        behind = processor not in log.groups or parts(ids[excess]) > parts(checkpoint)
        if refuses and behind:
            raise Refused("FULL")
        if lost:
            dropped = int(partition.meta.get(f"dropped:{processor}", 0)) + lost
            plan.meta[f"dropped:{processor}"] = str(dropped)
            _count_as_read(plan, log, processor, ids[:excess])
    return plan


def lowest_checkpoint(partition: Partition, policy: str) -> tuple[str | None, str]:
    """The lowest checkpoint and its processor. None if nothing may leave, with the processor whose
    group is missing, if it is that; the largest id if all may, because nobody reads it."""
    log, lowest, holder = partition.log or Log(), None, ""
    for name, at in partition.meta.items():
        if not name.startswith("checkpoint:"):
            continue
        if name[11:] not in log.groups:
            return None, name[11:]
        if lowest is None or parts(at) < parts(lowest):
            lowest, holder = at, name[11:]
    if lowest is None and policy == "drop_unread" and not log.groups:
        return _END, ""
    return lowest, holder


def _plan_age(partition: Partition, age: int, now: int, policy: str) -> Removal:
    """What leaves because it is older than `age`, in ms."""
    looked = partition.meta.get("trimmed_at")
    if looked is not None and 0 <= now - int(looked) < age / 100:
        return Removal()
    plan = Removal(meta={"trimmed_at": str(now)})
    if partition.log and partition.log.entries:
        # Ids have the real time here, and ages that of the simulation: what the call adds may leave
        # with it, if nobody reads the stream.
        lowest, _ = lowest_checkpoint(partition, policy)
        plan.below = min(parts(f"{now - age}-0"), parts(lowest or "0-0"))
    return plan


def _count_as_read(plan: Removal, log: Log, processor: str, ids: Sequence[str]) -> None:
    """Entries that retention drops do not count as lag of the consumer group."""
    group_id, read = log.groups.get(processor, (ids[-1], 0))
    if unread := sum(parts(id_) > parts(group_id) for id_ in ids):
        plan.groups[processor] = (ids[-1], read + unread)
