"""A scenario: a set-up, a load, and a list of faults with their times; and the kinds of faults."""

from __future__ import annotations

from dataclasses import dataclass, replace

from runnel.retention import Retain
from runnel.worker.concurrent_runner import FILL_GAPS

#: Seconds between two looks of a worker at a partition in which nothing is due sooner.
LOOK_EVERY = 20.0
#: Seconds before the first fault.
WARM_UP = 4.0

MEMBERSHIP = ("kill", "leave", "join", "pause")
#: Faults of a single request.
MISHAPS = ("lose_request", "lose_reply", "duplicate", "late")
WIRE = (*MISHAPS, "cut", "deaf", "hole")
SERVER = ("flush", "rollback", "lost_claim", "full", "skew", "busy")
KEYS = (
    "trim",
    "trim_unread",
    "trim_ahead",
    "delete",
    "lose_log",
    "lose_group",
    "lose_state",
    "lose_meta",
    "lose_plan",
)
OPERATOR = ("revoke", "halt_all")
KINDS = (*MEMBERSHIP, *WIRE, *SERVER, *KEYS, *OPERATOR)
#: Drawn separately from the others: admin commands, and a handler that blocks its loop.
COMMANDS = ("pause_processor", "seek", "remove_processor")
EXTRA = (*COMMANDS, "block", "block_cut_off")
#: The delayed events of a partition disappear. Drawn with these events.
LOSE_DELAYED = "lose_delayed"
#: Partitions lose a consumer group while a trim by age is on its way. Drawn with an age.
LOSE_GROUP_AT_TRIM = "lose_group_at_trim"
#: A worker is stopped while the reply to its heartbeat is on its way.
STOP = "stop_at_sync"
#: A worker dies once it has forwarded something, before it has removed that.
KILL = "kill_at_append"
#: A worker reads from a primary that was replaced, and producers send to it. Drawn apart.
STALE = "stale_reads"

#: Faults after which a worker does not know when the next delayed event is due.
BLIND = ("skew", "rollback", "lost_claim", "lose_meta", "deaf", "hole", "block_cut_off")
#: Faults after which a request may take as long as its timeout.
SLOW = ("busy", "rollback", "lost_claim", "pause", STOP, STALE, *EXTRA)

#: What a handler may raise: an error of its own, and errors that Runnel and asyncio raise too.
ERRORS = ("own", "refusal", "fenced", "cancelled", "exit", "group", "connection", "timeout")
#: How a handler may exceed its time limit: it waits endlessly, or continues though cancelled.
OVERRUNS = ("hangs", "goes_on")
#: Kinds of middleware around the handler.
#: One more, `holds`, is drawn apart: it takes two before it passes the first on.
MIDDLEWARE = ("observes", "awaits", "swallows", "converts", "fails")

#: What a mishap is aimed at: "" is the next request of any kind, and release a commit that releases
#: its partition.
AIMS = (
    "claim",
    "commit",
    "release",
    "sync",
    "append",
    "attempt",
    "transact",
    "register",
    "XREAD",
    "",
)


@dataclass(frozen=True)
class Fault:
    """One fault. `target` selects a process or a partition, `amount` is seconds or a share, `aim`
    a script."""

    at: float
    kind: str
    target: int
    amount: float
    aim: str = ""

    def __str__(self) -> str:
        aim = f" of {self.aim}" if self.aim else ""
        return f"{self.at:8.3f}  {self.kind}{aim}  target {self.target}  amount {self.amount:.3f}"


@dataclass(frozen=True)
class Shape:
    """How one processor takes its events, and what happens when it fails."""

    #: one, batch, within, empty or explicit: how the handler takes its events.
    mode: str
    commit: str
    policy: str
    dead_letters: bool
    #: Elements of ERRORS and of MIDDLEWARE.
    errors: tuple[str, ...] = ("own",)
    middleware: tuple[str, ...] = ()
    #: Seconds after which the handler stops waiting for an event, and asks again.
    patience: float | None = None
    #: The time limit of the handler, in seconds.
    timeout: float | None = None
    #: It counts its events in a table.
    counts: bool = False
    #: The streams to which it emits: see `tests.simulation.emitting`.
    emits: tuple[str, ...] = ()
    #: How many events of a partition it handles at the same time.
    concurrency: int = 1

    @property
    def batch_size(self) -> int:
        """The most events that it has in hand."""
        return 5 if self.mode in ("batch", "within", "empty") else 1

    def longest(self, work: float) -> float:
        """The most seconds that it has an event in hand, if an event takes `work`."""
        between = FILL_GAPS if self.concurrency > 1 else 0.0
        return max(work * self.batch_size, self.timeout or 0.0) + between


