"""Checks what handlers did: events are handled in order, by one handler at a time, and not once the
session of their worker has ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from runnel.protocol import Token
from tests.simulation.items import Item
from tests.simulation.outboxes import Ever
from tests.simulation.stored import Fields, Partition, parts
from tests.simulation.tenure import Tenure
from tests.simulation.together import Together
from tests.simulation.trace import Trace, Violation

#: A partition's prefix and a processor.
Spot = tuple[str, str]


class Handled:
    """Everything that handlers did. `ignores_failures`: processors whose policy skips events."""

    def __init__(self, trace: Trace, clock: Callable[[], float]) -> None:
        self._trace = trace
        self._clock = clock
        self.ignores_failures: set[str] = set()
        self.retries = 0
        #: Each entry comes once, because no keys are lost.
        self.exact = True
        self.ever_owed: Ever = {}
        #: Keys are lost or calls arrive late, so a commit may be refused with CONFLICT.
        self.conflicts_allowed = False
        self.commits_each: set[str] = set()
        #: Processors that handle several events at the same time.
        self.together: dict[str, Together] = {}
        #: Processors with a middleware that holds events back.
        self.holds_back: set[str] = set()
        #: Processor that counts its events in a table -> the key and the number of an event.
        self.counts: dict[str, Callable[[Fields], tuple[str, int]]] = {}
        #: Processor that emits -> for a partition and an event of it, what that leads to: the
        #: prefixes of partitions, the items and their entries.
        self.emits: dict[str, Callable[[int, Fields], list[tuple[str, Item, Fields]]]] = {}
        self.tenures: dict[tuple[Spot, Token], Tenure] = {}
        self.finished: dict[Spot, set[str]] = {}
        self.failures: Counter[tuple[Spot, str]] = Counter()
        #: Deaths that the server counts for an event; how often it was in hand when a worker died.
        self.deaths: Counter[tuple[Spot, str]] = Counter()
        self.kills: Counter[tuple[Spot, str]] = Counter()
        #: Nonce -> the claim that it was made for.
        self.nonces: dict[str, tuple[Spot, str]] = {}
        #: Group, member, incarnation -> the latest time at which its session ends.
        self.sessions: dict[tuple[str, str, str], float] = {}
        #: The same -> when it last rejoined after its session had ended, and the partitions that
        #: it still owned then.
        self.rejoined: dict[tuple[str, str, str], tuple[float, set[int]]] = {}
        #: How often the server lost its last writes.
        self.rollbacks = 0
        #: When a processor was last removed from a partition.
        self.removed: dict[Spot, float] = {}
        self.starts = 0
        self.repeats = 0

    # Handlers

    def start(
        self,
        spot: Spot,
        token: Token,
        ids: Sequence[str],
        partition: Partition,
        session: tuple[str, str, str],
    ) -> None:
        """A handler got events."""
        tenure = self.tenures.setdefault((spot, token), Tenure())
        state = partition.states.get(spot[1], {})
        if together := self.together.get(spot[1]):
            at = state["checkpoint"] if self._owns(state, token) else None
            wrong = together.start(tenure, ids[0], partition, at)
            self._check(wrong is None, "S3", spot, wrong or "")
            tenure.started.add(ids[0])
            tenure.in_hand.append(ids[0])
        else:
            self._start_next(spot, tenure, ids)
        ends = self.sessions.get(session, 0.0)
        # What a middleware has held back was handed out before.
        held = spot[1] in self.holds_back
        self._check(
            held or self._clock() <= ends + 1e-9,
            "L4",
            spot,
            f"{session[1]} got {ids} though its session ended at {ends:.4f}",
        )
        self._check(not tenure.paused, "S8", spot, f"{ids} start in a paused partition")
        since, granted = self.rejoined.get(session, (0.0, set()))
        self._check(
            held
            or self._owns(state, token)
            or tenure.claimed >= since
            or number_of(spot) in granted,
            "L4",
            spot,
            f"{session[1]} continues with {ids}, which it had before its session ended",
        )
        if self._owns(state, token):
            checkpoint = state["checkpoint"]
            self._check(
                parts(ids[0]) > parts(checkpoint), "S3", spot, f"{ids[0]} is not after {checkpoint}"
            )
            if spot[1] in self.commits_each:
                existing = partition.log.entries if partition.log else {}
                finished = [i for i in tenure.finished if i in existing]
                waiting = [i for i in finished if parts(i) > parts(checkpoint)]
                self._check(not waiting, "S4", spot, f"{ids} start before {waiting} is committed")
        self.starts += len(ids)
        self.repeats += sum(id_ in self.finished.get(spot, ()) for id_ in ids)

    def _start_next(self, spot: Spot, tenure: Tenure, ids: Sequence[str]) -> None:
        """These events, and no others, are in hand."""
        self._check(not tenure.in_hand, "S3", spot, f"{ids} start while {tenure.in_hand} run")
        for id_ in ids:
            self._check(parts(id_) > parts(tenure.last), "S3", spot, f"{id_} after {tenure.last}")
            self._check(id_ not in tenure.started, "S3", spot, f"{id_} starts twice in a tenure")
            tenure.last = id_
            tenure.started.add(id_)
        tenure.in_hand, tenure.unconfirmed = list(ids), []

    def finish(self, spot: Spot, token: Token, ids: Sequence[str]) -> None:
        """The handler has finished events."""
        tenure = self.tenures[spot, token]
        tenure.in_hand = [each for each in tenure.in_hand if each not in ids]
        tenure.unconfirmed = [] if spot[1] in self.together else list(ids)
        tenure.finished.update(dict.fromkeys(ids, self._clock()))
        tenure.done.update(ids)
        self.finished.setdefault(spot, set()).update(ids)

    def asked_for_more(self, spot: Spot, token: Token) -> None:
        """The handler asked for more: finished events can no longer fail."""
        self.tenures.setdefault((spot, token), Tenure()).unconfirmed = []

    def commit_returned(self, spot: Spot, token: Token, id_: str, partition: Partition) -> None:
        """`events.commit()` returned: the events must be committed."""
        state = partition.states.get(spot[1], {})
        if self._owns(state, token) and not self.conflicts_allowed:
            done = parts(state["checkpoint"]) >= parts(id_)
            self._check(done, "S6", spot, f"{id_} is not committed, though commit() returned")

    def fail(self, spot: Spot, token: Token, ids: Sequence[str], partition: Partition) -> None:
        """The handler raised or was cancelled."""
        tenure = self.tenures[spot, token]
        tenure.in_hand = [each for each in tenure.in_hand if each not in ids]
        tenure.started.difference_update(ids)
        if together := self.together.get(spot[1]):
            together.failed(tenure, ids, partition)
        tenure.last = max(tenure.started, key=parts, default="0-0")

    def undo(self, spot: Spot, token: Token, ids: Sequence[str], partition: Partition) -> None:
        """Middleware made finished events fail."""
        tenure = self.tenures[spot, token]
        tenure.done.difference_update(ids)
        for id_ in ids:
            tenure.finished.pop(id_, None)
        self.finished.get(spot, set()).difference_update(ids)
        self.fail(spot, token, ids, partition)

    def worker_killed(self, spot: Spot, token: Token, partition: Partition) -> bool:
        """The worker was killed: the policy may count that as a death of the event in hand. Returns
        True if it will: the start was recorded, and a worker died with the event before."""
        tenure, state = self.tenures.get((spot, token)), partition.states.get(spot[1], {})
        if tenure is None or not tenure.in_hand:
            return False
        self.kills.update((spot, id_) for id_ in tenure.in_hand)
        started, tried = state.get("started"), state.get("deaths", "0") != "0"
        return self._owns(state, token) and tried and started in tenure.in_hand

    def rolled_back(self) -> None:
        """The server lost its last writes: events may be handled again under the same token."""
        self.rollbacks += 1
        for tenure in self.tenures.values():
            tenure.started.clear()
            tenure.finished.clear()
            tenure.last = "0-0"
            tenure.last_of.clear()
            tenure.rolled_back = True

    def _owns(self, state: dict[str, str], token: Token) -> bool:
        stored = (state.get("epoch"), state.get("nonce"), state.get("released"))
        return stored == (str(token.epoch), token.nonce, "0")

    def _check(self, condition: bool, invariant: str, spot: Spot, text: str) -> None:
        if not condition:
            shown = self._trace.named(spot[0], text)
            raise Violation(invariant, f"{spot[0]} {spot[1]}: {shown}")


def number_of(spot: Spot) -> int:
    """The number of the partition."""
    return int(spot[0].partition("}")[0].rpartition(":")[2])
