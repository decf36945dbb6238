"""What the model of the simulator knows of leases: the scripts that register a processor, claim a
partition and record failures, and those of operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.simulation.stored import CONTRACT, Log, Partition, Refused, parts


class LeaseModel:
    """One function for each script: it changes the partition, or the state of the processor on it,
    and returns the reply. Raises Refused, and then changes nothing."""

    def _declare(self, partition: Partition, args: list[Any], now: int) -> int:
        check_contract(partition, args)
        return declare(partition, args)

    def _register(self, partition: Partition, args: list[Any], now: int) -> tuple[int, str]:
        check_contract(partition, args)
        processor, start = args[3:5]
        state, log = partition.states.get(processor, {}), partition.log
        meta_checkpoint = partition.meta.get(f"checkpoint:{processor}")
        group_exists = log is not None and processor in log.groups
        if "checkpoint" in state and meta_checkpoint and group_exists:
            return 0, state["checkpoint"]
        added, length, last = (log.added, len(log.entries), log.last) if log else (0, 0, "0-0")
        group_id, group_read = log.groups[processor] if log and group_exists else (None, None)
        checkpoint, created = state.get("checkpoint") or meta_checkpoint or group_id, 2
        if checkpoint and group_read is None:
            group_read = added - len(log.after(checkpoint)) if log else added
        read = int(state.get("read", min(group_read or 0, added)))
        if not checkpoint:
            created = 1
            checkpoint, read = (last, added) if start == "$" else ("0-0", added - length)
        declare(partition, args)
        partition.processors[processor] = None
        if not group_exists:
            if log is None:
                log = partition.log = Log()
                if checkpoint != "0-0":
                    log.last, log.added = checkpoint, read
            log.groups[processor] = (checkpoint, read)
        partition.states.setdefault(processor, {}).update(checkpoint=checkpoint, read=str(read))
        partition.meta[f"checkpoint:{processor}"] = checkpoint
        partition.meta.pop(f"removed:{processor}", None)
        return created, checkpoint

    def _claim(self, partition: Partition, args: list[Any], now: int) -> tuple[Any, ...]:
        check_contract(partition, args)
        processor, member, grant, nonce, accept = args[3:8]
        state, log = partition.states.get(processor, {}), partition.log
        if "checkpoint" not in state or f"checkpoint:{processor}" not in partition.meta:
            raise Refused("UNREGISTERED")
        repeated = state.get("grant") == grant and state.get("nonce") == nonce
        repeated = repeated and state.get("released") != "1"
        if int(grant) <= int(state.get("grant", 0)) and not repeated:
            raise Refused("STALE_GRANT")
        if log is None or processor not in log.groups:
            raise Refused("MISSING")
        lost, exact, position, new_read = _loss(log, state["checkpoint"], int(state["read"]))
        if not repeated:
            attempts, event = int(state.get("attempts", 0)), state.get("event", "")
            unclean_tenures, started = (
                int(state.get("unclean_tenures", 0)),
                state.get("started", ""),
            )
            deaths, after = int(state.get("deaths", 0)), ""
            if "epoch" in state and state.get("released") != "1":
                after = state.get("owner", "")
                unclean_tenures += bool(log.after(state["checkpoint"]))
                if started:
                    attempts = attempts + 1 if event == started else 1
                    deaths = deaths + 1 if event == started else 1
                    event = started
            state.update(
                owner=member,
                epoch=str(max(int(state.get("epoch", 0)) + 1, now)),
                nonce=nonce,
                grant=grant,
                released="0",
                attempts=str(attempts),
                deaths=str(deaths),
                event=event,
                unclean_tenures=str(unclean_tenures),
                started="",
                previous_owner=after,
                moved_at=str(now),
            )
        if lost >= 0 and accept == str(lost):
            total = int(state.get("lost", 0)) + lost
            state.update(checkpoint=position, read=str(new_read), lost=str(total))
            partition.meta[f"checkpoint:{processor}"] = position
            lost, exact = -1, 1
        checkpoint = state["checkpoint"]
        if lost < 0:  # Else the group stays where retention may have moved it.
            log.groups[processor] = (checkpoint, int(state["read"]))
        return (
            int(state["epoch"]),
            checkpoint,
            int(state.get("processed", 0)),
            int(state["attempts"]),
            state["event"],
            int(state["unclean_tenures"]),
            int(state.get("paused", 0)),
            int(state.get("quarantined", 0)),
            lost,
            exact,
            int(checkpoint in log.entries),
            next(iter(log.after(checkpoint)), ""),
            int(state.get("deaths", 0)),
            state.get("previous_owner", ""),
            int(state.get("outbox_last", 0)) - int(state.get("outbox_done", 0)),
            int(state.get("parked", 0)),
            int(state.get("replay", 0)),
        )

    def _attempt(self, state: dict[str, str], args: list[Any], now: int) -> int:
        epoch, nonce, kind, event, attempts, error_type, error_message = args[:7]
        check_token(state, epoch, nonce)
        if state.get("released") == "1":
            raise Refused("FENCED")
        if kind == "wait":
            if state.get("wait_at") != event:
                state["wait_since"] = str(now)
            state.update(wait_at=event, wait_for=error_type, wait_reason=error_message)
            return int(state.get("paused", 0))
        if kind != "start" or state.get("event", "") != event:
            state["deaths"] = "0"
        state.update(started=event if kind == "start" else "", event=event, attempts=attempts)
        if kind != "start":
            state.update(
                error_type=error_type,
                error_message=error_message,
                error_event=event,
                error_at=str(now),
            )
        if kind == "quarantine":
            state["quarantined"] = "1"
        return int(state.get("paused", 0))

    def _pause(self, state: dict[str, str], args: list[Any], now: int) -> int:
        if "checkpoint" not in state:
            raise Refused("UNREGISTERED")
        ran = state.get("paused") != "1"
        state["paused"] = "1"
        return int(ran)

    def _seek(self, partition: Partition, args: list[Any], now: int) -> tuple[str, int]:
        processor, start, _, nonce = args
        state, log = partition.states.get(processor, {}), partition.log
        if "checkpoint" not in state or f"checkpoint:{processor}" not in partition.meta:
            raise Refused("UNREGISTERED")
        found, read, by = (state.get("last_seek") or "- 0 -").split()
        if by == nonce:
            return found, int(read)
        if log is None or processor not in log.groups:
            raise Refused("MISSING")
        first = {"0": "0-0", "$": f"{parts(log.last)[0] + 1}-0"}.get(start, start)
        before = [each for each in log.entries if parts(each) < parts(first)]
        if len(before) == len(log.entries) and (before or start == "$"):
            checkpoint, position = log.last, log.added
        else:
            checkpoint = before[-1] if before else "0-0"
            position = log.added - len(log.entries) + len(before)
        log.groups[processor] = (checkpoint, position)
        partition.meta[f"checkpoint:{processor}"] = checkpoint
        forget_failures(state)
        state.update(
            checkpoint=checkpoint,
            read=str(position),
            epoch=str(max(int(state.get("epoch", 0)) + 1, now)),
            nonce=nonce,
            released="1",
            quarantined="0",
            last_seek=f"{checkpoint} {position} {nonce}",
        )
        return checkpoint, position

    def _remove(self, partition: Partition, args: list[Any], now: int) -> int:
        (processor,) = args
        if processor in partition.outboxes and partition.outboxes[processor].entries:
            raise Refused("UNFORWARDED")
        partition.outboxes.pop(processor, None)
        removed = f"checkpoint:{processor}" in partition.meta
        if partition.log is not None:
            partition.log.groups.pop(processor, None)
        partition.states.pop(processor, None)
        for name in ("checkpoint", "dropped"):
            partition.meta.pop(f"{name}:{processor}", None)
        if removed:
            partition.meta[f"removed:{processor}"] = str(now)
        return int(removed)

    def _resume(self, state: dict[str, str], args: list[Any], now: int) -> int:
        if "checkpoint" not in state:
            raise Refused("UNREGISTERED")
        if "1" not in (state.get("paused"), state.get("quarantined")):
            return 0
        forget_failures(state)
        state.update(paused="0", quarantined="0")
        return 1


def check_contract(partition: Partition, args: Sequence[str]) -> None:
    stored = (partition.meta.get("partitions", args[1]), partition.meta.get("hash", args[2]))
    if int(partition.meta.get("protocol", 0)) > int(args[0]) or stored != tuple(args[1:3]):
        raise Refused("MISMATCH")


def declare(partition: Partition, args: Sequence[str]) -> int:
    first = "protocol" not in partition.meta
    for name, value in zip(CONTRACT, args, strict=False):
        partition.meta.setdefault(name, value)
    return int(first)


def _loss(log: Log, checkpoint: str, read: int) -> tuple[int, int, str, int]:
    """Lost events (-1 for none), whether that is exact, and the new checkpoint and read count."""
    before_all = log.added - len(log.entries)
    if parts(checkpoint) > parts(log.last):
        return 0, 0, "0-0", before_all
    if not log.entries or parts(log.first()) > parts(checkpoint):
        return (*_gap(before_all - read), checkpoint, before_all)
    if not log.after(checkpoint):
        return (*_gap(log.added - read), checkpoint, log.added)
    return -1, 1, checkpoint, read


def _gap(gap: int) -> tuple[int, int]:
    if gap == 0:
        return -1, 1
    return (gap, 1) if gap > 0 else (0, 0)


def check_token(state: dict[str, str], epoch: str, nonce: str) -> None:
    if (state.get("epoch"), state.get("nonce")) != (epoch, nonce):
        raise Refused("FENCED")


def forget_failures(state: dict[str, str]) -> None:
    state.update(attempts="0", deaths="0", event="", unclean_tenures="0", started="")
    for name in ("error_type", "error_message", "error_event", "error_at"):
        state.pop(name, None)