@dataclass(frozen=True)
class Scenario:
    """Everything that a run depends on. Times are in seconds."""

    seed: int
    partitions: int
    workers: int
    producers: int
    #: One for each processor.
    shapes: tuple[Shape, ...]
    session_timeout: float
    rebalance_timeout: float
    rebalance_delay: float
    shutdown_timeout: float
    max_block: float
    prefetch: int
    prefetch_bytes: int
    #: Bytes of padding in each record.
    filling: int
    retries: int
    #: The shortest and the longest time that a handler takes for an event.
    work: tuple[float, float]
    #: Shares of events that fail a few times, fail until handlers are fixed, or kill the worker.
    failing: float
    poisonous: float
    deadly: float
    partition_size: int
    #: Seconds after which committed events leave, 0 for never. All ids come from the real clock,
    #: which is years behind the virtual one: so an event leaves as soon as it may.
    max_age: float
    #: What happens to a stream that nobody reads: see `App.stream`.
    retain: Retain
    wait_for_room: bool
    drop_oldest: bool
    #: Mean seconds between two sends of one producer, and the most records in one send.
    send_every: float
    max_send: int
    delay: tuple[float, float]
    faults: tuple[Fault, ...]
    #: The most fields of tables that one commit writes.
    most_fields: int
    #: The most entries that it emits.
    most_entries: int
    #: The processors of what is emitted, and the partitions of the stream with other keys.
    second_stage: Shape
    move_partitions: int
    #: Scripts write to one slot only, as in a cluster: what is emitted to others is forwarded.
    one_slot: bool
    #: How many entries may wait in an outbox.
    outbox_size: int
    #: When faults and sends end.
    calm_from: float
    #: The share of sends that are delayed, the longest delay, and the share of these that are
    #: cancelled at once.
    delayed: float = 0.0
    longest_delay: float = 0.0
    cancelled: float = 0.0

    @property
    def loses_keys(self) -> bool:
        """Whether a fault loses keys or resets them to an older state."""
        kinds = ("rollback", "lost_claim", LOSE_DELAYED, LOSE_GROUP_AT_TRIM, *KEYS)
        return any(each.kind in kinds for each in self.faults)

    @property
    def promotion_bound(self) -> float:
        """Seconds by which a delayed event may be late while nothing disturbs the workers. If the
        clock of the server jumps, or meta or a message is lost, they learn of it only when they
        look. A call that was on its way before may get no reply."""
        kinds = {each.kind for each in self.faults}
        looks = not kinds.isdisjoint(BLIND)
        waits = not kinds.isdisjoint((*WIRE, *SLOW))
        return 5.0 + 24 * self.delay[1] + LOOK_EVERY * looks + 6.0 * waits

    @property
    def counts_exactly(self) -> bool:
        """Whether the second stage counts each event exactly once."""
        seeks = any(each.kind == "seek" for each in self.faults)
        return not (self.loses_keys or self.removes or seeks)

    @property
    def removes(self) -> bool:
        """Whether an operator removes a processor."""
        return any(each.kind == "remove_processor" for each in self.faults)

    @property
    def conflicts(self) -> bool:
        """Whether a commit may find another checkpoint, or no event there."""
        stale = any(each.kind == STALE for each in self.faults)
        return self.loses_keys or self.repeats_calls or stale

    @property
    def repeats_calls(self) -> bool:
        """Whether calls may arrive twice or long after they were sent."""
        return any(each.kind in ("late", "duplicate", "busy") for each in self.faults)

    def without(self, indexes: set[int]) -> Scenario:
        """The scenario without some of its faults."""
        kept = (each for i, each in enumerate(self.faults) if i not in indexes)
        return replace(self, faults=tuple(kept))
