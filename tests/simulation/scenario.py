"""Draws from a seed: a set-up, a load, and a list of faults with their times."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

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
#: A worker is stopped while the reply to its heartbeat is on its way.
STOP = "stop_at_sync"

#: Faults after which a request may take as long as its timeout.
SLOW = ("busy", "rollback", "lost_claim", "pause", STOP, *EXTRA)

#: What a handler may raise: an error of its own, and errors that Runnel and asyncio raise too.
ERRORS = ("own", "refusal", "fenced", "cancelled", "exit", "group", "connection", "timeout")
#: How a handler may exceed its time limit: it waits endlessly, or continues though cancelled.
OVERRUNS = ("hangs", "goes_on")
#: Kinds of middleware around the handler.
MIDDLEWARE = ("observes", "awaits", "swallows", "converts", "fails")

#: What a mishap is aimed at: "" is the next request of any kind, and release a commit that releases
#: its partition.
AIMS = ("claim", "commit", "release", "sync", "append", "attempt", "emit", "register", "XREAD", "")


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

    @property
    def batch_size(self) -> int:
        """The most events that it has in hand."""
        return 5 if self.mode in ("batch", "within", "empty") else 1

    def longest(self, work: float) -> float:
        """The most seconds that it has an event in hand, if an event takes `work`."""
        return max(work * self.batch_size, self.timeout or 0.0)


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
    wait_for_room: bool
    drop_oldest: bool
    #: Mean seconds between two sends of one producer, and the most records in one send.
    send_every: float
    max_send: int
    delay: tuple[float, float]
    faults: tuple[Fault, ...]
    #: When faults and sends end.
    calm_from: float

    @property
    def loses_keys(self) -> bool:
        """Whether a fault loses keys or resets them to an older state."""
        return any(each.kind in ("rollback", "lost_claim", *KEYS) for each in self.faults)

    @property
    def repeats_calls(self) -> bool:
        """Whether calls may arrive twice or long after they were sent."""
        return any(each.kind in ("late", "duplicate", "busy") for each in self.faults)

    def without(self, indexes: set[int]) -> Scenario:
        """The scenario without some of its faults."""
        kept = (each for i, each in enumerate(self.faults) if i not in indexes)
        return replace(self, faults=tuple(kept))


def draw(seed: int) -> Scenario:
    """The scenario of a seed."""
    rng = random.Random(f"scenario {seed}")
    partitions = rng.choice((1, 1, 2, 3, 4, 4, 6, 8, 8, 16, 32))
    session_timeout = rng.choice((1.0, 2.0, 3.0, 5.0, 10.0))
    work = rng.choice(((0.0, 0.0), (0.0, 0.002), (0.005, 0.02), (0.01, 0.2), (0.1, 1.0)))
    troubled = rng.random() < 0.5
    delay = rng.choice(((0.0002, 0.001), (0.0002, 0.001), (0.001, 0.02), (0.02, 0.1)))
    faults = _faults(random.Random(f"faults {seed}"), session_timeout)
    workers, producers = rng.randint(1, 6), rng.randint(1, 3)
    processors = rng.choice((1, 1, 1, 2))
    rebalance_timeout = rng.choice((0.0, 0.3, 2.0, 10.0, 30.0))
    rebalance_delay = rng.choice((0.0, 0.2, 0.2, 1.0))
    shutdown_timeout = rng.choice((0.0, 1.0, 10.0))
    prefetch = rng.choice((1, 2, 10, 100))
    mode = rng.choice(("one", "one", "batch", "within", "explicit"))
    commit = rng.choice(("auto", "auto", "auto", "each"))
    policy = rng.choice(("HALT", "QUARANTINE", "IGNORE", "IGNORE"))
    retries = rng.choice((0, 1, 3))
    shapes = (Shape(mode, commit, policy, rng.random() < 0.7),) * processors
    max_block = 60.0
    if seed % 2:
        extra = random.Random(f"further {seed}")
        shapes = _extra_shapes(extra, shapes)
        faults = tuple(sorted((*faults, *_extra_faults(extra, session_timeout)), key=_time_of))
        max_block = extra.choice((60.0, 1.5 * session_timeout))
    scenario = Scenario(
        seed=seed,
        partitions=partitions,
        workers=workers,
        producers=producers,
        shapes=shapes,
        session_timeout=session_timeout,
        rebalance_timeout=rebalance_timeout,
        rebalance_delay=rebalance_delay,
        shutdown_timeout=shutdown_timeout,
        max_block=max_block,
        prefetch=prefetch,
        prefetch_bytes=64_000_000,
        filling=0,
        retries=retries,
        work=work,
        failing=rng.choice((0.0, 0.02, 0.1)) if troubled else 0.0,
        poisonous=rng.choice((0.0, 0.01, 0.03)) if troubled else 0.0,
        deadly=rng.choice((0.0, 0.0, 0.01)) if troubled else 0.0,
        partition_size=rng.choice((8, 30, 200, 10_000)),
        wait_for_room=rng.random() < 0.6,
        drop_oldest=rng.random() < 0.1,
        send_every=rng.choice((0.1, 0.3, 1.0, 3.0)),
        max_send=rng.choice((1, 3, 10)),
        delay=delay,
        faults=faults,
        calm_from=max((each.at for each in faults), default=WARM_UP) + rng.uniform(0.1, 3.0),
    )
    return _with_limits(random.Random(f"limits {seed}"), scenario) if seed % 4 == 3 else scenario


def _time_of(fault: Fault) -> float:
    return fault.at


def _extra_shapes(rng: random.Random, shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """The shapes with errors, middleware and patience; a second processor gets another shape."""
    found = list(shapes)
    if rng.random() < 0.4:
        found = [shapes[0], _shape(rng)]
    for i, shape in enumerate(found):
        middleware = tuple(rng.sample(MIDDLEWARE, rng.choice((0, 0, 1, 2))))
        # A handler that waits less than its middleware takes would never get an event.
        waits = (None, 0.05, 0.004) if "awaits" in middleware else (None, None, 0.0, 0.001, 0.05)
        found[i] = replace(
            shape,
            mode=rng.choice((shape.mode, shape.mode, "empty")),
            errors=tuple(rng.sample(ERRORS, rng.choice((1, 2, len(ERRORS))))),
            middleware=middleware,
            patience=rng.choice(waits),
        )
    return tuple(found)


def _with_limits(rng: random.Random, scenario: Scenario) -> Scenario:
    """The scenario with time limits, or with large records that soon reach the memory limit."""
    if filling := rng.choice((0, 20_000, 60_000)):
        scenario = replace(
            scenario,
            prefetch=100,
            prefetch_bytes=1_000_000,
            filling=filling,
            work=(0.1, 1.0),
            send_every=0.1,
            max_send=10,
        )
    shapes = tuple(_limited(rng, each, scenario.work[1]) for each in scenario.shapes)
    late = any(each.timeout for each in shapes)
    times = [WARM_UP + rng.random() * 10 for _ in range(rng.choice((0, 1, 3)))]
    amount = scenario.session_timeout * rng.choice((0.7, 1.2, 2.0))
    stops = [Fault(at, STOP, rng.randrange(1000), amount) for at in times]
    # A worker with many events continues with them once its loop is free, even if it was cut off.
    stops += [
        Fault(each.at + 4.0, "block_cut_off", each.target + 1, 3 * scenario.session_timeout)
        for each in stops
    ]
    longest = max((each.at + each.amount for each in stops), default=0.0)
    return replace(
        scenario,
        shapes=shapes,
        failing=max(0.1, scenario.failing) if late else scenario.failing,
        faults=tuple(sorted((*scenario.faults, *stops), key=_time_of)),
        calm_from=max(scenario.calm_from, longest + 1.0),
    )


def _limited(rng: random.Random, shape: Shape, work: float) -> Shape:
    """The shape with a time limit, or with less patience than its middleware takes."""
    if "awaits" in shape.middleware:
        return replace(shape, patience=rng.choice((shape.patience, 0.0, 0.001)))
    if rng.random() < 0.3:
        return shape
    # Longer than its events take when they do not fail.
    limit = 1.5 * work * shape.batch_size + rng.choice((0.1, 1.0))
    return replace(shape, timeout=limit, errors=(*shape.errors[:1], *OVERRUNS))


def _shape(rng: random.Random) -> Shape:
    return Shape(
        mode=rng.choice(("one", "batch", "within", "explicit")),
        commit=rng.choice(("auto", "each")),
        policy=rng.choice(("HALT", "QUARANTINE", "IGNORE")),
        dead_letters=rng.random() < 0.7,
    )


def _extra_faults(rng: random.Random, session_timeout: float) -> list[Fault]:
    kinds = rng.sample(EXTRA, rng.choice((0, 1, 1, 2, 3)))
    return [
        Fault(
            at=WARM_UP + rng.random() * 15,
            kind=rng.choice(kinds),
            target=rng.randrange(1000),
            amount=session_timeout * rng.choice((0.3, 0.7, 1.2, 2.0, 3.0)),
        )
        for _ in range(rng.choice((1, 3, 6)) if kinds else 0)
    ]


def _faults(rng: random.Random, session_timeout: float) -> tuple[Fault, ...]:
    """Faults of a random subset of the kinds, each at a random time."""
    kinds = rng.sample(KINDS, rng.choice((0, 1, 1, 2, 2, 3, 5, len(KINDS))))
    if not kinds:
        return ()
    count = rng.choice((1, 2, 4, 8, 16))
    length = rng.choice((2.0, 10.0, 30.0))
    drawn = []
    for _ in range(count):
        kind = rng.choice(kinds)
        drawn.append(
            Fault(
                at=WARM_UP + rng.random() * length,
                kind=kind,
                target=rng.randrange(1000),
                amount=_amount(rng, kind, session_timeout),
                aim=rng.choice(AIMS) if kind in MISHAPS else "",
            )
        )
        drawn += _companions(rng, drawn[-1], length)
        if kind in ("leave", "kill") and rng.random() < 0.3:  # Flapping.
            drawn += [
                replace(drawn[-1], at=drawn[-1].at + i * session_timeout / 3) for i in (1, 2, 3)
            ]
    for leave in [
        each for each in drawn if each.kind == "leave"
    ]:  # Only few of these overtake the leave.
        for _ in range(4):
            late = Fault(leave.at, "late", rng.randrange(1000), rng.choice((0.2, 2.0)), "leave")
            drawn.append(late)
    return tuple(sorted(drawn, key=_time_of))


def _companions(rng: random.Random, fault: Fault, length: float) -> list[Fault]:
    """More faults beside one that alone would seldom happen at a moment that matters."""

    def another(at: float, kind: str, amount: float, aim: str = "") -> Fault:
        return Fault(max(WARM_UP, at), kind, rng.randrange(1000), amount, aim)

    if fault.kind in MISHAPS:  # They affect one request each.
        count = rng.choice((0, 3, 10))
        kind, amount = fault.kind, fault.amount
        return [
            another(WARM_UP + rng.random() * length, kind, amount, rng.choice(AIMS))
            for _ in range(count)
        ]
    if fault.kind in ("trim_unread", "lose_plan"):  # They matter only together with others.
        return [
            another(WARM_UP + rng.random() * length, fault.kind, rng.random()) for _ in range(3)
        ]
    if fault.kind == "skew" and rng.random() < 0.5:  # While partitions move.
        return [another(fault.at - rng.random() / 5, rng.choice(("join", "leave")), rng.random())]
    return []


def _amount(rng: random.Random, kind: str, session_timeout: float) -> float:
    if kind in ("pause", "cut", "deaf", "hole", "busy", "full"):
        return session_timeout * rng.choice((0.1, 0.5, 1.2, 2.0, 3.0))
    if kind == "skew":
        return rng.choice((-3600.0, -session_timeout, -1.0, 1.0, session_timeout, 3600.0))
    if kind == "late":
        return rng.choice((0.5, 6.0, 10.0, 20.0))
    if kind == "rollback":
        return rng.choice((0.02, 0.5, 2.0, session_timeout))
    return rng.random()
